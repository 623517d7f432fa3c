"""What the engine does with executions: puts them out of memory, pauses, resumes, cancels, recovers, hears
from elsewhere.
"""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from podium.clock import SECOND
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine import loading
from podium.engine.codec import encode_input
from podium.exceptions import ExecutionNotFoundError
from podium.fleet import messages as msg
from podium.ids import shard_of
from podium.store.protocol import InboxRow
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, RetryPolicy, Task, TaskStatus
from tests.runtime.support import ONE, TWO, Hand, crash, sound, start, status, until, virtual, workflow

RETRIED = workflow(
    Task(
        id="a",
        agent="hand",
        retry=RetryPolicy(max_attempts=2, initial_delay_seconds=600, max_delay_seconds=600, jitter=0),
    )
)


@virtual
async def test_a_watcher_sees_committed_facts_only():
    engine, hand, store = await start()
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    store.tickets = asyncio.Semaphore(0)
    waiting = asyncio.create_task(engine.finished(execution))
    nudge = asyncio.create_task(engine.command(execution, inp.Signal("nudge")))
    await asyncio.sleep(1)
    hand.succeed(attempt)  # decided while the signal's append is under way
    await asyncio.sleep(1)
    store.tickets.release()
    await nudge
    await asyncio.sleep(1)
    assert not waiting.done()
    assert await status(store, execution) is ExecutionStatus.RUNNING
    store.tickets.release()
    assert await waiting is ExecutionStatus.COMPLETED


@virtual
async def test_a_result_delivered_twice_is_confirmed_twice_and_recorded_once():
    engine, hand, store = await start()
    execution = await engine.submit(TWO)
    attempt = (await hand.assigned()).attempt
    hand.succeed(attempt)
    hand.succeed(attempt)
    await hand.assigned(2)
    hand.succeed(attempt)
    await until(lambda: len(hand.of(msg.Confirmation)) >= 2)
    rows = await store.history(execution)
    assert [r.input_id for r in rows].count(f"succeeded:{attempt}") == 1
    assert all(c.accepted for c in hand.of(msg.Confirmation))


@pytest.mark.parametrize("result_first", [True, False])
def test_a_result_that_races_a_rescuer_has_one_outcome(result_first):
    """Fault 5."""

    @virtual
    async def race() -> None:
        engine, hand, store = await start()
        execution = await engine.submit(ONE)
        attempt = (await hand.assigned()).attempt
        lost = inp.Lost("a", 1, "its lease ended")
        store.gate.clear()
        if result_first:
            hand.succeed(attempt)
            rescued = asyncio.create_task(engine.command(execution, lost, f"lost:{attempt}"))
        else:
            rescued = asyncio.create_task(engine.command(execution, lost, f"lost:{attempt}"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            hand.succeed(attempt)
        await asyncio.sleep(1)
        store.gate.set()
        events = await rescued
        if result_first:
            assert isinstance(events[0], ev.InputIgnored)
        else:
            assert isinstance(events[0], ev.AttemptFailed)
            hand.succeed((await hand.assigned(2)).attempt)
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
        await sound(store, engine)

    race()


@virtual
async def test_an_idle_execution_leaves_the_memory_and_comes_back_for_its_timer():
    engine, hand, store = await start(idle_seconds=5)
    execution = await engine.submit(RETRIED)
    hand.fail((await hand.assigned()).attempt)
    await until(lambda: execution not in engine.residency.states)
    hand.succeed((await hand.assigned(2)).attempt)
    assert virtual_loop().time() >= 600
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_an_idle_execution_comes_back_for_a_signal():
    engine, hand, _store = await start(idle_seconds=5)
    execution = await engine.submit(RETRIED)
    hand.fail((await hand.assigned()).attempt)
    await until(lambda: execution not in engine.residency.states)
    events = await engine.command(execution, inp.Signal("hello"))
    assert isinstance(events[0], ev.SignalReceived)


@virtual
async def test_a_pause_lets_what_runs_settle_and_starts_nothing_until_the_resume():
    engine, hand, store = await start()
    execution = await engine.submit(TWO)
    attempt = (await hand.assigned()).attempt
    await engine.command(execution, inp.Pause())
    assert await status(store, execution) is ExecutionStatus.PAUSING
    hand.succeed(attempt)
    await asyncio.sleep(10)
    assert await status(store, execution) is ExecutionStatus.PAUSED
    assert len(hand.of(msg.Assignment)) == 1
    await engine.command(execution, inp.Resume())
    hand.succeed((await hand.assigned(2)).attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_pause_outlives_its_process():
    """Fault 27."""
    engine, hand, store = await start()
    execution = await engine.submit(TWO)
    hand.succeed((await hand.assigned()).attempt)
    await hand.assigned(2)
    await engine.command(execution, inp.Pause())
    await crash(engine)
    again = Hand(auto=True)
    engine, hand, store = await start(store.reopen(), again)
    await asyncio.sleep(60)
    assert hand.of(msg.Assignment) == []
    await engine.command(execution, inp.Resume())
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert [a.task for a in hand.of(msg.Assignment)] == ["b"]


@virtual
async def test_after_a_loss_of_the_process_finished_tasks_are_not_run_again_and_a_failed_one_is():
    """Fault 27."""
    engine, hand, store = await start()
    execution = await engine.submit(TWO)
    hand.succeed((await hand.assigned()).attempt)
    hand.fail((await hand.assigned(2)).attempt)
    assert await engine.finished(execution) is ExecutionStatus.FAILED
    await crash(engine)
    engine, hand, store = await start(store.reopen(), Hand(auto=True))
    await engine.command(execution, inp.Retry())
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert [a.task for a in hand.of(msg.Assignment)] == ["b"]
    await sound(store, engine)


@virtual
async def test_a_run_keeps_the_definition_it_began_with():
    """Fault 25."""
    edited = workflow(*(t for t in TWO.tasks), Task(id="c", agent="hand", dependencies=("b",)))
    engine, hand, store = await start()
    old = await engine.submit(TWO)
    await hand.assigned()
    await crash(engine)
    engine, hand, store = await start(store.reopen(), Hand(auto=True))
    new = await engine.submit(edited)
    assert await engine.finished(old) is ExecutionStatus.COMPLETED
    assert await engine.finished(new) is ExecutionStatus.COMPLETED
    assert set((await engine.state_of(old)).tasks) == {"a", "b"}
    assert set((await engine.state_of(new)).tasks) == {"a", "b", "c"}


@virtual
async def test_a_cancel_waits_for_its_attempts_and_a_forced_one_does_not():
    engine, hand, store = await start()
    graceful, forced = await engine.submit(TWO), await engine.submit(TWO)
    attempts = {a.execution: a.attempt for a in [await hand.assigned(1), await hand.assigned(2)]}
    await engine.command(graceful, inp.Cancel())
    await engine.command(forced, inp.Cancel(force=True))
    assert await status(store, graceful) is ExecutionStatus.CANCELLING
    assert await status(store, forced) is ExecutionStatus.CANCELLED
    assert {c.attempt: c.force for c in hand.of(msg.Cancel)} == {attempts[graceful]: False, attempts[forced]: True}
    hand.fail(attempts[graceful], cancelled=True)
    hand.fail(attempts[forced], cancelled=True)
    assert await engine.finished(graceful) is ExecutionStatus.CANCELLED
    await asyncio.sleep(1)
    await sound(store, engine)


@virtual
async def test_a_command_to_nobody_is_refused():
    engine, _, _ = await start()
    with pytest.raises(ExecutionNotFoundError):
        await engine.command("nobody", inp.Pause())
    with pytest.raises(ExecutionNotFoundError):
        await engine.finished("nobody")


@virtual
async def test_an_input_from_another_process_is_taken_from_the_inbox_once():
    engine, hand, store = await start()
    execution = await engine.submit(TWO)
    await hand.assigned()
    row = InboxRow(
        execution, "from-elsewhere", "default", shard_of(execution), "pause", encode_input(inp.Pause("elsewhere")), 0
    )
    guest = store.reopen()
    assert await guest.post(row)
    assert not await guest.post(row)
    engine.look_into_inbox()
    await until(lambda: engine.residency.states[execution].status is ExecutionStatus.PAUSING)
    await asyncio.sleep(1)
    assert await store.recorded([(execution, "from-elsewhere")])
    assert await store.inbox(range(64), 0, 10) == []
    assert not await guest.post(row)


@virtual
async def test_a_slow_watcher_loses_news_is_told_so_and_costs_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("podium.engine.watching.MAX_NEWS", 3)
    engine, _, _store = await start()
    execution = await engine.submit(ONE)
    with engine.watch(execution) as watch:
        for number in range(10):
            await engine.command(execution, inp.Signal(f"s{number}"))
        news = [await watch.next()]
        while watch._news or watch._lost:
            news.append(await watch.next())
    assert None in news
    assert len(news) <= 4


@virtual
async def test_an_error_of_twenty_megabytes_is_cut_and_says_so():
    """Fault 24."""
    engine, hand, store = await start()
    execution = await engine.submit(ONE)
    hand.fail((await hand.assigned()).attempt, "x" * 20_000_000)
    assert await engine.finished(execution) is ExecutionStatus.FAILED
    error = (await engine.state_of(execution)).tasks["a"].error
    assert error is not None
    assert len(error.message) < 10_000
    assert "characters left out" in error.message
    assert sum(len(r.payload) + len(r.events) for r in await store.history(execution)) < 100_000


@virtual
async def test_an_agent_that_falls_silent_loses_its_attempt_and_its_late_result_changes_nothing():
    """Fault 6."""
    engine, hand, _store = await start()
    retried = workflow(Task(id="a", agent="hand", retry=RetryPolicy(max_attempts=2, initial_delay_seconds=0.01)))
    execution = await engine.submit(retried)
    first = (await hand.assigned()).attempt
    await until(lambda: engine.staffing.leases.get(first) is None)
    assert virtual_loop().time() >= 15
    await asyncio.sleep(5)
    assert len(hand.of(msg.Assignment)) == 1, "who is silent would only lose the next one, too"
    hand.say(msg.Renewal("hand-1", ()))
    second = (await hand.assigned(2)).attempt
    hand.succeed(first, "late")
    hand.succeed(second, "in time")
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await until(lambda: len(hand.of(msg.Confirmation)) == 2)
    assert {c.attempt: c.accepted for c in hand.of(msg.Confirmation)} == {first: False, second: True}
    result = (await engine.state_of(execution)).tasks["a"].result
    assert result is not None
    assert result.json is not None
    assert bytes(result.json) == b'"in time"'


@virtual
async def test_a_renewed_attempt_is_never_taken_away():
    """Fault 7."""
    engine, hand, _store = await start()
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    for _ in range(30):
        await asyncio.sleep(5)
        hand.say(msg.Renewal("hand-1", (attempt,)))
    hand.succeed(attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert len(hand.of(msg.Assignment)) == 1


@virtual
async def test_an_agent_that_was_started_anew_gets_its_tasks_again_at_once():
    """Fault 9."""
    engine, hand, _store = await start()
    await engine.submit(ONE)
    await hand.assigned()
    hand.incarnation = 2
    hand.register()
    before = virtual_loop().time()
    await hand.assigned(2)
    assert virtual_loop().time() - before < 3


@virtual
async def test_a_refusal_goes_elsewhere_and_costs_no_attempt():
    engine, hand, _store = await start()
    execution = await engine.submit(ONE)
    first = await hand.assigned()
    hand.say(msg.Refused("hand-1", first.attempt, "full"))
    hand.say(msg.Registration("hand-2", "hand", "i1"))
    second = await hand.assigned(2)
    assert second.agent == "hand-2"
    hand.say(msg.Succeeded("hand-2", second.attempt, Raw(b"1")))
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert (await engine.state_of(execution)).tasks["a"].failures == 0


@virtual
async def test_what_is_settled_is_settled():
    engine, _hand, _store = await start(hand=Hand(auto=True))
    execution = await engine.submit(TWO)
    engine.drain()
    async with asyncio.timeout(60):
        await engine.settled()
    await engine.stop()
    await engine.stop()
    state = await engine.state_of(execution)
    assert state.tasks["b"].status in (TaskStatus.READY, TaskStatus.COMPLETED)


@virtual
async def test_timers_that_are_too_many_to_be_all_in_memory_are_fired_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_DUE_PAGE", 5)
    engine, hand, store = await start(hand=Hand(slots=40))
    for _ in range(20):
        await engine.submit(RETRIED)
    await hand.assigned(20)
    for assignment in hand.of(msg.Assignment):
        hand.fail(assignment.attempt)
    await until(lambda: not engine.residency.states)
    due_us = max(row.wake_at_us or 0 for row in await store.executions(None))
    await hand.assigned(40)
    assert virtual_loop().clock.now_us() - due_us < 5 * SECOND
    await crash(engine)
