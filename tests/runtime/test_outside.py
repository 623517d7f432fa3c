"""Tasks that no agent does, in an engine: what wakes them, and that neither kill nor another owner loses what does."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine import loading
from podium.engine.following import Follower
from podium.engine.posting import Posting
from podium.engine.reconciliation import contradictions
from podium.engine.recovery import Definitions, Restored, restore
from podium.engine.runtime import Engine
from podium.engine.state import State
from podium.engine.values import Value, value_of
from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.store.protocol import DEFAULT_TENANT, Blob
from podium.testing.virtual import virtual_loop
from podium.workflow.model import Escalation, ExecutionStatus, FailureAction, OnFailure, Task, TaskType, Workflow
from tests.runtime.replicas import Cluster
from tests.runtime.support import Hand, UnreliableStore, crash, sound, start, until, virtual

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


def waits(*tasks: Task, **options: object) -> Workflow:
    return Workflow(name="waits", tasks=tasks, **options)  # type: ignore[arg-type]


SIGNAL = waits(Task(id="go", type=TaskType.WAIT, signal="go"))
DAY = waits(Task(id="rest", type=TaskType.WAIT, wait_for=86_400.0))
ASK = waits(Task(id="ask", type=TaskType.HUMAN, assignee="ann", escalation=Escalation(60.0, "bob")))


def json_value(value: object) -> Value:
    return value_of(msgspec.json.encode(value))[0]


async def result_of(engine: Engine, execution: str, task: str) -> object:
    state = await engine.state_of(execution)
    found = state.tasks[task].result
    return None if found is None else msgspec.json.decode(found.json)


async def waiting(engine: Engine, execution: str) -> State:
    """Return an execution's committed state once a task of it waits."""
    while True:
        state = await engine.state_of(execution)
        if state.waiting:
            return state
        await asyncio.sleep(0.05)


@virtual
async def test_a_signal_wakes_an_execution_that_lies_on_disk():
    engine, _, store = await start(idle_seconds=5.0)
    execution = await engine.submit(SIGNAL)
    await until(lambda: execution not in engine.residency.states)
    row = await store.execution(execution)
    assert row is not None
    assert (row.active, msgspec.json.decode(row.summary)["waiting"]) == (False, 1)
    await engine.command(execution, inp.Signal("go", json_value({"n": 1})))
    assert await engine.finished(execution) is COMPLETED
    assert await result_of(engine, execution, "go") == {"n": 1}
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_a_time_comes_though_the_engine_was_killed_and_nothing_was_in_memory():
    engine, _, store = await start(idle_seconds=5.0)
    execution = await engine.submit(DAY)
    await until(lambda: execution not in engine.residency.states)
    await crash(engine)
    engine, _, _ = await start(store)
    assert execution not in engine.residency.states
    await asyncio.sleep(86_000)
    assert not (await engine.state_of(execution)).final
    assert await engine.finished(execution) is COMPLETED
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_the_first_answer_counts_and_the_next_is_told_who_was_first():
    engine, _, store = await start()
    execution = await engine.submit(waits(*ASK.tasks, Task(id="go", type=TaskType.WAIT, signal="go")))
    await waiting(engine, execution)
    first, second = await asyncio.gather(
        engine.command(execution, inp.Answer("ask", json_value(1), "ann")),
        engine.command(execution, inp.Answer("ask", json_value(2), "bob")),
    )
    assert isinstance(first[0], ev.TaskCompleted)
    assert isinstance(second[0], ev.InputIgnored)
    assert second[0].reason.startswith("ask was answered already by ann, at ")
    await engine.command(execution, inp.Signal("go"))
    assert await engine.finished(execution) is COMPLETED
    assert await result_of(engine, execution, "ask") == 1
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_nobody_answers_so_somebody_else_is_asked():
    engine, _, store = await start()
    execution = await engine.submit(ASK)
    await waiting(engine, execution)
    await asyncio.sleep(61)
    state = await engine.state_of(execution)
    assert list(state.waiting) == [("person", "bob")]
    assert contradictions(state) == []
    await engine.command(execution, inp.Answer("ask", by="bob"))
    assert await engine.finished(execution) is COMPLETED
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_a_large_value_is_at_hand_for_the_conditions_that_read_it():
    after = Task(id="after", type=TaskType.WAIT, wait_for=1.0, dependencies=("go",), when="len(tasks.go.result) > 9000")
    engine, _, store = await start()
    execution = await engine.submit(waits(*SIGNAL.tasks, after))
    text = msgspec.json.encode("x" * 10_000)
    value = value_of(text)[0]
    with pytest.raises(InvalidInputError, match="isn't in the store"):
        await engine.command(execution, inp.Signal("go", value))
    await store.put([Blob(DEFAULT_TENANT, value.blob or "", text)], 0)
    await engine.command(execution, inp.Signal("go", value))
    await crash(engine)
    engine, _, _ = await start(store)
    assert await engine.finished(execution) is COMPLETED
    assert (await engine.state_of(execution)).tasks["after"].finished_us > 0
    await sound(store, engine)
    await engine.stop()


# --- the ends of other executions ------------------------------------------------------------------------------------


def after(other: str, **options: object) -> Workflow:
    return waits(Task(id="other", type=TaskType.WAIT, execution=other, **options))  # type: ignore[arg-type]


@virtual
async def test_the_end_of_another_execution_comes_with_its_result():
    engine, _, store = await start()
    other = await engine.submit(SIGNAL)
    first, second = await engine.submit(after(other)), await engine.submit(after(other))
    await waiting(engine, first)
    await until(lambda: len(engine.residency.states[other].awaiters) == 2)
    await engine.command(other, inp.Signal("go", json_value({"n": 7})))
    for execution in (first, second, await engine.submit(after(other))):  # the last asks when it is over
        assert await engine.finished(execution) is COMPLETED
        assert await result_of(engine, execution, "other") == {"n": 7}
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_an_ended_execution_is_read_once_for_all_that_waited_for_its_end(monkeypatch: pytest.MonkeyPatch):
    engine, _, store = await start()
    other = await engine.submit(SIGNAL)
    several = tuple(Task(id=f"other{nth}", type=TaskType.WAIT, execution=other) for nth in range(20))
    execution = await engine.submit(waits(*several))
    await until(lambda: len(engine.residency.states[other].awaiters) == 20)
    read = []

    async def counted(store: UnreliableStore, definitions: Definitions, wanted: str) -> Restored | None:
        read.append(wanted)
        await asyncio.sleep(0.1)  # as a disk takes its time
        return await restore(store, definitions, wanted)

    monkeypatch.setattr(loading, "restore", counted)
    await engine.command(other, inp.Signal("go", json_value({"n": 7})))
    assert await engine.finished(execution) is COMPLETED
    assert await result_of(engine, execution, "other19") == {"n": 7}
    assert read.count(other) == 1
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_the_failure_of_another_execution_is_the_tasks():
    engine, _, store = await start()
    other = await engine.submit(waits(Task(id="go", type=TaskType.WAIT, signal="go", timeout=60.0)))
    execution = await engine.submit(after(other))
    assert await engine.finished(execution) is FAILED
    error = (await engine.state_of(execution)).error
    assert error is not None
    assert error.type == "ExecutionFailed"
    assert error.message.startswith(f"execution {other} is failed: TimeoutError: the signal go didn't come")
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_an_execution_that_is_not_there_fails_the_task_that_waits_for_its_end():
    engine, _, store = await start()
    execution = await engine.submit(after("0000-nobody"))
    assert await engine.finished(execution) is FAILED
    error = (await engine.state_of(execution)).error
    assert error is not None
    assert "there is no execution 0000-nobody" in error.message
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_a_retried_execution_asks_again_for_an_end_that_came_while_it_had_failed():
    engine, hand, store = await start()
    other = await engine.submit(SIGNAL)
    doomed = Task(id="doomed", agent_type="hand")
    execution = await engine.submit(waits(*after(other).tasks, doomed))
    await waiting(engine, execution)
    hand.fail((await hand.assigned()).attempt)
    assert await engine.finished(execution) is FAILED
    await engine.command(other, inp.Signal("go", json_value(5)))
    assert await engine.finished(other) is COMPLETED
    await engine.command(execution, inp.Retry())
    hand.succeed((await hand.assigned(2)).attempt)
    assert await engine.finished(execution) is COMPLETED
    assert await result_of(engine, execution, "other") == 5
    await until(lambda: not store._data.inbox)  # what it asked a second time
    await sound(store, engine)
    await engine.stop()


@pytest.mark.parametrize("at", range(1, 12))
def test_a_kill_at_any_commit_loses_neither_question_nor_answer(at: int):
    @virtual
    async def killed() -> None:
        store = Dying(at)
        engine, _, _ = await start(store, inbox_poll_seconds=0.2)
        other = execution = ""
        try:
            async with asyncio.timeout(30):
                other = await engine.submit(SIGNAL, submission_id="other")
                execution = await engine.submit(after(other), submission_id="waits")
                await engine.command(other, inp.Signal("go", json_value(3)), "person:1")
                await engine.finished(execution)
        except TimeoutError:
            pass
        await crash(engine)
        store.at = 0
        engine, _, _ = await start(store, inbox_poll_seconds=0.2)
        other = await engine.submit(SIGNAL, submission_id="other")
        execution = await engine.submit(after(other), submission_id="waits")
        if not (await engine.state_of(other)).final:
            await engine.command(other, inp.Signal("go", json_value(3)), "person:1")
        assert await engine.finished(execution) is COMPLETED
        assert await result_of(engine, execution, "other") == 3
        await sound(store, engine)
        await engine.stop()

    killed()


class Dying(UnreliableStore):
    """Keeps nothing any more from some append on, as if the process had been killed there."""

    def __init__(self, at: int, data: object = None) -> None:
        super().__init__(data)
        self.at = at

    def reopen(self) -> Dying:
        return Dying(0, self._data)

    async def append(self, batch) -> None:
        if self.at and self.appends + 1 >= self.at:
            await asyncio.Event().wait()
        await super().append(batch)


@virtual
async def test_a_wait_that_fails_gives_way_to_its_fallback():
    doubt = OnFailure(FailureAction.FALLBACK, "without")
    engine, hand, store = await start(hand=Hand(auto=True))
    execution = await engine.submit(
        waits(
            Task(id="go", type=TaskType.WAIT, signal="go", timeout=10.0, on_failure=doubt),
            Task(id="without", agent_type="hand"),
        )
    )
    assert await engine.finished(execution) is COMPLETED
    assert len(hand.told) >= 1
    await sound(store, engine)
    await engine.stop()


# --- a status for queries --------------------------------------------------------------------------------------------


@virtual
async def test_what_a_task_publishes_is_shown_by_any_process_and_survives_a_kill():
    engine, hand, store = await start()
    execution = await engine.submit(waits(Task(id="a", agent_type="hand")))
    given = await hand.assigned()
    for nth, value in ((1, b'{"phase":1}'), (2, b'{"phase":2}'), (1, b'{"phase":1}')):
        hand.say(msg.Published(hand.agent, given.attempt, nth, msgspec.Raw(value)))
    hand.say(msg.Published(hand.agent, given.attempt, 3, msgspec.Raw(b'"' + b"x" * 5_000 + b'"')))
    hand.succeed(given.attempt)
    assert await engine.finished(execution) is COMPLETED
    await crash(engine)
    follower = await Follower.of(store.reopen(), engine.definitions, execution)
    assert await follower.published() == {"phase": 2}
    await sound(store)


@virtual
async def test_what_a_workflow_publishes_is_made_when_somebody_asks():
    shown = {"go": "${tasks.go.status}", "n": "${tasks.go.result.n}"}
    engine, _, store = await start()
    execution = await engine.submit(waits(*SIGNAL.tasks, publish=shown))
    state = await waiting(engine, execution)
    follower = Follower(store, engine.definitions, state)
    assert "error" in await follower.published()
    await engine.command(execution, inp.Signal("go", json_value({"n": 7})))
    assert await engine.finished(execution) is COMPLETED
    await follower.catch_up()
    assert await follower.published() == {"go": "completed", "n": 7}
    await engine.stop()


# --- several replicas ------------------------------------------------------------------------------------------------


@virtual
async def test_executions_of_different_replicas_wait_for_each_other_also_after_a_kill():
    async with Cluster() as cluster:
        one = await cluster.start()
        two = await cluster.start()
        await cluster.balanced()
        other = await one.engine.submit(SIGNAL, execution=one.engine.new_execution_id())
        execution = await two.engine.submit(after(other), execution=two.engine.new_execution_id())
        await until(lambda: other in one.engine.residency.states and one.engine.residency.states[other].awaiters)
        await cluster.kill(one)
        await cluster.balanced()
        posting = Posting(cluster.store, DEFAULT_TENANT, virtual_loop().clock)
        await posting.write(other, "person:1", inp.Signal("go", json_value({"n": 4})))
        assert await two.engine.finished(execution) is COMPLETED
        assert await result_of(two.engine, execution, "other") == {"n": 4}
        await cluster.quiet()


@virtual
async def test_the_first_answer_counts_whichever_replicas_people_speak_to():
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.start()
        await cluster.balanced()
        executions = [await one.engine.submit(ASK, execution=one.engine.new_execution_id()) for _ in range(3)]
        posting = Posting(cluster.store, DEFAULT_TENANT, virtual_loop().clock)
        for execution in executions:
            await asyncio.gather(
                posting.write(execution, "answer:bob", inp.Answer("ask", json_value(2), "bob")),
                one.engine.command(execution, inp.Answer("ask", json_value(1), "ann"), "answer:ann"),
            )
            assert await one.engine.finished(execution) is COMPLETED
        await until(lambda: not cluster.store._data.inbox)
        await cluster.quiet()
