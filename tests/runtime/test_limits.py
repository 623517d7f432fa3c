"""Limits by key in a running engine: the loop wakes when a rate has room, and a new owner knows what was before it."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from podium.clock import SECOND
from podium.engine import events as ev
from podium.engine.codec import decode_facts
from podium.exceptions import ConflictError
from podium.testing.oracle import unreturned
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ConcurrencyLimit, ExecutionStatus, RateLimit, Task, WorkflowConfig
from tests.runtime.replicas import Cluster
from tests.runtime.support import Hand, UnreliableStore, start, until, virtual, workflow

RATED = workflow(Task(id="a", agent="hand", for_each=[1] * 6, rate_limit=RateLimit(2, 10.0, "k")))
RATED_ONE = workflow(Task(id="a", agent="hand", rate_limit=RateLimit(1, 10.0, "k")))


async def begun_seconds(store: UnreliableStore) -> list[float]:
    """When attempts began, in seconds after the first."""
    times = []
    for shard in await store.shards():
        for row in await store.follow(shard.shard, 0):
            times += [row.now_us / SECOND for event in decode_facts(row) if isinstance(event, ev.AttemptGranted)]
    return [at - min(times) for at in sorted(times)]


@virtual
async def test_attempts_begin_as_the_rate_has_room_and_no_later():
    engine, _, store = await start(hand=Hand(auto=True))
    execution = await engine.submit(RATED)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    begun = await begun_seconds(store)
    assert all(later - earlier >= 10 for earlier, later in zip(begun, begun[2:], strict=False))
    assert begun[-1] < 20.5
    assert unreturned(engine) == []
    await engine.stop()


@virtual
async def test_a_limit_holds_over_executions_and_the_waiting_are_explained():
    one = workflow(Task(id="a", agent="hand", concurrency=ConcurrencyLimit(1, "k")))
    engine, hand, _ = await start()
    first = await engine.submit(one, submission_id="first")
    await hand.assigned()
    second = await engine.submit(one, submission_id="second")
    await engine.turned()
    why = engine.staffing.placement.why(second, "a")
    assert why == f"1 of 1 are at work for the key k: a of {first}"
    hand.succeed((await hand.assigned()).attempt)
    hand.succeed((await hand.assigned(2)).attempt)
    assert await engine.finished(second) is ExecutionStatus.COMPLETED
    await engine.stop()


@virtual
async def test_a_store_without_commits_leaves_nothing_to_wait_for():
    engine, _, _ = await start(hand=Hand(auto=True))
    began = virtual_loop().time()
    await engine.finished(await engine.submit(RATED_ONE))
    assert virtual_loop().time() - began < 1
    await engine.stop()


async def started_again(after_seconds: float) -> float:
    """How long a rated task takes under a new engine, so long after one began under the former."""
    engine, _, store = await start(hand=Hand(auto=True))
    await engine.finished(await engine.submit(RATED_ONE, submission_id="first"))
    await engine.stop()
    await asyncio.sleep(after_seconds)
    again, _, _ = await start(store.reopen(), Hand(auto=True))
    began = virtual_loop().time()
    await again.finished(await again.submit(RATED_ONE, submission_id="second"))
    took = virtual_loop().time() - began
    await again.stop()
    return took


@virtual
async def test_an_engine_that_is_started_again_soon_takes_the_rate_for_used():
    assert 9.9 < await started_again(1) < 10.5


@virtual
async def test_one_that_is_started_again_later_waits_for_nothing():
    assert await started_again(3_600) < 1


@virtual
async def test_an_append_that_takes_long_lets_no_more_begin():
    engine, hand, store = await start(hand=Hand(auto=True))
    store.tickets = asyncio.Semaphore(1)
    execution = await engine.submit(RATED)
    for _ in range(60):
        await asyncio.sleep(4)
        store.tickets.release()
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    sent = hand.told
    assert sent
    assert all(one != other for one, other in pairwise(sent))
    begun = await begun_seconds(store)
    assert all(later - earlier >= 10 for earlier, later in zip(begun, begun[2:], strict=False))
    await engine.stop()


@virtual
async def test_limits_hold_before_during_and_after_a_take_over_of_placement():
    both = workflow(Task(id="a", agent="hand", rate_limit=RateLimit(3, 5.0, "k"), concurrency=ConcurrencyLimit(2, "k")))
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        member = cluster.join("hand-1", slots=9)
        executions = await cluster.submit(both, 18)
        await until(lambda: len(member.done) >= 5)
        await cluster.kill(cluster.leader)
        await until(lambda: len(member.done) >= 10)
        await cluster.stop(cluster.leader)
        await cluster.ended(executions)
        assert member.most <= 2
        begun = await begun_seconds(cluster.store)
        assert len(begun) >= 18
        assert all(later - earlier >= 5 * 0.998 for earlier, later in zip(begun, begun[3:], strict=False))


@virtual
async def test_starts_that_are_refused_use_up_no_rate():
    config = WorkflowConfig(max_concurrent_executions=1)
    alone = workflow(
        Task(id="a", agent="hand", rate_limit=RateLimit(3, 0.5, "k")),
        Task(id="b", agent="hand", dependencies=("a",), rate_limit=RateLimit(1, 10.0, "k")),
        config=config,
    )
    engine, _, _ = await start(hand=Hand(auto=True))
    execution = await engine.submit(alone)
    ended = asyncio.create_task(engine.finished(execution))
    refused = 0
    async with asyncio.timeout(60):
        while not ended.done():
            try:
                await engine.submit(alone)
            except ConflictError:
                refused += 1
            await asyncio.sleep(1)
    assert await ended is ExecutionStatus.COMPLETED
    assert refused
    await engine.stop()
