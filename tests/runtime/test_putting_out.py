"""What has ended leaves the memory, though it was read again for nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from podium.engine import inputs as inp
from podium.engine.posting import Posting
from podium.engine.runtime import Engine
from podium.engine.values import value_of
from podium.ids import execution_id_for
from podium.store.protocol import DEFAULT_TENANT, Blob
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, RetryPolicy, Task
from tests.runtime.support import ONE, Hand, UnreliableStore, sound, start, status, until, virtual, workflow

ONCE = workflow(Task(id="a", agent="hand", retry=RetryPolicy(max_attempts=1)))
SOON_SECONDS = 3.0  # before the reconciler would call it a find


async def leaves_soon(engine: Engine, execution: str) -> None:
    await until(lambda: execution not in engine.residency.states, SOON_SECONDS)
    await asyncio.sleep(SOON_SECONDS)
    assert execution not in engine.residency.states


@virtual
async def test_an_execution_whose_end_was_committed_though_the_answer_was_lost():
    engine, hand, store = await start()
    execution = await engine.submit(ONE)
    given = await hand.assigned()
    store.lying = 1
    hand.succeed(given.attempt)
    await until(lambda: engine._intake.quiet)
    assert await status(store, execution) is ExecutionStatus.COMPLETED
    await leaves_soon(engine, execution)
    await sound(store, engine)
    await engine.stop()


class Deaf(UnreliableStore):
    """Isn't woken by what others write."""

    def listen(self, wake: Any) -> None:
        pass


@virtual
async def test_an_execution_whose_start_is_found_in_the_inbox_after_its_end():
    engine, _, store = await start(Deaf(), Hand(auto=True), inbox_poll_seconds=600.0)
    await asyncio.sleep(1)  # it has looked into the inbox
    execution = execution_id_for(DEFAULT_TENANT, "order-1")
    definition, stored = engine.definitions.compile(ONE)
    await store.put([Blob(DEFAULT_TENANT, definition.digest, stored)], 0)
    posting = Posting(store, DEFAULT_TENANT, virtual_loop().clock)
    given = inp.Start(ONE.name, ONE.version, definition.digest, 1, value_of(b"null")[0])
    await posting.write(execution, "start", given)
    await engine.submit(ONE, submission_id="order-1")
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    engine.look_into_inbox()
    await until(lambda: not store._data.inbox, 5)
    await leaves_soon(engine, execution)
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_an_execution_that_is_retried_stays_and_leaves_when_it_has_ended_again():
    engine, hand, store = await start(idle_seconds=600.0, lease_seconds=3_600.0)
    execution = await engine.submit(ONCE)
    hand.fail((await hand.assigned()).attempt)
    assert await engine.finished(execution) is ExecutionStatus.FAILED
    engine.inside.bring_in(execution)
    await until(lambda: execution in engine.residency.states)
    await engine.command(execution, inp.Retry())
    await asyncio.sleep(SOON_SECONDS)
    assert execution in engine.residency.states
    hand.succeed((await hand.assigned(2)).attempt)
    await leaves_soon(engine, execution)
    assert await status(store, execution) is ExecutionStatus.COMPLETED
    await engine.stop()
