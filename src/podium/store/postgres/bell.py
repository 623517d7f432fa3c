"""Wake-ups between processes by NOTIFY, and nothing but wake-ups: they may come for nothing, and be lost.

`ring` sends, grouped, after the commit that it tells of and in a transaction of its own: NOTIFY takes a lock of the
whole server until its transaction is on disk, which would have all replicas' appends wait for each other. `listen`
hears on one session of its own, which is made anew with growing pauses when it breaks; then everybody is woken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Literal

from podium.exceptions import StoreError
from podium.store.named_sql import named_blocks
from podium.store.postgres.connection import Address, Connection, translated
from podium.store.postgres.sessions import Sessions, ended
from podium.telemetry.logs import get_logger

_log = get_logger("podium.store.postgres")
_SQL = named_blocks("postgres.sql")
_CHANNELS: dict[str, Kind] = {"podium_inbox": "inbox", "podium_replicas": "replicas"}
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_LOOK_SECONDS = 30.0  # a connection that was cut without a word is found by asking

Kind = Literal["inbox", "replicas"]
Wake = Callable[[str], None]


class Bell:
    """Rings for others, and hears them."""

    def __init__(self, address: Address, sessions: Sessions, schema: str) -> None:
        """`schema` is where the tables are: another one's wake-ups are none of ours."""
        self._address = address
        self._sessions = sessions
        self._schema = schema
        self._to_ring: dict[str, set[int]] = {}
        self._ringing: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._wakes: list[Wake] = []
        self._own: set[int] | None = None
        self._closed = False

    def ring(self, kind: Kind, shards: Iterable[int] = ()) -> None:
        """Tell others, soon and without waiting, that there is something new: in the inbox of these shards."""
        if self._closed:
            return
        self._to_ring.setdefault(f"podium_{kind}", set()).update(shards)
        if self._ringing is None:
            self._ringing = asyncio.get_running_loop().create_task(self._ring_all(), name="podium-postgres-bell")

    def listen(self, wake: Wake) -> None:
        """Have `wake` called with what there is to look at."""
        self._wakes.append(wake)
        if self._listening is None and not self._closed:
            self._listening = asyncio.get_running_loop().create_task(self._listen(), name="podium-postgres-listener")

    def owned(self, shards: Iterable[int], *, now: bool) -> None:
        """Know which shards are this process's: once there were any, it isn't woken for the inboxes of others."""
        if now:
            self._own = (self._own or set()).union(shards)
        elif self._own is not None:
            self._own.difference_update(shards)

    async def close(self) -> None:
        """Ring what is to be rung, hear nothing more. Safe twice."""
        self._closed = True
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait([listening])
        if self._ringing is not None:
            await asyncio.wait([self._ringing])

    async def _ring_all(self) -> None:
        try:
            while self._to_ring:
                waiting, self._to_ring = self._to_ring, {}
                for channel, shards in waiting.items():
                    payload = f"{self._schema}:{','.join(map(str, sorted(shards)))}"
                    try:
                        await self._sessions.rows(_SQL["notify"], channel, payload)
                    except StoreError as error:  # it is only a hint, and who waits for it looks now and then
                        _log.debug("others could not be woken", channel=channel, error=str(error))
        finally:
            self._ringing = None

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            connection: Connection = None
            try:
                with translated(self._address):
                    connection = await self._heard()
                    pause = _FIRST_PAUSE_SECONDS
                    await self._until_lost(connection)
                _log.info("the connection that hears other replicas broke, and is made anew")
            except StoreError as error:
                _log.warning("other replicas can't be heard", error=str(error), again_in_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            finally:
                if connection is not None and not connection.is_closed():
                    await ended(connection)

    async def _heard(self) -> Connection:
        """Return a session that listens; what was rung before it did is made good by waking everybody."""
        connection = await self._address.connect(application_name=f"{self._address.application} listener")
        try:
            for channel in _CHANNELS:
                await connection.add_listener(channel, self._hear)
        except BaseException:
            connection.terminate()
            raise
        for kind in _CHANNELS.values():
            self._wake(kind)
        return connection

    async def _until_lost(self, connection: Connection) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        while not connection.is_closed():
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await lost.wait()
            except TimeoutError:
                await connection.fetchrow("SELECT 1")

    def _hear(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        schema, _, numbers = payload.rpartition(":")
        if schema != self._schema:
            return
        kind = _CHANNELS[channel]
        shards = [int(number) for number in numbers.split(",") if number]
        if kind == "inbox" and self._own is not None and self._own.isdisjoint(shards):
            return
        self._wake(kind)

    def _wake(self, kind: Kind) -> None:
        for wake in self._wakes:
            wake(kind)
