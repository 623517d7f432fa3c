"""A real nats-server that runs with an authority's configuration, and connections to it as whoever has credentials."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from podium.bus.nats_auth import Authority
from podium.bus.nkeys import Credentials

DEADLINE_SECONDS = 20.0


class SecuredServer:
    """A server process; `address` is where it listens."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.authority = authority

    def start(self) -> None:
        self.configure(self.authority.server_config())
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen([_binary(), "-c", str(self._folder / "server.conf")], stderr=log)
        self.address = _eventually(self._address)

    def configure(self, authentication: str) -> None:
        (self._folder / "server.conf").write_text(
            f'listen: "127.0.0.1:-1"\nports_file_dir: "{self._folder}"\n'
            f'jetstream {{ store_dir: "{self._folder}/jetstream" }}\n{authentication}'
        )

    def reload(self, authentication: str) -> None:
        assert self._process is not None
        self.configure(authentication)
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE_SECONDS)

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def _address(self) -> str:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        found = self._folder / f"nats-server_{self._process.pid}.ports"
        try:
            return str(json.loads(found.read_text())["nats"][0])
        except (FileNotFoundError, ValueError):
            return ""

    @asynccontextmanager
    async def connected(self, credentials: Credentials | None, **options: Any) -> AsyncIterator[Connection]:
        """Connect as nats-py does; what the server complains of is in `errors`."""
        connection = Connection()
        if credentials is not None:
            options |= {"user_jwt_cb": credentials.jwt_bytes, "signature_cb": credentials.answer}
        try:
            await connection.client.connect(
                self.address, error_cb=connection.hear, closed_cb=connection.close, allow_reconnect=False, **options
            )
            yield connection
        finally:
            await connection.client.close()


class Connection:
    """A client of nats-py and what it was told."""

    def __init__(self) -> None:
        self.client: Client = Client()
        self.errors: list[str] = []
        self.closed = asyncio.Event()
        self._told = asyncio.Event()
        self._markers = 0

    async def hear(self, error: Exception) -> None:
        self.errors.append(str(error))
        self._told.set()

    async def close(self) -> None:
        self.closed.set()

    async def refused(self, act: Callable[[Client], Any]) -> bool:
        """Do something and return whether the server refused it, or what came before it."""
        await act(self.client)
        await self.settled()
        refused = bool(self.errors)
        self.errors.clear()
        return refused

    async def settled(self) -> None:
        """Wait until the server has dealt with all that was said.

        nats-py's `flush` may return before; so this says one more thing that an agent isn't allowed to, and waits for
        the complaint: complaints come in order.
        """
        self._markers += 1
        marker = f'"marker.{self._markers}"'
        await self.client.publish(marker.strip('"'), b"")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not any(marker in error for error in self.errors):
                self._told.clear()
                await self._told.wait()
        self.errors = [error for error in self.errors if marker not in error]


@contextmanager
def secured_server(folder: Path, authority: Authority) -> Iterator[SecuredServer]:
    """Run a server with an authority's configuration."""
    server = SecuredServer(folder, authority)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _binary() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        pytest.skip("not run: no nats-server")
    return found


def _eventually(look: Callable[[], str]) -> str:
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError("the server didn't say where it listens")
