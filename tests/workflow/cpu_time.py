"""How long a piece of pure code takes, whatever else the machine is doing.

What is held against it is a bound against algorithms that grow wrongly, no figure: those are in `bench/`. So a machine
may be ten times slower than the one on which the bounds were set.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

# Measuring coverage makes pure Python several times slower.
SLOWNESS = 10 if sys.gettrace() is None else 60


def cpu_seconds(run: Callable[[], object], times: int = 3) -> float:
    """Return the processor time of the best of some runs, corrected for a tracer's slowness."""

    def once() -> float:
        started = time.process_time()
        run()
        return time.process_time() - started

    return min(once() for _ in range(times)) / SLOWNESS
