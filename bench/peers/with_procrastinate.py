# mypy: ignore-errors
# (the peers are installed in an environment of their own, so their types aren't at hand)
"""Procrastinate: workers as its command starts them, several jobs at a time each; a step is a job.

The steps of a workflow are deferred together and share a lock, which is how its documentation has jobs run one after
another: a job is taken when the one before it is recorded as done. (Having each step defer the next one was slower.)
Nobody is told when a lock falls free, so the workers look far more often than each five seconds, their default.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import contextmanager

from procrastinate import App, PsycopgConnector

from bench.peers.script import SECONDS, answer, cores, share

POOL = 10
LOOK_SECONDS = 0.02
WARM_UP = 20
app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_POSTGRES"], max_size=POOL))


@app.task(name="step")
async def step(lane: str, length: int, workflows: int, last: bool) -> None:
    """Do nothing; the last one of a workflow begins the next one of its lane, so that as many are under way."""
    if last and workflows > 1:
        await begin(lane, length, workflows - 1)


async def begin(lane: str, length: int, workflows: int) -> None:
    """Defer the steps of the first one of so many workflows."""
    common = {"lane": lane, "length": length, "workflows": workflows}
    steps_of_it = [{**common, "last": number == length - 1} for number in range(length)]
    await step.configure(lock=f"{lane}-{workflows}").batch_defer_async(*steps_of_it)


@contextmanager
def workers(count: int, jobs_at_once: int):
    command = [sys.executable, "-m", "procrastinate", "--app=bench.peers.with_procrastinate.app", "worker"]
    command += [f"--concurrency={jobs_at_once}", f"--fetch-job-polling-interval={LOOK_SECONDS}"]
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


async def run(name: str, workflows: int, length: int, lanes: int) -> float:
    """Return the seconds from the first workflow's begin until all their steps are recorded as done."""
    expected = await succeeded() + workflows * length
    start = time.perf_counter()
    await asyncio.gather(*(begin(f"{name}-{lane}", length, share(workflows, lane, lanes)) for lane in range(lanes)))
    while await succeeded() < expected:  # noqa: ASYNC110 - they are done by other processes
        await asyncio.sleep(LOOK_SECONDS)
    return time.perf_counter() - start


async def measured(workflows: int, length: int, at_once: int):
    count, lanes = cores(), min(at_once, workflows)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        with workers(count, -(-at_once // count)):
            while await counted("procrastinate_workers") < count:  # noqa: ASYNC110 - they are other processes
                await asyncio.sleep(LOOK_SECONDS)
            await run("warm-up", min(WARM_UP, lanes), length, min(WARM_UP, lanes))
            return {SECONDS: await run("measured", workflows, length, lanes)}


if __name__ == "__main__":
    answer({"P1": lambda *numbers: asyncio.run(measured(*numbers))})
