"""What comes, and what goes, while the store is asked in vain for an execution: a start that comes begins it, and isn't
refused with the rest.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from podium.engine import inputs as inp
from podium.engine.posting import Posted, Posting
from podium.engine.runtime import Engine
from podium.engine.values import value_of
from podium.exceptions import ShardMovedError, StoreUnavailableError
from podium.ids import execution_id_for, shard_of
from podium.store.protocol import DEFAULT_TENANT, Blob
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus
from tests.runtime.replicas import Cluster
from tests.runtime.support import ONE, Hand, UnreliableStore, sound, start, until, virtual

EXECUTION = execution_id_for(DEFAULT_TENANT, "order-1")


class SlowLoads(UnreliableStore):
    """Answers one question for an execution after the other, as it is let."""

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.answers = asyncio.Semaphore(0)
        self.asked = 0

    async def load(self, execution: str) -> Any:
        self.asked += 1
        await self.answers.acquire()
        return await super().load(execution)


async def posted_start(engine: Engine, store: UnreliableStore, posting: Posting) -> Posted:
    """Post a start as another process does."""
    definition, stored = engine.definitions.compile(ONE)
    await store.put([Blob(DEFAULT_TENANT, definition.digest, stored)], 0)
    given = inp.Start(ONE.name, ONE.version, definition.digest, 1, value_of(b"null")[0])
    posted = await posting.write(EXECUTION, "start", given)
    engine.look_into_inbox()
    return posted


async def begins(engine: Engine, store: SlowLoads) -> None:
    """Have a start come while the store is asked the second time, and see the execution begin and end."""
    posting = Posting(store.reopen(), DEFAULT_TENANT, virtual_loop().clock)
    store.answers.release()
    await until(lambda: store.asked == 2)
    posted = await posted_start(engine, store, posting)
    await until(lambda: any(isinstance(each.given, inp.Start) for each in engine.residency.loading[EXECUTION]))
    for _ in range(10):
        store.answers.release()
    assert await posting.recorded(posted, _nothing)
    assert await engine.finished(EXECUTION) is ExecutionStatus.COMPLETED
    await posting.close()
    await sound(store, engine)


async def _nothing() -> None:
    return None


@virtual
async def test_a_submission_that_comes_again_by_the_inbox_while_the_failed_one_is_looked_for():
    engine, _, store = await start(SlowLoads(), Hand(auto=True))
    assert isinstance(store, SlowLoads)
    store.down = True
    with pytest.raises(StoreUnavailableError):
        await engine.submit(ONE, submission_id="order-1")
    store.down = False
    await begins(engine, store)
    await engine.stop()


@virtual
async def test_a_start_behind_what_is_said_to_its_execution():
    engine, _, store = await start(SlowLoads(), Hand(auto=True))
    assert isinstance(store, SlowLoads)
    saying = asyncio.create_task(engine.command(EXECUTION, inp.Signal("go"), "signal:1"))
    await begins(engine, store)
    await saying
    assert [row.input_id for row in await store.history(EXECUTION, limit=2)] == ["start", "signal:1"]
    await engine.stop()


@virtual
async def test_what_is_said_to_an_execution_that_may_begin_elsewhere(monkeypatch):
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        slow = SlowLoads(cluster.store._data)
        monkeypatch.setattr(one.engine._loader, "_store", slow)
        saying = asyncio.create_task(one.engine.command(EXECUTION, inp.Signal("go"), "signal:1"))
        slow.answers.release()
        await until(lambda: slow.asked == 2)
        fences = await one.engine.release([shard_of(EXECUTION)])
        slow.answers.release()
        with pytest.raises(ShardMovedError):
            await saying
        await one.store.release(one.ownership.replica.id, fences)
        await cluster.balanced()
