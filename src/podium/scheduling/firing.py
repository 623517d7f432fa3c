"""What a schedule does at a time: which of its firings begin, which wait, which are left out, and which came too late.

A table of the overlap policy and of what runs still, and the rule of what is caught up. No clock and no I/O: the time
and the executions that have ended are arguments, what is to be done stands in the schedule that is returned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from podium.scheduling.schedules import FOLLOWED, RECORDS_KEPT, Backfill, Firing, Following, Record, Schedule
from podium.workflow.schedules.recurrence import SECOND_US
from podium.workflow.schedules.spec import Overlap, micros

COUNTED = 1_000  # firings that were missed together are counted up to here
GRACE_US = 5 * SECOND_US  # a look each second and a store that pauses make nothing late
MISSED = "it came too late"
STILL_RUNNING = "an earlier execution hadn't ended"
REPLACED = "a newer firing took its place"


class Move(StrEnum):
    """What becomes of a firing."""

    START = "start"
    BUFFER = "buffer"
    REPLACE = "replace"  # what is buffered
    SKIP = "skip"


# By the policy: what a firing becomes while an earlier execution runs and nothing is buffered, and while one is.
OVERLAPS: dict[Overlap, tuple[Move, Move]] = {
    Overlap.SKIP: (Move.SKIP, Move.SKIP),
    Overlap.BUFFER_ONE: (Move.BUFFER, Move.SKIP),
    Overlap.ALLOW: (Move.START, Move.START),
    Overlap.CANCEL_PREVIOUS: (Move.BUFFER, Move.REPLACE),
}


class _Due(Struct, frozen=True):
    """The times that have come: those to fire, in order, and how many are missed; decided is everything up to `to_us`.

    `missed_us` is the last one that is missed.
    """

    times: tuple[int, ...]
    missed: int
    missed_us: int
    to_us: int


def move_of(overlap: Overlap, running: bool, buffered: bool) -> Move:
    """Return what becomes of a firing."""
    if buffered:
        return OVERLAPS[overlap][1]
    return OVERLAPS[overlap][0] if running else Move.START


def decide(schedule: Schedule, now_us: int, ended: Collection[str]) -> Schedule:
    """Return the schedule after all that is to be decided at this time; the same object if that is nothing.

    `ended` are those of the executions it follows that have ended. What it has `begun` before is taken as done.
    """
    following = tuple(one for one in schedule.following if one.execution not in ended)
    due = None if schedule.paused else _due(schedule, now_us)
    if due is None and not schedule.busy:
        return schedule
    moved = _Moving(replace(schedule, begun=(), following=following), now_us)
    moved.start_buffered()
    if due is not None:
        moved.miss(due.missed, due.missed_us, due.to_us)
        for time_us in due.times:
            moved.fire(Firing(time_us))
    for firing in moved.take_triggers():
        moved.start(firing)
    moved.fill_back()
    return moved.schedule


def resumed(schedule: Schedule, now_us: int) -> Schedule:
    """Return a paused schedule that goes on: what would have fired meanwhile isn't made up for."""
    return replace(schedule, paused=False, reason="", decided_us=max(schedule.decided_us, now_us))


def _due(schedule: Schedule, now_us: int) -> _Due | None:
    """Return what has come; None when nothing has."""
    last_us = _last_due(schedule, now_us)
    if last_us is None:
        return None
    spec, recurrence, floor_us = schedule.spec, schedule.recurrence, schedule.decided_us
    if spec.starts_at is not None:
        floor_us = max(floor_us, micros(spec.starts_at) - 1)
    horizon_us = None if spec.catch_up_us is None else now_us - spec.catch_up_us - GRACE_US
    times: deque[int] = deque()
    at: int | None = last_us
    while at is not None and len(times) < spec.catch_up_limit:
        # Its own part of the jitter wouldn't do: one whose part is small waits for those before it.
        if horizon_us is not None and at + spec.jitter_us < horizon_us:
            break
        times.appendleft(at)
        at = recurrence.before(at, floor_us)
    missed, missed_us = 0, at or 0
    while at is not None and missed < COUNTED:
        missed += 1
        at = recurrence.before(at, floor_us)
    fired = list(times)[: schedule.left]
    to_us = last_us if len(fired) == len(times) else fired[-1]
    return _Due(tuple(fired), missed, missed_us, to_us)


def _last_due(schedule: Schedule, now_us: int) -> int | None:
    """Return the last time up to which all are due: by its jitter one doesn't overtake another."""
    recurrence, last_us = schedule.recurrence, None
    surely_us = now_us - schedule.spec.jitter_us
    first_us = schedule.next_time_us()
    if first_us is None:
        return None
    if first_us <= surely_us:
        last_us = recurrence.before(surely_us + 1, first_us - 1)
    while True:
        following = schedule.next_time_us(schedule.decided_us if last_us is None else last_us)
        if following is None or schedule.due_us(following) > now_us:
            break
        last_us = following
    ends_at = schedule.spec.ends_at
    if last_us is not None and ends_at is not None and last_us > micros(ends_at):
        last_us = recurrence.before(micros(ends_at) + 1, schedule.decided_us)
    return last_us


class _Moving:
    """A schedule while one decision is made."""

    def __init__(self, schedule: Schedule, now_us: int) -> None:
        self.schedule = schedule
        self._now_us = now_us

    def _set(self, **changes: object) -> None:
        self.schedule = replace(self.schedule, **changes)

    def _record(self, time_us: int, execution: str = "", why: str = "") -> None:
        record = Record(time_us, self._now_us, execution, why)
        self._set(records=(*self.schedule.records, record)[-RECORDS_KEPT:])

    def start_buffered(self) -> None:
        """Begin what has waited, if nothing runs any more; while the schedule is paused it waits on."""
        buffered = self.schedule.buffered
        if buffered is not None and not self.schedule.following and not self.schedule.paused:
            self._set(buffered=None)
            self.start(buffered)

    def miss(self, count: int, last_us: int, to_us: int) -> None:
        """Decide everything up to a time, and note what came too late."""
        self._set(decided_us=max(self.schedule.decided_us, to_us), missed=self.schedule.missed + count)
        if count:
            more = "" if count == 1 else f", and {'at least ' * (count >= COUNTED)}{count - 1:,} before it"
            self._record(last_us, why=MISSED + more)

    def fire(self, firing: Firing) -> None:
        """Do with a firing what the overlap policy says."""
        schedule = self.schedule
        self._set(fired=schedule.fired + 1)
        match move_of(schedule.spec.overlap, bool(schedule.following), schedule.buffered is not None):
            case Move.START:
                self.start(firing)
            case Move.BUFFER:
                self._set(buffered=firing)
                self._cancel_previous(firing)
            case Move.REPLACE:
                if schedule.buffered is not None:
                    self._skip(schedule.buffered, REPLACED)
                self._set(buffered=firing)
                self._cancel_previous(firing)
            case Move.SKIP:
                self._skip(firing, STILL_RUNNING)

    def start(self, firing: Firing) -> None:
        """Begin an execution; one that was begun before is there already, and changes nothing."""
        execution = self.schedule.execution_of(firing)
        self._set(
            begun=(*self.schedule.begun, firing),
            following=(*self.schedule.following, Following(execution))[-FOLLOWED:],
        )
        self._record(firing.time_us, execution)

    def _skip(self, firing: Firing, why: str) -> None:
        self._set(skipped=self.schedule.skipped + 1)
        self._record(firing.time_us, why=why)

    def _cancel_previous(self, firing: Firing) -> None:
        if self.schedule.spec.overlap is not Overlap.CANCEL_PREVIOUS:
            return
        input_id = f"cancel:{self.schedule.submission_of(firing)}"
        self._set(following=tuple(
            one if one.cancelled_by else Following(one.execution, input_id) for one in self.schedule.following
        ))  # fmt: skip

    def take_triggers(self) -> tuple[Firing, ...]:
        """Return what people asked for, which begins whatever runs."""
        triggers = self.schedule.triggers
        if triggers:
            self._set(triggers=())
        return triggers

    def fill_back(self) -> None:
        """Begin times that are made up for: where executions may overlap some at once, else each after the other."""
        side_by_side = self.schedule.spec.overlap is Overlap.ALLOW
        room = self.schedule.spec.catch_up_limit
        while self.schedule.backfills and room:
            waits = self.schedule.buffered is not None and not self.schedule.paused
            if not side_by_side and (self.schedule.following or waits):
                return
            first, *others = self.schedule.backfills
            time_us = self.schedule.recurrence.after(first.after_us)
            if time_us is None or time_us > first.until_us:
                self._set(backfills=tuple(others))
                continue
            self._set(backfills=(Backfill(time_us, first.until_us), *others))
            self.start(Firing(time_us))
            room -= 1
