"""What is to be told, from the log to the store: a reader whose place is saved together with the deliveries it found.

A delivery is sent only once it is stored. What became of it is written beside it, under a counter of its own: an owner
that has lost the shard meanwhile finds that somebody else has written, and lets go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from podium.clock import Clock, seconds_to_us
from podium.engine.beginning import begin_now
from podium.engine.codec import decode_facts
from podium.engine.projections import Row
from podium.settings import Settings
from podium.store.protocol import ModelRow, Store
from podium.webhooks.boxes import Boxes
from podium.webhooks.deliveries import OUTBOX, TRIES, Delivery, Tried, deliveries, ends_something

ROWS_UNWRITTEN = 200  # a place is saved with what was found, else after so many rows
PAGE = 100_000


class Outbox:
    """What a reader takes, and its places."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        boxes: Boxes,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._boxes = boxes
        self._clock = clock
        self._wake = wake
        self._found: dict[int, list[Delivery]] = {}
        self._written: dict[int, int] = {}  # the place of each shard that its stored deliveries belong to

    async def begin(self) -> None:
        """The first time that there are webhooks, begin with what is committed from now on."""
        await begin_now(self._store, OUTBOX)

    async def at(self, shard: int) -> int:
        """Return the place in a shard, and hold what is stored of it."""
        place = await self._store.cursor(OUTBOX, shard)
        self._boxes.open(shard, await self._store.cursor(TRIES, shard))
        await self.fill(shard)
        self._found.pop(shard, None)
        self._written[shard] = place
        return place

    async def fill(self, shard: int) -> None:
        """Hold of a shard's deliveries what isn't held yet, as far as there is room."""
        found, orphans = await stored(self._store, shard)
        self._boxes.put(shard, found, orphans)
        self._wake()

    async def take(self, rows: Sequence[Row]) -> None:
        """Find what is to be told of these rows. Ends older than what is given up are nobody's news any more."""
        found: list[tuple[int, Delivery]] = []
        settings = self._settings
        oldest_us = self._clock.now_us() - seconds_to_us(settings.webhook_give_up_hours * 3_600)
        for row, given in rows:
            if row.tenant != settings.tenant or row.now_us < oldest_us:
                continue
            events = decode_facts(row) if given is None else given
            if not ends_something(events):
                continue
            execution = await self._store.execution(row.execution)
            if execution is not None:
                found += [(row.shard, each) for each in deliveries(row, events, execution, settings.webhooks)]
        for shard, delivery in found:
            self._found.setdefault(shard, []).append(delivery)

    async def save(self, shard: int, position: int) -> bool:
        """Store what was found, with the place; take out what needn't be listed any more."""
        found = self._found.pop(shard, [])
        if not found and position < self._written.get(shard, 0) + ROWS_UNWRITTEN:
            return True
        outdated = self._boxes.outdated(shard, self._clock.now_us())
        rows = {each.key: ModelRow(each.key, None) for each in outdated}
        rows.update({each.key: ModelRow(each.key, msgspec.json.encode(each)) for each in found})
        try:
            done = await self._store.put_model(
                OUTBOX, shard, position, list(rows.values()), before=self._written.get(shard, 0)
            )
        except BaseException:
            self._found[shard] = found + self._found.get(shard, [])
            raise
        if done:
            self._written[shard] = position
            again = {each.id for each in found}
            self._boxes.remove(shard, [each for each in outdated if each.id not in again])
            self._boxes.put(shard, [(each, Tried()) for each in found])
            self._wake()
        return done

    def forget(self, shard: int) -> None:
        """The shard is somebody else's."""
        self._boxes.close(shard)
        self._found.pop(shard, None)
        self._written.pop(shard, None)


async def stored(store: Store, shard: int | None = None) -> tuple[list[tuple[Delivery, Tried]], list[str]]:
    """Return the deliveries of a shard, or of all, that are stored, the oldest first; and ids of deleted ones."""
    found = [msgspec.json.decode(row.value or b"", type=Delivery) for row in await store.model(OUTBOX, "", shard, PAGE)]
    tried = {
        row.key: msgspec.json.decode(row.value or b"", type=Tried) for row in await store.model(TRIES, "", shard, PAGE)
    }
    return [(each, tried.pop(each.id, Tried())) for each in found], list(tried)
