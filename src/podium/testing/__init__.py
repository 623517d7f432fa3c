"""What Podium's own tests are built of, published for whoever tests a workflow or writes an adapter.

The simulator, replay, faults and conformance suites; each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.testing.code import code_behind
    from podium.testing.faults import NO_FAULTS, SWARM, Faults
    from podium.testing.histories import record_history, replay_history
    from podium.testing.scheduleworld import simulate_schedule
    from podium.testing.simulation import Report, simulate
    from podium.testing.virtual import run_virtually

_HOME_OF = {
    "Faults": "podium.testing.faults",
    "NO_FAULTS": "podium.testing.faults",
    "Report": "podium.testing.simulation",
    "SWARM": "podium.testing.faults",
    "code_behind": "podium.testing.code",
    "record_history": "podium.testing.histories",
    "replay_history": "podium.testing.histories",
    "run_virtually": "podium.testing.virtual",
    "simulate": "podium.testing.simulation",
    "simulate_schedule": "podium.testing.scheduleworld",
}

__all__ = [
    "NO_FAULTS",
    "SWARM",
    "Faults",
    "Report",
    "code_behind",
    "record_history",
    "replay_history",
    "run_virtually",
    "simulate",
    "simulate_schedule",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'podium.testing' has no attribute {name!r}")
    return getattr(import_module(home), name)
