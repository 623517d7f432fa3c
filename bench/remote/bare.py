"""The limits beside R1 and R2: bare nats-py asks a process, and bare SQLite commits; nothing of Podium in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client

from bench.limits import PAYLOAD, GroupCommit, connect
from bench.remote.processes import processes
from bench.remote.responder import SUBJECT
from podium.bus.nats_server import EmbeddedNats

_WARM_UP = 200


@asynccontextmanager
async def _asking(folder: Path, responders: int) -> AsyncIterator[tuple[Client, GroupCommit]]:
    server = EmbeddedNats(folder / "nats", host="127.0.0.1", port=0)
    await server.start()
    others = processes(["bench.remote.responder", server.url], responders)
    await asyncio.to_thread(others.__enter__)
    client = await nats.connect(server.url)
    commit = GroupCommit(connect(folder / "bare.db"))
    try:
        for _ in range(_WARM_UP):
            await client.request(SUBJECT, PAYLOAD)
        yield client, commit
    finally:
        commit.close()
        await client.close()
        await asyncio.to_thread(others.__exit__, None, None, None)
        await server.stop()


async def asked_steps(folder: Path, steps: int, producers: int, responders: int, rows_a_step: int) -> float:
    """Return the seconds that so many steps take: each is asked of one of the responders and its answer is committed,
    awaited by its producer before the next.
    """
    async with _asking(folder, responders) as (client, commit):
        left = iter(range(steps))

        async def producer(name: str) -> None:
            for step in left:
                await client.request(SUBJECT, PAYLOAD, timeout=30.0)
                await commit.write([(name, f"{step}:{n}", PAYLOAD) for n in range(rows_a_step)])

        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for n in range(producers):
                group.create_task(producer(f"execution-{n:036d}"))
        return time.perf_counter() - begin


async def asked_latencies(folder: Path, times: int) -> list[float]:
    """Return how long a commit, a question to another process, and a commit of its answer take, so many times."""
    found = []
    async with _asking(folder, 1) as (client, commit):
        for number in range(times):
            begin = time.perf_counter()
            await commit.write([("execution", f"{number}:grant", PAYLOAD)])
            await client.request(SUBJECT, PAYLOAD, timeout=30.0)
            await commit.write([("execution", f"{number}:result", PAYLOAD)])
            found.append(time.perf_counter() - begin)
    return found
