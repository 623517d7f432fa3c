"""A server that runs with an authority's configuration, and connections to it as whoever has credentials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from podium.bus.nats_auth import Authority
from podium.bus.nkeys import Credentials
from podium.testing.natsserver import nats_server

DEADLINE_SECONDS = 20.0


class SecuredServer:
    """Where a server listens, and the authority that it believes."""

    def __init__(self, url: str, authority: Authority) -> None:
        self.url = url
        self.authority = authority

    @asynccontextmanager
    async def connected(self, credentials: Credentials | None, **options: Any) -> AsyncIterator[Connection]:
        """Connect as nats-py does; what the server complains of is in `errors`."""
        connection = Connection()
        if credentials is not None:
            options |= {"user_jwt_cb": credentials.jwt_bytes, "signature_cb": credentials.answer}
        try:
            await connection.client.connect(
                self.url, error_cb=connection.hear, closed_cb=connection.close, allow_reconnect=False, **options
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
    with nats_server(folder, authority.server_config()) as server:
        yield SecuredServer(server.url, authority)
