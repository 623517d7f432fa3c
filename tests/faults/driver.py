"""A whole Podium in a process of its own that says what it was acknowledged: what the fault tests drive.

    python driver.py FOLDER SCENARIO [ARGUMENT]

FOLDER/.podium/podium.db is the database. What was acknowledged is appended to FOLDER/told, a line each, and effects to
FOLDER/effects: neither is under the faults. `chain`: so many executions of a few tasks, with signals in between.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from podium.agents.context import Context
from podium.agents.sdk import agent, definition_of, task
from podium.app import Podium
from podium.engine import inputs as inp
from podium.engine.values import value_of
from podium.exceptions import PodiumError
from podium.settings import Settings
from podium.testing.ledger import Effect, FileLedger
from podium.testing.oracle import unreturned
from podium.workflow.model import AgentGroup, FailureAction, OnFailure, RetryPolicy, Task, Workflow

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
EFFECTS = FileLedger(FOLDER / "effects")
ERROR_BYTES = 20 << 20


@agent(type="worker", slots=8)
class Worker:
    @task
    async def split(self, context: Context) -> list[int]:
        return done(context, [1, 2, 3])

    @task
    async def double(self, item: int, context: Context) -> int:
        return done(context, item * 2)

    @task
    async def describe(self, context: Context) -> dict[str, str]:
        return done(context, {"text": "a long text " * 500})

    @task
    async def join(self, doubled: list[int], context: Context) -> int:
        return done(context, sum(doubled))

    @task
    async def shout(self) -> None:
        raise RuntimeError("the disk of the other side is full: " + "é" * (ERROR_BYTES // 2))

    @task(cpu=True)
    def shout_apart(self) -> None:
        raise RuntimeError("the disk of the other side is full: " + "é" * (ERROR_BYTES // 2))

    @task
    async def nothing(self) -> None:
        return None


def done(context: Context, result: Any) -> Any:
    EFFECTS.record(Effect(context.idempotency_key, context.attempt_id))
    return result


GROUP = {"worker": AgentGroup("worker", "worker", 1)}


def small() -> Workflow:
    """Return a few tasks: a list, its instances, a large value, an end."""
    tasks = (
        Task(id="split", agent="worker", payload={}),
        Task(id="each", agent="worker", function="double", for_each="${tasks.split.result}",
             payload={"item": "${item}"}, dependencies=("split",)),
        Task(id="describe", agent="worker", payload={}),
        Task(id="join", agent="worker", dependencies=("each", "describe"), payload={"doubled": "${tasks.each.result}"}),
    )  # fmt: skip
    return Workflow(name="small", agents=GROUP, tasks=tasks)


def shouting() -> Workflow:
    """Return two tasks that fail with an error text of 20 MB, one of them in a worker process, and one behind them."""
    once, on = RetryPolicy(max_attempts=1), OnFailure(FailureAction.CONTINUE)
    tasks = (
        Task(id="shout", agent="worker", payload={}, retry=once, on_failure=on),
        Task(id="apart", agent="worker", function="shout_apart", payload={}, retry=once, on_failure=on),
        Task(id="after", agent="worker", function="nothing", payload={}, dependencies=("shout", "apart")),
    )
    return Workflow(name="shouting", agents=GROUP, tasks=tasks)


def wide(count: int) -> Workflow:
    """Return a graph of so many tasks in layers of a thousand, each waiting for one of the layer before."""
    tasks = tuple(
        Task(id=f"t{n}", agent="worker", function="nothing", dependencies=(f"t{n - 1000}",) if n >= 1000 else ())
        for n in range(count)
    )
    return Workflow(name="wide", agents=GROUP, tasks=tasks)


def told(*what: str) -> None:
    """Write down, in one write, that something was acknowledged."""
    file = os.open(FOLDER / "told", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, (json.dumps(what) + "\n").encode())
    os.close(file)


async def chain(podium: Podium, count: int) -> None:
    """Run executions until so many have completed, some at a time; ask again for those that get an error."""
    allowed = asyncio.Semaphore(3)

    async def one(number: int) -> None:
        async with allowed:
            execution = await insist(lambda: podium.submit(small(), submission_id=f"order-{number}"))
            told("execution", execution)
            assert podium.engine is not None
            engine = podium.engine
            for turn in range(3):
                signal = inp.Signal("note", value_of(json.dumps("note " * turn).encode())[0])
                await insist(lambda s=signal, t=turn: engine.command(execution, s, f"note-{t}"))
                told("input", execution, f"note-{turn}")
            result = await podium.result(execution)
            told("ended", execution, result.status)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))
    assert podium.engine is not None
    engine = podium.engine
    try:
        async with asyncio.timeout(10):
            while unreturned(engine):  # noqa: ASYNC110 - what is let go rings no bell
                await asyncio.sleep(0.01)
    except TimeoutError:
        told("held", *unreturned(engine))


async def insist(ask: Any) -> Any:
    """Ask until it is acknowledged; an error is written down as what it is: no acknowledgement."""
    while True:
        try:
            return await ask()
        except PodiumError as error:
            told("refused", type(error).__name__, str(error))
            await asyncio.sleep(0.05)


async def run(scenario: str, argument: str) -> None:
    synchronous: Any = os.environ.get("DRIVER_SYNCHRONOUS", "FULL")
    settings = Settings(database=str(FOLDER / ".podium" / "podium.db"), synchronous=synchronous, drain_seconds=2.0)
    definition = definition_of(Worker)
    assert definition is not None
    async with await insist(lambda: Podium.open(settings, definitions=[definition], must_own=True)) as podium:
        match scenario:
            case "chain":
                await chain(podium, int(argument))
            case "shouting":
                execution = await podium.submit(shouting())
                told("execution", execution)
                told("ended", execution, (await podium.result(execution)).status)
            case "wide":
                execution = await podium.submit(wide(int(argument)))
                told("execution", execution)
                told("ended", execution, await podium.finished(execution))
            case "adopt":
                told("ended", argument, await podium.finished(argument))


def main() -> None:
    logging.getLogger("podium").setLevel(logging.CRITICAL)
    asyncio.run(run(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))


if __name__ == "__main__":
    main()
