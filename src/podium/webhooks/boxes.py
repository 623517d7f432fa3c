"""What a process holds of deliveries: those of its shards that are due, under way or over, bounded in number.

No I/O and no clock: the courier moves it on, and what has changed is written by whoever writes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from podium.webhooks.deliveries import Delivery, Tried

MOST_HELD = 10_000  # pending ones in memory; the rest is read when there is room
KEPT_OVER = 100  # of each shard, so that they can be listed
KEPT_OVER_US = 7 * 86_400_000_000


class Item:
    """One delivery, and what became of it."""

    __slots__ = ("delivery", "gone", "shard", "tried", "under_way")

    def __init__(self, shard: int, delivery: Delivery, tried: Tried) -> None:
        self.shard = shard
        self.delivery = delivery
        self.tried = tried
        self.under_way = False
        self.gone = False  # its shard is another replica's now


class Box:
    """One shard's deliveries."""

    def __init__(self, writes: int) -> None:
        self.writes = writes  # how often what became of them was written
        self.items: dict[str, Item] = {}
        self.changed: set[str] = set()
        self.removed: list[str] = []  # ids whose delivery is deleted, and what became of it not yet
        self.more = False  # in the store, that had no room here


class Boxes:
    """The deliveries of all shards of this process."""

    def __init__(self) -> None:
        self.of: dict[int, Box] = {}
        self._due: list[tuple[int, str, int]] = []  # when, id, shard
        self.pending = 0

    def open(self, shard: int, writes: int) -> Box:
        """Begin to hold a shard's deliveries."""
        self.close(shard)
        box = self.of[shard] = Box(writes)
        return box

    def close(self, shard: int) -> None:
        """Hold nothing of a shard."""
        box = self.of.pop(shard, None)
        for item in box.items.values() if box is not None else ():
            item.gone = True
            self.pending -= not item.tried.over

    def put(self, shard: int, found: Iterable[tuple[Delivery, Tried]], orphans: Iterable[str] = ()) -> None:
        """Hold these too, as far as there is room. Of orphans the delivery is deleted, what became of it isn't yet."""
        box = self.of.get(shard)
        if box is None:
            return
        box.more = False
        box.removed += [each for each in orphans if each not in box.removed]
        for delivery, tried in found:
            if delivery.id in box.items:
                continue
            if not tried.over and self.pending >= MOST_HELD:
                box.more = True
                continue
            item = box.items[delivery.id] = Item(shard, delivery, tried)
            if not tried.over:
                self.pending += 1
                self._push(item)

    def wanting(self) -> int | None:
        """Return a shard of which more can be read now."""
        if self.pending > MOST_HELD // 2:
            return None
        return next((shard for shard, box in self.of.items() if box.more), None)

    def _push(self, item: Item) -> None:
        heapq.heappush(self._due, (item.tried.next_us, item.delivery.id, item.shard))

    def due(self, now_us: int) -> list[Item]:
        """Return what is to be tried now, the one that waits longest first; it counts as under way."""
        found = []
        while self._due and self._due[0][0] <= now_us:
            at_us, delivery, shard = heapq.heappop(self._due)
            item = self.of[shard].items.get(delivery) if shard in self.of else None
            if item is not None and not item.tried.over and item.tried.next_us == at_us and not item.under_way:
                item.under_way = True
                found.append(item)
        return found

    def next_us(self) -> int | None:
        """Return when something is due next."""
        return self._due[0][0] if self._due else None

    def set(self, item: Item, tried: Tried) -> None:
        """Note what became of a delivery; nothing is noted of one whose shard is gone."""
        item.under_way = False
        if item.gone:
            return
        self.pending += item.tried.over - tried.over
        item.tried = tried
        self.of[item.shard].changed.add(item.delivery.id)
        if not tried.over:
            self._push(item)

    def find(self, delivery: str) -> Item | None:
        """Return a delivery by its id."""
        return next((box.items[delivery] for box in self.of.values() if delivery in box.items), None)

    def outdated(self, shard: int, now_us: int) -> list[Delivery]:
        """Return what is over and needn't be listed any more: the oldest, beyond a number or an age."""
        box = self.of.get(shard)
        over = sorted(
            (item for item in box.items.values() if item.tried.over and item.delivery.id not in box.changed)
            if box is not None
            else (),
            key=lambda item: item.tried.last_us,
        )
        most = len(over) - KEPT_OVER
        return [
            item.delivery for at, item in enumerate(over) if at < most or item.tried.last_us < now_us - KEPT_OVER_US
        ]

    def remove(self, shard: int, deliveries: Iterable[Delivery]) -> None:
        """Hold these no more: they are deleted."""
        box = self.of.get(shard)
        if box is not None:
            for delivery in deliveries:
                box.items.pop(delivery.id, None)
                box.removed.append(delivery.id)
