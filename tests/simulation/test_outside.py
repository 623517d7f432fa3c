"""Tasks that no agent does, in hard times: what they wait for is neither lost nor counted twice."""

import random

import pytest

from podium.testing.outside import with_waits
from podium.testing.simulation import simulate
from podium.testing.workflows import random_workflow
from podium.workflow.validation import validate


def test_random_waits_are_valid():
    for seed in range(200):
        chance = random.Random(seed)
        validate(with_waits(random_workflow(chance), chance, ["e-1"]))


@pytest.mark.parametrize("replicas", [None, 3])
def test_waits_end_through_crashes_and_take_overs(replicas):
    ended = 0
    for seed in range(4):
        report = simulate(seed=seed, replicas=replicas, waits=1.0)
        report.check()
        ended += len(report.executions)
    assert ended


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [None, 3])
def test_waits_end_in_a_hundred_and_fifty_worlds(replicas):
    for seed in range(150):
        simulate(seed=seed, replicas=replicas, waits=1.0).check()
