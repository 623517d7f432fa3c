"""What is said of a schedule is what `decide` does with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from podium.clock import SECOND
from podium.scheduling.explaining import reasons
from podium.scheduling.firing import decide
from podium.scheduling.schedules import Backfill, Beginning, Firing, Schedule
from podium.workflow.schedules.spec import Overlap, ScheduleSpec

BEGIN = 1_800_000_000 * SECOND
HOUR = 3_600 * SECOND


def made(overlap: Overlap = Overlap.SKIP, **more: Any) -> Schedule:
    spec = ScheduleSpec(every_seconds=3_600.0, overlap=overlap, **more)
    return Schedule(
        id="s",
        tenant="t",
        name="often",
        spec=spec,
        created_us=BEGIN,
        decided_us=BEGIN,
        beginning=Beginning("w", "1", "d"),
    )


def said(schedule: Schedule, now_us: int = BEGIN, owned: bool = True) -> list[str]:
    running = [one.execution for one in schedule.following]
    return reasons(schedule, now_us, running, owned, lambda at: f"{(at - BEGIN) / HOUR:g} h")


def fired(schedule: Schedule, hours: int) -> Schedule:
    """Return it after so many hours, in which what it began never ended."""
    for hour in range(1, hours + 1):
        schedule = decide(schedule, BEGIN + hour * HOUR, ())
    return replace(schedule, begun=())


def test_when_it_fires_next_and_whether_anybody_is_there_to_do_it():
    assert said(made()) == ["it fires next at 1 h, in 1h"]
    (alone,) = said(made(), owned=False)
    assert alone == "it fires next at 1 h, in 1h; no orchestrator runs that would fire it, `podium up` starts one"
    (spread,) = said(made(jitter_seconds=1_800.0))
    assert "are its part of the jitter" in spread


def test_what_is_due_says_until_when_it_is_not_too_late():
    (decided,) = said(made(), BEGIN + HOUR + 2 * SECOND)
    assert decided == "its time 1 h has come 2s ago, and is being decided"
    (waits,) = said(made(catch_up_seconds=1_795.0), BEGIN + HOUR + 2 * SECOND, owned=False)
    assert waits.endswith("the next one fires it if it does so by 1.5 h; later, it is missed")
    once = made()
    once = replace(once, spec=ScheduleSpec(at=datetime.fromtimestamp(BEGIN / SECOND + 60, UTC)))
    assert said(once, BEGIN + HOUR, owned=False)[0].endswith("no orchestrator runs, and the next one fires it")


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        (replace(made(), paused=True, reason="a holiday"), "it is paused (a holiday): it fires nothing until"),
        (fired(made(Overlap.ALLOW, max_firings=2), 2), "it has begun 2 executions, as many as it may"),
        (made(ends_at=datetime.fromtimestamp(BEGIN / SECOND + 60, UTC)), "it was to end at 0.0166667 h"),
        (
            replace(made(), spec=ScheduleSpec(at=datetime.fromtimestamp(BEGIN / SECOND - 60, UTC))),
            "it fires no more: it has had its one time",
        ),
    ],
)
def test_why_it_does_not_fire(schedule: Schedule, why: str):
    assert why in said(schedule)[0]


@pytest.mark.parametrize(
    ("overlap", "hours", "meets"),
    [
        (Overlap.SKIP, 1, "would be left out (overlap skip)"),
        (Overlap.BUFFER_ONE, 1, "would wait for its end (overlap buffer_one)"),
        (Overlap.BUFFER_ONE, 2, "would be left out (overlap buffer_one)"),
        (Overlap.CANCEL_PREVIOUS, 1, "would wait for its end, and have it cancelled"),
        (Overlap.CANCEL_PREVIOUS, 2, "would take the place of the one that waits, and have it cancelled"),
    ],
)
def test_what_a_firing_would_meet_is_what_becomes_of_it(overlap: Overlap, hours: int, meets: str):
    assert any(meets in reason for reason in said(fired(made(overlap), hours), BEGIN + hours * HOUR + SECOND))


def test_executions_side_by_side_meet_nothing():
    assert len(said(fired(made(Overlap.ALLOW), 3), BEGIN + 3 * HOUR + SECOND)) == 1


def test_what_waits_and_for_what():
    waits = fired(made(Overlap.CANCEL_PREVIOUS), 2)
    assert any(reason.endswith(", which is being cancelled") for reason in said(waits))
    assert any("waits to be looked at" in reason for reason in said(replace(waits, following=())))
    assert any("waits until it is resumed" in reason for reason in said(replace(waits, paused=True)))
    asked = replace(made(), triggers=(Firing(1, "a"), Firing(1, "b")), backfills=(Backfill(BEGIN, BEGIN + HOUR),))
    assert said(asked)[1:] == [
        "2 triggers wait to be taken",
        "times after 0 h up to 1 h are made up for, each when the execution before it has ended",
    ]


def test_what_was_left_out_and_what_came_too_late():
    skipped = fired(made(), 3)
    assert said(skipped)[-1] == "2 firings were left out; the last, of 3 h: an earlier execution hadn't ended"
    late = decide(made(catch_up_limit=2), BEGIN + 5 * HOUR, ())
    assert said(late)[-1] == "3 firings were missed, later than 1h, or beyond the newest 2; the last, of 3 h"
