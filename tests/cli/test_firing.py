"""`podium simulate` of a workflow that has a schedule: worlds of their own, and what is said of them."""

from __future__ import annotations

import pytest

from podium.cli.firing import Firings
from podium.testing.scheduleworld import Outcome
from podium.workflow.schedules.spec import ScheduleSpec


def test_a_schedule_in_the_file_is_fired_too(here):
    here.write("often.yaml", "name: w\nschedule: {every: 2s}\ntasks: [{id: a, agent: echo}]\n")
    said = " ".join(here("simulate", "often.yaml", "--runs", "1").split())
    assert "schedule every 2s, 1 world:" in said
    assert "sound: each firing was decided once" in said


def test_what_breaks_is_shown_with_its_seed(capsys: pytest.CaptureFixture[str]):
    def broken(spec: ScheduleSpec, seed: int = 0, *, faults: bool = True) -> Outcome:
        return Outcome(("S2: twice",) * (seed == 6), {"starts": 3, "deaths": 1}, ((1.5, "it begins"),))

    firings = Firings(ScheduleSpec(every_seconds=2.0))
    firings.simulate(broken, 5, 100, faults=False)
    assert (firings.worlds, firings.seed, firings.document()["failed"]["broken"]) == (2, 6, ["S2: twice"])
    firings.say("w.yaml")
    said = capsys.readouterr().out
    assert "seed 6: an invariant of the schedule is broken" in said
    assert "1.500  it begins" in said
    assert "podium simulate w.yaml --seed 6 --runs 1 --faults none" in said
