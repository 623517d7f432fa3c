"""W3: from the submission of a workflow of one task to its end, one at a time. Beside it two bare commits: what the log
needs is one for the start with its grant, one for the result with the end.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.figures import Figure, Setup, Workload, percentile
from bench.flows import chain, opened, run_one
from bench.limits import commits_seconds

COMMITS = 2
PERCENTS = (50, 95, 99)
WARM_UP = 50


def measure(setup: Setup) -> list[Figure]:
    """Run W3 and its limit in turns."""
    podium: dict[int, list[float]] = {percent: [] for percent in PERCENTS}
    bare: dict[int, list[float]] = {percent: [] for percent in PERCENTS}
    for run in range(setup.runs):  # each begins with a warm-up
        times = sorted(asyncio.run(_latencies(setup.folder / f"latency-{run}.db", setup.size.latencies)))
        limits = sorted(commits_seconds(setup.folder / f"bare-latency-{run}.db", setup.size.latencies, COMMITS))
        for percent in PERCENTS:
            podium[percent].append(percentile(times, percent) * 1_000)
            bare[percent].append(percentile(limits, percent) * 1_000)
    return [
        *(_figure(f"submit to finished, p{p}", podium[p], p, beside=_bare(p)) for p in PERCENTS),
        *(_figure(_bare(p), bare[p], p) for p in PERCENTS),
    ]


def _figure(name: str, runs: list[float], percent: int, beside: str = "") -> Figure:
    asked = 5.0 if beside and percent == 50 else None
    return Figure(
        workload="W3",
        name=name,
        unit="ms",
        runs=tuple(runs),
        better="less",
        asked=asked,
        beside=beside,
        is_limit=not beside,
    )


def _bare(percent: int) -> str:
    return f"two bare commits, p{percent}"


async def _latencies(database: Path, count: int) -> list[float]:
    workflow, found = chain(1), []
    async with opened(database) as podium:
        for number in range(WARM_UP + count):
            begin = time.perf_counter()
            await run_one(podium, workflow)
            if number >= WARM_UP:
                found.append(time.perf_counter() - begin)
    return found


WORKLOAD = Workload("W3", "latency: one task, one at a time", measure)
