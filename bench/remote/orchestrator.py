"""An orchestrator as `podium up` starts it, with its agents in processes of their own, and the work of R1 and R2 in it:
`python -m bench.remote.orchestrator KIND FOLDER NUMBER …` prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.flows import chain, for_each, independent, run_many, run_one
from bench.remote.processes import AGENT_PROCESSES, processes, settings_in
from podium.app import Podium
from podium.cli.sessions import collect_less_often
from podium.service.service import Service

WARM_UP = 40


class Found(Struct, frozen=True):
    """What one process reports: seconds, of the whole or of each task; and the processor's seconds of this process."""

    seconds: tuple[float, ...]
    processor_seconds: float = 0.0


@asynccontextmanager
async def orchestrating(folder: Path, agents: int = AGENT_PROCESSES) -> AsyncIterator[Service]:
    """A service on SQLite with `synchronous=FULL` and an embedded NATS server, with so many processes of an agent."""
    async with Service(settings_in(folder)) as service:
        collect_less_often()
        with_agents = processes("bench.remote.agent", service.url, count=agents)
        await asyncio.to_thread(with_agents.__enter__)
        try:
            await run_many(service.podium, chain(2), WARM_UP, WARM_UP)
            yield service
        finally:
            await asyncio.to_thread(with_agents.__exit__, None, None, None)


async def measured(kind: str, folder: Path, *numbers: int) -> Found:
    """Do one kind of work, once."""
    async with orchestrating(folder) as service:
        used = time.process_time()
        seconds = await WORK[kind](service.podium, *numbers)
        return Found(seconds, time.process_time() - used)


async def _chains(podium: Podium, workflows: int, steps: int, at_once: int) -> tuple[float, ...]:
    return (await run_many(podium, chain(steps), workflows, at_once),)


async def _fan_out(podium: Podium, count: int) -> tuple[float, ...]:
    return (await _timed(podium, count, independent),)


async def _for_each(podium: Podium, count: int) -> tuple[float, ...]:
    return (await _timed(podium, count, for_each),)


async def _timed(podium: Podium, count: int, make: Callable[[int], object]) -> float:
    workflow = make(count)
    begin = time.perf_counter()
    await run_one(podium, workflow)  # type: ignore[arg-type]
    return time.perf_counter() - begin


async def _latencies(podium: Podium, count: int) -> tuple[float, ...]:
    workflow = chain(1)
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        await run_one(podium, workflow)
        found.append(time.perf_counter() - begin)
    return tuple(found)


WORK: dict[str, Callable[..., Awaitable[tuple[float, ...]]]] = {
    "chains": _chains,
    "independent": _fan_out,
    "for_each": _for_each,
    "latencies": _latencies,
}

if __name__ == "__main__":
    given = asyncio.run(measured(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])))
    sys.stdout.buffer.write(msgspec.json.encode(given))
