"""The workflows that are run, and the agent that does their tasks: async functions which do nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from podium import ExecutionStatus, Task, Workflow, agent, task
from podium.api.agents import definitions_of
from podium.app import Podium
from podium.settings import Settings

AGENT = "noop_agent"
SLOTS = 1_000  # more than are ever taken at once in W1; in W2 it is the window


@agent(type=AGENT, slots=SLOTS)
class Noop:
    @task
    async def noop(self) -> None:
        """Do nothing."""

    @task
    async def item(self, item: int) -> None:
        """Do nothing with an item."""

    @task
    async def fail(self) -> None:
        """Fail."""
        raise ValueError("no")


@agent(type="holding_agent", slots=10_000)
class Holding:
    @task
    async def hold(self) -> None:
        """Go on for ever."""
        await asyncio.Event().wait()


def chain(steps: int) -> Workflow:
    """Return a workflow of tasks that follow one another."""
    return Workflow(
        name=f"chain_{steps}",
        tasks=tuple(_noop(f"step_{n}", after=(f"step_{n - 1}",) if n else ()) for n in range(steps)),
    )


def independent(count: int) -> Workflow:
    """Return a workflow of so many tasks that need nothing of one another."""
    return Workflow(name=f"independent_{count}", tasks=tuple(_noop(f"task_{n}") for n in range(count)))


def for_each(count: int) -> Workflow:
    """Return a workflow of one task with an instance for each of so many items."""
    each = Task(id="each", agent_type=AGENT, function="item", payload={"item": "${item}"}, for_each=list(range(count)))
    return Workflow(name=f"for_each_{count}", tasks=(each,))


def _noop(task_id: str, after: tuple[str, ...] = ()) -> Task:
    return Task(id=task_id, agent_type=AGENT, function="noop", payload={}, dependencies=after)


@asynccontextmanager
async def opened(database: Path | str) -> AsyncIterator[Podium]:
    """Open a Podium as a user's process does, with every setting at its default but the file: synchronous=FULL."""
    _, definitions = definitions_of([Noop])
    async with await Podium.open(Settings(database=str(database)), definitions=definitions, must_own=True) as podium:
        yield podium


async def run_one(podium: Podium, workflow: Workflow) -> None:
    """Submit a workflow and await its end."""
    status = await podium.finished(await podium.submit(workflow))
    if status is not ExecutionStatus.COMPLETED:
        raise RuntimeError(f"{workflow.name} ended as {status}; a figure of it would mean nothing")


async def run_many(podium: Podium, workflow: Workflow, count: int, at_once: int) -> float:
    """Run a workflow so many times, so many at once, and return the seconds it took."""
    left = iter(range(count))

    async def producer() -> None:
        for _ in left:
            await run_one(podium, workflow)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(producer())
    return time.perf_counter() - begin
