"""What a schedule does at a time: the overlap table, what is caught up, and that each time is decided once."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from podium.exceptions import CorruptHistoryError
from podium.scheduling.firing import GRACE_US, MISSED, OVERLAPS, REPLACED, STILL_RUNNING, Move, decide, move_of, resumed
from podium.scheduling.schedules import Backfill, Beginning, Firing, Schedule, decode_schedule, written
from podium.workflow.schedules.spec import Overlap, ScheduleSpec

SECOND = 1_000_000
HOUR = 3_600 * SECOND
MINUTE = 60 * SECOND
BEGIN = 1_800_000_000 * SECOND


def made(**spec: Any) -> Schedule:
    """Return a schedule that fires each minute, or as was said."""
    if not {"cron", "every_seconds", "at"} & set(spec):
        spec["every_seconds"] = 60.0
    return Schedule(
        id="s", tenant="default", name="n", spec=ScheduleSpec(**spec), beginning=Beginning("w", "1", "d"),
        created_us=BEGIN, decided_us=BEGIN,
    )  # fmt: skip


def begun(schedule: Schedule) -> list[int]:
    """Return the minutes whose firings begin."""
    return [(firing.time_us - BEGIN) // MINUTE for firing in schedule.begun]


def running(schedule: Schedule) -> set[str]:
    return {one.execution for one in schedule.following}


# --- times -----------------------------------------------------------------------------------------------------------


def test_nothing_is_decided_before_its_time() -> None:
    schedule = made()
    assert decide(schedule, BEGIN + MINUTE - 1, ()) is schedule
    assert schedule.wake_us() == BEGIN + MINUTE


def test_a_time_begins_an_execution_once() -> None:
    once = decide(made(), BEGIN + MINUTE, ())
    assert begun(once) == [1]
    assert once.wake_us() == 0  # its start is to be let out
    confirmed = decide(once, BEGIN + MINUTE, ())
    assert begun(confirmed) == []
    assert decide(confirmed, BEGIN + MINUTE, ()) is confirmed
    assert confirmed.wake_us() == BEGIN + 2 * MINUTE


def test_a_clock_that_goes_back_fires_nothing_twice() -> None:
    schedule = decide(decide(made(), BEGIN + 3 * MINUTE, ()), BEGIN + 3 * MINUTE, ())
    for back in (2 * MINUTE, 0, -HOUR):
        assert decide(schedule, BEGIN + back, running(schedule)) is schedule


def test_what_is_later_than_the_window_is_missed_and_counted() -> None:
    schedule = decide(made(catch_up_seconds=120, overlap=Overlap.ALLOW), BEGIN + 10 * MINUTE, ())
    assert begun(schedule) == [8, 9, 10]
    assert schedule.missed == 7
    assert schedule.decided_us == BEGIN + 10 * MINUTE
    assert schedule.records[0].why == f"{MISSED}, and 6 before it"
    assert schedule.records[0].time_us == BEGIN + 7 * MINUTE


def test_of_many_late_ones_the_newest_fire() -> None:
    schedule = decide(made(catch_up_limit=2, overlap=Overlap.ALLOW), BEGIN + 10 * MINUTE, ())
    assert begun(schedule) == [9, 10]
    assert schedule.missed == 8


def test_years_of_missed_times_are_counted_up_to_a_bound() -> None:
    schedule = decide(made(every_seconds=1.0, catch_up_seconds=0), BEGIN + 1_000 * 24 * HOUR, ())
    assert len(schedule.begun) == 1
    assert schedule.missed == 1_000
    assert "at least" in schedule.records[0].why


def test_with_no_window_at_all_what_an_orchestrator_is_there_for_fires_still() -> None:
    assert begun(decide(made(catch_up_seconds=0), BEGIN + MINUTE, ())) == [1]
    assert begun(decide(made(catch_up_seconds=0), BEGIN + MINUTE + GRACE_US, ())) == [1]
    assert begun(decide(made(catch_up_seconds=0), BEGIN + MINUTE + GRACE_US + 1, ())) == []


def test_one_date_fires_however_late_and_is_over() -> None:
    schedule = made(at=datetime.fromtimestamp(BEGIN / SECOND + 60, UTC))
    assert decide(schedule, BEGIN + 59 * SECOND, ()) is schedule
    late = decide(schedule, BEGIN + 1_000 * 24 * HOUR, ())
    assert begun(late) == [1]
    assert decide(late, BEGIN + 2_000 * 24 * HOUR, ()).over


def test_bounds_are_kept() -> None:
    def at(minutes: int) -> datetime:
        return datetime.fromtimestamp(BEGIN / SECOND + 60 * minutes, UTC)

    schedule = made(starts_at=at(3), ends_at=at(5), overlap=Overlap.ALLOW)
    assert schedule.wake_us() == BEGIN + 3 * MINUTE
    over = decide(schedule, BEGIN + 20 * MINUTE, ())
    assert begun(over) == [3, 4, 5]
    assert decide(over, BEGIN + 30 * MINUTE, ()).over


def test_it_fires_so_many_times_at_most() -> None:
    schedule = made(max_firings=3, overlap=Overlap.ALLOW)
    first = decide(schedule, BEGIN + 2 * MINUTE, ())
    assert begun(first) == [1, 2]
    last = decide(first, BEGIN + 9 * MINUTE, ())
    assert begun(last) == [3]
    assert decide(last, BEGIN + 10 * MINUTE, ()).over


def test_what_is_left_out_doesnt_use_up_how_many_times_it_fires() -> None:
    schedule = made(max_firings=2, catch_up_seconds=3 * 3_600.0)
    schedule = decide(schedule, BEGIN + MINUTE, ())
    while (wake_us := replace(schedule, begun=()).wake_us()) is not None and wake_us <= BEGIN + HOUR:
        schedule = decide(schedule, BEGIN + HOUR, ())
    assert (schedule.fired, schedule.skipped, schedule.left) == (60, 59, 1)
    last = decide(schedule, BEGIN + HOUR + MINUTE, running(schedule))
    assert begun(last) == [61]
    assert (last.left, decide(last, BEGIN + HOUR + MINUTE, ()).next_time_us()) == (0, None)


# --- jitter ----------------------------------------------------------------------------------------------------------


@given(minute=st.integers(0, 10_000), jitter=st.integers(0, 59))
def test_jitter_is_the_same_each_time_and_within_its_bound(minute: int, jitter: int) -> None:
    schedule, time_us = made(jitter_seconds=float(jitter)), BEGIN + minute * MINUTE
    assert 0 <= schedule.due_us(time_us) - time_us <= jitter * SECOND
    assert schedule.due_us(time_us) == made(jitter_seconds=float(jitter)).due_us(time_us)


def test_jitter_spreads() -> None:
    schedule = made(jitter_seconds=50.0)
    delays = {(schedule.due_us(time_us) - time_us) // (10 * SECOND) for time_us in range(BEGIN, BEGIN + HOUR, MINUTE)}
    assert delays == {0, 1, 2, 3, 4}
    other = replace(schedule, id="another")
    assert schedule.due_us(BEGIN) != other.due_us(BEGIN)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30))
def test_with_jitter_times_fire_in_order_once_they_are_due(steps: list[int]) -> None:
    schedule, now_us, fired = made(cron="* * * * *", jitter_seconds=600.0, overlap=Overlap.ALLOW), BEGIN, []
    for step in steps:
        now_us += step * SECOND
        schedule = decide(schedule, now_us, running(schedule))
        fired += [firing.time_us for firing in schedule.begun]
        assert all(schedule.due_us(time_us) <= now_us for time_us in fired)
    first = schedule.recurrence.after(BEGIN)
    assert first is not None
    assert fired == [first + number * MINUTE for number in range(len(fired))]
    following = schedule.next_time_us()
    assert following is not None
    assert schedule.due_us(following) > now_us


@pytest.mark.parametrize("catch_up", [0.0, 5.0, 60.0, None])
@pytest.mark.parametrize("jitter", [0.0, 240.0, 3_600.0])
def test_whoever_looks_each_second_loses_nothing_by_jitter(jitter: float, catch_up: float | None) -> None:
    schedule = made(cron="*/5 * * * *", jitter_seconds=jitter, catch_up_seconds=catch_up, overlap=Overlap.ALLOW)
    started = 0
    for second in range(4 * 3_600):
        now_us = BEGIN + second * SECOND + 200_000
        wake_us = schedule.wake_us()
        if wake_us is not None and wake_us <= now_us:
            schedule = decide(schedule, now_us, running(schedule))
            started += len(schedule.begun)
    assert schedule.missed == 0
    assert started == (schedule.decided_us - BEGIN) // (5 * MINUTE) > 30


# --- overlap ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", Overlap)
def test_where_nothing_runs_every_firing_begins(overlap: Overlap) -> None:
    assert move_of(overlap, running=False, buffered=False) is Move.START
    assert set(OVERLAPS) == set(Overlap)


def fired_twice(overlap: Overlap, times: int = 3) -> Schedule:
    """Return a schedule whose first execution still runs when two more times have come."""
    schedule = decide(made(overlap=overlap), BEGIN + MINUTE, ())
    for minute in range(2, times + 1):
        schedule = decide(schedule, BEGIN + minute * MINUTE, ())
    return schedule


def test_skip_leaves_out_what_meets_an_execution() -> None:
    schedule = fired_twice(Overlap.SKIP)
    assert (begun(schedule), schedule.skipped, len(schedule.following)) == ([], 2, 1)
    assert schedule.records[-1].why == STILL_RUNNING
    assert begun(decide(schedule, BEGIN + 4 * MINUTE, running(schedule))) == [4]


def test_allow_begins_beside_it() -> None:
    schedule = fired_twice(Overlap.ALLOW)
    assert (begun(schedule), len(schedule.following)) == ([3], 3)


def test_buffer_one_lets_one_wait_and_begins_it_at_the_end() -> None:
    schedule = fired_twice(Overlap.BUFFER_ONE)
    assert schedule.buffered == Firing(BEGIN + 2 * MINUTE)
    assert (begun(schedule), schedule.skipped) == ([], 1)
    freed = decide(schedule, BEGIN + 3 * MINUTE + 1, running(schedule))
    assert (begun(freed), freed.buffered) == ([2], None)


def test_cancel_previous_cancels_and_begins_the_newest_at_the_end() -> None:
    schedule = fired_twice(Overlap.CANCEL_PREVIOUS)
    assert schedule.buffered == Firing(BEGIN + 3 * MINUTE)
    assert schedule.records[-1].why == REPLACED
    (previous,) = schedule.cancelling
    assert previous.cancelled_by == f"cancel:schedule:s:{written(BEGIN + 2 * MINUTE)}"
    freed = decide(schedule, BEGIN + 3 * MINUTE + 1, running(schedule))
    assert (begun(freed), freed.cancelling) == ([3], [])


# --- what people ask for ---------------------------------------------------------------------------------------------


def test_a_paused_schedule_fires_nothing_and_makes_up_for_nothing() -> None:
    paused = replace(made(), paused=True)
    assert paused.wake_us() is None
    assert decide(paused, BEGIN + HOUR, ()) is paused
    again = resumed(paused, BEGIN + HOUR)
    assert decide(again, BEGIN + HOUR, ()) is again
    assert again.wake_us() == BEGIN + HOUR + MINUTE
    assert resumed(again, BEGIN).decided_us == again.decided_us  # by a clock that was set back


@pytest.mark.parametrize("overlap", [Overlap.BUFFER_ONE, Overlap.CANCEL_PREVIOUS])
def test_what_waits_for_an_execution_waits_on_while_its_schedule_is_paused(overlap: Overlap) -> None:
    schedule = fired_twice(overlap)
    waiting = schedule.buffered
    assert waiting is not None
    paused = decide(replace(schedule, paused=True), BEGIN + HOUR, running(schedule))
    assert (begun(paused), paused.buffered, paused.following) == ([], waiting, ())
    assert decide(paused, BEGIN + HOUR, ()) == paused
    filled = decide(replace(paused, backfills=(Backfill(BEGIN, BEGIN + MINUTE),)), BEGIN + HOUR, ())
    assert (begun(filled), filled.buffered) == ([1], waiting)
    again = decide(resumed(paused, BEGIN + HOUR), BEGIN + HOUR, ())
    assert (again.begun, again.buffered) == ((waiting,), None)


def test_a_trigger_begins_whatever_runs_and_though_it_is_paused() -> None:
    schedule = decide(made(), BEGIN + MINUTE, ())
    asked = replace(schedule, paused=True, triggers=(Firing(BEGIN + MINUTE, "trigger:1"),))
    done = decide(asked, BEGIN + MINUTE, ())
    assert done.begun == asked.triggers
    assert done.triggers == ()
    assert len({one.execution for one in done.following}) == 2


def test_a_backfill_goes_in_order_each_after_the_one_before() -> None:
    schedule = replace(made(), decided_us=BEGIN + 9 * MINUTE, backfills=(Backfill(BEGIN, BEGIN + 3 * MINUTE),))
    seen = []
    for _ in range(5):
        schedule = decide(schedule, BEGIN + 9 * MINUTE, ())
        seen.append(begun(schedule))
        schedule = decide(schedule, BEGIN + 9 * MINUTE, running(schedule))
        seen.append(begun(schedule))
    assert [minute for minutes in seen for minute in minutes] == [1, 2, 3]
    assert schedule.backfills == ()


def test_a_backfill_goes_side_by_side_where_that_is_allowed() -> None:
    schedule = replace(made(overlap=Overlap.ALLOW, catch_up_limit=2), backfills=(Backfill(BEGIN, BEGIN + 3 * MINUTE),))
    first = decide(schedule, BEGIN, ())
    second = decide(first, BEGIN, ())
    assert (begun(first), begun(second), second.backfills) == ([1, 2], [3], ())


def test_a_time_and_its_backfill_begin_the_same_execution() -> None:
    schedule = made()
    by_time = decide(schedule, BEGIN + MINUTE, ())
    backfilled = decide(replace(schedule, backfills=(Backfill(BEGIN, BEGIN + MINUTE),)), BEGIN, ())
    assert running(by_time) == running(backfilled)


# --- all together ----------------------------------------------------------------------------------------------------


@given(
    overlap=st.sampled_from(Overlap),
    catch_up=st.sampled_from([0.0, 90.0, 3_600.0]),
    limit=st.integers(1, 5),
    turns=st.lists(st.tuples(st.integers(-600, 600), st.booleans()), min_size=1, max_size=40),
)
def test_each_time_is_decided_once_whatever_the_clock_does(
    overlap: Overlap, catch_up: float, limit: int, turns: list[tuple[int, bool]]
) -> None:
    schedule = made(overlap=overlap, catch_up_seconds=catch_up, catch_up_limit=limit)
    now_us, latest_us, started = BEGIN, BEGIN, []
    for step, ends in turns:
        now_us += step * SECOND
        latest_us = max(latest_us, now_us)
        before = schedule
        schedule = decide(schedule, now_us, running(schedule) if ends else ())
        started += [firing.time_us for firing in schedule.begun]
        assert schedule.decided_us >= before.decided_us
        assert msgspec.json.decode(msgspec.json.encode(schedule), type=Schedule) == schedule
    assert len(set(started)) == len(started)
    assert all((time_us - BEGIN) % MINUTE == 0 and BEGIN < time_us <= latest_us for time_us in started)
    passed = (latest_us - BEGIN) // MINUTE
    waiting = schedule.buffered is not None
    assert len(started) + schedule.skipped + schedule.missed + waiting == passed


def test_a_schedule_that_cant_be_read_is_named() -> None:
    with pytest.raises(CorruptHistoryError, match="default/n can't be read"):
        decode_schedule("default/n", b"{")


def test_times_are_written_to_the_second_or_as_exactly_as_they_are() -> None:
    assert written(BEGIN) == "2027-01-15T08:00:00Z"
    assert written(BEGIN + 1_500) == "2027-01-15T08:00:00.001500Z"
