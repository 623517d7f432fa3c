"""The sweep of blobs takes what nothing mentions, and nothing that anything still mentions, wherever that lies."""

from __future__ import annotations

from hashlib import sha256

from podium.clock import SECOND
from podium.engine import inputs as inp
from podium.engine.codec import encode_input
from podium.engine.sweeping import DAY_SECONDS, sweep
from podium.engine.values import Value
from podium.ids import shard_of
from podium.store.memory import MemoryStore
from podium.store.protocol import Blob, InboxRow
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, Task
from tests.runtime.support import ONE, crash, start, virtual, workflow

LARGE = b'"' + b"x" * 10_000 + b'"'
OTHER = workflow(Task(id="other", agent="hand"), name="other")


async def swept(store: MemoryStore) -> int:
    """Sweep two days later."""
    return await sweep(store, virtual_loop().clock.now_us() + 2 * DAY_SECONDS * SECOND)


@virtual
async def test_what_a_crash_left_goes_and_what_executions_mention_stays():
    engine, hand, store = await start()
    execution = await engine.submit(ONE, LARGE)
    await hand.assigned()
    left = Blob("default", sha256(b"left").hexdigest(), b"left")
    await store.put([left], 1)
    assert await swept(store) == 1
    hand.succeed((await hand.assigned()).attempt, "y" * 10_000)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert await swept(store) == 0
    await crash(engine)


@virtual
async def test_a_start_that_waits_for_room_for_days_finds_its_definition_and_its_input():
    engine, hand, store = await start(max_executions=1)
    first = await engine.submit(ONE)
    second = await engine.submit(OTHER, LARGE)
    assert await store.execution(second) is None
    await swept(store)
    hand.succeed((await hand.assigned()).attempt)
    assert await engine.finished(first) is ExecutionStatus.COMPLETED
    hand.succeed((await hand.assigned(2)).attempt)
    assert await engine.finished(second) is ExecutionStatus.COMPLETED
    await crash(engine)


@virtual
async def test_a_result_that_waits_in_the_inbox_for_days_keeps_its_value():
    engine, hand, store = await start()
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    await crash(engine)
    digest = sha256(LARGE).hexdigest()
    await store.put([Blob("default", digest, LARGE)], 1)
    given = inp.Succeeded("a", 1, Value(blob=digest, size=len(LARGE)))
    row = InboxRow(
        execution, f"succeeded:{attempt}", "default", shard_of(execution), "succeeded", encode_input(given), 1
    )
    await store.post(row)
    assert await swept(store) == 0
    assert await store.get("default", digest) == LARGE
