# mypy: ignore-errors
# (the peers are installed in an environment of their own, so their types aren't at hand)
"""Procrastinate: workers as its command starts them, one for each core, several jobs at a time each; a step is a job.

It has no workflows. Here each step defers the next one; `with_procrastinate_locks` has its other way, since which of
the two is quicker depends on the machine.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager

from procrastinate import App, PsycopgConnector

from bench.peers.script import SECONDS, answer, cores, share

POOL = 10
LOOK_SECONDS = 0.02
WARM_UP = 20
app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_POSTGRES"], max_size=POOL))


Begin = Callable[[str, int, int], Awaitable[None]]  # of a lane's first one of so many workflows: lane, steps, workflows


@app.task(name="step")
async def step(lane: str, length: int, workflows: int, left: int) -> None:
    """Defer the next step; the last one of a workflow begins the next one of its lane: as many stay under way."""
    if left > 1:
        await step.defer_async(lane=lane, length=length, workflows=workflows, left=left - 1)
    elif workflows > 1:
        await begin(lane, length, workflows - 1)


async def begin(lane: str, length: int, workflows: int) -> None:
    await step.defer_async(lane=lane, length=length, workflows=workflows, left=length)


@app.task(name="locked_step")
async def locked_step(lane: str, length: int, workflows: int, last: bool) -> None:
    """Do nothing, but for the last one of a workflow, which begins the next one of its lane."""
    if last and workflows > 1:
        await begin_locked(lane, length, workflows - 1)


async def begin_locked(lane: str, length: int, workflows: int) -> None:
    common = {"lane": lane, "length": length, "workflows": workflows}
    together = [{**common, "last": number == length - 1} for number in range(length)]
    await locked_step.configure(lock=f"{lane}-{workflows}").batch_defer_async(*together)


@contextmanager
def workers(count: int, jobs_at_once: int, *options: str):
    command = [sys.executable, "-m", "procrastinate", "--app=bench.peers.with_procrastinate.app", "worker"]
    command += [f"--concurrency={jobs_at_once}", *options]
    everybody = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
    finally:
        for worker in everybody:
            worker.terminate()
        for worker in everybody:
            worker.wait(30)


async def counted(what: str) -> int:
    return (await app.connector.execute_query_one_async(f"SELECT count(*) AS n FROM {what}"))["n"]


async def succeeded() -> int:
    return await counted("procrastinate_jobs WHERE status = 'succeeded'")


async def run(name: str, begin_of: Begin, workflows: int, length: int, lanes: int) -> float:
    """Return the seconds from the first workflow's begin until all their steps are recorded as done."""
    expected = await succeeded() + workflows * length
    start = time.perf_counter()
    shares = [share(workflows, lane, lanes) for lane in range(lanes)]
    await asyncio.gather(*(begin_of(f"{name}-{lane}", length, own) for lane, own in enumerate(shares)))
    while await succeeded() < expected:  # noqa: ASYNC110 - they are done by other processes
        await asyncio.sleep(LOOK_SECONDS)
    return time.perf_counter() - start


async def measured(begin_of: Begin, options: tuple[str, ...], workflows: int, length: int, at_once: int):
    count, lanes = cores(), min(at_once, workflows)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        with workers(count, -(-at_once // count), *options):
            while await counted("procrastinate_workers") < count:  # noqa: ASYNC110 - they are other processes
                await asyncio.sleep(LOOK_SECONDS)
            await run("warm-up", begin_of, min(WARM_UP, lanes), length, min(WARM_UP, lanes))
            return {SECONDS: await run("measured", begin_of, workflows, length, lanes)}


if __name__ == "__main__":
    answer({"P1": lambda *numbers: asyncio.run(measured(begin, (), *numbers))})
