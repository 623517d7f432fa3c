"""Podium, called as its peers are: SQLite with `synchronous=FULL`, an agent of the same process, default settings.

R1's agents are four processes, reached over the embedded NATS server.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from bench.peers.script import LATENCIES, SECONDS, answer, peak_mb

FILE = "podium.db"
WARM_UP = 10


def steps(workflows: int, length: int, at_once: int) -> dict[str, Any]:
    return asyncio.run(_steps(workflows, length, at_once))


async def _steps(workflows: int, length: int, at_once: int) -> dict[str, Any]:
    from bench.flows import chain, opened, run_many

    async with opened(FILE) as podium:
        await run_many(podium, chain(length), WARM_UP, at_once)
        return {SECONDS: await run_many(podium, chain(length), workflows, at_once)}


def fan_out(count: int) -> dict[str, Any]:
    return asyncio.run(_fan_out(count))


async def _fan_out(count: int) -> dict[str, Any]:
    from bench.flows import chain, independent, opened, run_one

    async with opened(FILE) as podium:
        for _ in range(WARM_UP):
            await run_one(podium, chain(2))
        workflow = independent(count)
        begin = time.perf_counter()
        await run_one(podium, workflow)
        return {SECONDS: time.perf_counter() - begin, "peak_mb": peak_mb()}


def latency(count: int) -> dict[str, Any]:
    return asyncio.run(_latency(count))


async def _latency(count: int) -> dict[str, Any]:
    from bench.flows import chain, opened, run_one

    workflow, found = chain(1), []
    async with opened(FILE) as podium:
        for number in range(WARM_UP + count):
            begin = time.perf_counter()
            await run_one(podium, workflow)
            if number >= WARM_UP:
                found.append(time.perf_counter() - begin)
    return {LATENCIES: found}


def cold() -> dict[str, Any]:
    import podium
    from podium import Task, Workflow, agent, task

    @agent(type="noop_agent")
    class Noop:
        @task
        async def noop(self) -> None:
            """Do nothing."""

    one = Workflow(name="one_task", tasks=(Task(id="noop", agent_type="noop_agent", function="noop"),))
    podium.run(one, agents=[Noop])
    return {}


def remote(count: int) -> dict[str, Any]:
    from bench.remote.orchestrator import measured

    (found,) = asyncio.run(measured(Path.cwd(), [f"independent:{count}"]))
    return {SECONDS: found.seconds[0]}


if __name__ == "__main__":
    answer({"W1": steps, "W2": fan_out, "W3": latency, "W4": cold, "R1": remote})
