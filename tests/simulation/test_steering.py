"""People who skip and complete tasks and have them run again, amid everything that goes wrong."""

from __future__ import annotations

import pytest

from podium.testing.faults import NO_FAULTS, STEERING_SWARM, Faults
from podium.testing.simulation import simulate

FROM = 7_600_000
ONLY_PEOPLE = Faults(steering=0.6, meddling=0.2, attempt_fails=0.1)


def test_people_alone_break_nothing():
    for seed in range(FROM, FROM + 30):
        report = simulate(seed=seed, faults=ONLY_PEOPLE)
        assert report.sound, str(report)


@pytest.mark.parametrize("chunk", range(2))
def test_people_and_faults_break_nothing(chunk):
    for seed in range(FROM + 1_000 + chunk * 20, FROM + 1_000 + (chunk + 1) * 20):
        report = simulate(seed=seed, swarm=STEERING_SWARM)
        assert report.sound, str(report)


def test_people_and_several_orchestrators_break_nothing():
    for seed in range(FROM + 2_000, FROM + 2_010):
        report = simulate(seed=seed, swarm=STEERING_SWARM, replicas=2)
        assert report.sound, str(report)


def test_people_and_agents_behind_a_bus_break_nothing():
    faults = Faults(steering=0.5, bus=1.0, message_lost=0.05, redelivered=0.1)
    for seed in range(FROM + 3_000, FROM + 3_008):
        report = simulate(seed=seed, faults=faults)
        assert report.sound, str(report)


def test_what_people_decide_is_carried_out():
    said = [what for seed in range(FROM, FROM + 20) for _, what in simulate(seed=seed, faults=ONLY_PEOPLE).transcript]
    for kind in ("Skip", "Complete", "Retry"):
        assert any(what.startswith("person: ") and f" {kind} of " in what for what in said)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(4))
def test_people_and_faults_break_nothing_in_many_seeds(chunk):
    for seed in range(FROM + 10_000 + chunk * 40, FROM + 10_000 + (chunk + 1) * 40):
        report = simulate(seed=seed, swarm=STEERING_SWARM, replicas=None if seed % 3 else 2)
        assert report.sound, str(report)


def test_a_world_without_people_is_as_it_was():
    assert "steering" not in simulate(seed=FROM, faults=NO_FAULTS).faults
