"""Several replicas want the same shards, and the old owner still writes: exactly one can (faults 3, 4, 5 and 20)."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from podium.exceptions import FenceLostError, NotTheOwnerError, SequenceConflictError
from podium.store.postgres import PostgresStore
from podium.store.protocol import FORMAT, Replica
from podium.testing.proxy import DIRECTIONS, FaultProxy, tcp
from podium.testing.scribe import Scribe
from podium.testing.store_tools import A
from tests.cli.support import Running, eventually
from tests.faults.bus.support import fan
from tests.faults.postgres.test_replicas_that_stop import gates

LEASE_US = 4_500_000
EVERYONE = 8
HEARD_SECONDS = 25.0  # less than until the bus delivers by itself again what nobody acknowledged
SHARDS = tuple(range(65))


@asynccontextmanager
async def stores(replicas, count: int) -> AsyncIterator[list[PostgresStore]]:
    async with AsyncExitStack() as stack:
        opened = [await PostgresStore.open(replicas.url) for _ in range(count)]
        for store in opened:
            stack.push_async_callback(store.close)
        yield opened


def replica(id: str, name: str = "") -> Replica:
    return Replica(id, name or id, "nats://one", "1", FORMAT)


@pytest.mark.parametrize("seed", range(3))
def test_of_many_that_claim_a_dead_owner_s_shards_from_a_stale_picture_exactly_one_gets_each(replicas, seed):
    async def race() -> None:
        async with stores(replicas, EVERYONE + 1) as (dead, *others):
            await dead.join(replica("dead"), LEASE_US)
            assert len(await dead.claim("dead", dict.fromkeys(SHARDS, 0))) == len(SHARDS)
            for nth, store in enumerate(others):
                await store.join(replica(f"r{nth}"), LEASE_US)
            pictures = [await store.cluster() for store in others]
            await asyncio.to_thread(_end_lease, replicas, "dead")
            got = await asyncio.gather(
                *(
                    store.claim(f"r{nth}", {row.shard: row.fence for row in picture.shards})
                    for nth, (store, picture) in enumerate(zip(others, pictures, strict=True))
                )
            )
            winners = Counter(shard for each in got for shard in each)
            assert winners == dict.fromkeys(SHARDS, 1)
            owners = {row.shard: row.owner for row in (await dead.cluster()).shards}
            assert owners == {shard: f"r{nth}" for nth, each in enumerate(got) for shard in each}
            again = await others[0].claim("r0", {row.shard: row.fence for row in pictures[0].shards})
            assert again == {}, "the picture is stale"

    asyncio.run(race())


def _end_lease(replicas, id: str) -> None:
    replicas.postgres.execute(f"UPDATE replicas SET lease_until_us = 0 WHERE id = '{id}'", replicas.name)


def test_who_leaves_takes_nothing_from_a_successor_of_the_same_name(replicas):
    async def restarted() -> None:
        async with stores(replicas, 2) as (old, new):
            await old.join(replica("old", "podium-0/1"), LEASE_US)
            fences = await old.claim("old", dict.fromkeys(SHARDS, 0))
            await old.renew("old", LEASE_US, draining=True)
            await new.join(replica("new", "podium-0/1"), LEASE_US)
            half = {shard: row.fence for shard, row in fences.items() if shard < 32}
            await old.release("old", half)
            got = await new.claim("new", half)
            assert set(got) == set(half)
            await old.release("old", half)  # once more, late: those are no longer its own
            await old.leave("old")
            cluster = await new.cluster()
            assert {row.shard for row in cluster.shards if row.owner == "new"} == set(half)
            assert [each.id for each in cluster.replicas] == ["new"]
            rest = {row.shard: row.fence for row in cluster.shards if row.owner != "new"}
            assert set(await new.claim("new", rest)) == set(rest)

    asyncio.run(restarted())


def test_a_task_that_completes_between_a_rescuer_s_read_and_its_write_stays_completed(replicas):
    async def raced() -> None:
        async with stores(replicas, 2) as (owner, rescuer):
            completing, rescuing = Scribe(owner, "owner"), Scribe(rescuer, "rescuer")
            await completing.take()
            await completing.append({A: [("start", 1), ("grant", 1)]})
            read = await rescuer.load(A)
            assert read is not None
            rescuing.fences, rescuing.positions = dict(completing.fences), dict(completing.positions)
            rescuing.executions = {A: read.execution}
            await completing.append({A: [("succeeded", 2)]})
            with pytest.raises((SequenceConflictError, FenceLostError)):
                await rescuing.append({A: [("lost", 1)]})
            await rescuing.take()  # with a fence of its own, and what it read before
            rescuing.executions = {A: read.execution}
            with pytest.raises(SequenceConflictError):
                await rescuing.append({A: [("lost", 1)]})
            with pytest.raises(FenceLostError):
                await completing.append({A: [("more", 1)]})
            assert [row.input_id for row in await owner.history(A)] == ["start", "grant", "succeeded"]

    asyncio.run(raced())


def test_a_replica_on_another_bus_is_not_let_in_between(replicas):
    async def refused() -> None:
        async with stores(replicas, 2) as (one, two):
            await one.join(replica("one"), LEASE_US)
            other = Replica("two", "two", "nats://two", "1", FORMAT)
            with pytest.raises(NotTheOwnerError):
                await two.join(other, LEASE_US)

    asyncio.run(refused())


# --- partitions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def line(replicas, aside) -> Iterator[FaultProxy]:
    """A line between one replica and the database."""
    proxy = FaultProxy(tcp(replicas.postgres.port))
    aside(proxy.start())
    yield proxy
    replicas.shell.close()
    aside(proxy.stop())


def cut_off(replicas, line: FaultProxy) -> Running:
    """Start a replica that reaches the database by the line, and one beside it."""
    url = replicas.url.replace(f":{replicas.postgres.port}/", f":{line.port}/")
    far = replicas.up(DATABASE_URL=url)
    replicas.up()
    replicas.agent("first", wait=False)
    replicas.agent("second", wait=False)
    replicas.settled(2)
    eventually(lambda: {"first", "second"} <= set(replicas.agents), f"the fleet: {replicas.agents}")
    return far


@pytest.mark.parametrize(
    "direction", ["to_target", *(pytest.param(each, marks=pytest.mark.slow) for each in ("to_client", "both"))]
)
def test_a_replica_whose_line_to_the_database_loses_one_way_is_one_owner_less_and_heals(
    replicas, line, aside, direction: str
):
    far = cut_off(replicas, line)
    held = gates(replicas, 6)
    mine = replicas.shards_of(far)
    assert mine
    fences = {row.shard: row.fence for row in replicas.picture().shards}
    aside.call(partial(line.lose, *(each for each in DIRECTIONS if direction in (each, "both"))))
    for name in list(held)[:3]:  # results that either of them may get
        replicas.open_gate(name)
    replicas.settled(1)
    after = {row.shard: row.fence for row in replicas.picture().shards}
    assert all(after[shard] > fences[shard] for shard in mine), "each shard that moved has a new fence"
    aside.call(line.reset)
    aside.call(line.heal)
    since = time.monotonic()
    replicas.settled(2)
    assert time.monotonic() - since < 20.0
    for name in held:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    assert far.process.poll() is None
    replicas.examine()
    replicas.once()


@pytest.mark.slow
def test_a_replica_whose_line_stands_still_can_t_write_when_it_goes_on(replicas, line, aside):
    """All that it has said meanwhile arrives late, and the database refuses it."""
    far = cut_off(replicas, line)
    held = gates(replicas, 6)
    aside.call(line.half_open)
    since = time.monotonic()
    for name in held:
        replicas.open_gate(name)
    replicas.settled(1)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    assert time.monotonic() - since < HEARD_SECONDS, "results that it had taken are heard by the other one"
    sequences = {each: replicas.state(each).sequence for each in held.values()}
    aside.call(line.heal)
    replicas.settled(2)
    assert {each: replicas.state(each).sequence for each in held.values()} == sequences
    assert far.process.poll() is None
    replicas.examine()
    replicas.once()


@pytest.mark.slow
def test_replicas_that_are_held_in_turn_have_one_owner_an_epoch(replicas):
    """Owners by fence, as the store had them at any time: never two of one fence."""
    one, two = replicas.several(2, "first", "second")
    seen: dict[tuple[int, int], str] = {}

    def look() -> None:
        for row in replicas.picture().shards:
            if row.owner:
                assert seen.setdefault((row.shard, row.fence), row.owner) == row.owner

    look()
    running = replicas.submit_many([fan(5)] * 12)
    for victim in (one, two):
        replicas.hold(victim)
        replicas.settled(1)
        look()
        victim.send(signal.SIGCONT)
        replicas.settled(2)
        look()
    assert set(replicas.all_ended(running).values()) == {"completed"}
    assert {shard for shard, _ in seen} == set(SHARDS)
    replicas.examine()
    replicas.once()
