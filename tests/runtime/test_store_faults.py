"""What the engine makes of a store that is full, that lies, or that belongs to somebody else now."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from podium.engine import inputs as inp
from podium.exceptions import ConflictError, EngineStoppedError, FenceLostError, StoreUnavailableError
from podium.fleet import messages as msg
from podium.workflow.model import ExecutionStatus, WorkflowConfig
from tests.runtime.support import ONE, Hand, crash, sound, start, status, until, virtual, workflow


@virtual
async def test_with_a_full_disk_a_submission_is_refused_and_leaves_nothing():
    engine, _, store = await start()
    store.down = True
    with pytest.raises(StoreUnavailableError):
        await engine.submit(ONE, submission_id="x")
    store.down = False
    assert await store.executions(None) == []
    await engine.submit(ONE, submission_id="x")
    assert len(await store.executions(None)) == 1


@virtual
async def test_with_a_full_disk_a_result_is_kept_and_recorded_once_there_is_room():
    engine, hand, store = await start()
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    store.down = True
    hand.succeed(attempt)
    await asyncio.sleep(7)
    assert hand.of(msg.Confirmation) == []
    store.down = False
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert hand.of(msg.Confirmation) == [msg.Confirmation(attempt, True)]
    await sound(store, engine)


@virtual
async def test_a_commit_of_unknown_outcome_is_resolved_by_its_key():
    engine, hand, store = await start()
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    store.lying = 1
    hand.succeed(attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await until(lambda: hand.of(msg.Confirmation))
    assert hand.of(msg.Confirmation) == [msg.Confirmation(attempt, True)]
    await sound(store, engine)


@virtual
async def test_a_submission_of_unknown_outcome_is_acknowledged_at_its_repetition():
    engine, _hand, store = await start(hand=Hand(auto=True))
    store.lying = 1
    with pytest.raises(StoreUnavailableError):
        await engine.submit(ONE, submission_id="x")
    execution = await engine.submit(ONE, submission_id="x")
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert len(await store.executions(None)) == 1


@virtual
async def test_an_engine_that_lost_its_fence_stops_and_says_so():
    engine, hand, store = await start()
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    await store.reopen().take("another", range(64), 0)
    hand.succeed(attempt)
    with pytest.raises(FenceLostError):
        await engine.finished(execution)
    assert isinstance(engine.failure, FenceLostError)
    with pytest.raises(EngineStoppedError):
        await engine.submit(ONE)
    assert await status(store, execution) is ExecutionStatus.RUNNING


@virtual
async def test_a_stop_ends_though_the_store_does_not_answer():
    engine, hand, store = await start()
    await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt

    async def silent() -> list[object]:
        raise StoreUnavailableError("the disk is gone")

    store.down = True
    store.shards = silent  # type: ignore[method-assign, assignment]
    hand.succeed(attempt)
    await asyncio.sleep(2)
    async with asyncio.timeout(10):
        await engine.stop()
    assert hand.of(msg.Confirmation) == []


@virtual
async def test_two_submissions_of_one_id_at_once_are_one_execution():
    engine, _hand, store = await start(hand=Hand(auto=True))
    first, second = await asyncio.gather(engine.submit(ONE, submission_id="x"), engine.submit(ONE, submission_id="x"))
    assert first == second
    assert await engine.finished(first) is ExecutionStatus.COMPLETED
    assert len(await store.executions(None)) == 1
    assert await engine.submit(ONE, submission_id="x") == first
    await sound(store, engine)


@virtual
async def test_nothing_is_acknowledged_before_its_commit_though_it_was_submitted_twice():
    engine, _, store = await start()
    store.gate.clear()
    asked = [asyncio.create_task(engine.submit(ONE, submission_id="x")) for _ in range(3)]
    await asyncio.sleep(5)
    assert not any(task.done() for task in asked)
    store.down = True
    store.gate.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)


@virtual
async def test_one_id_for_another_content_is_a_conflict_before_and_after_a_crash():
    engine, _, store = await start(hand=Hand(auto=True))
    first = asyncio.create_task(engine.submit(ONE, b"1", submission_id="x"))
    with pytest.raises(ConflictError):
        await asyncio.gather(first, engine.submit(ONE, b"2", submission_id="x"))
    await first
    await crash(engine)
    engine, _hand, store = await start(store.reopen(), Hand(auto=True))
    with pytest.raises(ConflictError):
        await engine.submit(ONE, b"2", submission_id="x")
    assert await engine.submit(ONE, b"1", submission_id="x") == first.result()


@virtual
async def test_one_command_given_twice_at_once_is_recorded_once():
    engine, _hand, store = await start()
    execution = await engine.submit(ONE)
    store.gate.clear()
    given = [asyncio.create_task(engine.command(execution, inp.Pause(), "p1")) for _ in range(2)]
    await asyncio.sleep(1)
    store.gate.set()
    await asyncio.gather(*given)
    assert await store.recorded([(execution, "p1")]) == {(execution, "p1")}
    assert await engine.command(execution, inp.Pause(), "p1") == []


@virtual
async def test_a_limit_refuses_who_passes_it_and_nobody_else():
    limited = workflow(*ONE.tasks, name="limited", config=WorkflowConfig(max_concurrent_executions=1))
    roomy = workflow(*ONE.tasks, name="roomy", config=WorkflowConfig(max_concurrent_executions=5))
    engine, _hand, store = await start()
    await engine.submit(limited)
    store.gate.clear()
    first = asyncio.create_task(engine.submit(ONE))  # takes off alone; the next two share a batch
    await asyncio.sleep(1)
    over, fitting = (asyncio.create_task(engine.submit(w)) for w in (limited, roomy))
    await asyncio.sleep(1)
    store.gate.set()
    outcomes = await asyncio.gather(first, over, fitting, return_exceptions=True)
    assert isinstance(outcomes[1], ConflictError)
    assert isinstance(outcomes[2], str)


@virtual
async def test_an_engine_with_too_much_to_do_lets_doors_wait_and_tells_agents_to_come_again():
    engine, hand, store = await start(max_arrivals=5, max_batch=5)
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    store.gate.clear()
    asked = [asyncio.create_task(engine.submit(ONE)) for _ in range(40)]
    await asyncio.sleep(1)
    assert not hand.say(msg.Succeeded("hand-1", attempt, Raw(b"1")))
    store.gate.set()
    ids = await asyncio.gather(*asked)
    assert len(set(ids)) == 40
    assert hand.say(msg.Succeeded("hand-1", attempt, Raw(b"1")))
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED


@virtual
async def test_a_slot_that_comes_back_while_an_append_is_in_doubt_stays_free():
    engine, hand, store = await start(hand=Hand(slots=1))
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    store.down = True
    hand.fail(attempt, timed_out=True, holds_slot=True)
    await asyncio.sleep(2)
    hand.say(msg.Freed("hand-1", attempt))
    await asyncio.sleep(2)
    store.down = False
    assert await engine.finished(execution) is ExecutionStatus.FAILED
    await sound(store, engine)


@virtual
async def test_the_slot_of_an_attempt_is_no_other_ones_while_its_execution_is_read_again():
    engine, hand, store = await start(hand=Hand(slots=1))
    first = await engine.submit(ONE)
    await hand.assigned()
    await engine.submit(ONE)
    store.down = True
    with pytest.raises(StoreUnavailableError):
        await engine.command(first, inp.Signal("go"))
    store.down = False
    await asyncio.sleep(5)
    assert len({assignment.execution for assignment in hand.of(msg.Assignment)}) == 1
    await engine.stop()
