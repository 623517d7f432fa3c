"""Limits by key, over all executions: so many attempts at once, or so many begun within a time. Pure: `turn` is told
the time.

A task that a full key keeps back is taken out of its queue and lies in a line, with those of the same keys for the same
agents. A line waits at one full key, and is looked at when there is room there; so nobody waits behind tasks of other
keys, and no task is looked at again before it may go. Only as many are let out as there is room for, the first first;
one that no free agent fits keeps its place in its queue, and lets the next one out.

What counts towards a rate counts from when it is granted, without an end until its commit is heard of, and from then on
for the rate's time: so there are never more commits within that time, however long a grant was on its way. Whoever
takes over assumes that all was used up to the latest commit that it finds (`since_us`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count

from podium.scheduling.gates import FEW, Gate, Line, Name
from podium.scheduling.ready import Bound, Entry, ReadyTask

MOST_KEYS = 100_000  # of rates, whose latest starts are remembered; a task of a further one waits until one is idle


class Limits:
    """The keys that are in use, and the tasks that they keep back."""

    def __init__(self, let_out: Callable[[Entry], None]) -> None:
        """`let_out` takes the entry of a task back into its queue."""
        self._let_out = let_out
        self._now_us = 0
        self._since_us: int | None = None
        self.unsure = False  # it isn't known yet up to when others may have granted something
        self.asks = False  # and a task waits for that
        self._gates: dict[Name, Gate] = {}
        self._lines: dict[tuple[tuple[Bound, ...], str], Line] = {}
        self._crowd = Gate(("", "", True))  # where tasks of further keys wait
        self._rates = 0  # gates of rates
        self._begun: dict[str, tuple[Bound, ...]] = {}  # attempts whose commit was heard of since the last turn
        self._alarms: list[tuple[int, Name]] = []
        self._idle: list[tuple[int, Name]] = []
        self._turns = count(1)
        self.looks = 0  # at tasks and lines, for tests

    # --- what counts -------------------------------------------------------------------------------------------

    def assume_used(self, until_us: int) -> None:
        """Others may have granted anything up to this time: rates count it all as used."""
        self._since_us = max(until_us, self._since_us or 0)
        self.unsure = self.asks = False
        for gate in [gate for gate in self._gates.values() if gate.name[2] and gate.lines]:
            self._serve(gate)

    def take(self, attempt: str, bounds: Iterable[Bound], begun: bool = False) -> None:
        """An attempt counts from now on. One that had `begun` when it was found counts towards no rate any more than
        it does already.
        """
        for bound in bounds:
            if not bound.per_us or not begun:
                gate = self._opened(bound)
                gate.held[attempt] = None
                gate.longest_us = max(gate.longest_us, bound.per_us)
                self._begun.pop(attempt, None)
        if begun:
            self.begin(attempt, tuple(bounds))

    def begin(self, attempt: str, bounds: tuple[Bound, ...]) -> None:
        """The commit of an attempt was heard of: a rate's time counts from the next turn on."""
        if any(attempt in gate.held for gate in self._gates_of(bounds) if gate.name[2]):
            self._begun[attempt] = bounds

    def give_back(self, attempt: str, bounds: tuple[Bound, ...], unused: bool = False) -> None:
        """An attempt isn't at work any more. `unused`: it never was, so that it counts towards no rate."""
        for gate in self._gates_of(bounds):
            if gate.name[2] and not unused:
                continue
            if attempt in gate.held:
                del gate.held[attempt]
                self._serve(gate)
        if unused:
            self._begun.pop(attempt, None)
        else:
            self.begin(attempt, bounds)

    def turn(self, now_us: int) -> None:
        """Bring everything up to this time."""
        self._now_us = max(now_us, self._now_us)
        begun, self._begun = self._begun, {}
        for attempt, bounds in begun.items():
            for gate in self._gates_of(bounds):
                if gate.name[2] and attempt in gate.held:
                    del gate.held[attempt]
                    gate.began(self._now_us)
                    self._serve(gate)
        while self._alarms and self._alarms[0][0] <= self._now_us:
            due_us, name = heappop(self._alarms)
            gate_there = self._gates.get(name)
            if gate_there is not None and gate_there.alarm_us == due_us:
                gate_there.alarm_us = 0
                self._serve(gate_there)
        self._forget_idle()

    def next_due_us(self) -> int | None:
        """Return when the time of a rate is over that keeps tasks back; None if there is none."""
        while self._alarms:
            due_us, name = self._alarms[0]
            gate = self._gates.get(name)
            if gate is not None and gate.alarm_us == due_us:
                return due_us
            heappop(self._alarms)
        return None

    def clear(self) -> None:
        """Forget everything: others place now."""
        for gates in (self._gates, self._lines, self._begun, self._alarms, self._idle):
            gates.clear()
        self._crowd = Gate(("", "", True))
        self._rates, self._since_us = 0, None
        self.unsure = self.asks = False

    # --- tasks that are kept back ------------------------------------------------------------------------------

    def admits(self, ready: ReadyTask) -> bool:
        """Whether a task may be granted now."""
        self.looks += 1
        return self._blocker(ready.bounds) is None

    def keep_back(self, entry: Entry) -> None:
        """Take a task that isn't admitted, and that is in no queue now, into its line."""
        ready = entry[3]
        freed = self._no_longer_out(ready)
        line = self._lines.get((ready.bounds, ready.queue))
        if line is None:
            line = self._lines[ready.bounds, ready.queue] = Line(ready.bounds, ready.queue)
        ready.line, ready.kept_back, ready.lets_pass = line, True, False
        heappush(line.entries, entry)
        line.waiting += 1
        if line.at is None or line.entries[0] is entry:
            found = self._blocker(ready.bounds, ready.queue)
            if found is not None:
                self._wait_at(line, *found)
        for gate in freed:
            self._serve(gate)

    def let_pass(self, ready: ReadyTask) -> None:
        """A task that may be granted now, and that was let out if it waited here, can't be placed: others may go."""
        if ready.line is not None:
            ready.lets_pass = True
            for gate in self._no_longer_out(ready):
                self._serve(gate)

    def leave(self, ready: ReadyTask) -> None:
        """A task isn't queued any more: it was granted or withdrawn."""
        if ready.kept_back:
            line, ready.kept_back, ready.line = ready.line, False, None
            assert isinstance(line, Line)
            line.withdrawn()
            if not line.waiting:
                self._drop(line)
        else:
            for gate in self._no_longer_out(ready):
                self._serve(gate)

    def kept_back_in(self, queue: str) -> Iterator[ReadyTask]:
        """Yield the tasks of a queue that are kept back."""
        for line in self._lines.values():
            if line.queue == queue:
                yield from (entry[3] for entry in line.entries if entry[3].kept_back)

    def _no_longer_out(self, ready: ReadyTask) -> list[Gate]:
        """Forget that a task was let out; return the gates where another one may be instead."""
        if ready.line is None:
            return []
        ready.line = None
        gates = self._gates_of(ready.bounds)
        for gate in gates:
            left = gate.out.get(ready.queue, 0) - 1
            if left > 0:
                gate.out[ready.queue] = left
            else:
                gate.out.pop(ready.queue, None)
        return gates

    # --- lines and gates ---------------------------------------------------------------------------------------

    def _blocker(self, bounds: tuple[Bound, ...], queue: str | None = None) -> tuple[Gate, Bound] | None:
        """Return the first gate without room, and by which bound; of a line's, room beyond what is let out already."""
        for bound in bounds:
            gate = self._gates.get(_name_of(bound))
            if gate is None:
                if not bound.per_us:
                    continue
                if self._rates >= MOST_KEYS:
                    return self._crowd, bound
                if self._room(None, bound) > 0:
                    continue
                gate = self._opened(bound)
            if self._room(gate, bound) <= (gate.out.get(queue, 0) if queue is not None else 0):
                return gate, bound
        return None

    def _room(self, gate: Gate | None, bound: Bound) -> int:
        if gate is self._crowd:
            return MOST_KEYS - self._rates
        if bound.per_us and self.unsure:
            self.asks = True
            return 0
        if bound.per_us and self._assumed_until_us(bound) > self._now_us:
            return 0
        return bound.limit - (gate.used(bound, self._now_us) if gate is not None else 0)

    def _assumed_until_us(self, bound: Bound) -> int:
        return self._since_us + bound.per_us if self._since_us is not None else 0

    def _wait_at(self, line: Line, gate: Gate, bound: Bound) -> None:
        """Have a line wait at a gate, by its first entry."""
        head = line.head()
        if head is None:
            self._drop(line)
            return
        line.at, line.listed = gate, next(self._turns)
        lines = gate.lines.setdefault((line.queue, bound), [])
        heappush(lines, (*head[:3], line.listed, line))
        if len(lines) > FEW and not len(lines) & (len(lines) - 1):  # now and then those that wait elsewhere go
            lines[:] = [each for each in lines if each[4].at is gate and each[4].listed == each[3]]
            heapify(lines)
        self._set_alarm(gate)

    def _drop(self, line: Line) -> None:
        line.at = None
        self._lines.pop((line.bounds, line.queue), None)

    def _serve(self, gate: Gate) -> None:
        """Let out of the lines at a gate as many as there is room for, or have them wait where there is none."""
        for place in list(gate.lines):
            queue, bound = place
            lines = gate.lines[place]
            while lines and self._room(gate, bound) > gate.out.get(queue, 0):
                self.looks += 1
                *key, listed, line = heappop(lines)
                if line.at is not gate or line.listed != listed:
                    continue  # it waits elsewhere, or by another place
                head = line.head()
                if head is None:
                    self._drop(line)
                    continue
                blocker = (gate, bound) if list(head[:3]) != key else self._blocker(line.bounds, queue)
                if blocker is not None:
                    self._wait_at(line, *blocker)
                    continue
                self._let_one_out(line)
                if line.waiting:
                    self._wait_at(line, gate, bound)
                else:
                    self._drop(line)
            if not lines:
                gate.lines.pop(place, None)
        self._set_alarm(gate)
        self._forget_if_idle(gate)

    def _let_one_out(self, line: Line) -> None:
        entry = heappop(line.entries)
        line.waiting -= 1
        entry[3].kept_back = False
        for bound in line.bounds:
            out = self._opened(bound).out
            out[line.queue] = out.get(line.queue, 0) + 1
        self._let_out(entry)

    def _opened(self, bound: Bound) -> Gate:
        name = _name_of(bound)
        gate = self._gates.get(name)
        if gate is None:
            gate = self._gates[name] = Gate(name)
            self._rates += name[2]
        gate.longest_us = max(gate.longest_us, bound.per_us)
        return gate

    def _gates_of(self, bounds: Iterable[Bound]) -> list[Gate]:
        names = (_name_of(bound) for bound in bounds)
        return [self._gates[name] for name in names if name in self._gates]

    def _set_alarm(self, gate: Gate) -> None:
        if not gate.name[2] or gate is self._crowd or not gate.lines:
            return
        due = min((at for _, bound in gate.lines if (at := self._room_at(gate, bound))), default=0)
        if due > self._now_us and (not gate.alarm_us or due < gate.alarm_us):
            gate.alarm_us = due
            heappush(self._alarms, (due, gate.name))

    def _room_at(self, gate: Gate, bound: Bound) -> int:
        """Return when a rate has room, if only time passes; 0 while that depends on what is on its way, or it has."""
        assumed_us = self._assumed_until_us(bound)
        if self.unsure:
            return 0
        if assumed_us > self._now_us:
            return assumed_us
        most = bound.limit - len(gate.held)
        if most <= 0 or len(gate.times) < most:
            return 0
        return gate.times[-most] + bound.per_us

    # --- forgetting --------------------------------------------------------------------------------------------

    def _forget_if_idle(self, gate: Gate) -> None:
        if gate.held or gate.lines or gate.out or gate is self._crowd:
            return
        if gate.times and gate.times[-1] + gate.longest_us > self._now_us:
            if not gate.idle_us:
                gate.idle_us = gate.times[-1] + gate.longest_us
                heappush(self._idle, (gate.idle_us, gate.name))
            return
        if self._gates.pop(gate.name, None) is not None and gate.name[2]:
            self._rates -= 1
            if self._crowd.lines:
                self._serve(self._crowd)

    def _forget_idle(self) -> None:
        while self._idle and self._idle[0][0] <= self._now_us:
            due_us, name = heappop(self._idle)
            gate = self._gates.get(name)
            if gate is not None and gate.idle_us == due_us:
                gate.idle_us = 0
                del gate.times[: bisect_right(gate.times, self._now_us - gate.longest_us)]
                self._forget_if_idle(gate)

    # --- for people --------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many keys are in use."""
        return len(self._gates)

    def waiting(self) -> int:
        """Return how many tasks are kept back."""
        return sum(line.waiting for line in self._lines.values())

    def why(self, ready: ReadyTask, now_us: int = 0) -> str:
        """Return which limit keeps a task back; empty if none does."""
        found = self._blocker(ready.bounds) if ready.bounds else None
        if found is None:
            return ""
        gate, bound = found
        if gate is self._crowd:
            return f"{MOST_KEYS:,} keys of rate limits are in use; it waits until one of them is idle"
        if not bound.per_us:
            return f"{len(gate.held)} of {bound.limit} are at work for the key {bound.key}: {_holders(gate.held)}"
        rate = f"it waits for the rate limit {bound.key}: {bound.limit} per {bound.per_us / 1e6:g} s"
        at_us = self._room_at(gate, bound)
        if self.unsure:
            return f"{rate}; what began before this process is being looked up"
        if not at_us:
            return f"{rate}; {len(gate.held)} that were granted aren't recorded yet"
        next_in = f"{rate}, next in {max(at_us - max(now_us, self._now_us), 0) / 1e6:.1f} s"
        if self._assumed_until_us(bound) > max(now_us, self._now_us):
            return f"{next_in}: what began before this process took over isn't known, and counts as all of it"
        return next_in


def _name_of(bound: Bound) -> Name:
    return bound.tenant, bound.key, bound.per_us > 0


_SHOWN = 3


def _holders(attempts: Iterable[str]) -> str:
    """Return attempts as people know them: the task and its execution."""
    every = list(attempts)
    named = []
    for attempt in every[:_SHOWN]:
        execution, _, rest = attempt.partition(":")
        task = rest.partition(":")[2].rpartition(":")[0]
        named.append(f"{task} of {execution}" if task else attempt)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(named) + more
