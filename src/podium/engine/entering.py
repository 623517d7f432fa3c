"""Starts that lie in the waiting rooms of an owner's shards: whether the owner knows them, and so lets them begin.

Who waits there is read when something says so, and nobody reads the whole room again and again; a start that no
word came of would wait for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from podium.clock import Clock
from podium.engine.admission import waiting_room
from podium.engine.inside import Inside
from podium.engine.reconciliation import Kind, Suspect
from podium.store.protocol import InboxRow, Store

PAGE = 200  # the oldest: those are read first


class RoomCheck:
    """The starts that wait for room, against what their owner knows of them."""

    every = 4

    def __init__(self, store: Store, inside: Inside, clock: Clock) -> None:
        self.looked_at: Counter[str] = Counter()
        self._store = store
        self._inside = inside
        self._clock = clock

    async def look(self, thorough: bool) -> AsyncIterator[Suspect]:
        """Look at those that have waited longest."""
        inside = self._inside
        if not inside.admission.most or inside.takes_over or not inside.shards:
            return
        rows = await self._store.inbox([waiting_room(shard) for shard in inside.shards], 0, PAGE)
        known = inside.waiting_rows
        self.looked_at["starts that wait"] += len(rows)
        if known is None:
            return
        under_way = inside.under_way
        for row in rows:
            if row.id not in known and row.execution not in under_way and inside.owns(row.execution):
                yield self._forgotten(row)

    async def again(self, suspects: Sequence[Suspect]) -> AsyncIterator[Suspect]:
        """Look at them once more."""
        async for suspect in self.look(True):
            yield suspect

    async def mend(self, suspect: Suspect) -> bool:
        """Have the waiting rooms read."""
        self._inside.read_rooms()
        return True

    def _forgotten(self, row: InboxRow) -> Suspect:
        why = f"the start of {row.execution} waits for room, and its owner doesn't know"
        return Suspect(Kind.START_WAITS, row.execution, why, (row.id,), row.execution, "", self._clock.now_us())
