"""W1: durable steps a second: many workflows of sequential no-op tasks at a time, each step on disk before the next.

Beside it bare SQLite: as many producers, each awaiting the commit of a step before its next, as many rows a step.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.figures import Figure, Setup, Size, Workload
from bench.flows import chain, opened, run_many
from bench.limits import acknowledged_steps
from podium.app import Podium

BARE = "bare SQLite, group commit"
ROWS_A_STEP = 2  # a task's grant and its result; W1 checks that it is so


def measure(setup: Setup) -> list[Figure]:
    """Run W1 and its limit in turns."""
    size, steps, bare = setup.size, [], []
    for run in range(-1, setup.runs):  # the first is the warm-up
        seconds = asyncio.run(podium_seconds(setup.folder / f"steps-{run}.db", size))
        limit = asyncio.run(
            acknowledged_steps(setup.folder / f"bare-{run}.db", size.workflows * size.steps, size.at_once, ROWS_A_STEP)
        )
        if run >= 0:
            steps.append(size.workflows * size.steps / seconds)
            bare.append(size.workflows * size.steps / limit)
    return [
        Figure(
            workload="W1", name="durable steps", unit="steps/s", runs=tuple(steps), better="more", asked=4_000,
            beside=BARE,
        ),
        Figure(
            workload="W1", name=BARE, unit="steps/s", runs=tuple(bare), better="more", is_limit=True
        ),
    ]  # fmt: skip


async def podium_seconds(database: Path | str, size: Size) -> float:
    """Return the seconds that the workflows take, from the first submission to the last end."""
    workflow = chain(size.steps)
    async with opened(database) as podium:
        await run_many(podium, workflow, min(20, size.workflows), size.at_once)
        before = await _rows(podium)
        seconds = await run_many(podium, workflow, size.workflows, size.at_once)
        written = await _rows(podium) - before
    least = size.workflows * size.steps * ROWS_A_STEP
    if written < least:
        raise RuntimeError(f"{written} rows were written where at least {least} belong: not every step is durable")
    return seconds


async def _rows(podium: Podium) -> int:

    return sum(row.position for row in await podium.store.shards())


WORKLOAD = Workload("W1", "durable steps: sequential no-op tasks, many workflows at a time", measure)
