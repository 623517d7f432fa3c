"""Document 004's bounds under every fault: few executions at work at once, circuit breakers, snapshots by the clock."""

from __future__ import annotations

import msgspec
import pytest

from podium.testing import replicaworld, world
from podium.testing.faults import REPLICA_SWARM
from podium.testing.simulation import simulate
from podium.workflow.model import CircuitBreaker

QUICK, SLOW, SLOW_FROM = 20, 250, 300_000


@pytest.fixture(params=[1, 3])
def bounded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that let so many executions be at work, and leave an agent alone after two failures in a row."""
    settings = msgspec.structs.replace(
        world.SETTINGS,
        max_executions=request.param,
        circuit_breaker=CircuitBreaker(failure_threshold=2, timeout_seconds=5.0),
        checkpoint_seconds=300.0,
    )
    for module in (world, replicaworld):
        monkeypatch.setattr(module, "SETTINGS", settings)


@pytest.mark.usefixtures("bounded")
def test_every_invariant_holds_within_the_bounds():
    for seed in range(QUICK):
        report = simulate(seed=seed)
        assert report.sound, str(report)


@pytest.mark.usefixtures("bounded")
def test_every_invariant_holds_within_the_bounds_of_several_replicas():
    for seed in range(QUICK // 4):
        report = simulate(seed=seed, swarm=REPLICA_SWARM)
        assert report.sound, str(report)


@pytest.mark.slow
@pytest.mark.usefixtures("bounded")
def test_every_invariant_holds_within_the_bounds_of_many_seeds():
    for seed in range(SLOW_FROM, SLOW_FROM + SLOW):
        report = simulate(seed=seed)
        assert report.sound, str(report)
