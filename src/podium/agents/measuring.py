"""What an agent measures of itself for its heartbeats: load of its process, failures among its last tasks."""

from __future__ import annotations

import os
import resource
import sys
from collections import deque

OUTCOMES = 100


class Measured:
    """The figures of one agent. The process's are shared by all agents in it."""

    def __init__(self) -> None:
        self._outcomes: deque[bool] = deque(maxlen=OUTCOMES)
        self._seconds = _processor_seconds()

    def ended(self, succeeded: bool) -> None:
        """A task has ended."""
        self._outcomes.append(succeeded)

    def metrics(self, interval_seconds: float) -> dict[str, float]:
        """Return the figures since the last call, which was so many seconds ago.

        `cpu_usage` is the process's share of one core (0 to 1, cut there), `memory_mb` its peak, `error_rate` the share
        of failures among the last hundred tasks, `load_average` the machine's for each core.
        """
        before, self._seconds = self._seconds, _processor_seconds()
        outcomes = tuple(self._outcomes)
        figures = {
            "cpu_usage": min((self._seconds - before) / max(interval_seconds, 0.001), 1.0),
            "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _RSS_IN_MB,
            "load_average": os.getloadavg()[0] / (os.cpu_count() or 1),
        }
        if outcomes:
            figures["error_rate"] = outcomes.count(False) / len(outcomes)
        return {name: round(value, 4) for name, value in figures.items()}


_RSS_IN_MB = 1_048_576 if sys.platform == "darwin" else 1_024  # bytes there, kibibytes elsewhere


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system
