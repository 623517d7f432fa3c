# mypy: ignore-errors
# (the peers are installed in an environment of their own, so their types aren't at hand)
"""Prefect on its ephemeral local server (SQLite), which the first flow starts: async flows and tasks."""

from __future__ import annotations

import asyncio
import time

from prefect import flow, task

from bench.peers.script import LATENCIES, SECONDS, answer, peak_mb


@task
async def noop(number: int) -> None:
    """Do nothing."""


@flow
async def chain(length: int) -> None:
    for number in range(length):
        await noop(number)


@flow
async def fan(count: int) -> None:
    await asyncio.gather(*(noop(number) for number in range(count)))


async def _many(workflows: int, length: int, at_once: int) -> float:
    left = iter(range(workflows))

    async def producer() -> None:
        for _ in left:
            await chain(length)

    begin = time.perf_counter()
    await asyncio.gather(*(producer() for _ in range(at_once)))
    return time.perf_counter() - begin


async def _steps(workflows: int, length: int, at_once: int):
    await chain(1)
    return {SECONDS: await _many(workflows, length, at_once)}


async def _fan_out(count: int):
    await chain(1)
    begin = time.perf_counter()
    await fan(count)
    return {SECONDS: time.perf_counter() - begin, "peak_mb": peak_mb()}


async def _latency(count: int):
    await chain(1)
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        await chain(1)
        found.append(time.perf_counter() - begin)
    return {LATENCIES: found}


async def _cold():
    await chain(1)
    return {}


if __name__ == "__main__":
    answer(
        {
            "W1": lambda *numbers: asyncio.run(_steps(*numbers)),
            "W2": lambda count: asyncio.run(_fan_out(count)),
            "W3": lambda count: asyncio.run(_latency(count)),
            "W4": lambda: asyncio.run(_cold()),
        }
    )
