"""List scheduling: when each of many jobs starts, and on which of several like machines, if the most urgent that fits
somewhere always starts.

Nothing waits that could start (a non-delay schedule), which is how agents are given work too. The result is improved by
forward-backward passes (Li and Willis, 1992): each job as late as it can, then in that order as early as it can; and
begun again from other orders while that is worth its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

from msgspec import Struct

from podium.scheduling.resources import NOTHING, Vector

LOOK_AHEAD = 64  # kinds of jobs that don't fit which are looked past in one go, as placement does
_DISTURBANCE = 0.3  # of ranks, as a share of them
_MOST_PASSES, _MOST_STARTS = 200, 30_000  # for an improvement; of jobs, in all passes together
_SAME = 1e-9


class Jobs(Struct, frozen=True):
    """Jobs by index: how long each takes, what it waits for, what it needs of its machine and of what all share.

    `offers` is what each machine has, `shared` what there is for all; what neither names isn't limited. A job's `needs`
    of both must fit when it is alone, and there is no cycle.
    """

    takes: Sequence[float]
    before: Sequence[Sequence[int]]
    needs: Sequence[Vector]
    offers: Vector
    machines: int = 1
    shared: Vector = NOTHING


class Listing(Struct, frozen=True):
    """When each job starts, and on which machine, from 0."""

    starts: list[float]
    machines: list[int]


def best_listing(jobs: Jobs) -> Listing:
    """Return the best of what rules, passes back and forth and other orders near them find; the same each time."""
    after = _after(jobs)
    backwards = Jobs(jobs.takes, after, jobs.needs, jobs.offers, jobs.machines, jobs.shared)
    tails = _tails(jobs, after)
    least = max([*tails, *_work_by_what_there_is(jobs)], default=0.0)
    passes = min(_MOST_PASSES, _MOST_STARTS // max(len(jobs.takes), 1))  # that may be made
    best: Listing | None = None
    for rule in _rules(jobs, tails):
        found = listed(jobs, rule, after)
        passes -= 1
        while True:
            length = _length(jobs, found)
            if best is None or length < _length(jobs, best) - _SAME:
                best = found
            if passes < 2 or length <= least + _SAME:
                return best
            late = listed(backwards, _latest_first(jobs, found), jobs.before)
            found = listed(jobs, _latest_first(jobs, late), after)
            passes -= 2
            if _length(jobs, found) >= length - _SAME:
                break
    raise AssertionError("there are rules without end")


def _rules(jobs: Jobs, tails: Sequence[float]) -> Iterator[list[float]]:
    """Yield ranks: the longest tail first, the latest end first that holds nothing up, then that one disturbed."""
    yield [-tail for tail in tails]
    whole = max(tails, default=0.0)
    latest_ends = [whole - tail + takes for tail, takes in zip(tails, jobs.takes, strict=True)]
    yield latest_ends
    drawn = 1
    while True:
        ranks = []
        for end in latest_ends:
            drawn = (drawn * 6364136223846793005 + 1442695040888963407) % 2**64  # Knuth's MMIX
            ranks.append(end * (1 + _DISTURBANCE * (drawn / 2**63 - 1)))
        yield ranks


def _work_by_what_there_is(jobs: Jobs) -> list[float]:
    """Return how long it takes at least by each resource, were it used without a gap."""
    there = {**{name: amount * jobs.machines for name, amount in jobs.offers.items()}, **jobs.shared}
    work = dict.fromkeys(there, 0.0)
    for takes, needs in zip(jobs.takes, jobs.needs, strict=True):
        for name, amount in needs.items():
            if name in work:
                work[name] += takes * amount
    return [work[name] / amount for name, amount in there.items() if amount]


def listed(jobs: Jobs, ranks: Sequence[float], after: Sequence[Sequence[int]] | None = None) -> Listing:
    """Return when each job starts if of those that can start and fit the one with the smallest rank always does."""
    return _Pass(jobs, ranks, _after(jobs) if after is None else after).run()


class _Kind:
    """Jobs that need the same: where one of them doesn't fit, none does. The best of those that wait comes first."""

    __slots__ = ("first_untried", "own", "perhaps", "queue", "seen", "shared")

    def __init__(self, own: tuple[tuple[str, float], ...], shared: tuple[tuple[str, float], ...]) -> None:
        self.own = own  # needed of the machine
        self.shared = shared
        self.queue: list[tuple[float, int]] = []
        self.perhaps: list[int] = []  # machines that it was tried on and that may have room
        self.seen = 0  # so many releases were looked at for that; there was no room elsewhere then
        self.first_untried = 0


class _Pass:
    """One pass through time."""

    def __init__(self, jobs: Jobs, ranks: Sequence[float], after: Sequence[Sequence[int]]) -> None:
        self._jobs, self._ranks, self._after = jobs, ranks, after
        self._waits = [len(before) for before in jobs.before]
        self._left: list[dict[str, float]] = []  # of each machine that was ever used
        self._shared = dict(jobs.shared)
        self._released: list[int] = []  # machines, as jobs ended on them
        self._found = Listing([0.0] * len(jobs.takes), [0] * len(jobs.takes))
        self._running: list[tuple[float, int]] = []
        kinds: dict[tuple[tuple[tuple[str, float], ...], ...], _Kind] = {}
        self._kind_of = []
        for needs in jobs.needs:
            limited = _named(needs, jobs.offers), _named(needs, jobs.shared)
            self._kind_of.append(kinds.setdefault(limited, _Kind(*limited)))
        self._heads: list[tuple[float, int]] = []  # the best of each kind that waits

    def run(self) -> Listing:
        """Return the schedule."""
        now = 0.0
        for job, waits in enumerate(self._waits):
            if not waits:
                heappush(self._kind_of[job].queue, (self._ranks[job], job))
        self._heads = _first_of(self._kind_of)
        heapify(self._heads)
        while True:
            self._start_what_fits(now)
            if not self._running:
                return self._found
            now = self._running[0][0]
            while self._running and self._running[0][0] <= now + _SAME:
                self._end(heappop(self._running)[1])

    def _start_what_fits(self, now: float) -> None:
        passed: list[tuple[float, int]] = []
        while self._heads and len(passed) < LOOK_AHEAD:
            head = heappop(self._heads)
            kind = self._kind_of[head[1]]
            if kind.queue[:1] != [head] or head in passed[-1:]:
                continue  # it has started, a better one of its kind has come since, or it was looked at just now
            machine = self._machine_for(kind)
            if machine is None:
                passed.append(head)
                continue
            heappop(kind.queue)
            if kind.queue:
                heappush(self._heads, kind.queue[0])
            self._take(kind, machine)
            job = head[1]
            self._found.starts[job], self._found.machines[job] = now, machine
            heappush(self._running, (now + self._jobs.takes[job], job))
        for head in passed:
            heappush(self._heads, head)

    def _machine_for(self, kind: _Kind) -> int | None:
        """Return the first machine with room for a job of this kind; None where there is none."""
        if any(self._shared[name] + _SAME < amount for name, amount in kind.shared):
            return None
        if not kind.own:
            return 0  # it asks for nothing that is limited
        found = self._among(kind)
        while found is None and kind.first_untried < len(self._left):
            if self._fits(kind, kind.first_untried):
                heappush(kind.perhaps, kind.first_untried)
                found = kind.first_untried
            kind.first_untried += 1
        if found is None and kind.seen < len(self._released):
            # Of more releases than machines, each machine is looked at once.
            freed = self._released[kind.seen :] if len(self._released) - kind.seen < kind.first_untried else None
            kind.perhaps = sorted(set(freed)) if freed is not None else list(range(kind.first_untried))
            kind.seen = len(self._released)
            found = self._among(kind)
        # One that nobody has used yet has room for anything, but comes last: no more are taken than are needed.
        return len(self._left) if found is None and len(self._left) < self._jobs.machines else found

    def _among(self, kind: _Kind) -> int | None:
        """Return the first machine with room of those that may have some; what has none is struck off."""
        while kind.perhaps:
            if self._fits(kind, kind.perhaps[0]):
                return kind.perhaps[0]
            heappop(kind.perhaps)
        return None

    def _fits(self, kind: _Kind, machine: int) -> bool:
        left = self._left[machine]
        return all(left[name] + _SAME >= amount for name, amount in kind.own)

    def _take(self, kind: _Kind, machine: int) -> None:
        if machine == len(self._left):
            self._left.append(dict(self._jobs.offers))
        for name, amount in kind.own:
            self._left[machine][name] -= amount
        for name, amount in kind.shared:
            self._shared[name] -= amount

    def _end(self, job: int) -> None:
        kind, machine = self._kind_of[job], self._found.machines[job]
        for name, amount in kind.own:
            self._left[machine][name] += amount
        for name, amount in kind.shared:
            self._shared[name] += amount
        if kind.own:
            self._released.append(machine)
        for later in self._after[job]:
            self._waits[later] -= 1
            if not self._waits[later]:
                queue, entry = self._kind_of[later].queue, (self._ranks[later], later)
                heappush(queue, entry)
                if queue[0] == entry:
                    heappush(self._heads, entry)


def _first_of(kinds: Sequence[_Kind]) -> list[tuple[float, int]]:
    return [kind.queue[0] for kind in {id(kind): kind for kind in kinds}.values() if kind.queue]


def _named(needs: Vector, offered: Vector) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, amount) for name, amount in needs.items() if name in offered and amount))


def _after(jobs: Jobs) -> list[list[int]]:
    after: list[list[int]] = [[] for _ in jobs.takes]
    for job, before in enumerate(jobs.before):
        for earlier in before:
            after[earlier].append(job)
    return after


def _tails(jobs: Jobs, after: Sequence[Sequence[int]]) -> list[float]:
    """Return how long it takes from each job's start to the end of all that waits for it, it included."""
    tails = [0.0] * len(jobs.takes)
    waits = [len(later) for later in after]
    ready = [job for job, count in enumerate(waits) if not count]
    for job in ready:  # grows while it is read
        tails[job] = jobs.takes[job] + max((tails[later] for later in after[job]), default=0.0)
        for earlier in jobs.before[job]:
            waits[earlier] -= 1
            if not waits[earlier]:
                ready.append(earlier)
    return tails


def _latest_first(jobs: Jobs, found: Listing) -> list[float]:
    """Return ranks by which what ends last comes first."""
    return [-(start + takes) for start, takes in zip(found.starts, jobs.takes, strict=True)]


def _length(jobs: Jobs, found: Listing) -> float:
    return max((start + takes for start, takes in zip(found.starts, jobs.takes, strict=True)), default=0.0)
