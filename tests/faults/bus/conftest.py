"""Fixtures: an ensemble of real processes, a NATS server of the test's own, an event loop beside the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from podium.testing.natsserver import NatsServer, binary_or_skip, nats_server
from tests.cli.support import Shell
from tests.faults.bus.support import Aside, Ensemble


@pytest.fixture
def ensemble(shell: Shell) -> Iterator[Ensemble]:
    """An orchestrator with agents that are still to be started; they end with the test."""
    binary_or_skip()
    ensemble = Ensemble(shell)
    yield ensemble
    shell.close()
    ensemble.end_server()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A NATS server that isn't the orchestrator's."""
    with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def aside() -> Iterator[Aside]:
    """An event loop on a thread of its own."""
    aside = Aside()
    yield aside
    aside.close()
