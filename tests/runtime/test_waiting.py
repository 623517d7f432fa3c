"""Starts beyond `max_executions` are on the disk and wait for room: none is refused, lost or begun twice."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from podium.engine import inputs as inp
from podium.engine.admission import SINGLE_TASK
from podium.engine.codec import encode_input
from podium.engine.values import NULL
from podium.engine.whereabouts import posted_input, waiting_starts
from podium.exceptions import ConflictError, ExecutionNotFoundError, ShardMovedError, StoreUnavailableError
from podium.fleet import messages as msg
from podium.ids import execution_id_for, shard_of
from podium.store.protocol import DEFAULT_TENANT, Append, Blob, InboxRow
from podium.workflow.model import ExecutionStatus, Task, TaskType, Workflow, WorkflowConfig
from tests.runtime.replicas import Cluster
from tests.runtime.support import ONE, Hand, UnreliableStore, crash, sound, start, status, until, virtual, workflow

SINGLE = workflow(*ONE.tasks, name="single", metadata={SINGLE_TASK: True})


async def waiting(store: UnreliableStore) -> list[str]:
    return [row.execution async for row, _ in waiting_starts(store, DEFAULT_TENANT)]


def finish_all(hand: Hand) -> None:
    for assigned in hand.of(msg.Assignment):
        hand.succeed(assigned.attempt)


@virtual
async def test_a_start_beyond_the_limit_waits_on_the_disk_and_begins_when_there_is_room():
    engine, hand, store = await start(max_executions=2)
    executions = [await engine.submit(ONE) for _ in range(4)]
    await hand.assigned(2)
    await asyncio.sleep(10)
    assert await waiting(store) == executions[2:]
    assert [await store.execution(e) for e in executions[2:]] == [None, None]
    assert len(hand.of(msg.Assignment)) == 2
    hand.auto = True
    finish_all(hand)
    for execution in executions:
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert await waiting(store) == []
    await sound(store, engine)


@virtual
async def test_the_most_urgent_begins_first_then_the_oldest():
    engine, hand, store = await start(max_executions=1)
    await engine.submit(ONE)
    begun = [await engine.submit(ONE, priority=priority) for priority in (50, 50, 90, 10)]
    hand.auto = True
    await hand.assigned()
    finish_all(hand)
    for execution in begun:
        await engine.finished(execution)
    order = [assigned.execution for assigned in hand.of(msg.Assignment)][1:]
    assert order == [begun[2], begun[0], begun[1], begun[3]]
    await sound(store, engine)


@virtual
async def test_what_waits_for_people_or_timers_makes_room():
    engine, hand, _ = await start(max_executions=1)
    first, second = await engine.submit(ONE), await engine.submit(ONE)
    await hand.assigned()
    hand.succeed(hand.told[0].attempt)  # type: ignore[union-attr]
    await engine.finished(first)
    third = await engine.submit(ONE)
    await hand.assigned(2)
    assert hand.of(msg.Assignment)[1].execution == second
    await engine.command(second, inp.Pause())
    hand.fail(hand.of(msg.Assignment)[1].attempt)
    await hand.assigned(3)
    assert hand.of(msg.Assignment)[2].execution == third


@virtual
async def test_single_tasks_neither_wait_nor_count():
    engine, hand, store = await start(max_executions=1)
    await engine.submit(ONE)
    singles = [await engine.submit(SINGLE) for _ in range(5)]
    await hand.assigned(6)
    hand.auto = True
    finish_all(hand)
    for execution in singles:
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@pytest.mark.parametrize("single", [False, True])
@virtual
async def test_a_start_that_somebody_else_wrote_waits_too(single):
    engine, hand, store = await start(max_executions=1)
    await engine.submit(ONE)
    await hand.assigned()
    posted = SINGLE if single else ONE
    definition, encoded = engine.definitions.compile(posted)
    await store.put([Blob(DEFAULT_TENANT, definition.digest, encoded)], 0)
    other = "0192d6c4-0000-7000-8000-000000000001"
    given = inp.Start(posted.name, posted.version, definition.digest, 1, NULL)
    await store.post(InboxRow(other, "start", DEFAULT_TENANT, shard_of(other), "start", encode_input(given), 0))
    engine.look_into_inbox()
    if single:
        assert (await hand.assigned(2)).execution == other
        return
    await until(lambda: any(row.shard != shard_of(other) for row in store._data.inbox.values()), 5)
    assert await waiting(store) == [other]
    await asyncio.sleep(5)
    assert len(hand.of(msg.Assignment)) == 1
    finish_all(hand)
    assert (await hand.assigned(2)).execution == other
    hand.succeed(hand.of(msg.Assignment)[1].attempt)
    assert await engine.finished(other) is ExecutionStatus.COMPLETED
    await sound(store, engine)


class SlowBlobs(UnreliableStore):
    """Reads no blob until it is let."""

    readable: asyncio.Event

    async def get(self, tenant: str, digest: str) -> bytes:
        await self.readable.wait()
        return await super().get(tenant, digest)


@virtual
async def test_a_start_from_the_inbox_that_is_submitted_here_meanwhile_leaves_the_inbox():
    store = SlowBlobs()
    store.readable = asyncio.Event()
    writer, _, _ = await start()
    definition, stored = writer.definitions.compile(SINGLE)
    await writer.stop()
    engine, hand, _ = await start(store, max_executions=1)
    await engine.submit(ONE)
    await hand.assigned()
    execution = execution_id_for(DEFAULT_TENANT, "order-1")
    await store.put([Blob(DEFAULT_TENANT, definition.digest, stored)], 0)
    given = inp.Start(SINGLE.name, SINGLE.version, definition.digest, 1, NULL)
    row = InboxRow(execution, "start", DEFAULT_TENANT, shard_of(execution), "start", encode_input(given), 0)
    await store.post(row)
    engine.look_into_inbox()
    await until(lambda: execution in engine._parts.waiting_room._considered)
    store.gate.clear()
    submitting = asyncio.create_task(engine.submit(SINGLE, submission_id="order-1"))
    await until(lambda: (execution, "start") in engine._intake.known)
    store.readable.set()
    await asyncio.sleep(1)
    store.gate.set()
    assert await submitting == execution
    await until(lambda: not store._data.inbox, 5)
    hand.auto = True
    finish_all(hand)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_crash_loses_nobody_who_waits():
    engine, hand, store = await start(max_executions=1)
    executions = [await engine.submit(ONE) for _ in range(5)]
    await hand.assigned()
    await crash(engine)
    engine, hand, store = await start(store.reopen(), Hand(auto=True), max_executions=1)
    for execution in executions:
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_start_whose_move_was_written_though_the_answer_was_lost_is_there_once():
    engine, hand, store = await start(max_executions=1)
    await engine.submit(ONE)
    await hand.assigned()
    definition, encoded = engine.definitions.compile(ONE)
    await store.put([Blob(DEFAULT_TENANT, definition.digest, encoded)], 0)
    other = "0192d6c4-0000-7000-8000-000000000001"
    given = inp.Start(ONE.name, ONE.version, definition.digest, 1, NULL)
    store.lying = 1
    await store.post(InboxRow(other, "start", DEFAULT_TENANT, shard_of(other), "start", encode_input(given), 0))
    engine.look_into_inbox()
    await until(lambda: not store.lying, 60)
    await asyncio.sleep(5)
    assert await waiting(store) == [other]
    hand.auto = True
    finish_all(hand)
    assert await engine.finished(other) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_one_that_waits_can_be_cancelled():
    engine, hand, store = await start(max_executions=1)
    first, second = await engine.submit(ONE), await engine.submit(ONE)
    await hand.assigned()
    await engine.command(second, inp.Cancel("not needed"))
    assert await engine.finished(second) is ExecutionStatus.CANCELLED
    assert len(hand.of(msg.Assignment)) == 1
    assert await waiting(store) == []
    finish_all(hand)
    assert await engine.finished(first) is ExecutionStatus.COMPLETED
    await sound(store, engine)
    with pytest.raises(ExecutionNotFoundError):
        await engine.command("0192d6c4-0000-7000-8000-000000000001", inp.Cancel())


@virtual
async def test_the_same_submission_waits_once_and_another_under_its_name_is_refused():
    engine, hand, store = await start(max_executions=1)
    await engine.submit(ONE)
    await hand.assigned()
    once, again = [await engine.submit(ONE, submission_id="s") for _ in range(2)]
    assert once == again
    with pytest.raises(ConflictError, match="used before"):
        await engine.submit(ONE, b'"another input"', submission_id="s")
    assert await waiting(store) == [once]
    hand.auto = True
    finish_all(hand)
    assert await engine.finished(once) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_workflows_own_limit_is_said_at_once_and_holds_for_those_who_wait():
    limited = workflow(*ONE.tasks, name="limited", config=WorkflowConfig(max_concurrent_executions=1))
    engine, hand, store = await start(max_executions=2)
    busy = [await engine.submit(ONE) for _ in range(2)]
    first, second = await engine.submit(limited), await engine.submit(limited)  # neither has begun
    other = await engine.submit(ONE)
    await hand.assigned(2)
    finish_all(hand)
    for execution in busy:
        await engine.finished(execution)
    await hand.assigned(4)  # of the two that are limited only one begins, and keeps nobody else from it
    assert {each.execution for each in hand.of(msg.Assignment)[2:]} == {first, other}
    with pytest.raises(ConflictError):
        await engine.submit(limited)
    await asyncio.sleep(60)
    assert await waiting(store) == [second]
    hand.auto = True
    finish_all(hand)
    for execution in (first, second, other):
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_who_waits_when_the_limit_is_raised_begins_at_the_next_start():
    engine, _, store = await start(max_executions=1)
    executions = [await engine.submit(ONE) for _ in range(3)]
    await engine.stop()
    engine, _, store = await start(store.reopen(), Hand(auto=True))
    for execution in executions:
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert await posted_input(store, executions[-1]) is None


@virtual
async def test_a_store_that_fails_while_many_wait_loses_none():
    engine, _, store = await start(hand=Hand(auto=True), max_executions=3)
    executions: list[str] = []
    while len(executions) < 30:
        try:
            executions.append(await engine.submit(ONE, submission_id=f"s{len(executions)}"))
        except StoreUnavailableError:
            continue  # whether it is there is not known: it is said again
        if len(executions) % 7 == 3:
            store.lying = 1
    for execution in executions:
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_each_replica_admits_its_share_and_shards_that_move_take_along_who_waits():
    cluster = Cluster()
    cluster.settings = {"max_executions": 8}
    async with cluster:
        for _ in range(2):
            await cluster.start()
        await cluster.balanced()
        member = cluster.join("hand", slots=100, working=False)
        executions = await cluster.submit(ONE, 30)
        await until(lambda: len(member.live) == 8, 60)
        await asyncio.sleep(20)
        assert len(member.live) == 8
        assert sum(process.engine.admission.at_work for process in cluster.processes) == 8
        assert len(await waiting(cluster.store)) == 22
        await cluster.kill(next(process for process in cluster.processes if not process.engine.leads))
        await cluster.balanced()
        assert cluster.leader.engine.admission.most == 8
        await asyncio.sleep(20)
        assert len(member.live) == 8
        member.finish_all()
        await cluster.ended(executions)
        assert await waiting(cluster.store) == []
        await sound(cluster.store)


@virtual
async def test_a_start_whose_shard_goes_while_it_is_taken_keeps_no_room(monkeypatch):
    cluster = Cluster()
    cluster.settings = {"max_executions": 8}
    async with cluster:
        engine = (await cluster.start()).engine

        async def goes_meanwhile(execution: str, start: inp.Start) -> bool:
            await engine.release([shard_of(execution)])
            return False

        monkeypatch.setattr(engine._parts.starting, "_is_submitted", goes_meanwhile)
        with pytest.raises(ShardMovedError):
            await engine.submit(ONE, submission_id="s")
        assert engine.admission.at_work == 0


@virtual
async def test_an_execution_that_pauses_with_nothing_live_is_not_at_work():
    engine, hand, store = await start(max_executions=1)
    first = await engine.submit(workflow(Task(id="a", agent="nobody"), name="idle"))
    second = await engine.submit(ONE)
    await asyncio.sleep(5)
    await engine.command(first, inp.Pause())
    assert (await hand.assigned()).execution == second
    assert await status(store, first) is ExecutionStatus.PAUSED


# --- who waits for the end of an execution that waits for room ---------------------------------------------------


def after(*others: str) -> Workflow:
    ends = [Task(id=f"end{i}", type=TaskType.WAIT, execution=other) for i, other in enumerate(others)]
    return Workflow(name="after", tasks=tuple(ends), metadata={SINGLE_TASK: True})  # counts for no limit


@virtual
async def test_who_waits_for_the_end_of_an_execution_that_waits_for_room_does_not_begin_it():
    engine, hand, store = await start(max_executions=2)
    executions = [await engine.submit(ONE) for _ in range(6)]
    await hand.assigned(2)
    asking = await engine.submit(after(*executions))
    await asyncio.sleep(10)
    assert await waiting(store) == executions[2:]
    assert len(hand.of(msg.Assignment)) == 2
    hand.auto = True
    finish_all(hand)
    assert await engine.finished(asking) is ExecutionStatus.COMPLETED
    assert store._data.inbox == {}
    await sound(store, engine)


@virtual
async def test_who_waits_for_an_execution_that_its_workflows_limit_keeps_back_costs_nothing_meanwhile():
    engine, hand, store = await start(max_executions=2)
    for _ in range(2):
        await engine.submit(ONE)
    limited = workflow(*ONE.tasks, name="limited", config=WorkflowConfig(max_concurrent_executions=1))
    first, second = await engine.submit(limited), await engine.submit(limited)
    await hand.assigned(2)
    finish_all(hand)
    await hand.assigned(3)
    await asyncio.sleep(5)
    asking = await engine.submit(after(second))
    tried = count_appends(store)
    await asyncio.sleep(5)
    assert len(tried) <= 1
    hand.auto = True
    finish_all(hand)
    await engine.finished(first)
    assert await engine.finished(asking) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_command_for_an_execution_that_its_workflows_limit_keeps_back_waits_without_being_tried_again():
    engine, hand, store = await start(max_executions=2)
    for _ in range(2):
        await engine.submit(ONE)
    limited = workflow(*ONE.tasks, name="limited", config=WorkflowConfig(max_concurrent_executions=1))
    first, second = await engine.submit(limited), await engine.submit(limited)
    await hand.assigned(2)
    finish_all(hand)
    await hand.assigned(3)
    await asyncio.sleep(5)
    tried = count_appends(store)
    cancelling = asyncio.create_task(engine.command(second, inp.Cancel("not needed")))
    await asyncio.sleep(5)
    assert len(tried) <= 1
    assert not cancelling.done()
    finish_all(hand)
    await engine.finished(first)
    await cancelling
    assert await engine.finished(second) is ExecutionStatus.CANCELLED
    await sound(store, engine)


@virtual
async def test_a_tenant_does_not_learn_of_an_execution_of_another_that_waits_for_room():
    engine, hand, store = await start(max_executions=1)
    await engine.submit(ONE)
    other = await engine.submit(ONE)
    await hand.assigned()
    asking = await engine.submit(after(other), tenant="another")
    assert await engine.finished(asking) is ExecutionStatus.FAILED
    error = (await engine.state_of(asking)).error
    assert error is not None
    assert error.message == f"execution {other} is unknown: NotFound: there is no execution {other}"
    assert await waiting(store) == [other]


@virtual
async def test_who_waits_for_a_start_that_is_refused_is_told():
    engine, hand, store = await start(max_executions=1)
    await engine.submit(ONE)
    other = await engine.submit(ONE)
    await hand.assigned()
    asking = await engine.submit(after(other))
    await asyncio.sleep(5)
    row = await posted_input(store, other)
    assert row is not None
    store._data.inbox[row.id] = msgspec.structs.replace(row, payload=b"{}")  # as if the disk had changed it
    hand.auto = True
    finish_all(hand)
    assert await engine.finished(asking) is ExecutionStatus.FAILED


@virtual
async def test_who_waits_for_an_execution_that_waits_for_room_loses_nothing_by_a_kill():
    engine, hand, store = await start(max_executions=1)
    await engine.submit(ONE)
    other = await engine.submit(ONE)
    await hand.assigned()
    asking = await engine.submit(after(other))
    await asyncio.sleep(5)
    await crash(engine)
    engine, hand, store = await start(store.reopen(), max_executions=1)
    hand.auto = True
    assert await engine.finished(asking) is ExecutionStatus.COMPLETED
    await sound(store, engine)


def count_appends(store: UnreliableStore) -> list[int]:
    """Return a list that has an entry for each append from now on, also one that fails."""
    tried: list[int] = []
    append = store.append

    async def counted(batch: Append) -> None:
        tried.append(len(batch.rows))
        await append(batch)

    store.append = counted  # type: ignore[method-assign]
    return tried
