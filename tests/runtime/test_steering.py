"""People's decisions about tasks, through the engine: agents are told, slots come back, large values are at hand."""

from __future__ import annotations

import asyncio

import pytest

from podium.app import Podium
from podium.engine import inputs as inp
from podium.engine.values import value_of
from podium.exceptions import ConflictError, InvalidInputError, PayloadTooLargeError, TaskNotFoundError
from podium.fleet import messages as msg
from podium.ids import IdSource
from podium.settings import Settings
from podium.store.logs import MemoryLogs
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, Task
from tests.runtime.support import TWO, Hand, crash, sound, start, status, until, virtual, workflow

LARGE = ["x" * 3_000, "y" * 3_000]
READS = workflow(
    Task(id="a", agent="hand"),
    Task(id="each", agent="hand", dependencies=("a",), for_each="${tasks.a.result}"),
)


class TakenLock:
    """A lock that another process has."""

    def try_acquire(self) -> bool:
        return False

    def holder(self) -> None:
        return None

    def release(self) -> None:
        """There is nothing to let go."""


def guest_of(store) -> Podium:
    clock, lock = virtual_loop().clock, TakenLock()
    ids = IdSource(clock, virtual_loop().chance)
    return Podium(Settings(), store.reopen(), MemoryLogs(), lock=lock, clock=clock, ids=ids, elsewhere=True)  # type: ignore[arg-type]


@virtual
async def test_the_agent_of_a_skipped_task_is_told_to_stop_and_keeps_its_slot_until_it_says_so():
    one_slot = Hand(slots=1)
    engine, hand, store = await start(hand=one_slot)
    parallel = workflow(Task(id="a", agent="hand"), Task(id="b", agent="hand"))
    execution = await engine.submit(parallel)
    first = await hand.assigned()
    await engine.command(execution, inp.Skip(first.task, "it hangs", "maren"))
    await until(lambda: hand.of(msg.Cancel))
    assert [(c.attempt, c.force) for c in hand.of(msg.Cancel)] == [(first.attempt, True)]
    assert engine.staffing.placement.held() == 1
    assert len(hand.of(msg.Assignment)) == 1
    hand.fail(first.attempt, cancelled=True)
    second = await hand.assigned(2)
    hand.succeed(first.attempt)
    hand.succeed(second.attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert (await engine.state_of(execution)).tasks[first.task].result is None
    await sound(store, engine)


@virtual
async def test_a_completed_task_whose_agent_says_nothing_gives_its_slot_back_after_a_while():
    engine, hand, store = await start(hand=Hand(slots=1))
    execution = await engine.submit(TWO)
    await hand.assigned()
    await engine.command(execution, inp.Complete("a", value_of(b"7")[0], by="maren"))
    hand.succeed((await hand.assigned(2)).attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await until(lambda: engine.staffing.placement.held() == 0)
    await sound(store, engine)


@virtual
async def test_a_queued_task_that_is_ended_is_in_no_queue():
    engine, _, store = await start(register=False)
    execution = await engine.submit(TWO)
    assert engine.staffing.placement.queued() == 1
    await engine.command(execution, inp.Complete("a", value_of(b"7")[0]))
    assert [task.task for task in engine.staffing.placement.ready_tasks_of(execution)] == ["b"]
    await engine.command(execution, inp.Skip("b"))
    assert engine.staffing.placement.queued() == 0
    assert await status(store, execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_large_result_by_hand_is_at_hand_for_what_reads_it():
    engine, hand, store = await start()
    podium = guest_of(store)
    execution = await engine.submit(READS)
    completing = asyncio.create_task(podium.complete(execution, "a", LARGE, by="maren"))
    await asyncio.sleep(0.1)
    engine.look_into_inbox()
    await completing
    await hand.assigned(3)
    assert {a.task for a in hand.of(msg.Assignment)} == {"a", "each[0]", "each[1]"}
    await crash(engine)
    engine, hand, store = await start(store.reopen(), Hand(auto=True))
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_large_result_by_hand_is_kept_with_the_input_where_the_owner_is_asked():
    engine, hand, store = await start()
    execution = await engine.submit(READS)
    value, content = value_of(b"[" + b",".join(b'"' + text.encode() + b'"' for text in LARGE) + b"]")
    assert value.blob is not None
    assert content is not None
    await engine.command(execution, inp.Complete("a", value), blobs=[(value.blob, content)])
    assert await store.get("default", value.blob) == content
    await hand.assigned(3)


@virtual
async def test_the_same_decision_under_one_id_counts_once():
    engine, _, store = await start()
    execution = await engine.submit(TWO)
    assert await engine.command(execution, inp.Skip("a"), "mine")
    assert await engine.command(execution, inp.Skip("a"), "mine") == []
    inputs = [row.input_id for row in await store.history(execution)]
    assert inputs.count("mine") == 1


@virtual
async def test_a_completed_execution_runs_again_from_a_task_on_whose_conditions_read_large_values():
    engine, hand, store = await start()
    execution = await engine.submit(READS)
    hand.succeed((await hand.assigned()).attempt, LARGE)
    for number in (2, 3):
        hand.succeed((await hand.assigned(number)).attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await crash(engine)
    engine, hand, store = await start(store.reopen(), Hand(auto=True))
    await engine.command(execution, inp.Retry("each", "maren"))
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert {(a.task, a.number) for a in hand.of(msg.Assignment)} == {("each[0]", 2), ("each[1]", 2)}
    await sound(store, engine)


@virtual
async def test_what_is_no_task_or_no_text_is_refused_before_anything_is_recorded():
    engine, _, store = await start()
    podium = guest_of(store)
    execution = await engine.submit(READS)
    with pytest.raises(TaskNotFoundError, match='did you mean "each"'):
        await podium.skip(execution, "eech")
    with pytest.raises(InvalidInputError, match="characters"):
        await podium.skip(execution, "a", reason="x" * 1_001)
    with pytest.raises(InvalidInputError, match="name is a line"):
        await podium.skip(execution, "a", by="a\nb")
    with pytest.raises(InvalidInputError, match="can't be written as JSON"):
        await podium.complete(execution, "a", object())
    with pytest.raises(TaskNotFoundError):
        await podium.rerun(execution, "b")
    with pytest.raises(ConflictError, match="only one that has ended"):
        await podium.rerun(execution, "a")
    with pytest.raises(ConflictError, match="only one that ended without success"):
        await podium.rerun(execution)
    assert len(await store.history(execution)) <= 2


@virtual
async def test_a_value_that_is_too_large_is_refused(monkeypatch):
    engine, _, store = await start()
    execution = await engine.submit(TWO)
    monkeypatch.setattr("podium.app.said.MAX_VALUE", 10)
    guest = guest_of(store)
    with pytest.raises(PayloadTooLargeError):
        await guest.complete(execution, "a", "x" * 20)
    with pytest.raises(PayloadTooLargeError):
        await guest.signal(execution, "go", "x" * 20)
    with pytest.raises(PayloadTooLargeError):
        await guest.answer(execution, "a", "x" * 20)
