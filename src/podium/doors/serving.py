"""An HTTP server on the event loop of whoever starts it: it takes no signals, and says which port it got.

What it answers is an ASGI application, made by a door. An address that can't be had is the caller's to mend, and is
refused with the setting's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn

from podium.exceptions import SettingsError
from podium.settings import Address
from podium.telemetry.logs import get_logger

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MAX_CONNECTIONS = 1_000  # further ones are answered with 503

_log = get_logger(__name__)


def bind(name: str, address: Address) -> socket.socket:
    """Return a socket that holds the address, not listening yet. Raises SettingsError, with the setting's name."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        held = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"{name}: {address} is no address of this machine: {error.strerror or error}") from error
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(place)
        held.setblocking(False)
    except OSError as error:
        held.close()
        raise SettingsError(
            f"{name}: can't listen at {address}: {error.strerror or error}; choose another address, or port 0 for any"
        ) from error
    return held


class HttpServer:
    """Answers HTTP on one socket until it is stopped."""

    def __init__(self, name: str, app: ASGIApp, held: socket.socket, host: str) -> None:
        """`host` is how the address was written; the port is the socket's."""
        self.address = Address(host, held.getsockname()[1])
        self._name = name
        self._held = held
        self._server = _Server(
            uvicorn.Config(
                app,
                http="h11",  # refuses what is ambiguous, such as two Host headers
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_CONNECTIONS,
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer from now on. Once more changes nothing."""
        if self._serving is None:
            self._serving = asyncio.create_task(self._server.serve([self._held]), name=f"podium-{self._name}")
            self._serving.add_done_callback(self._ended)
            began = asyncio.create_task(self._server.began.wait(), name=f"podium-{self._name}-begins")
            await asyncio.wait((self._serving, began), return_when=asyncio.FIRST_COMPLETED)
            if not began.done():
                began.cancel()
                await self._serving

    async def stop(self, drain_seconds: float = 5.0) -> None:
        """Take no new connection, finish the answers under way, close. Safe twice, and at once."""
        if self._serving is None:
            self._held.close()
            return
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(self._serving, drain_seconds), name=f"{self._name} stops")
        await asyncio.shield(self._stopping)

    async def _stop(self, serving: asyncio.Task[None], drain_seconds: float) -> None:
        self._server.config.timeout_graceful_shutdown = max(1, round(drain_seconds))
        self._server.should_exit = True
        await asyncio.wait((serving,))
        for connection in tuple(self._server.server_state.connections):
            if connection.transport is not None:  # its reader doesn't take what it was sent
                connection.transport.abort()

    def _ended(self, serving: asyncio.Task[None]) -> None:
        if not serving.cancelled() and (error := serving.exception()) is not None:
            _log.error("the HTTP server has ended", server=self._name, error=repr(error))


class _Server(uvicorn.Server):
    """Tells when it has begun, and leaves the process's signals to the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.began = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.began.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
