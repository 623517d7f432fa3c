"""The one task that appends: takes batches in the order of the calls, writes each in one round trip on its session.

A caller that is cancelled doesn't stop its batch: what was begun is finished. When the session breaks during an append,
nobody here knows whether it was committed; the caller is told so, and finds out by the shards' positions. So that these
say the last word, the session holds a lock of its own: the next one ends it, should it still be at work, and waits.
"""

from __future__ import annotations

import asyncio
from collections import deque

from podium.exceptions import StoreError, StoreUnavailableError
from podium.ids import IdSource
from podium.store.named_sql import named_blocks
from podium.store.postgres.append import Statement
from podium.store.postgres.connection import GAVE_WAY, READ_ONLY, Address, Connection, is_refusal, state_of, translated
from podium.store.postgres.sessions import Sessions, ended

_SQL = named_blocks("postgres.sql")
_TRIES = 5
_PAUSE_SECONDS = 0.01


class Writer:
    """Owns the session that appends are written on."""

    def __init__(self, address: Address, sessions: Sessions) -> None:
        """`sessions` are what a refused batch is explained with."""
        self._address = address
        self._sessions = sessions
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._lock_key = IdSource().seed()
        self._unsure = False
        self._waiting: deque[tuple[Statement, asyncio.Future[None]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def write(self, statement: Statement) -> None:
        """Write a batch behind those that were given before. Raises what `Log.append` says."""
        if self._closed:
            raise StoreUnavailableError(f"{self._address}: the store is closed")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((statement, done))
        if self._task is None:
            self._task = loop.create_task(self._write_all(), name="podium-postgres-writer")
        await done

    async def settled(self) -> None:
        """Return when no append of unknown outcome can still come true. Raises StoreUnavailableError."""
        if self._unsure and not self._closed:
            with translated(self._address):
                await self._connected()

    def cut(self) -> None:
        """End the session at once: of an append that is under way nobody knows whether it was committed."""
        if self._connection is not None:
            self._connection.terminate()

    async def close(self) -> None:
        """Finish what was begun and let go. Safe twice."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])
        connection, self._connection = self._connection, None
        if connection is not None:
            await ended(connection)

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                statement, done = self._waiting.popleft()
                try:
                    await self._write(statement)
                except StoreError as error:
                    if not done.done():
                        done.set_exception(error)
                except BaseException:
                    done.cancel()
                    raise
                else:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._task = None
            for _, abandoned in self._waiting:
                abandoned.cancel()
            self._waiting.clear()

    async def _write(self, statement: Statement) -> None:
        for tries_left in reversed(range(_TRIES)):
            try:
                with translated(self._address):
                    await self._execute(statement)
                return
            except StoreError as error:
                cause = error.__cause__
                if cause is None:
                    raise
                if statement.refused_by(cause):
                    raise await statement.refusal(self._sessions) from cause
                if state_of(cause) not in GAVE_WAY or not tries_left:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS * (_TRIES - tries_left))

    async def _execute(self, statement: Statement) -> None:
        connection = await self._connected()
        try:
            await connection.fetchrow(statement.sql, *statement.arguments)
        except BaseException as error:
            if not is_refusal(error) or state_of(error) == READ_ONLY:
                self._connection = None
                self._unsure = not is_refusal(error)
                connection.terminate()
                self._sessions.expire()
            raise

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                # What lists hold is never a reason for another plan, and to make one takes longer than a small append.
                connection = await self._address.connect(plan_cache_mode="force_generic_plan")
                try:
                    if not await connection.fetchval(_SQL["try_lock"], self._lock_key):
                        await connection.fetch(_SQL["end_holder"], self._lock_key)
                        await connection.fetch(_SQL["lock"], self._lock_key)
                except BaseException:
                    connection.terminate()
                    raise
                self._connection = connection
                self._unsure = False
            return self._connection
