"""Taking over placement: the queue and the slots of all replicas' executions, read from the store.

What earlier leaders granted is in there: recorded in the executions, or still in the inboxes. Nothing that they write
later counts, since the placement shard's fence has moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from podium.engine.arrivals import Arrival, posted
from podium.engine.codec import decode_input
from podium.engine.placing import Placing
from podium.engine.recovery import Definitions, restore
from podium.engine.shards import ALL_SHARDS, EVERY_SHARD
from podium.engine.state import State
from podium.exceptions import CorruptHistoryError
from podium.ids import PLACEMENT_SHARD
from podium.store.protocol import InboxRow, Store
from podium.telemetry.logs import get_logger

READ_AT_ONCE = 32
_PAGE = 1_000
_log = get_logger("podium.engine")


class Pending(msgspec.Struct, frozen=True):
    """What lies in the inboxes: rows that told the leader before, and grants that aren't recorded yet."""

    told: tuple[int, ...]
    grants: tuple[Arrival, ...]


class Leading:
    """Reads what a new leader must know. Each of its steps may be done again."""

    def __init__(self, store: Store, definitions: Definitions, placing: Placing) -> None:
        self._store = store
        self._definitions = definitions
        self._placing = placing

    async def pending(self) -> Pending:
        """Return what lies in the inboxes; to be read before the executions, which have what was told by then."""
        told: list[int] = []
        grants: list[Arrival] = []
        after = 0
        while rows := await self._store.inbox(EVERY_SHARD, after, _PAGE):
            after = rows[-1].id
            told += [row.id for row in rows if row.shard == PLACEMENT_SHARD]
            for row in rows:
                if row.shard != PLACEMENT_SHARD and row.kind == "grant":
                    grants += _grant_of(row)
        return Pending(tuple(told), tuple(grants))

    async def still_pending(self, before: Pending) -> Pending:
        """Return what was pending, without the grants that have left the inboxes since."""
        if not before.grants:
            return before
        left = {grant.key for grant in (await self.pending()).grants}
        return Pending(before.told, tuple(grant for grant in before.grants if grant.key in left))

    async def rebuild(self, here: Callable[[str], bool]) -> list[str]:
        """Queue and hold what is ready and live in the executions of others; return ours, which are in memory."""
        active = [row.id for row in await self._store.active(ALL_SHARDS)]
        own = {execution for execution in active if here(execution)}
        others = [execution for execution in active if execution not in own]
        for execution in others:
            self._placing.await_reading(execution)
        await self.read(here, others)
        return [execution for execution in active if execution in own]

    async def read(self, here: Callable[[str], bool], executions: Sequence[str]) -> None:
        """Queue and hold what is ready and live in these executions, whose reading is awaited; what has become ours
        meanwhile is taken in as it is in memory.
        """
        for first in range(0, len(executions), READ_AT_ONCE):
            some = executions[first : first + READ_AT_ONCE]
            for execution, state in zip(some, await asyncio.gather(*map(self._read, some)), strict=True):
                if here(execution):
                    self._placing.was_read(execution)
                else:
                    self._placing.forget(execution)
                    self._placing.was_read(execution, state)

    async def _read(self, execution: str) -> State | None:
        try:
            found = await restore(self._store, self._definitions, execution)
        except (CorruptHistoryError, KeyError) as error:
            _log.error("an execution can't be placed: its history can't be read", execution=execution, error=str(error))
            return None
        return found.state if found is not None else None


def _grant_of(row: InboxRow) -> list[Arrival]:
    try:
        return [posted(row, decode_input(row.payload))]
    except CorruptHistoryError as error:  # the execution's owner sees to it
        _log.error("a grant in the inbox can't be read", execution=row.execution, error=str(error))
        return []
