"""The reconciler: what is tampered with is found and mended; what is only on its way isn't a find."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from podium.engine import inputs as inp
from podium.engine.arrivals import row_of
from podium.engine.codec import encode_events, encode_input
from podium.engine.decide import decide
from podium.engine.evolve import evolve
from podium.engine.leases import Lease
from podium.engine.readmodels import ReadModels, statistics
from podium.engine.reconciliation import MEANINGS, PERSISTS, Kind
from podium.engine.reconciling import Reconciler, Report, reconciler_of
from podium.engine.recovery import Definitions, inline, restore
from podium.engine.runtime import Engine
from podium.engine.snapshot import encode_state
from podium.engine.state import State
from podium.engine.values import NULL
from podium.ids import shard_of
from podium.scheduling.placement import ReadyTask
from podium.store.memory import MemoryStore
from podium.store.protocol import Append, Blob, ExecutionChange, InboxRow, LogRow, Snapshot
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, RetryPolicy, Task, WorkflowConfig
from tests.runtime.support import ONE, TWO, Hand, sound, start, status, until, virtual, workflow

LATER = RetryPolicy(max_attempts=2, initial_delay_seconds=600, max_delay_seconds=600, jitter=0)
RETRIED = workflow(Task(id="a", agent="hand", retry=LATER))
LIMITED = workflow(Task(id="a", agent="hand"), config=WorkflowConfig(max_concurrent_executions=2))


def reconciler(engine: Engine, store: MemoryStore, **more: Any) -> Reconciler:
    return reconciler_of(engine, store, virtual_loop().clock, offload=inline, **more)


async def look(engine: Engine, store: MemoryStore, **more: Any) -> Report:
    report = await reconciler(engine, store, **more).look()
    assert not report.failed
    return report


async def finds(engine: Engine, store: MemoryStore, **more: Any) -> dict[str, bool]:
    """Return what a look found, each kind with whether all of it was mended."""
    found: dict[str, bool] = {}
    for find in (await look(engine, store, **more)).finds:
        found[str(find.kind)] = found.get(str(find.kind), True) and find.mended
    return found


async def held(count: int = 1, **settings: Any) -> tuple[Engine, Hand, Any, list[str]]:
    """Start an engine, with executions whose first task is with an agent that renews nothing and holds it."""
    engine, hand, store = await start(hand=Hand(slots=count), lease_seconds=3_600.0, **settings)
    executions = [await engine.submit(TWO) for _ in range(count)]
    await hand.assigned(count)
    return engine, hand, store, executions


async def goes_on(hand: Hand, engine: Engine, execution: str) -> None:
    """Let everything that is held or will be given be done, and see the execution end."""
    hand.auto = True
    for lease in engine.staffing.leases.of_execution(execution):
        hand.succeed(f"{execution}:1:{lease.task}:{lease.number}")
    assert await asyncio.wait_for(engine.finished(execution), 3_600) is ExecutionStatus.COMPLETED


def test_every_kind_has_a_meaning_and_a_time() -> None:
    assert set(MEANINGS) == set(PERSISTS) == set(Kind)


@virtual
async def test_nothing_is_found_where_all_is_well():
    engine, hand, store, (execution, *_) = await held(5)
    report = await look(engine, store)
    assert report.finds == ()
    assert report.looked_at["executions in memory"] == report.looked_at["histories"] == 5
    assert report.looked_at["leases"] == 5
    assert report.looked_at["shards"] == 64
    await goes_on(hand, engine, execution)
    assert (await look(engine, store)).finds == ()


@virtual
async def test_who_waits_for_people_timers_and_agents_is_no_find():
    engine, hand, store = await start(register=False, idle_seconds=1.0, lease_seconds=3_600.0)
    waiting, paused = await engine.submit(ONE), await engine.submit(ONE)
    await engine.command(paused, inp.Pause("lunch"))
    await asyncio.sleep(10)
    assert (await look(engine, store)).finds == ()
    hand.register()
    retrying = await engine.submit(RETRIED)
    hand.fail((await hand.assigned(2)).attempt)
    await asyncio.sleep(30)
    assert retrying not in engine.residency.states
    assert (await look(engine, store)).finds == ()
    await goes_on(hand, engine, waiting)


# --- leases, slots and the queue of one process -----------------------------------------------------------------------


@virtual
async def test_a_lease_without_a_live_attempt_is_let_go():
    engine, hand, store, (execution,) = await held()
    for of, task in ((execution, "b"), ("nobody", "a")):
        engine.staffing.leases.begin(f"{of}:1:{task}:1", Lease(of, task, 1, "hand-1", "i1", 1 << 62))
    report = await look(engine, store)
    assert {f.kind for f in report.finds} == {Kind.LEASE_WITHOUT_ATTEMPT}
    assert len(report.finds) == 2
    assert all(find.mended for find in report.finds)
    assert len(engine.staffing.leases) == 1
    await goes_on(hand, engine, execution)


@virtual
async def test_a_live_attempt_gets_its_lease_back():
    engine, _hand, store, (execution,) = await held()
    engine.staffing.leases.end(f"{execution}:1:a:1")
    assert await finds(engine, store) == {"attempt_without_lease": True}
    assert engine.staffing.leases.get(f"{execution}:1:a:1") is not None
    assert await finds(engine, store) == {}


@virtual
async def test_slots_that_nobody_needs_come_back_and_those_in_use_count():
    engine, _hand, store, (execution,) = await held()
    placement = engine.placing.placement
    placement.hold(f"{execution}:1:b:7", execution, "hand-1", "i1")
    placement.hold("gone:1:a:1", "gone", "hand-1", "i1")
    placement.release(f"{execution}:1:a:1")
    assert placement.agents["hand-1"].held == 2
    found = await finds(engine, store)
    assert found == {"slot_without_attempt": True, "attempt_without_slot": True}
    assert placement.attempts_of(execution) == [f"{execution}:1:a:1"]
    assert placement.agents["hand-1"].held == 1
    assert await finds(engine, store) == {}


@virtual
async def test_a_slot_whose_agents_word_is_awaited_is_no_find():
    slow = workflow(Task(id="a", agent="hand", timeout=5.0))
    engine, hand, store = await start(lease_seconds=600.0)
    execution = await engine.submit(slow)
    hand.fail((await hand.assigned()).attempt, timed_out=True, holds_slot=True)
    assert await asyncio.wait_for(engine.finished(execution), 60) is ExecutionStatus.FAILED
    assert engine.placing.placement.held() == 1
    assert await finds(engine, store) == {}


@virtual
async def test_a_ready_task_that_fell_out_of_the_queue_is_queued_again():
    engine, hand, store = await start(register=False)
    execution = await engine.submit(ONE)
    await asyncio.sleep(1)
    engine.placing.placement.withdraw(execution, "a")
    assert await finds(engine, store) == {"task_not_queued": True}
    hand.register()
    await goes_on(hand, engine, execution)


@virtual
async def test_a_ready_task_whose_grant_was_forgotten_is_queued_again():
    engine, hand, store = await start(register=False)
    execution = await engine.submit(ONE)
    await asyncio.sleep(1)
    engine.placing.placement.withdraw(execution, "a")
    engine.placing.placement.hold(f"{execution}:1:a:1", execution, "hand-1", "i1")
    assert await finds(engine, store) == {"slot_without_attempt": True}
    hand.register()
    await goes_on(hand, engine, execution)


@virtual
async def test_a_queued_task_that_isnt_ready_is_taken_out():
    engine, _hand, store, (execution,) = await held()
    placement = engine.placing.placement
    for of, task, kind in ((execution, "b", "nobody"), ("gone", "a", "nobody")):
        placement.enqueue(ReadyTask(of, task, 1, f"{of}:1:{task}:1", kind, 50, 0))
    assert await finds(engine, store) == {"queued_not_ready": True}
    assert placement.queued() == 0


@virtual
async def test_an_agent_that_miscounts_its_slots_counts_anew():
    engine, _hand, store, _ = await held()
    agent = engine.placing.placement.agents["hand-1"]
    agent.held += 3
    assert await finds(engine, store) == {"slots_miscounted": True}
    assert agent.held == 1
    assert await finds(engine, store) == {}


# --- memory -----------------------------------------------------------------------------------------------------------


@virtual
async def test_an_active_execution_that_fell_out_of_memory_comes_back():
    engine, hand, store, (execution,) = await held()
    engine.residency.drop(execution)
    found = await finds(engine, store)
    assert found.pop("not_in_memory") is True
    assert all(found.values())
    await until(lambda: execution in engine.residency.states)
    assert await finds(engine, store) == {}
    await goes_on(hand, engine, execution)


@virtual
async def test_an_execution_that_has_ended_leaves_the_memory():
    engine, hand, store, (execution,) = await held()
    state = engine.residency.states[execution]
    await goes_on(hand, engine, execution)
    assert execution not in engine.residency.states
    engine.residency.states[execution] = state
    assert await finds(engine, store) == {"left_in_memory": True}
    assert execution not in engine.residency.states


@virtual
async def test_a_timer_that_was_forgotten_in_memory_is_fired():
    engine, hand, store = await start(idle_seconds=10_000.0)
    execution = await engine.submit(RETRIED)
    hand.fail((await hand.assigned()).attempt)
    await asyncio.sleep(1)
    engine.residency._timer_of.pop(execution)
    await asyncio.sleep(700)
    assert len(hand.told) == 2  # the assignment and a confirmation
    assert await finds(engine, store) == {"timer_missed": True}
    hand.succeed((await hand.assigned(2)).attempt)
    assert await asyncio.wait_for(engine.finished(execution), 60) is ExecutionStatus.COMPLETED


@virtual
async def test_a_timer_on_the_disk_that_nobody_loaded_is_fired():
    engine, hand, store = await start(idle_seconds=1.0, timer_poll_seconds=100_000.0)
    execution = await engine.submit(RETRIED)
    hand.fail((await hand.assigned()).attempt)
    await asyncio.sleep(700)
    assert execution not in engine.residency.states
    assert await finds(engine, store) == {"timer_missed": True}
    await hand.assigned(2)
    await goes_on(hand, engine, execution)


@virtual
async def test_a_place_of_the_admission_that_nobody_takes_is_free_again():
    engine, hand, store = await start(max_executions=1)
    engine.admission.take("nobody")
    assert await finds(engine, store) == {"admitted_in_vain": True}
    execution = await engine.submit(ONE)
    await hand.assigned()
    assert await finds(engine, store) == {}
    await goes_on(hand, engine, execution)


# --- the store --------------------------------------------------------------------------------------------------------


@virtual
async def test_an_input_that_nobody_takes_out_of_the_inbox_is_read():
    engine, _hand, store, (execution,) = await held()
    payload = encode_input(inp.Cancel("enough", force=True))
    row = InboxRow(execution, "c", "default", shard_of(execution), "cancel", payload, 0, 7)
    store._data.inbox[7] = row  # nobody was told, and where nobody else can write nobody looks
    assert await finds(engine, store) == {"inbox_waits": True}
    assert await asyncio.wait_for(engine.finished(execution), 60) is ExecutionStatus.CANCELLED


@virtual
async def test_an_input_that_was_read_and_forgotten_is_read_again():
    engine, _hand, store, (execution,) = await held()
    row = InboxRow(execution, "c", "default", shard_of(execution), "cancel", encode_input(inp.Cancel("", True)), 0, 7)
    engine._loader._unsettled[7] = row.shard
    store._data.inbox[7] = row
    engine.look_into_inbox()
    assert await finds(engine, store) == {"inbox_waits": True}
    assert await asyncio.wait_for(engine.finished(execution), 60) is ExecutionStatus.CANCELLED


@virtual
async def test_a_grant_that_is_believed_to_be_on_its_way_and_isnt_gives_its_task_back():
    engine, hand, store = await start(register=False)
    execution = await engine.submit(ONE)
    ready = engine.placing.placement.ready_task(execution, "a")
    assert ready is not None
    engine.placing._posted[execution] = {f"{execution}:1:a:1": ("hand-1", "i1")}
    engine.placing.withdraw(execution, "a")
    engine.placing.enqueue(ready)
    assert await finds(engine, store) == {"slot_without_attempt": True}
    hand.register()
    hand.succeed((await hand.assigned()).attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_start_that_waits_for_room_and_that_nobody_knows_has_its_turn():
    engine, _hand, store, (execution,) = await held(max_executions=1)
    other = await engine.submit(ONE)
    waiting = next(row for row in store._data.inbox.values() if row.execution == other)
    assert await finds(engine, store) == {}  # it is known
    engine.admission.summon(other)
    engine.admission.gone(other)
    assert await finds(engine, store) == {"start_waits": True}
    await engine.command(execution, inp.Cancel("", force=True))
    await until(lambda: waiting.id not in store._data.inbox)
    assert await status(store, other) is ExecutionStatus.RUNNING


@virtual
async def test_a_log_that_somebody_else_has_cut_or_written_is_said():
    engine, _hand, store, (execution,) = await held()
    shard = shard_of(execution)
    row = store._data.shards[shard]
    for position in (row.position - 1, row.position + 4):
        store._data.shards[shard] = replace(row, position=position)
        report = await look(engine, store)
        assert [(find.kind, find.mended) for find in report.finds] == [(Kind.SHARD_MOVED, False)]
        assert f"shard {shard} is at {position}" in report.finds[0].reason


@virtual
async def test_a_counter_of_concurrent_executions_is_corrected():
    engine, hand, store = await start()
    one, two = await engine.submit(LIMITED), await engine.submit(LIMITED)
    await hand.assigned(2)
    assert await finds(engine, store) == {}
    for wrong in (9, 0):
        store._data.counters["default", "workflow:w"] = wrong
        assert await finds(engine, store) == {"counter_differs": True}
        assert await store.counter("default", "workflow:w") == 2
    for execution in (one, two):
        await goes_on(hand, engine, execution)
    assert await store.counter("default", "workflow:w") == 0
    assert await finds(engine, store) == {}


# --- histories --------------------------------------------------------------------------------------------------------


async def begun_and_left(store: MemoryStore, execution: str) -> None:
    """Write an execution that started, and of whose tasks nobody ever looked at any, as no Podium should."""
    definition, encoded = Definitions(store).compile(ONE)
    state, now_us = State(execution, "default", definition), virtual_loop().clock.now_us()
    given = inp.Start(ONE.name, ONE.version, definition.digest, 1, NULL, {}, None, None)
    events = decide(state, given, now_us)
    for event in events:
        evolve(state, event, now_us)
    shard = shard_of(execution)
    taken = await store.take("somebody", [shard], now_us)
    row = LogRow(
        shard, taken[shard].position + 1, "default", execution, 1, len(events), "start", "start", now_us,
        encode_input(given), encode_events(events, given),
    )  # fmt: skip
    change, blobs = ExecutionChange(row_of(state), 0), [Blob("default", definition.digest, encoded)]
    await store.append(Append({shard: taken[shard].fence}, [row], [change], blobs=blobs, now_us=now_us))


@virtual
async def test_an_execution_with_nothing_to_wait_for_goes_on():
    hand = Hand(auto=True)
    store = (await start())[2]
    await begun_and_left(store, "left")
    engine, _, _ = await start(store.reopen(), hand)
    await asyncio.sleep(100)
    assert await status(store, "left") is ExecutionStatus.RUNNING
    report = await look(engine, store)
    assert [(find.kind, find.subject, find.mended) for find in report.finds] == [(Kind.STUCK, "left", True)]
    assert await asyncio.wait_for(engine.finished("left"), 60) is ExecutionStatus.COMPLETED
    assert await finds(engine, store) == {}


@virtual
@pytest.mark.parametrize(
    ("column", "value"), [("status", "PAUSED"), ("active", False), ("wake_at_us", 1 << 60), ("finished_us", 5)]
)
async def test_a_row_that_isnt_what_its_events_say_is_said(column, value):
    engine, _hand, store, (execution,) = await held()
    store._data.executions[execution] = replace(store._data.executions[execution], **{column: value})
    report = await look(engine, store)
    (find,) = [find for find in report.finds if find.kind is Kind.ROW_DIFFERS]
    assert not find.mended
    assert column in find.reason


@virtual
async def test_a_state_in_memory_that_isnt_what_its_events_say_is_said():
    engine, _hand, store, (execution,) = await held()
    engine.residency.states[execution].reason = "?"
    report = await look(engine, store)
    assert [(find.kind, find.mended) for find in report.finds] == [(Kind.MEMORY_DIFFERS, False)]


@virtual
async def test_a_wrong_snapshot_is_replaced():
    engine, _hand, store, (execution,) = await held()
    restored = await restore(store, engine.definitions, execution)
    assert restored is not None
    state = restored.state
    state.reason = "wrong"
    state.live += 1
    await store.put_snapshot(Snapshot(execution, state.sequence, 1, encode_state(state), 1))
    found = await finds(engine, store)
    assert found == {"snapshot_differs": True, "contradiction": False, "memory_differs": False}
    assert await finds(engine, store) == {}


@virtual
async def test_an_execution_that_was_set_aside_comes_back_once_it_can_be_read():
    engine, hand, store = await start(idle_seconds=1.0)
    execution = await engine.submit(RETRIED)
    hand.fail((await hand.assigned()).attempt)
    await asyncio.sleep(10)
    rows = store._data.histories[execution]
    damaged, rows[1] = rows[1], replace(rows[1], events=b"[]")
    assert await finds(engine, store) == {"unreadable": False}
    await asyncio.sleep(700)
    assert execution in engine.residency.quarantined
    assert await finds(engine, store) == {"unreadable": False}
    rows[1] = damaged
    assert await finds(engine, store) == {"unreadable": True}
    await hand.assigned(2)
    await goes_on(hand, engine, execution)
    assert await finds(engine, store) == {}


# --- read models ------------------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("how", ["changed", "gone", "too many"])
async def test_a_read_model_that_differs_is_made_anew(how):
    engine, hand, store = await start()
    models = ReadModels(store)
    engine.landed.append(models.landed)
    await models.start(engine.owned)
    for _ in range(8):
        await goes_on(hand, engine, await engine.submit(TWO))
    await models.readers["statistics"].caught_up()
    await asyncio.sleep(5)
    before, _ = await statistics(store)
    assert await finds(engine, store, models=models) == {}
    (key, *_) = [key for key, entries in store._data.models.items() if entries]
    entries = store._data.models[key]
    match how:
        case "changed":
            name = sorted(entries)[0]
            entries[name] = msgspec.json.encode({**msgspec.json.decode(entries[name]), "started": 77})
        case "gone":
            entries.clear()
        case _:
            entries["default/w/9/"] = b'{"started":1}'
    assert await finds(engine, store, models=models) == {"model_differs": True}
    assert (await statistics(store))[0] == before
    assert await finds(engine, store, models=models) == {}
    await models.stop()


# --- the loop ---------------------------------------------------------------------------------------------------------


@virtual
async def test_the_loop_goes_round_by_itself_and_says_each_find_once():
    engine, _hand, store, executions = await held(30)
    keeper = reconciler(engine, store, seconds=60.0)
    await keeper.start()
    await asyncio.sleep(600)
    assert not sum(keeper.counted().values())
    engine.residency.states[executions[29]].reason = "?"
    await asyncio.sleep(3_000)  # some rounds
    assert {key for key, count in keeper.counted().items() if count} == {("memory_differs", "no")}
    assert keeper.finds["memory_differs", "no"] == 1
    engine.staffing.leases.end(f"{executions[3]}:1:a:1")
    await asyncio.sleep(120)
    assert keeper.finds["attempt_without_lease", "yes"] == 1
    assert keeper.failure is None
    await keeper.stop()
    await keeper.stop()


@virtual
async def test_a_store_that_fails_makes_no_finds():
    engine, _hand, store, (execution,) = await held()
    keeper = reconciler(engine, store)
    store.gate.clear()
    telling = asyncio.create_task(engine.command(execution, inp.Signal("nudge")))
    await asyncio.sleep(1)
    assert (await keeper.look()).finds == ()
    store.gate.set()
    await telling
    await store.close()
    report = await keeper.look()
    assert report.finds == ()
    assert report.failed
    assert not sum(keeper.counted().values())


@virtual
async def test_an_engine_that_has_stopped_is_not_looked_at():
    engine, _hand, store, (execution,) = await held()
    engine.staffing.leases.end(f"{execution}:1:a:1")
    await engine.stop()
    assert await finds(engine, store) == {}


@virtual
async def test_who_asks_gets_the_look_that_was_begun_for_it():
    engine, _hand, store, (execution,) = await held()
    engine.staffing.leases.end(f"{execution}:1:a:1")
    keeper = reconciler(engine, store)
    assert await keeper.answer({"token": "one"}) == await keeper.answer({"token": "two"}) == {"done": False}
    await asyncio.sleep(60)
    one, two = await keeper.answer({"token": "one"}), await keeper.answer({"token": "two"})
    assert [find["kind"] for find in one["finds"]] == ["attempt_without_lease"]
    assert one["finds"][0]["mended"] is True
    assert two["done"] is True
    assert two["finds"] == []
    await keeper.stop()


@virtual
async def test_a_look_that_goes_on_while_much_happens_finds_nothing():
    engine, _hand, store = await start(hand=Hand(auto=True, slots=3), idle_seconds=1.0)
    keeper = reconciler(engine, store, seconds=7.0)
    await keeper.start()
    ended = []
    for _ in range(60):
        ended += [asyncio.create_task(engine.finished(await engine.submit(TWO))) for _ in range(5)]
        await asyncio.sleep(1)
    await asyncio.gather(*ended)
    assert (await look(engine, store)).finds == ()
    assert not sum(keeper.counted().values())
    await keeper.stop()
    await sound(store, engine)


STATEMENTS = (
    "active", "counted", "cursor", "due", "execution", "follow", "get", "history", "inbox", "listed", "load", "model",
    "recorded", "shards",
)  # fmt: skip


@virtual
@pytest.mark.parametrize(("executions", "most"), [(0, 4), (1_000, 12)])
async def test_a_look_asks_little_of_the_store_however_much_there_is(executions, most):
    engine, _, store = await start(register=False)
    for _ in range(executions):
        await engine.submit(ONE)
    models = ReadModels(store)
    keeper = reconciler(engine, store, models=models)
    asked = 0

    def counting(ask: Any) -> Any:
        async def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal asked
            asked += 1
            return await ask(*arguments, **named)

        return counted

    for name in STATEMENTS:
        setattr(store, name, counting(getattr(store, name)))
    looks = 40
    for _ in range(looks):
        assert (await keeper.look(thorough=False)).finds == ()
    assert asked / looks <= most
