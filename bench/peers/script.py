"""How each script of this folder is called, and answers: `python -m bench.peers.with_… WORKLOAD NUMBER …`.

Only what Python brings along, since a peer's script runs in the peers' own environment. What a library prints is left
alone; the answer is the line that begins with `MARK`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "bench-answer:"
SECONDS, LATENCIES = "seconds", "latencies"


def answer(workloads: dict[str, Callable[..., dict[str, Any] | None]]) -> None:
    """Run the workload that the command line names, and say what it found, if it hasn't itself."""
    name, *numbers = sys.argv[1:]
    found = workloads[name](*map(int, numbers))
    if found is not None:
        say(found)


def say(found: dict[str, Any]) -> None:
    """Say what a workload found; who measures a cold start looks at the clock when this line comes."""
    print(f"\n{MARK}{json.dumps(found)}", flush=True)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def one_at_a_time(work: Callable[[], object], count: int, warm_up: int = 10) -> dict[str, Any]:
    """Return how long each repetition took, after some that don't count."""
    for _ in range(warm_up):
        work()
    return {LATENCIES: [timed(work) for _ in range(count)]}


def windows(begin: Callable[[], Any], end: Callable[[Any], object], count: int, at_once: int) -> None:
    """Keep so many things under way until so many are done: a new one is begun when the oldest has ended."""
    under_way = deque(begin() for _ in range(min(at_once, count)))
    left = count - len(under_way)
    while under_way:
        end(under_way.popleft())
        if left:
            under_way.append(begin())
            left -= 1


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(whole: int, number: int, of: int) -> int:
    """Return how much of a whole is one's own, if so many divide it as evenly as can be."""
    return whole // of + (number < whole % of)


def peak_mb() -> float:
    """Return the most memory that this process has held, in MB (Linux; elsewhere 0)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    lines = status.read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0) * 1_024 / 1e6
