# mypy: ignore-errors
# (the peers are installed in an environment of their own, so their types aren't at hand)
"""DBOS on PostgreSQL: an executor for each core, each a process with its share of the workflows, started directly.

One process can't use a second core, so there are as many as cores; pools and threads are left at their defaults.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time

import psycopg
from dbos import DBOS

from bench.peers.script import SECONDS, answer, cores, share
from bench.peers.with_dbos import many

POSTGRES = os.environ["BENCH_POSTGRES"]
BARRIER_SECONDS = 100.0
WARM_UP = 10


def launched(executor: int) -> None:
    config = {"name": "bench", "system_database_url": POSTGRES, "executor_id": f"executor-{executor}"}
    DBOS(config={**config, "log_level": "ERROR", "run_admin_server": False})
    DBOS.launch()


def executor(number: int, of: int, barrier, workflows: int, length: int, at_once: int) -> None:
    """Run a share of the workflows between the two times that everybody meets."""
    own, own_at_once = share(workflows, number, of), share(at_once, number, of)

    async def run() -> None:
        await many(min(WARM_UP, own), length, own_at_once)
        await asyncio.to_thread(barrier.wait)
        await many(own, length, own_at_once)
        await asyncio.to_thread(barrier.wait)

    try:
        launched(number)
        asyncio.run(run())
    except BaseException:
        barrier.abort()
        raise
    DBOS.destroy()


def steps(workflows: int, length: int, at_once: int):
    launched(0)  # makes the tables
    DBOS.destroy()
    of = min(cores(), at_once, workflows)
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(of + 1, timeout=BARRIER_SECONDS)
    everybody = [
        spawn.Process(target=executor, args=(number, of, barrier, workflows, length, at_once)) for number in range(of)
    ]
    for process in everybody:
        process.start()
    barrier.wait()
    begin = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - begin
    warm_up = sum(min(WARM_UP, share(workflows, number, of)) for number in range(of))
    written, expected = recorded(), (warm_up + workflows) * length
    if written != expected:
        raise RuntimeError(f"{written} steps are recorded where {expected} belong")
    for process in everybody:
        process.join()
    return {SECONDS: seconds}


def recorded() -> int:
    with psycopg.connect(POSTGRES) as connection:
        return connection.execute("SELECT count(*) FROM dbos.operation_outputs").fetchone()[0]


if __name__ == "__main__":
    answer({"P1": steps})
