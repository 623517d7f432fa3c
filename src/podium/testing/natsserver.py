"""A real NATS server for tests, which can be stopped, killed, held and made to forget.

    with nats_server(tmp_path) as server:
        transport = NatsTransport(NatsSettings(server_url=server.url))

Without the binary a test is skipped ("not run: no nats-server"); where CI is set, that is a failure. Everything here
blocks until it is so: a test that runs an event loop calls it in a thread (`asyncio.to_thread`), or accepts that its
loop stands still meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podium.bus.nats_server import find_nats_server
from podium.exceptions import TransportUnavailableError

_DEADLINE_SECONDS = 30.0


class NatsServer:
    """A server process with a folder, and a port that stays the same."""

    def __init__(
        self, folder: Path, extra_config: str = "", max_payload: int = 1 << 20, jetstream: bool = True
    ) -> None:
        """Nothing runs yet. `extra_config` is appended to the configuration."""
        self.folder = folder
        self.port = 0
        self._binary = binary_or_skip()
        self._extra_config = extra_config
        self._max_payload = max_payload
        self._jetstream = jetstream
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def store(self) -> Path:
        """Where its streams are."""
        return self.folder / "jetstream"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        if self._process is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.conf"
        streams = f'jetstream {{ store_dir: "{self.folder}", max_file_store: 1TB }}' if self._jetstream else ""
        config.write_text(
            f'listen: "127.0.0.1:{self.port or -1}"\nports_file_dir: "{self.folder}"\n'
            f"max_payload: {self._max_payload}\n{streams}\n{self._extra_config}\n"
        )
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([str(self._binary), "-c", str(config)], stdout=log, stderr=log)
        self.port = self._listening(self._process)

    def stop(self) -> None:
        """End it as an operator would: what it holds is written."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut of its process would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start it, on the same port with the same streams."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Kill it and start it with an empty store: it knows no stream any more."""
        self.kill()
        shutil.rmtree(self.store, ignore_errors=True)
        self.start()

    def hold(self) -> None:
        """Have it stand still, with all connections open, until `release`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # it stands still now, and not only soon

    def release(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(sign)
            process.send_signal(signal.SIGCONT)  # one that is held couldn't end
            process.wait(_DEADLINE_SECONDS)

    def _listening(self, process: subprocess.Popen[bytes]) -> int:
        ports = self.folder / f"nats-server_{process.pid}.ports"
        end = time.monotonic() + _DEADLINE_SECONDS
        while time.monotonic() < end:
            assert process.poll() is None, (self.folder / "server.log").read_text()[-2_000:]
            try:
                return int(json.loads(ports.read_text())["nats"][0].rsplit(":", 1)[1])
            except (FileNotFoundError, ValueError, LookupError):
                time.sleep(0.01)
        process.kill()
        raise AssertionError(f"nats-server didn't say within {_DEADLINE_SECONDS:g} s where it listens")


@contextmanager
def nats_server(
    folder: Path, extra_config: str = "", max_payload: int = 1 << 20, jetstream: bool = True
) -> Iterator[NatsServer]:
    """Run a server in a folder, on a free port, until the block ends."""
    server = NatsServer(folder, extra_config, max_payload, jetstream)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def binary_or_skip() -> Path:
    """Return nats-server's path; skip the test where there is none, fail it in CI."""
    try:
        return find_nats_server()
    except TransportUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip("not run: no nats-server")
