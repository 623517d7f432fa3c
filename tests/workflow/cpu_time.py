"""How long a piece of pure code takes, whatever else the machine is doing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

# Measuring coverage makes pure Python several times slower.
SLOWNESS = 1 if sys.gettrace() is None else 6


def cpu_seconds(run: Callable[[], object], times: int = 3) -> float:
    """Return the processor time of the best of some runs, corrected for a tracer's slowness."""

    def once() -> float:
        started = time.process_time()
        run()
        return time.process_time() - started

    return min(once() for _ in range(times)) / SLOWNESS
