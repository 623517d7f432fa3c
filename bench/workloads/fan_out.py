"""W2: one workflow of many independent no-op tasks, and one `for_each` over as many items: seconds and peak of memory.

Each run is a process of its own (`bench/fan_out_process.py`), so that the peak is its own.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.fan_out_process import MAKES, Run
from bench.figures import Figure, Setup, Workload
from bench.limits import acknowledged_steps
from bench.workloads.durable_steps import ROWS_A_STEP

LIMIT_PRODUCERS = 100
BARE = "bare SQLite, as many steps"


def measure(setup: Setup) -> list[Figure]:
    """Run W2 in processes of its own, and its limit, in turns."""
    count = setup.size.fan_out
    runs: dict[str, list[Run]] = {kind: [] for kind in MAKES}
    bare = []
    for number in range(setup.runs):  # each process warms itself up
        for kind, found in runs.items():
            found.append(_in_process(kind, count, setup.folder / f"{kind}-{number}.db"))
        path = setup.folder / f"bare-fan-{number}.db"
        bare.append(asyncio.run(acknowledged_steps(path, count, LIMIT_PRODUCERS, ROWS_A_STEP)))
    return [*_figures(runs["independent"], f"{count:,} independent tasks", asked=True),
            *_figures(runs["for_each"], f"for_each of {count:,}", asked=False),
            Figure(workload="W2", name=BARE, unit="s", runs=tuple(bare), better="less", is_limit=True)]  # fmt: skip


def _figures(runs: list[Run], name: str, *, asked: bool) -> list[Figure]:
    seconds, peaks = tuple(run.seconds for run in runs), tuple(run.peak_mb for run in runs)
    return [
        Figure(
            workload="W2", name=name, unit="s", runs=seconds, better="less", asked=3.0 if asked else None, beside=BARE
        ),
        Figure(
            workload="W2", name=f"{name}: peak of memory", unit="MB", runs=peaks, better="less",
            asked=250.0 if asked else None,
        ),
    ]  # fmt: skip


def _in_process(kind: str, count: int, database: Path) -> Run:
    command = [sys.executable, "-m", "bench.fan_out_process", kind, str(count), str(database)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Run)


WORKLOAD = Workload("W2", "fan-out: one workflow of many independent no-op tasks", measure)
