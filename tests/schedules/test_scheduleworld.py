"""Schedules in a world of crashes, lost answers, two owners at once and clocks that jump."""

from datetime import UTC, datetime

import pytest

from podium.schedules.timekeeper import Timekeeper
from podium.testing.scheduleworld import Outcome, simulate_schedule, simulate_schedules
from podium.testing.virtual import run_virtually
from podium.workflow.schedules.spec import Overlap, ScheduleSpec

SPECS = {
    "skip": ScheduleSpec(every_seconds=60.0),
    "buffer": ScheduleSpec(
        cron="*/2 * * * *", time_zone="Europe/Zurich", overlap=Overlap.BUFFER_ONE, jitter_seconds=50
    ),
    "allow": ScheduleSpec(every_seconds=45.0, overlap=Overlap.ALLOW, catch_up_seconds=300.0),
    "cancel": ScheduleSpec(every_seconds=100.0, overlap=Overlap.CANCEL_PREVIOUS, catch_up_limit=3),
}


def worlds(name: str, seeds: range) -> list[Outcome]:
    outcomes = []
    for seed in seeds:
        outcome = run_virtually(simulate_schedules(SPECS[name], keepers=1 + seed % 3), seed)
        assert not outcome.broken, f"seed {seed}: {outcome.broken}"
        outcomes.append(outcome)
    return outcomes


@pytest.mark.parametrize("name", SPECS)
def test_each_time_fires_once_whatever_happens(name: str) -> None:
    outcomes = worlds(name, range(2))
    assert sum(outcome.counts["starts"] for outcome in outcomes) > 10
    assert sum(outcome.counts["deaths"] for outcome in outcomes) > 3
    assert sum(outcome.counts["jumps"] for outcome in outcomes) > 3


RARE = {
    "yearly": ScheduleSpec(cron="@yearly", time_zone="Europe/Zurich", overlap=Overlap.BUFFER_ONE),
    "once": ScheduleSpec(at=datetime(2030, 1, 1, tzinfo=UTC)),
    "bounded": ScheduleSpec(cron="@daily", starts_at=datetime(2030, 1, 1, tzinfo=UTC), max_firings=2),
    "over": ScheduleSpec(cron="@daily", ends_at=datetime(2020, 1, 1, tzinfo=UTC), jitter_seconds=60),
}


@pytest.mark.parametrize(
    "name", [name if name in ("yearly", "bounded") else pytest.param(name, marks=pytest.mark.slow) for name in RARE]
)
def test_what_fires_rarely_is_simulated_by_letting_the_time_between_pass_at_once(name: str) -> None:
    outcome = simulate_schedule(RARE[name], seed=1)
    outcome.check()
    assert outcome.counts["starts"] == {"once": 1, "bounded": 2}.get(name, max(outcome.counts["starts"], 1))


def test_a_firing_that_is_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(self: Timekeeper, schedules: object) -> None:
        pass

    monkeypatch.setattr(Timekeeper, "_let_out", lost)
    outcome = simulate_schedule(ScheduleSpec(every_seconds=2.0), seed=1, faults=False)
    assert any("S3" in problem for problem in outcome.broken)
    with pytest.raises(AssertionError, match="what happened"):
        outcome.check()


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_each_time_fires_once_in_many_worlds(name: str) -> None:
    worlds(name, range(4, 24))
