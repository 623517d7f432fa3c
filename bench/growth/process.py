"""One point of a curve in a process of its own: `python -m bench.growth.process KIND COUNT DATABASE` prints JSON."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bench.fan_out_process import WARM_UP, peak_mb
from bench.flows import chain, for_each, independent, opened, run_many, run_one
from podium import Workflow
from podium.app import Podium

AT_ONCE = 100
MOST_ITEMS = 200_000  # of one for_each; more are several of them in one execution


class Point(Struct, frozen=True):
    """What one process reports: wall and processor seconds, MB held at most and before, MB on disk."""

    count: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    before_mb: float
    disk_mb: float


async def _independent(podium: Podium, count: int) -> None:
    await run_one(podium, independent(count))


async def _for_each(podium: Podium, count: int) -> None:
    if count <= MOST_ITEMS:
        return await run_one(podium, for_each(count))
    parts = [for_each(min(MOST_ITEMS, count - begun)).tasks[0] for begun in range(0, count, MOST_ITEMS)]
    tasks = tuple(replace(part, id=f"each_{number}") for number, part in enumerate(parts))
    return await run_one(podium, Workflow(name=f"for_each_{count}", tasks=tasks))


async def _chain(podium: Podium, count: int) -> None:
    await run_one(podium, chain(count))


async def _executions(podium: Podium, count: int) -> None:
    await run_many(podium, chain(1), count, min(AT_ONCE, count))


async def _at_once(podium: Podium, count: int) -> None:
    await run_many(podium, chain(1), count, count)


KINDS: dict[str, Callable[[Podium, int], Awaitable[None]]] = {
    "independent": _independent,
    "for_each": _for_each,
    "chain": _chain,
    "executions": _executions,
    "at_once": _at_once,
}


async def measured(kind: str, count: int, database: Path) -> Point:
    """Run it once, after a few small workflows; building the definition counts, as a user waits for it, too."""
    async with opened(database) as podium:
        for _ in range(WARM_UP):
            await run_one(podium, chain(2))
        before, cpu, begin = peak_mb(), time.process_time(), time.perf_counter()
        await KINDS[kind](podium, count)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        peak = peak_mb()
    disk = sum(file.stat().st_size for file in database.parent.glob(f"{database.name}*")) / 1e6
    return Point(count, seconds, cpu, peak, before, disk)


if __name__ == "__main__":
    point = asyncio.run(measured(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
    sys.stdout.buffer.write(msgspec.json.encode(point))
