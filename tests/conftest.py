"""What concerns every test: which of the processes that tests start are measured, and how long an example may take."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

HERE = Path(__file__).parent
# Their processes are Podium as tests/cli starts it, too; measured, each of the thousands would cost twice as much.
UNMEASURED = {"bench", "crash", "docs", "faults", "foreign"}
SWITCH = "COVERAGE_PROCESS_CONFIG"

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Have coverage leave alone what the tests of some folders start."""
    alone = item.path.relative_to(HERE).parts[0] in UNMEASURED
    config = os.environ.pop(SWITCH, None) if alone else None
    try:
        return (yield)
    finally:
        if config is not None:
            os.environ[SWITCH] = config
