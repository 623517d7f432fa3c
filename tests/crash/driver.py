"""Runs one execution with real agents on a real file, and kills its own process with -9 where it is told to.

    python driver.py FOLDER SCENARIO [POINT K]

POINT is `before` the commit that holds the process' K-th event, `after` it, or `sent`: after the next command went out.
Effects go to FOLDER/ledger, the result to FOLDER/result.json. Nothing of this is in the product: the driver wraps the
store's append and the agents' `send`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from podium.agents.context import Context
from podium.agents.expansion import Expansion
from podium.agents.sdk import AgentDefinition, agent, definition_of, task
from podium.app import Podium
from podium.settings import Settings
from podium.store.logs import MemoryLogs
from podium.store.ownership import FileLock
from podium.store.protocol import Append
from podium.store.sqlite import SqliteStore
from podium.testing.ledger import Effect, FileLedger
from podium.workflow.model import (
    AgentGroup,
    FailureAction,
    OnFailure,
    RetryPolicy,
    Task,
    Workflow,
    WorkflowConfig,
)

SUBMISSION = "the-order"
SOON = RetryPolicy(max_attempts=3, initial_delay_seconds=0.005)
LEDGER = FileLedger("ledger")


@agent(type="worker", slots=4)
class Worker:
    @task
    async def split(self, context: Context) -> list[int]:
        return done(context, [1, 2, 3])

    @task
    async def double(self, item: int, context: Context) -> int:
        if item == 2 and context.attempt == 1:
            raise RuntimeError("the first try of the second fails")
        return done(context, item * 2)

    @task
    async def describe(self, context: Context) -> dict[str, str]:
        return done(context, {"text": "a long text " * 500})

    @task
    async def grow(self, context: Context) -> Expansion:
        more: list[dict[str, Any]] = [
            {"id": "long", "agent": "worker", "function": "describe", "input": {}},
            {"id": "each", "agent": "worker", "function": "double", "for_each": "${tasks.plan.result}",
             "depends_on": ["plan"], "input": {"item": "${item}"}, "retries": 2},
        ]  # fmt: skip
        return Expansion(more, {"join": ["each", "long"]}, done(context, [1, 3]))

    @task
    async def doomed(self) -> None:
        raise RuntimeError("always")

    @task
    async def rescue(self, context: Context) -> str:
        return done(context, "rescued")

    @task
    async def join(self, doubled: list[int], text: str, saved: str, context: Context) -> dict[str, Any]:
        return done(context, {"sum": sum(doubled), "length": len(text), "saved": saved})

    @task(cpu=True)
    def deadly(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def done(context: Context, result: Any) -> Any:
    LEDGER.record(Effect(context.idempotency_key, context.attempt_id))
    return result


def _workflow(scenario: str) -> Workflow:
    group = {"worker": AgentGroup("worker", "worker", 2)}
    if scenario == "deadly":
        tasks: tuple[Task, ...] = (
            Task(id="deadly", agent="worker", on_failure=OnFailure(FailureAction.CONTINUE), retry=SOON),
            Task(id="split", agent="worker"),
            Task(id="each", agent="worker", function="double", for_each="${tasks.split.result}", retry=SOON,
                 payload={"item": "${item}"}, dependencies=("split",)),
        )  # fmt: skip
        return Workflow(name="deadly", agents=group, tasks=tasks, config=WorkflowConfig(max_crashes=3))
    if scenario == "grow":
        tasks = (
            Task(id="plan", agent="worker", function="grow", payload={}, grows=True),
            Task(id="rescue", agent="worker", payload={}),
            Task(id="join", agent="worker", function="rescue", dependencies=("plan", "rescue"), payload={}),
        )
        return Workflow(name="grow", agents=group, tasks=tasks)
    if scenario == "child":
        part = (
            Task(id="describe", agent="worker", payload={}),
            Task(id="each", agent="worker", function="double", for_each=[1, 3], payload={"item": "${item}"}),
        )
        doomed = Workflow(name="doomed", agents=group, tasks=(Task(id="doomed", agent="worker", payload={}),))
        tasks = (
            Task(id="describe", agent="worker", payload={}),
            Task(id="sub", dependencies=("describe",), payload={"text": "${tasks.describe.result}"},
                 workflow=Workflow(name="part", agents=group, tasks=part)),
            Task(id="lost", workflow=doomed, retry=SOON, on_failure=OnFailure(FailureAction.CONTINUE)),
            Task(id="join", agent="worker", function="rescue", dependencies=("sub",), payload={}),
        )  # fmt: skip
        return Workflow(name="child", agents=group, tasks=tasks)
    tasks = (
        Task(id="split", agent="worker", payload={}),
        Task(id="each", agent="worker", function="double", for_each="${tasks.split.result}", retry=SOON,
             payload={"item": "${item}"}, dependencies=("split",)),
        Task(id="describe", agent="worker", payload={}),
        Task(id="rescue", agent="worker", payload={}),
        Task(id="doomed", agent="worker", payload={}, retry=SOON,
             on_failure=OnFailure(FailureAction.FALLBACK, "rescue")),
        Task(id="join", agent="worker", dependencies=("each", "describe", "doomed"),
             payload={"doubled": "${tasks.each.result}", "text": "${tasks.describe.result.text}",
                      "saved": "${tasks.doomed.result}"}),
    )  # fmt: skip
    return Workflow(name="order", agents=group, tasks=tasks)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killing:
    """Counts the events of a store's appends and ends the process at the wanted one."""

    point = ""
    at_event = 0
    seen = 0
    armed = False

    async def append(self, batch: Append) -> None:
        cls = Killing
        before = cls.seen
        cls.seen += sum(row.event_count for row in batch.rows)
        hit = before < cls.at_event <= cls.seen
        if (hit and cls.point == "before") or cls.armed:
            die()
        await super().append(batch)  # type: ignore[misc]
        if hit and cls.point == "after":
            die()
        cls.armed = hit and cls.point == "sent"


class KillingStore(Killing, SqliteStore):
    """On a file."""


def wrap_sends(podium: Podium) -> None:
    agents = podium.agents
    assert agents is not None
    send = agents.send

    def send_and_die(agent_id: str, message: Any) -> None:
        send(agent_id, message)
        if Killing.armed:
            die()

    agents.send = send_and_die  # type: ignore[method-assign, assignment]


async def run(folder: Path, scenario: str) -> None:
    path = folder / "podium.db"
    settings = Settings(database=str(path), synchronous="NORMAL", drain_seconds=1.0)
    store = KillingStore.open(path, synchronous="NORMAL")
    await carry_out(
        Podium(settings, store, MemoryLogs(), lock=FileLock(path), definitions=[worker()]), folder, scenario
    )


def worker() -> AgentDefinition:
    definition = definition_of(Worker)
    assert definition is not None
    return definition


async def carry_out(podium: Podium, folder: Path, scenario: str) -> None:
    """Submit and await the execution in a process that owns it."""
    async with podium:
        assert await podium.try_to_own(), "another process owns it"
        wrap_sends(podium)
        execution = await podium.submit(_workflow(scenario), submission_id=SUBMISSION)
        (folder / "acknowledged").write_text(execution)
        result = await podium.result(execution)
        (folder / "result.json").write_bytes(msgspec.json.encode(result))
        (folder / "events").write_text(str(Killing.seen))


def main() -> None:
    global LEDGER
    folder, scenario = Path(sys.argv[1]), sys.argv[2]
    LEDGER = FileLedger(folder / "ledger")
    logging.getLogger("podium").setLevel(logging.CRITICAL)
    if len(sys.argv) > 3:
        Killing.point, Killing.at_event = sys.argv[3], int(sys.argv[4])
    asyncio.run(run(folder, scenario))


if __name__ == "__main__":
    main()
