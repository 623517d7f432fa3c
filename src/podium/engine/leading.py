"""Taking over placement: the queue and the slots of all replicas' executions, read from the store.

What earlier leaders granted is in there: recorded in the executions, or still in the inboxes. Nothing that they write
later counts, since the placement shard's fence has moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

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

    async def active(self) -> list[str]:
        """Return the executions that may have something ready or live."""
        return [row.id for row in await self._store.active(ALL_SHARDS)]

    async def read(self, placed_here: Callable[[str], bool], readings: Mapping[str, int]) -> None:
        """Queue and hold what is ready and live in executions, by the numbers of their readings; what has become ours
        meanwhile, and is placed from memory, is known better.
        """
        left = [execution for execution, number in readings.items() if self._placing.awaits_reading(execution, number)]
        for first in range(0, len(left), READ_AT_ONCE):
            some = left[first : first + READ_AT_ONCE]
            for execution, state in zip(some, await asyncio.gather(*map(self._read, some)), strict=True):
                if placed_here(execution):
                    self._placing.needs_no_reading(execution)
                else:
                    self._placing.was_read(execution, readings[execution], state)

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
