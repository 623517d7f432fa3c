"""What `limits` knows of one key, and the lines of tasks that keys keep back."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heapify, heappop

from podium.scheduling.ready import Bound, Entry

FEW = 64  # entries of withdrawn tasks that may lie in a line; times that count no more, of one key
Name = tuple[str, str, bool]  # tenant, key, whether it is a rate's
Place = tuple[str, Bound]  # a queue, and the bound by which its lines wait


class Line:
    """Tasks of the same bounds for the same queue that are kept back, in order."""

    __slots__ = ("at", "bounds", "entries", "listed", "queue", "waiting")

    def __init__(self, bounds: tuple[Bound, ...], queue: str) -> None:
        self.bounds = bounds
        self.queue = queue
        self.entries: list[Entry] = []
        self.waiting = 0  # of the entries; the others were withdrawn
        self.at: Gate | None = None  # where it waits
        self.listed = 0  # by which of its places there that is

    def head(self) -> Entry | None:
        """Return the first entry that waits."""
        while self.entries and not self.entries[0][3].kept_back:
            heappop(self.entries)
        return self.entries[0] if self.entries else None

    def withdrawn(self) -> None:
        """One of its tasks waits no more."""
        self.waiting -= 1
        if len(self.entries) > 2 * self.waiting + FEW:
            self.entries = [entry for entry in self.entries if entry[3].kept_back]
            heapify(self.entries)


class Gate:
    """What is known of one key."""

    __slots__ = ("alarm_us", "held", "idle_us", "lines", "longest_us", "name", "out", "times")

    def __init__(self, name: Name) -> None:
        self.name = name
        self.held: dict[str, None] = {}  # attempts; of a rate those of whose commit nothing was heard yet
        self.times: list[int] = []  # when commits were heard of, as far back as counts
        self.longest_us = 0  # that they count
        self.out: dict[str, int] = {}  # tasks that were let out and aren't granted yet, by queue
        self.lines: dict[Place, list[tuple[int, int, int, int, Line]]] = {}
        self.alarm_us = 0  # when it is looked at again, since a time is over then
        self.idle_us = 0  # when it is seen whether it may be forgotten

    def used(self, bound: Bound, now_us: int) -> int:
        """Return how many count towards a bound."""
        if not bound.per_us:
            return len(self.held)
        return len(self.held) + len(self.times) - bisect_right(self.times, now_us - bound.per_us)

    def began(self, now_us: int) -> None:
        """A commit was heard of; those that count no more are forgotten now and then."""
        self.times.append(now_us)
        over = bisect_right(self.times, now_us - self.longest_us)
        if over > FEW:
            del self.times[:over]
