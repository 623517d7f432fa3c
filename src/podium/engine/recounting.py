"""Read models made anew from the log, in the background, and compared with what is kept.

One shard at a time, some pages of its log each look; a thorough look takes all of them at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from podium.clock import Clock
from podium.engine.projections import Projection
from podium.engine.readmodels import StatisticsModel, rebuilt
from podium.engine.reconciliation import Kind, Suspect
from podium.engine.statistics import NAME
from podium.exceptions import PodiumError
from podium.store.protocol import Store
from podium.telemetry.logs import get_logger

PAGE = 500
PAGES_AT_ONCE = 10
TRIES = 5
_log = get_logger("podium.engine")


class _Count:
    """One shard's log, counted from its first row."""

    def __init__(self, store: Store, shard: int) -> None:
        self._store = store
        self._model = StatisticsModel(store, from_nothing=True)
        self.shard = shard
        self.place = 0

    async def on_to(self, place: int, pages: int) -> bool:
        """Count on, at most so many pages; True once it is at this place."""
        while self.place < place and pages:
            rows = await self._store.follow(self.shard, self.place, min(PAGE, place - self.place))
            if not rows:
                return False
            await self._model.take([(row, None) for row in rows])
            self.place, pages = rows[-1].position, pages - 1
            await asyncio.sleep(0)
        return self.place == place

    def entries(self) -> dict[str, object]:
        """Return what was counted; to be asked once."""
        return {row.key: msgspec.json.decode(row.value or b"null") for row in self._model.entries()}


class ModelCheck:
    """The statistics of our shards, as kept, against the log."""

    every = 6

    def __init__(
        self, store: Store, clock: Clock, shards: Callable[[], Sequence[int]], readers: Mapping[str, Projection] | None
    ) -> None:
        """`readers` keep the models; None: nobody does now, and nothing is mended."""
        self.looked_at: Counter[str] = Counter()
        self._store = store
        self._clock = clock
        self._shards = shards
        self._readers = readers
        self._count: _Count | None = None
        self._last = -1

    async def look(self, thorough: bool) -> AsyncIterator[Suspect]:
        """Count some pages further, and compare a shard that is counted to where its model is."""
        shards = list(self._shards())
        if thorough:
            for shard in shards:
                for suspect in await self._compared(_Count(self._store, shard)):
                    yield suspect
            return
        if not shards:
            return
        if self._count is None or self._count.shard not in shards:
            self._last = next((shard for shard in shards if shard > self._last), shards[0])
            self._count = _Count(self._store, self._last)
        if await self._count.on_to(await self._store.cursor(NAME, self._count.shard), PAGES_AT_ONCE):
            count, self._count = self._count, None
            for suspect in await self._compared(count):
                yield suspect

    async def again(self, suspects: Sequence[Suspect]) -> AsyncIterator[Suspect]:
        """Count these shards once more, from their first rows."""
        for shard in dict.fromkeys(suspect.evidence[0] for suspect in suspects):
            for suspect in await self._compared(_Count(self._store, shard)):
                yield suspect

    async def mend(self, suspect: Suspect) -> bool:
        """Build the shard's entries anew, and let them take the place of the old."""
        shard, reader = suspect.evidence[0], (self._readers or {}).get(NAME)
        if reader is None:
            return False
        try:
            await rebuilt(self._store, NAME, shard, reader)
        except PodiumError as error:
            _log.warning("a read model could not be rebuilt", model=NAME, shard=shard, error=str(error))
            return False
        return True

    async def _compared(self, count: _Count) -> list[Suspect]:
        """Count to the place of what is kept, and compare the two there."""
        for _ in range(TRIES):
            place = await self._store.cursor(NAME, count.shard)
            kept = await self._store.model(NAME, shard=count.shard, limit=1_000_000)
            if place != await self._store.cursor(NAME, count.shard):
                continue  # it was written meanwhile
            if count.place > place:
                return []  # it is being rebuilt: then it is right
            if not await count.on_to(place, place):
                why = f"{NAME} of shard {count.shard} is at {place}, the log ends at {count.place}"
                return [self._suspect(count, why, (place,))]
            self.looked_at["read models' shards"] += 1
            return self._differences(count, {row.key: msgspec.json.decode(row.value or b"null") for row in kept})
        return []

    def _differences(self, count: _Count, kept: Mapping[str, object]) -> list[Suspect]:
        counted = count.entries()
        keys = sorted(key for key in {*kept, *counted} if kept.get(key) != counted.get(key))
        if not keys:
            return []
        first = keys[0]
        more = f" ({len(keys) - 1} more entries differ)" if len(keys) > 1 else ""
        why = (
            f"{NAME} of shard {count.shard} at {count.place}: {first} is {kept.get(first)}, by the log it is "
            f"{counted.get(first)}{more}"
        )
        return [self._suspect(count, why, tuple(keys))]

    def _suspect(self, count: _Count, why: str, evidence: tuple[object, ...]) -> Suspect:
        subject, at = f"{NAME} of shard {count.shard}", (count.shard, *evidence)
        return Suspect(Kind.MODEL_DIFFERS, subject, why, at, seen_us=self._clock.now_us())
