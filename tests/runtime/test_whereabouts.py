"""Who asks for an execution that is just beginning finds it, wherever its start is on its way from the inbox over the
waiting room to the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from podium.app import Podium
from podium.engine import inputs as inp
from podium.engine.codec import encode_input
from podium.engine.following import Follower
from podium.engine.runtime import Engine
from podium.engine.values import NULL
from podium.exceptions import ConflictError, ExecutionNotFoundError
from podium.fleet import messages as msg
from podium.ids import IdSource, shard_of
from podium.settings import Settings
from podium.store.logs import MemoryLogs
from podium.store.protocol import DEFAULT_TENANT, Blob, InboxRow
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, WorkflowConfig
from tests.runtime.support import ONE, Hand, UnreliableStore, sound, start, status, until, virtual, workflow

OTHER = "0192d6c4-0000-7000-8000-000000000001"


class StoreInMotion(UnreliableStore):
    """Lets something happen between two reads: just before the next look at inputs, or when a blob is put."""

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.before: dict[str, Callable[[], Awaitable[object]]] = {}

    async def _happen(self, what: str) -> None:
        happening = self.before.pop(what, None)
        if happening is not None:
            await happening()

    async def inbox(self, *about: Any, **more: Any) -> Any:
        await self._happen("inbox")
        return await super().inbox(*about, **more)

    async def put(self, *about: Any) -> None:
        await self._happen("put")
        await super().put(*about)


async def one_waits(**options: Any) -> tuple[Engine, Hand, StoreInMotion, str]:
    """Return an engine at which one execution is at work, and another one waits for room."""
    engine, hand, store = await start(StoreInMotion(), max_executions=1)
    assert isinstance(store, StoreInMotion)
    await engine.submit(ONE)
    execution = await engine.submit(ONE, **options)
    await hand.assigned()
    await asyncio.sleep(1)

    async def begin() -> None:
        hand.succeed(hand.of(msg.Assignment)[0].attempt)
        await until(lambda: execution in store._data.executions)

    store.before["begin"] = begin
    return engine, hand, store, execution


def begins_before(store: StoreInMotion, what: str) -> None:
    store.before[what] = store.before.pop("begin")


async def post(engine: Engine, store: UnreliableStore, kept: bool = True, posted: Any = ONE) -> None:
    """Write a start to the inbox, as another process would, without a word to the engine."""
    definition, encoded = engine.definitions.compile(posted)
    if kept:
        await store.put([Blob(DEFAULT_TENANT, definition.digest, encoded)], 0)
    digest = definition.digest if kept else "0" * 64
    given = inp.Start(posted.name, posted.version, digest, 1, NULL)
    await store.post(InboxRow(OTHER, "start", DEFAULT_TENANT, shard_of(OTHER), "start", encode_input(given), 0))


def guest_of(store: StoreInMotion) -> Podium:
    clock, ids = virtual_loop().clock, IdSource(virtual_loop().clock, virtual_loop().chance)
    theirs = StoreInMotion(store._data)
    theirs.before = store.before
    return Podium(Settings(), theirs, MemoryLogs(), clock=clock, ids=ids, elsewhere=True, may_own=False)


@virtual
async def test_its_end_is_awaited_though_it_begins_between_two_looks():
    engine, hand, store, execution = await one_waits()
    begins_before(store, "inbox")
    hand.auto = True
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert "inbox" not in store.before


@virtual
async def test_its_present_is_found_though_it_begins_between_two_looks():
    engine, _, store, execution = await one_waits()
    begins_before(store, "inbox")
    follower = await Follower.of(store, engine.definitions, execution)
    assert follower.state.status is ExecutionStatus.RUNNING
    assert "inbox" not in store.before


@virtual
async def test_another_submission_under_its_name_is_refused_though_it_begins_meanwhile():
    engine, _, store, _ = await one_waits(submission_id="s")
    begins_before(store, "put")
    with pytest.raises(ConflictError, match="used before"):
        await engine.submit(ONE, b'"another input"', submission_id="s")
    assert "put" not in store.before


@virtual
async def test_a_guest_finds_and_awaits_and_cancels_it_though_it_begins_between_two_looks():
    for auto, ask in (
        (False, lambda guest, execution: guest.find(execution)),
        (True, lambda guest, execution: guest.finished(execution)),
        (False, lambda guest, execution: guest.command(execution, inp.Cancel())),
    ):
        _, hand, store, execution = await one_waits()
        begins_before(store, "inbox")
        hand.auto = auto
        await ask(guest_of(store), execution)
        assert "inbox" not in store.before


@virtual
async def test_what_lies_in_the_inbox_still_is_awaited_and_has_a_present():
    engine, _, store = await start(hand=Hand(auto=True))
    await post(engine, store)
    follower = await Follower.of(store, engine.definitions, OTHER)
    assert follower.state.status is ExecutionStatus.RUNNING
    end = asyncio.create_task(engine.finished(OTHER))
    await asyncio.sleep(0)
    engine.look_into_inbox()
    assert await end is ExecutionStatus.COMPLETED
    await sound(store, engine)


@pytest.mark.parametrize("limit", [0, 1])
@virtual
async def test_what_lies_in_the_inbox_still_can_be_cancelled(limit):
    engine, hand, store = await start(max_executions=limit)
    first = await engine.submit(ONE)
    await hand.assigned()
    await post(engine, store)
    await engine.command(OTHER, inp.Cancel())
    assert await engine.finished(OTHER) is ExecutionStatus.CANCELLED
    hand.succeed(hand.of(msg.Assignment)[0].attempt)
    assert await engine.finished(first) is ExecutionStatus.COMPLETED
    await asyncio.sleep(10)
    assert engine.admission.at_work == 0
    assert store._data.inbox == {}
    await sound(store, engine)


@virtual
async def test_a_start_that_is_just_looked_at_can_be_cancelled(monkeypatch):
    engine, hand, store = await start(max_executions=1)
    await engine.submit(ONE)
    await hand.assigned()
    looked_at, gate = asyncio.Event(), asyncio.Event()
    find = engine._parts.waiting_room._definition_of

    async def slowly(arrival: Any) -> Any:
        looked_at.set()
        await gate.wait()
        return await find(arrival)

    monkeypatch.setattr(engine._parts.waiting_room, "_definition_of", slowly)
    await post(engine, store)
    engine.look_into_inbox()
    await looked_at.wait()
    await engine.command(OTHER, inp.Cancel())
    gate.set()
    assert await status(store, OTHER) is ExecutionStatus.CANCELLED
    await asyncio.sleep(10)
    assert store._data.inbox == {}
    assert engine.admission.at_work == 1
    await sound(store, engine, at_rest=False)


@virtual
async def test_a_start_from_the_inbox_that_is_called_and_over_its_workflows_limit_is_refused_and_gone():
    limited = workflow(*ONE.tasks, name="limited", config=WorkflowConfig(max_concurrent_executions=1))
    engine, hand, store = await start(max_executions=1)
    await engine.submit(limited)
    await hand.assigned()
    await post(engine, store, posted=limited)
    with pytest.raises(ExecutionNotFoundError):
        await engine.command(OTHER, inp.Cancel())
    await asyncio.sleep(10)
    assert store._data.inbox == {}
    assert engine.admission.at_work == 1
    await sound(store, engine, at_rest=False)


@virtual
async def test_who_awaits_a_start_that_is_refused_hears_of_it():
    engine, _, store = await start()
    await post(engine, store, kept=False)
    end = asyncio.create_task(engine.finished(OTHER))
    await asyncio.sleep(0)
    engine.look_into_inbox()
    async with asyncio.timeout(10):
        with pytest.raises(ExecutionNotFoundError):
            await end
    assert store._data.inbox == {}


@virtual
async def test_who_awaits_a_start_that_waits_for_room_and_is_refused_hears_of_it():
    engine, hand, store, execution = await one_waits()
    [row] = store._data.inbox.values()
    store._data.inbox[row.id] = InboxRow(execution, "start", DEFAULT_TENANT, row.shard, "start", b"{", 0, row.id)
    end = asyncio.create_task(engine.finished(execution))
    await asyncio.sleep(0)
    hand.succeed(hand.of(msg.Assignment)[0].attempt)
    async with asyncio.timeout(10):
        with pytest.raises(ExecutionNotFoundError):
            await end


@virtual
async def test_a_start_that_comes_once_more_while_it_pauses_takes_no_room():
    engine, hand, store, execution = await one_waits()
    [row] = store._data.inbox.values()
    await store.before["begin"]()
    await hand.assigned(2)
    await engine.command(execution, inp.Pause())
    hand.fail(hand.of(msg.Assignment)[1].attempt)
    await until(lambda: engine.admission.at_work == 0)
    store._data.inbox[row.id] = row  # as after a move whose start had been called from its old place
    engine._parts.waiting_room.news()
    await until(lambda: not store._data.inbox, 60)
    assert engine.admission.at_work == 0
    assert engine._parts.waiting_room._begun == {}
