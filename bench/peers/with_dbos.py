# mypy: ignore-errors
# (the peers are installed in an environment of their own, so their types aren't at hand)
"""DBOS on SQLite: async workflows and steps, which share one loop; a step's result is a committed row.

Its file is put into WAL mode before it opens it, as a courtesy: in SQLite's default mode, which it leaves, each commit
syncs several times.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing

from dbos import DBOS

from bench.peers.script import LATENCIES, SECONDS, answer, peak_mb

FILE = "dbos.sqlite"


@DBOS.step()
async def noop(number: int) -> None:
    """Do nothing."""


@DBOS.workflow()
async def chain(length: int) -> None:
    for number in range(length):
        await noop(number)


@DBOS.workflow()
async def fan(count: int) -> None:
    await asyncio.gather(*(noop(number) for number in range(count)))


def launched() -> None:
    with closing(sqlite3.connect(FILE)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{FILE}", "log_level": "ERROR"})
    DBOS.launch()


async def many(workflows: int, length: int, at_once: int) -> float:
    left = iter(range(workflows))

    async def producer() -> None:
        for _ in left:
            await chain(length)

    begin = time.perf_counter()
    await asyncio.gather(*(producer() for _ in range(at_once)))
    return time.perf_counter() - begin


def steps(workflows: int, length: int, at_once: int):
    launched()

    async def measured():
        await many(5, length, 5)
        return {SECONDS: await many(workflows, length, at_once)}

    return asyncio.run(measured())


def fan_out(count: int):
    launched()

    async def measured():
        await chain(2)
        begin = time.perf_counter()
        await fan(count)
        return {SECONDS: time.perf_counter() - begin, "peak_mb": peak_mb()}

    return asyncio.run(measured())


def latency(count: int):
    launched()

    async def measured():
        found = []
        for number in range(count + 10):
            begin = time.perf_counter()
            await chain(1)
            if number >= 10:
                found.append(time.perf_counter() - begin)
        return {LATENCIES: found}

    return asyncio.run(measured())


def cold():
    launched()
    asyncio.run(chain(1))
    return {}


if __name__ == "__main__":
    answer({"W1": steps, "W2": fan_out, "W3": latency, "W4": cold})
