"""An orchestrator as `podium up` starts it, with agents in processes of their own, and the work of R1 and R2 in it:
`python -m bench.remote.orchestrator FOLDER KIND:NUMBER:NUMBER …` does one work after the other, as a long-lived
orchestrator does, and prints what each took as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.flows import chain, for_each, independent, run_many, run_one
from bench.remote.processes import AGENT_PROCESSES, agent_command, processes, settings_in
from podium.cli.sessions import collect_less_often
from podium.doors.http import http_door
from podium.service.service import Service
from podium.workflow.model import Workflow

WARM_UP = 40
LATENCY_WARM_UP = 50


class Found(Struct, frozen=True):
    """What is reported of one work: seconds of the whole or of each task, and the process's processor seconds."""

    seconds: tuple[float, ...]
    processor_seconds: float


@asynccontextmanager
async def orchestrating(folder: Path, agents: int = AGENT_PROCESSES) -> AsyncIterator[Service]:
    """A service on SQLite with `synchronous=FULL` and an embedded NATS server, with so many processes of an agent."""
    async with Service(settings_in(folder), doors=[http_door]) as service:
        collect_less_often()
        others = processes(agent_command(service.url), agents)
        await asyncio.to_thread(others.__enter__)
        try:
            while len(service.link.registry) < agents:  # noqa: ASYNC110 - they register when they have connected
                await asyncio.sleep(0.01)
            if agents:
                await run_many(service.podium, chain(2), WARM_UP, WARM_UP)
            yield service
        finally:
            await asyncio.to_thread(others.__exit__, None, None, None)


async def measured(folder: Path, works: Sequence[str]) -> list[Found]:
    """Do each work once."""
    found = []
    async with orchestrating(folder) as service:
        for work in works:
            kind, *numbers = work.split(":")
            used = time.process_time()
            seconds = await WORK[kind](service, *map(int, numbers))
            found.append(Found(seconds, time.process_time() - used))
    return found


async def _chains(service: Service, workflows: int, steps: int, at_once: int) -> tuple[float, ...]:
    return (await run_many(service.podium, chain(steps), workflows, at_once),)


async def _independent(service: Service, count: int) -> tuple[float, ...]:
    return (await _timed(service, independent(count)),)


async def _for_each(service: Service, count: int) -> tuple[float, ...]:
    return (await _timed(service, for_each(count)),)


async def _timed(service: Service, workflow: Workflow) -> float:
    begin = time.perf_counter()
    await run_one(service.podium, workflow)
    return time.perf_counter() - begin


async def _latencies(service: Service, count: int) -> tuple[float, ...]:
    workflow, found = chain(1), []
    for number in range(LATENCY_WARM_UP + count):
        seconds = await _timed(service, workflow)
        if number >= LATENCY_WARM_UP:
            found.append(seconds)
    return tuple(found)


async def _submitted(service: Service, count: int, at_once: int) -> tuple[float, ...]:
    return tuple((await _by_client(service, count, at_once))["whole"])


async def _submitted_latencies(service: Service, count: int) -> tuple[float, ...]:
    return tuple((await _by_client(service, count, 1))["each"])


async def _by_client(service: Service, count: int, at_once: int) -> dict[str, list[float]]:
    """Have a client in a process of its own submit tasks over the bus, and return what it measured."""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.remote.client", service.url, str(count), str(at_once),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await client.communicate()
    if client.returncode:
        raise RuntimeError("the client ended with an error; it has said which")
    found: dict[str, list[float]] = json.loads(said)
    return found


WORK: dict[str, Callable[..., Awaitable[tuple[float, ...]]]] = {
    "chains": _chains,
    "independent": _independent,
    "for_each": _for_each,
    "submitted": _submitted,
    "latencies": _latencies,
    "submitted_latencies": _submitted_latencies,
}

if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(measured(Path(sys.argv[1]), sys.argv[2:]))))
