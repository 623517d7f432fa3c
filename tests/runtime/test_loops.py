"""`continue_as_new` in an engine: each run begins once whatever dies, large inputs are kept, nothing spins."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import decode_row
from podium.engine.following import Follower
from podium.engine.recovery import Definitions
from podium.engine.replay import replay_execution
from podium.engine.runtime import Engine
from podium.fleet import messages as msg
from podium.store.memory import MemoryStore
from podium.workflow.model import (
    ContinueAsNew,
    ExecutionStatus,
    ParentClose,
    Task,
    TaskType,
    Workflow,
    WorkflowConfig,
)
from tests.runtime.support import Hand, UnreliableStore, crash, sound, start, virtual, workflow

COMPLETED, CANCELLED = ExecutionStatus.COMPLETED, ExecutionStatus.CANCELLED
THREE = ContinueAsNew("execution.run < 3", {"n": "${input.n + 1}"})
LOOP = workflow(Task(id="a", agent="hand"), continue_as_new=THREE, output="${input.n}")


class Dying(UnreliableStore):
    """Keeps nothing any more from some append on, as if the process had been killed there."""

    def __init__(self, at: int, data: object = None) -> None:
        super().__init__(data)
        self.at = at

    async def append(self, batch) -> None:
        if self.at and self.appends + 1 >= self.at:
            await asyncio.Event().wait()
        await super().append(batch)


async def runs_of(store: MemoryStore, execution: str) -> list[tuple[str, int]]:
    """Return the ends and begins of an execution's runs, in order."""
    events = [event for row in await store.history(execution) for event in decode_row(row)[1]]
    return [(type(e).__name__, e.run) for e in events if isinstance(e, ev.RunCompleted | ev.RunStarted)]


async def output_of(store: MemoryStore, execution: str) -> object:
    return (await (await Follower.of(store, Definitions(store), execution)).result()).result


@pytest.mark.parametrize("at", range(2, 13))
def test_a_kill_at_any_commit_leaves_each_run_once(at: int):
    @virtual
    async def killed() -> None:
        store = Dying(at)
        engine, _, _ = await start(store, Hand(auto=True), timer_poll_seconds=0.2)
        execution = ""
        try:
            async with asyncio.timeout(30):
                execution = await engine.submit(LOOP, b'{"n":1}', submission_id="loop")
                await engine.finished(execution)
        except TimeoutError:
            pass
        await crash(engine)
        store.at = 0
        engine, _, _ = await start(store, Hand(auto=True), timer_poll_seconds=0.2)
        execution = await engine.submit(LOOP, b'{"n":1}', submission_id="loop")
        assert await engine.finished(execution) is COMPLETED
        assert await runs_of(store, execution) == [
            *(("RunCompleted", 1), ("RunStarted", 2)),
            *(("RunCompleted", 2), ("RunStarted", 3)),
        ]
        assert await output_of(store, execution) == 3
        assert (await replay_execution(store, Definitions(store), execution)).mismatch is None
        await sound(store, engine)
        await engine.stop()

    killed()


@virtual
async def test_a_result_of_a_former_run_is_late_and_each_run_counts_its_attempts():
    engine, hand, store = await start()
    execution = await engine.submit(LOOP, b'{"n":1}')
    first = await hand.assigned(1)
    hand.succeed(first.attempt)
    second = await hand.assigned(2)
    assert (second.attempt, second.number) == (f"{execution}:2:a:2", 1)
    assert second.idempotency_key != first.idempotency_key
    hand.succeed(first.attempt, "late")
    hand.succeed(second.attempt)
    third = await hand.assigned(3)
    await engine.command(execution, inp.Cancel("enough"), "person:1")
    hand.fail(third.attempt, cancelled=True)
    assert await engine.finished(execution) is CANCELLED
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_a_large_input_of_the_next_run_is_kept_and_read():
    large = "x" * 20_000
    again = ContinueAsNew("execution.run < 3 and len(input.text) > 5", {"text": "${tasks.a.result}"})
    loop = workflow(Task(id="a", agent="hand", payload={"text": "${input.text}"}), continue_as_new=again)
    engine, hand, store = await start()
    execution = await engine.submit(loop, b'{"text":"shorter"}')
    hand.succeed((await hand.assigned(1)).attempt, large)
    assert msgspec.json.decode((await hand.assigned(2)).arguments) == {"text": large}
    await crash(engine)
    engine, hand, _ = await start(store)
    await finish(engine, hand, execution, large[1:])
    assert await engine.finished(execution) is COMPLETED
    assert len((await engine.state_of(execution)).loaded) <= 2
    await sound(store, engine)
    await engine.stop()


async def finish(engine: Engine, hand: Hand, execution: str, value: object) -> None:
    """Let whatever is assigned succeed until the execution has ended."""
    seen = 0
    async with asyncio.timeout(600):
        while not (await engine.state_of(execution)).final:
            for assignment in hand.of(msg.Assignment)[seen:]:
                seen += 1
                hand.succeed(assignment.attempt, value)
            await asyncio.sleep(0.1)


@virtual
async def test_a_loop_without_work_is_bounded_and_ends_when_it_is_cancelled():
    spin = Workflow(
        name="spin", tasks=(Task(id="w", type=TaskType.WAIT, wait_for=0.0),), continue_as_new=ContinueAsNew()
    )
    engine, _, store = await start()
    execution = await engine.submit(spin)
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(30)
    state = await engine.state_of(execution)
    assert 20 <= state.run <= asyncio.get_running_loop().time() - began + 2
    await engine.command(execution, inp.Cancel(), "person:1")
    assert await engine.finished(execution) is CANCELLED
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_a_parent_waits_for_the_last_run_of_its_child():
    parent = workflow(Task(id="sub", workflow=LOOP, payload={"n": 5}), name="parent")
    engine, _, store = await start(hand=Hand(auto=True))
    execution = await engine.submit(parent)
    assert await engine.finished(execution) is COMPLETED
    assert await output_of(store, execution) == 7
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_an_abandoned_child_has_its_parents_deadline_in_every_run():
    wait = Task(id="w", type=TaskType.WAIT, wait_for=3.0)
    child = Workflow(name="child", tasks=(wait,), continue_as_new=ContinueAsNew())
    sub = Task(id="sub", workflow=child, parent_close=ParentClose.ABANDON)
    engine, _, store = await start()
    execution = await engine.submit(workflow(sub, name="parent", config=WorkflowConfig(timeout=10)))
    assert await engine.finished(execution) is ExecutionStatus.FAILED
    events = [event for row in await store.history(execution) for event in decode_row(row)[1]]
    (begun,) = [event.execution for event in events if isinstance(event, ev.ChildStarted)]
    assert await asyncio.wait_for(engine.finished(begun), 5) is ExecutionStatus.FAILED
    state = await engine.state_of(begun)
    assert (state.run, state.error and state.error.type) == (4, "DeadlineExceeded")
    await asyncio.sleep(1)  # until its parent has been told
    await sound(store, engine)
    await engine.stop()
