"""Limits by key in simulated worlds: whatever goes wrong, never more are at work, nor begin within a time."""

from __future__ import annotations

import random

import pytest

from podium.scheduling.limits import Limits
from podium.testing.faults import NO_FAULTS, REPLICA_SWARM, SWARM
from podium.testing.limits import LimitModel, with_limits
from podium.testing.simulation import simulate
from podium.testing.workflows import random_workflow
from podium.workflow.model import AgentGroup, ConcurrencyLimit, RateLimit, Task, Workflow
from podium.workflow.validation import validate

HOT = Workflow(
    name="hot",
    agents={"porter": AgentGroup("porter", "porter", 4)},
    tasks=(
        Task(id="fetch", agent="porter", function="work", for_each=[1] * 8, rate_limit=RateLimit(2, 10.0, "pages")),
        Task(id="tell", agent="porter", function="work", for_each=[1] * 8, concurrency=ConcurrencyLimit(1, "mailbox")),
    ),
)


def test_random_limits_are_valid():
    for seed in range(100):
        chance = random.Random(seed)
        validate(with_limits(random_workflow(chance), chance))


@pytest.mark.parametrize("swarm", [SWARM, REPLICA_SWARM], ids=["one", "replicas"])
def test_limits_hold_through_crashes_and_take_overs(swarm):
    limited = 0
    for seed in range(81_000, 81_006):
        report = simulate(seed=seed, swarm=swarm, limits=1.0)
        report.check()
        limited += report.limited
    assert limited > 20


@pytest.mark.slow
@pytest.mark.parametrize("swarm", [SWARM, REPLICA_SWARM], ids=["one", "replicas"])
def test_limits_hold_in_many_worlds(swarm):
    for seed in range(82_000, 82_080):
        simulate(seed=seed, swarm=swarm, limits=1.0).check()


@pytest.mark.parametrize("replicas", [None, 2])
def test_the_model_sees_it_when_limits_are_passed_over(monkeypatch, replicas):
    simulate(HOT, 5, NO_FAULTS, replicas=replicas).check()
    monkeypatch.setattr(Limits, "admits", lambda self, ready: True)
    with monkeypatch.context() as patch:
        patch.setattr(LimitModel, "exceeded", lambda self, faults, excuses: self.broken)
        broken = simulate(HOT, 5, NO_FAULTS, replicas=replicas).broken
    assert any("are at work for mailbox" in problem for problem in broken)
    assert any("of pages began in" in problem for problem in broken)
