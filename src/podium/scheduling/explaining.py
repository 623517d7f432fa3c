"""Why a schedule fires when it does, or doesn't: what comes next, what waits and for what, what was left out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from podium.clock import SECOND
from podium.scheduling.firing import GRACE_US, MISSED, Move, move_of
from podium.scheduling.schedules import Record, Schedule, written
from podium.workflow.schedules.spec import Overlap
from podium.workflow.units import format_duration

Shown = Callable[[int], str]


def reasons(schedule: Schedule, now_us: int, running: Sequence[str], owned: bool, shown: Shown = written) -> list[str]:
    """Return sentences about a schedule: first why it fires next when it does, or why it doesn't.

    `running` are those of the executions it follows that haven't ended, `owned` whether an orchestrator runs, `shown`
    says a time in microseconds.
    """
    return [
        _next(schedule, now_us, owned, shown),
        *_waiting(schedule, running, shown),
        *_meeting(schedule, running),
        *_left_out(schedule, shown),
    ]


def _next(schedule: Schedule, now_us: int, owned: bool, shown: Shown) -> str:
    following = schedule.next_time_us()
    if schedule.paused:
        reason = f" ({schedule.reason})" if schedule.reason else ""
        return f"it is paused{reason}: it fires nothing until `podium schedule resume {schedule.name}`"
    if following is None:
        return _over(schedule, shown)
    due_us = schedule.due_us(following)
    if due_us <= now_us:
        since = f"its time {shown(following)} has come {_between(due_us, now_us)} ago"
        return f"{since}, and is being decided" if owned else f"{since}; {_until_late(schedule, following, shown)}"
    part = f", of which {_between(following, due_us)} are its part of the jitter" if due_us > following else ""
    nobody = "" if owned else "; no orchestrator runs that would fire it, `podium up` starts one"
    return f"it fires next at {shown(due_us)}, in {_between(now_us, due_us)}{part}{nobody}"


def _over(schedule: Schedule, shown: Shown) -> str:
    spec = schedule.spec
    if schedule.left == 0:
        return f"it fires no more: it has begun {spec.max_firings:,} executions, as many as it may"
    if spec.at is not None:
        return "it fires no more: it has had its one time"
    if spec.ends_at is not None:
        return f"it fires no more: it was to end at {shown(round(spec.ends_at.timestamp() * SECOND))}"
    return "it fires no more: no further time comes"


def _until_late(schedule: Schedule, time_us: int, shown: Shown) -> str:
    nobody = "no orchestrator runs, and the next one fires it"
    catch_up_us = schedule.spec.catch_up_us
    if catch_up_us is None:
        return nobody
    last_us = time_us + schedule.spec.jitter_us + catch_up_us + GRACE_US
    return f"{nobody} if it does so by {shown(last_us)}; later, it is missed"


def _waiting(schedule: Schedule, running: Sequence[str], shown: Shown) -> Iterator[str]:
    if (buffered := schedule.buffered) is not None:
        what = f"its firing of {shown(buffered.time_us)} waits"
        cancelled = {one.execution for one in schedule.cancelling}
        if schedule.paused:
            yield f"{what} until it is resumed"
        elif running:
            leaves = ", which is being cancelled" if running[-1] in cancelled else ""
            yield f"{what} for the end of the execution {running[-1]}{leaves}"
        else:
            yield f"{what} to be looked at"
    if schedule.triggers:
        count = len(schedule.triggers)
        yield f"{count:,} trigger{'s wait' if count > 1 else ' waits'} to be taken"
    for one in schedule.backfills:
        each = "" if schedule.spec.overlap is Overlap.ALLOW else ", each when the execution before it has ended"
        yield f"times after {shown(one.after_us)} up to {shown(one.until_us)} are made up for{each}"


def _meeting(schedule: Schedule, running: Sequence[str]) -> Iterator[str]:
    """Yield what a firing would become if it met what runs now."""
    if not running or schedule.paused or schedule.next_time_us() is None:
        return
    overlap, buffered = schedule.spec.overlap, schedule.buffered is not None
    becomes = {
        Move.SKIP: "would be left out",
        Move.BUFFER: "would wait for its end",
        Move.REPLACE: "would take the place of the one that waits",
        Move.START: "",
    }[move_of(overlap, True, buffered)]
    if becomes and overlap is Overlap.CANCEL_PREVIOUS:
        becomes = f"{becomes}, and have it cancelled"
    if becomes:
        yield f"the execution {running[-1]} hasn't ended: a firing now {becomes} (overlap {overlap})"


def _left_out(schedule: Schedule, shown: Shown) -> Iterator[str]:
    records = [record for record in schedule.records if not record.execution]
    missed = [record for record in records if record.why.startswith(MISSED)]
    if schedule.skipped:
        last = _last([record for record in records if record not in missed], shown)
        yield f"{_firings(schedule.skipped)} left out{last}"
    if schedule.missed:
        spec = schedule.spec
        late = "" if spec.catch_up_us is None else f"later than {format_duration(spec.catch_up_us / SECOND)}, or "
        rule = f"{late}beyond the newest {spec.catch_up_limit:,}"
        yield f"{_firings(schedule.missed)} missed, {rule}{_last(missed, shown, why=False)}"


def _firings(count: int) -> str:
    return f"{count:,} firing{'s were' if count > 1 else ' was'}"


def _last(records: Sequence[Record], shown: Shown, why: bool = True) -> str:
    if not records:
        return ""
    return f"; the last, of {shown(records[-1].time_us)}" + (f": {records[-1].why}" if why else "")


def _between(begin_us: int, end_us: int) -> str:
    seconds = (end_us - begin_us) / SECOND
    return format_duration(round(seconds) if seconds >= 1 else seconds)
