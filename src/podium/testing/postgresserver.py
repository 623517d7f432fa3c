"""A real PostgreSQL server for tests, which can be stopped, killed, held, made read-only and told to end its backends.

    with postgres_server() as server:
        url = server.create_database("one")

Without the server's programs a test is skipped ("not run: no PostgreSQL"); where CI is set, that is a failure. The
server refuses to run as root, and is started as another user then. Everything here blocks until it is so: a test that
runs an event loop calls it in a thread (`asyncio.to_thread`), or accepts that its loop stands still meanwhile.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

_DEADLINE_SECONDS = 60.0
_SUPERUSER = "podium"
_UNPRIVILEGED = ("postgres", "nobody")
_FOLDERS = ("/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt", "/usr/local/opt")


class PostgresServer:
    """A server process with a folder of its own, and a port that stays the same."""

    def __init__(self, extra_config: str = "", *, durable: bool = False) -> None:
        """Nothing runs yet. `extra_config` is appended to postgresql.conf; `durable` syncs each commit to the disk.

        Whether it syncs or not, what was committed survives a kill of its processes: only a power cut is another thing.
        """
        self.port = 0
        self._folder_of_programs = programs_or_skip()
        self._extra_config = extra_config
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._identity = _identity()
        self.folder = Path(tempfile.mkdtemp(prefix="podium-postgres-"))  # where that user can get to
        if self._identity:
            os.chown(self.folder, self._identity["user"], self._identity["group"])

    @property
    def cluster(self) -> Path:
        """The folder with the databases."""
        return self.folder / "cluster"

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pids(self) -> list[int]:
        """Its processes, while it runs."""
        try:
            return self._processes() if self._process is not None else []
        except FileNotFoundError:
            return []

    def url(self, database: str = "postgres", user: str = _SUPERUSER, password: str = "", **parameters: str) -> str:
        """Return where a database is."""
        secret = f":{password}" if password else ""
        asked = f"?{urlencode(parameters)}" if parameters else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}{asked}"

    # --- its life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        if self._process is not None:
            return
        if not (self.cluster / "PG_VERSION").exists():
            self._initialise()
        self.port = self.port or _free_port()
        with (self.folder / "server.log").open("ab") as log:
            command = [self._program("postgres"), "-D", str(self.cluster), "-p", str(self.port)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._identity)
        self._await_connections(self._process)

    def stop(self) -> None:
        """End it as an operator would: connections are ended, what it holds is written."""
        self._end(signal.SIGINT)

    def stop_at_once(self) -> None:
        """End it by its own immediate stop, without writing what it holds: it has to recover when it starts again."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """End it as a crash would, with all its backends: it has to recover when it starts again."""
        if self._process is not None:
            everyone = self._processes()
            for pid in everyone:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._end(signal.SIGKILL)
            _await(lambda: not any(_alive(pid) for pid in everyone), "the backends ended")

    def restart(self) -> None:
        """Stop and start it, on the same port with the same databases."""
        self.stop()
        self.start()

    def hold(self) -> None:
        """Have it and its backends stand still, with all connections open, until `release`."""
        self._send(signal.SIGSTOP)

    def release(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and delete its folder. Safe twice."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- what a superuser does -----------------------------------------------------------------------------------

    def execute(self, sql: str, database: str = "postgres") -> str:
        """Run SQL; return what psql prints, without headings."""
        command = [self._program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database)]
        done = subprocess.run([*command, "-c", sql], capture_output=True, text=True, timeout=_DEADLINE_SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def create_database(self, name: str, template: str = "template1") -> str:
        """Make a database, a copy of `template`; return its URL."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Delete a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def terminate_backends(self, database: str | None = None, application: str | None = None) -> int:
        """End the connections of clients, of one database or one application if said; return how many there were."""
        where = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        where += f" AND datname = '{database}'" if database else ""
        where += f" AND application_name LIKE '{application}%'" if application else ""
        return int(self.execute(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {where}"))

    def set_read_only(self, read_only: bool) -> None:
        """Refuse all writes of present and later sessions, as a standby does; or take them again."""
        self.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if read_only else 'off'}")
        self.execute("SELECT pg_reload_conf()")
        wanted = "on" if read_only else "off"
        _await(lambda: self.execute("SHOW default_transaction_read_only") == wanted, "the setting was read")

    def _program(self, name: str) -> str:
        return str(self._folder_of_programs / name)

    def use_tls(self, certificate: bytes, key: bytes) -> Path:
        """Take TLS connections too, with this certificate and key (PEM); return the certificate's file. Restarts."""
        for name, content in (("server.crt", certificate), ("server.key", key)):
            path = self.cluster / name
            path.write_bytes(content)
            path.chmod(0o600)
            if self._identity:
                os.chown(path, self._identity["user"], self._identity["group"])
        self.execute("ALTER SYSTEM SET ssl = on")
        self.restart()
        copy = self.folder / "server.crt"
        copy.write_bytes(certificate)
        return copy

    def allow(self, rule: str) -> None:
        """Put a rule before all others of who may come in, as pg_hba.conf has it."""
        path = self.cluster / "pg_hba.conf"
        path.write_text(f"{rule}\n{path.read_text()}")
        self.execute("SELECT pg_reload_conf()")

    # --- processes -----------------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        options = ["--no-sync", "--no-instructions", "--auth=trust", "--encoding=UTF8", f"--username={_SUPERUSER}"]
        command = [self._program("initdb"), "-D", str(self.cluster), "--locale=C", *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **self._identity)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [
            "listen_addresses = '127.0.0.1'",
            "unix_socket_directories = ''",
            f"fsync = {'on' if self._durable else 'off'}",
            f"full_page_writes = {'on' if self._durable else 'off'}",
            "max_connections = 200",
            "shared_buffers = 128MB",
            "max_wal_size = 2GB",
            self._extra_config,
        ]
        with (self.cluster / "postgresql.conf").open("a") as config:
            config.write("\n".join(lines) + "\n")

    def _await_connections(self, process: subprocess.Popen[bytes]) -> None:
        ready = [self._program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]

        def listening() -> bool:
            assert process.poll() is None, (self.folder / "server.log").read_text()[-2_000:]
            return subprocess.run(ready, check=False).returncode == 0

        _await(listening, "the server took connections")

    def _processes(self) -> list[int]:
        """Return the server's process and its children, which are its backends."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def _send(self, sign: signal.Signals) -> None:
        """Send a signal to all; first to the server, so that it makes no backends of which we don't know."""
        assert self._process is not None
        self._process.send_signal(sign)
        for pid in self._processes()[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, sign)

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(sign)
            process.wait(_DEADLINE_SECONDS)


@contextmanager
def postgres_server(extra_config: str = "", *, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a server on a free port until the block ends."""
    server = PostgresServer(extra_config, durable=durable)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def programs_or_skip() -> Path:
    """Return the folder of the server's programs; skip the test where there is none, fail it in CI."""
    found = find_programs()
    if found is not None:
        return found
    if os.environ.get("CI"):
        pytest.fail("there is no PostgreSQL: install the package postgresql")
    pytest.skip("not run: no PostgreSQL")


def find_programs() -> Path | None:
    """Return the folder of the newest server's programs: on PATH, or where systems install them."""
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    for folder in map(Path, _FOLDERS):
        candidates += sorted((each / "bin" for each in folder.glob("*")), key=_version_in, reverse=True)
    wanted = ("initdb", "postgres", "psql", "pg_isready")
    return next((each for each in candidates if all((each / name).exists() for name in wanted)), None)


def _version_in(folder: Path) -> int:
    digits = "".join(filter(str.isdigit, folder.parent.name))
    return int(digits or 0)


def _identity() -> dict[str, Any]:
    """Return whom the server's programs run as, for `subprocess`: nothing, unless this is root."""
    if os.geteuid() != 0:
        return {}
    for name in _UNPRIVILEGED:
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise AssertionError("PostgreSQL doesn't run as root, and there is no other user to run it as")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _await(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited {_DEADLINE_SECONDS:g} s, and not yet: {what}"
        time.sleep(0.01)
