"""A bounded pool of sessions with the server. One that has failed isn't used again; `expire` lets all of them go.

What is asked here runs by itself, each statement a transaction. A statement that gave way to another transaction is
tried again; one that can be repeated is tried again when its connection broke, on a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from podium.exceptions import StoreError, StoreUnavailableError
from podium.store.postgres.connection import (
    GAVE_WAY,
    READ_ONLY,
    Address,
    Connection,
    Record,
    is_refusal,
    state_of,
    translated,
)
from podium.telemetry.logs import get_logger

_log = get_logger("podium.store.postgres")
_TRIES = 5
_PAUSE_SECONDS = 0.01
_CLOSE_SECONDS = 5.0


class Sessions:
    """At most `most` connections; each is made when it is needed."""

    def __init__(self, address: Address, most: int) -> None:
        self.address = address
        self._free = asyncio.Semaphore(most)
        self._idle: list[Connection] = []
        self._borrowed: set[Connection] = set()
        self._generation = 0
        self._closed = False

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Connection]:
        """Lend a connection. It comes back only if nothing but a refusal of the server went wrong meanwhile."""
        async with self._free:
            generation = self._generation
            connection = self._last_idle() or await self._connect()
            self._borrowed.add(connection)
            sound = False
            try:
                yield connection
                sound = True
            except BaseException as error:
                sound = is_refusal(error)
                if state_of(error) == READ_ONLY:
                    self.expire()
                raise
            finally:
                self._borrowed.discard(connection)
                if sound and generation == self._generation and not self._closed and not connection.is_closed():
                    self._idle.append(connection)
                else:
                    connection.terminate()

    async def rows(self, sql: str, *arguments: Any, again: bool = True) -> Sequence[Record]:
        """Return what a statement returns. `again`: it may be done more than once, should its connection break.

        Raises StoreUnavailableError.
        """
        for tries_left in reversed(range(_TRIES)):
            try:
                with translated(self.address):
                    async with self.borrowed() as connection:
                        found: Sequence[Record] = await connection.fetch(sql, *arguments)
                        return found
            except StoreError as error:
                cause = error.__cause__
                if cause is None or not tries_left or self._closed:
                    raise
                if again and not is_refusal(cause) and not isinstance(cause, TimeoutError):
                    self.expire()  # where one connection broke, the others may have
                elif state_of(cause) not in GAVE_WAY:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS * (_TRIES - tries_left))
        raise AssertionError("not reached: the last try returns or raises")

    async def row(self, sql: str, *arguments: Any, again: bool = True) -> Record | None:
        """Return the first row of what a statement returns, None if there is none."""
        found = await self.rows(sql, *arguments, again=again)
        return found[0] if found else None

    def expire(self) -> None:
        """Use no connection any more that is there now: those lent are let go when they come back."""
        self._generation += 1
        while self._idle:
            self._idle.pop().terminate()

    def cut(self) -> None:
        """End all connections at once, those lent too: what is under way on them fails."""
        self.expire()
        for connection in list(self._borrowed):
            connection.terminate()

    async def close(self) -> None:
        """Let everything go; what is under way fails. Safe twice."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await ended(connection)
        for connection in list(self._borrowed):
            connection.terminate()

    def check_open(self) -> None:
        """Raise StoreUnavailableError once the store is closed."""
        if self._closed:
            raise StoreUnavailableError(f"{self.address}: the store is closed")

    def _last_idle(self) -> Connection | None:
        self.check_open()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _connect(self) -> Connection:
        connection = await self.address.connect()
        if self._closed:
            connection.terminate()
            self.check_open()
        return connection


async def ended(connection: Connection) -> None:
    """End a connection as the protocol wants it, or at least let go of it."""
    try:
        await connection.close(timeout=_CLOSE_SECONDS)
    except Exception as error:  # noqa: BLE001 - it is being let go, however that goes
        _log.debug("a connection could not be ended properly", error=str(error))
        connection.terminate()
