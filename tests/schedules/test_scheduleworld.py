"""Schedules in a world of crashes, lost answers, two owners at once and clocks that jump."""

import pytest

from podium.testing.scheduleworld import Outcome, simulate_schedules
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


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_each_time_fires_once_in_many_worlds(name: str) -> None:
    worlds(name, range(4, 24))
