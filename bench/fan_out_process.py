"""One run of W2 in a process of its own: `python -m bench.fan_out_process KIND COUNT DATABASE` prints it as JSON."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.flows import chain, for_each, independent, opened, run_one

MAKES = {"independent": independent, "for_each": for_each}
WARM_UP = 20


class Run(Struct, frozen=True):
    """What one process reports."""

    seconds: float
    peak_mb: float


async def measured(kind: str, count: int, database: str) -> Run:
    """Run the workflow once, after a few small ones; the peak is the process's whole."""
    async with opened(database) as podium:
        for _ in range(WARM_UP):
            await run_one(podium, chain(2))
        workflow = MAKES[kind](count)
        begin = time.perf_counter()
        await run_one(podium, workflow)
        seconds = time.perf_counter() - begin
    return Run(seconds, peak_mb())


def peak_mb() -> float:
    """Return the most memory that this process has held, in MB.

    Linux counts what a process held before its `exec`, too, into `ru_maxrss`: the peak of whoever started it. So
    its own high-water mark is read where there is one.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1_024 / 1e6
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1_024 / 1e6


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(measured(sys.argv[1], int(sys.argv[2]), sys.argv[3]))))
