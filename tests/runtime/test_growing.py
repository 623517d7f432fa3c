"""Growing graphs in a whole engine: large values are at hand when what is added reads them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from podium.engine.following import Follower
from podium.fleet import messages as msg
from podium.workflow.model import ExecutionStatus, Task, Workflow
from tests.runtime.support import Hand, crash, sound, start, virtual

LARGE = "x" * 5_000  # kept as a blob
KID = {"name": "kid", "tasks": [{"id": "x", "agent": "hand"}], "output": {"got": "${tasks.x.result}"}}
BIG, PLAN = Task(id="big", agent_type="hand"), Task(id="plan", agent_type="hand", dependencies=("big",), grows=True)


def planning(*tasks: Task) -> Workflow:
    return Workflow(name="planning", tasks=tasks)


class Answering(Hand):
    """Ends each attempt at once: a planner's with what it adds, any other with the arguments' keys or what is large."""

    def __init__(self, growth: dict[str, Any]) -> None:
        super().__init__()
        self.answers: dict[str, Any] = {"big": LARGE, "plan": {"$expansion": growth}}

    def send(self, agent: str, message: msg.ToAgent) -> None:
        super().send(agent, message)
        if isinstance(message, msg.Assignment):
            arguments = sorted(msgspec.json.decode(message.arguments))
            asyncio.get_running_loop().call_soon(
                self.succeed, message.attempt, self.answers.get(message.task, arguments)
            )


def child(name: str, **about: Any) -> dict[str, Any]:
    return {"id": name, "type": "workflow", "workflow": KID, **about}


WAITING_CHILD = Task(
    id="kid", dependencies=("plan",), workflow=Workflow(name="kid", tasks=(Task(id="x", agent_type="hand"),))
)


@pytest.mark.parametrize(
    ("planned", "growth", "given"),
    [
        (planning(BIG, PLAN), {"tasks": [child("kid", depends_on=["big"], input={"v": "${tasks.big.result}"})]}, 1),
        (planning(BIG, PLAN), {"tasks": [child("kid", depends_on=["big"])]}, 1),
        (planning(BIG, PLAN), {"tasks": [child("kid")]}, {"text": LARGE}),
        (planning(BIG, PLAN), {"tasks": [child("kid")], "dependencies": {"kid": ["big"]}}, 1),
        (planning(BIG, PLAN, WAITING_CHILD), {"dependencies": {"kid": ["big"]}}, 1),
    ],
    ids=["input", "its dependencies", "the execution's input", "dependencies", "a child that was there"],
)
@virtual
async def test_what_a_child_begins_with_is_at_hand_when_it_is_added_however_large(planned, growth, given):
    engine, _, store = await start(hand=Answering(growth), idle_seconds=5.0)
    execution = await engine.submit(planned, msgspec.json.encode(given))
    async with asyncio.timeout(60):
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    state = await engine.state_of(execution)
    assert state.tasks["kid"].result is not None
    await sound(store, engine)


@virtual
async def test_what_comes_behind_a_growth_reads_what_it_needs_after_a_restart_too():
    """What was put before a child is at hand when the child begins, in whoever's memory."""
    later = Task(id="later", agent_type="hand", dependencies=("plan",))
    planned = planning(BIG, PLAN, later, WAITING_CHILD)
    hand = Answering({"dependencies": {"kid": ["big", "later"]}})
    engine, _, store = await start(hand=hand)
    hand.answers["later"] = LARGE
    execution = await engine.submit(planned)
    async with asyncio.timeout(60):
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await crash(engine)
    again, _, _ = await start(store.reopen(), hand=hand)
    assert await again.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store)


@virtual
async def test_a_grown_execution_is_followed_from_its_beginning():
    engine, _, store = await start(hand=Answering({"tasks": [{"id": "a", "agent": "hand"}]}))
    execution = await engine.submit(planning(BIG, PLAN))
    await engine.finished(execution)
    follower = await Follower.of(store, engine.definitions, execution)
    fresh = follower.rewound()
    await fresh.catch_up()
    assert (fresh.state.counts, fresh.state.total) == (follower.state.counts, follower.state.total)
    assert list(fresh.state.tasks) == ["big", "plan", "a"]
