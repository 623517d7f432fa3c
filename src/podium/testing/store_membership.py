"""The part of the conformance suite for stores that replicas share: leases, claims by fence, formats, wake-ups.

    class TestMyStore(StoreConformance, MembershipConformance):
        @pytest.fixture
        def store_factory(self, tmp_path):
            return MyFactory(tmp_path)

Here `MyFactory` is a `SharedStoreFactory`: it can let the store's time pass, or do what comes to the same.
"""

# ruff: noqa: D102 - a test's name says what holds
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Protocol

import pytest

from podium.exceptions import (
    ConflictError,
    FenceLostError,
    NotTheOwnerError,
    SchemaTooNewError,
    StoreUnavailableError,
)
from podium.ids import PLACEMENT_SHARD, shard_of
from podium.store.protocol import FORMAT, Append, Cluster, Membership, Replica, ShardRow, Store
from podium.testing.bus_tools import eventually
from podium.testing.scribe import ALL_SHARDS, Scribe
from podium.testing.store_tools import A, StoreFactory, asynchronous, reopened

LEASE_US = 600_000_000  # longer than any test takes: leases end when the factory says that time has passed
MINUTE_US = 60_000_000
BUS = "nats://one:4222"


class SharedStore(Store, Membership, Protocol):
    """A store that replicas share."""


class SharedStoreFactory(StoreFactory, Protocol):
    """How the suite gets its stores, and lets their time pass."""

    def fresh(self) -> SharedStore:
        """Return a store with nothing in it."""
        ...

    async def elapse(self, store: SharedStore, us: int) -> None:
        """Let so much of the store's time pass; or set all its leases back by so much, which is the same to it."""
        ...


def replica(name: str, **more: Any) -> Replica:
    """Return a replica whose id is derived from its name."""
    given: dict[str, Any] = {"id": f"id-{name}", "name": name, "bus": BUS, "version": "1.0", "format": FORMAT}
    return Replica(**given | more)


@asynccontextmanager
async def shared(factory: SharedStoreFactory, *names: str) -> AsyncIterator[SharedStore]:
    """Give a fresh store with these replicas in it."""
    store = factory.fresh()
    try:
        for name in names:
            await store.join(replica(name), LEASE_US)
        yield store
    finally:
        await store.close()


def names_in(cluster: Cluster | None) -> set[str]:
    """Return the names of all the replicas that are known."""
    assert cluster is not None
    return {each.name for each in cluster.replicas}


def one(cluster: Cluster | None, name: str) -> Replica:
    """Return the replica of this name."""
    assert cluster is not None
    (found,) = (each for each in cluster.replicas if each.name == name)
    return found


def owners(shards: Sequence[ShardRow]) -> dict[int, tuple[str, int]]:
    """Return each shard's owner and fence."""
    return {row.shard: (row.owner, row.fence) for row in shards}


class LeaseConformance:
    """`join`, `renew`, `leave`, `cluster`."""

    @asynchronous
    async def test_who_joins_is_known_with_a_lease_from_now_on(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory) as store:
            assert (await store.cluster()).replicas == ()
            given = replica("one", details=b'{"pid":1}', started_us=5, lease_until_us=9, version="7.8.9")
            joined = await store.join(given, LEASE_US)
            found = one(joined, "one")
            assert (found.id, found.bus, found.version, found.format) == ("id-one", BUS, "7.8.9", FORMAT)
            assert (found.draining, found.details.replace(b" ", b"")) == (False, b'{"pid":1}')
            assert joined.now_us - MINUTE_US < found.started_us <= joined.now_us
            assert joined.now_us < found.lease_until_us <= joined.now_us + LEASE_US
            assert joined.live(found)
            assert joined.format == FORMAT
            assert (await store.cluster()).replicas == joined.replicas

    @asynchronous
    async def test_a_lease_ends_unless_it_is_renewed(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one", "two") as store:
            await store_factory.elapse(store, LEASE_US - MINUTE_US // 2)
            before = await store.renew("id-one", LEASE_US)
            assert before is not None
            assert before.live(one(before, "two"))
            await store_factory.elapse(store, MINUTE_US // 2 + 1)
            cluster = await store.renew("id-one", LEASE_US)
            assert cluster is not None
            assert cluster.live(one(cluster, "one"))
            assert not cluster.live(one(cluster, "two"))
            assert names_in(cluster) == {"one", "two"}  # it isn't a minute ago yet

    @asynchronous
    async def test_a_lease_that_has_ended_can_be_renewed_while_it_is_known(
        self, store_factory: SharedStoreFactory
    ) -> None:
        async with shared(store_factory, "one") as store:
            await store_factory.elapse(store, LEASE_US + MINUTE_US // 2)
            cluster = await store.renew("id-one", LEASE_US)
            assert cluster is not None
            assert cluster.live(one(cluster, "one"))

    @asynchronous
    async def test_who_isnt_known_renews_nothing(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one") as store:
            before = await store.cluster()
            assert await store.renew("id-nobody", LEASE_US) is None
            assert (await store.cluster()).replicas == before.replicas

    @asynchronous
    async def test_who_drains_says_so_at_a_renewal(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one", "two") as store:
            assert one(await store.renew("id-one", LEASE_US, draining=True), "one").draining
            assert one(await store.renew("id-two", LEASE_US), "one").draining
            assert not one(await store.renew("id-one", LEASE_US), "one").draining

    @asynchronous
    async def test_replicas_gone_for_a_minute_that_own_nothing_are_forgotten(
        self, store_factory: SharedStoreFactory
    ) -> None:
        async with shared(store_factory, "one", "owner", "gone") as store:
            await store.claim("id-owner", {1: 0})
            await store_factory.elapse(store, LEASE_US + 1_000_000)
            await store.join(replica("late"), 1_000)
            assert names_in(await store.renew("id-one", LEASE_US)) == {"one", "owner", "gone", "late"}
            await store_factory.elapse(store, MINUTE_US)
            assert names_in(await store.renew("id-one", LEASE_US)) >= {"one", "owner"}
            assert "gone" not in names_in(await store.cluster())
            assert await store.renew("id-gone", LEASE_US) is None
            taken = await store.claim("id-one", {1: 1})
            assert taken == {1: ShardRow(1, 2, 0, "id-one")}
            assert "owner" not in names_in(await store.renew("id-one", LEASE_US))

    @asynchronous
    async def test_replicas_on_another_bus_are_kept_out_while_one_lives(
        self, store_factory: SharedStoreFactory
    ) -> None:
        async with shared(store_factory, "first") as store:
            for bus in ("nats://two:4222", ""):
                with pytest.raises(NotTheOwnerError, match="first"):
                    await store.join(replica("second", bus=bus), LEASE_US)
            assert names_in(await store.cluster()) == {"first"}
            await store_factory.elapse(store, LEASE_US + 1)
            assert one(await store.join(replica("second", bus=""), LEASE_US), "second").bus == ""
            for bus in (BUS, ""):  # who has no bus must be alone
                with pytest.raises(NotTheOwnerError, match="second"):
                    await store.join(replica("third", bus=bus), LEASE_US)

    @asynchronous
    async def test_who_left_or_drains_on_another_bus(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "first") as store:
            await store.renew("id-first", LEASE_US, draining=True)
            with pytest.raises(NotTheOwnerError, match="first"):
                await store.join(replica("second", bus=""), LEASE_US)
            await store.leave("id-first")
            await store.join(replica("second", bus=""), LEASE_US)

    @asynchronous
    async def test_who_leaves_gives_everything_back_and_is_forgotten(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one", "two") as store:
            await store.claim("id-one", {1: 0, 2: 0})
            await store.claim("id-two", {3: 0})
            for _ in range(2):
                await store.leave("id-one")
                cluster = await store.cluster()
                assert names_in(cluster) == {"two"}
                assert owners(cluster.shards) == {1: ("", 1), 2: ("", 1), 3: ("id-two", 1)}
            assert await store.renew("id-one", LEASE_US) is None

    @asynchronous
    async def test_the_cluster_is_told_whole(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one") as store:
            await store.claim("id-one", {4: 0, 2: 0, PLACEMENT_SHARD: 0})
            renewed = await store.renew("id-one", LEASE_US)
            assert renewed is not None
            for cluster in (renewed, await store.join(replica("two"), LEASE_US), await store.cluster()):
                assert [row.shard for row in cluster.shards] == [2, 4, PLACEMENT_SHARD]
                assert "one" in names_in(cluster)
            assert cluster.now_us >= renewed.now_us


class ClaimConformance:
    """`claim`, `release`, and the fences of appends."""

    @asynchronous
    async def test_shards_are_claimed_by_their_fences(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one", "two") as store:
            assert await store.claim("id-one", {}) == {}
            assert await store.claim("id-one", {3: 0, 5: 0, 6: 1}) == {
                3: ShardRow(3, 1, 0, "id-one"),
                5: ShardRow(5, 1, 0, "id-one"),
            }
            assert await store.claim("id-two", {3: 0, 5: 1, 7: 0}) == {7: ShardRow(7, 1, 0, "id-two")}
            assert await store.claim("id-one", {3: 1}) == {}  # it is its own already
            assert owners(await store.shards()) == {3: ("id-one", 1), 5: ("id-one", 1), 7: ("id-two", 1)}

    @asynchronous
    async def test_a_shard_whose_owners_lease_has_ended_is_claimed(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one") as store:
            rows = await store.claim("id-one", dict.fromkeys(ALL_SHARDS, 0))
            scribe = owner_of(store, rows)
            await scribe.append({A: [("start", 1)]})
            await store_factory.elapse(store, LEASE_US + 1)
            await store.join(replica("two"), LEASE_US)
            shard = shard_of(A)
            assert await store.claim("id-two", {shard: 0}) == {}
            assert await store.claim("id-two", {shard: 1}) == {shard: ShardRow(shard, 2, 1, "id-two")}
            assert await store.renew("id-one", LEASE_US) is not None
            assert await store.claim("id-one", {shard: 2}) == {}
            with pytest.raises(FenceLostError):
                await scribe.append({A: [("late", 1)]})

    @asynchronous
    async def test_a_replica_whose_own_lease_has_ended_gets_none(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one") as store:
            assert await store.claim("id-nobody", {1: 0}) == {}
            await store_factory.elapse(store, LEASE_US + 1)
            assert await store.claim("id-one", {1: 0}) == {}
            await store.renew("id-one", LEASE_US)
            assert await store.claim("id-one", {1: 0}) == {1: ShardRow(1, 1, 0, "id-one")}

    @asynchronous
    async def test_of_many_who_claim_one_gets_each(self, store_factory: SharedStoreFactory) -> None:
        names = [f"{number}" for number in range(6)]
        async with shared(store_factory, *names) as store, reopened(store_factory, store) as other:
            assert isinstance(other, type(store))
            fences = dict.fromkeys((*ALL_SHARDS, PLACEMENT_SHARD), 0)
            got = await asyncio.gather(
                *((store, other)[number % 2].claim(f"id-{name}", fences) for number, name in enumerate(names))
            )
            assert sorted(shard for rows in got for shard in rows) == sorted(fences)
            found = owners((await store.cluster()).shards)
            assert found == {shard: (row.owner, 1) for rows in got for shard, row in rows.items()}

    @asynchronous
    async def test_what_is_given_back_is_claimed_at_once(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one", "two") as store:
            await store.claim("id-one", {1: 0, 2: 0, 3: 0})
            await store.release("id-two", {1: 1})  # not its own
            await store.release("id-one", {1: 2, 9: 1})  # another fence, and never taken
            assert owners(await store.shards()) == dict.fromkeys((1, 2, 3), ("id-one", 1))
            for _ in range(2):
                await store.release("id-one", {1: 1, 2: 1})
                assert owners(await store.shards()) == {1: ("", 1), 2: ("", 1), 3: ("id-one", 1)}
            assert await store.claim("id-two", {1: 1}) == {1: ShardRow(1, 2, 0, "id-two")}
            await store.release("id-one", {1: 1})
            assert owners(await store.shards())[1] == ("id-two", 2)

    @asynchronous
    async def test_grants_are_guarded_by_the_placement_fence_alone(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one", "two") as store:
            scribe = Scribe(store)
            await store.claim("id-one", {PLACEMENT_SHARD: 0})
            await store.append(Append({PLACEMENT_SHARD: 1}, (), (), inbox=[scribe.post(A, "grant")]))
            await store.release("id-one", {PLACEMENT_SHARD: 1})
            await store.claim("id-two", {PLACEMENT_SHARD: 1})
            with pytest.raises(FenceLostError):
                await store.append(Append({PLACEMENT_SHARD: 1}, (), (), inbox=[scribe.post(A, "late")]))
            assert [row.input_id for row in await store.inbox(ALL_SHARDS, 0, 9)] == ["grant"]

    @asynchronous
    async def test_no_append_of_an_old_owner_is_committed_after_a_claim(
        self, store_factory: SharedStoreFactory
    ) -> None:
        """Also one that only checks a fence: a claim must not pass between the check and the commit."""
        async with shared(store_factory, "one") as store, reopened(store_factory, store) as other:
            await store.claim("id-one", {PLACEMENT_SHARD: 0})
            for turn in range(1, 6):
                appending = asyncio.create_task(appended_until_refused(other, turn))
                while not await written(store, turn):
                    await appending_goes_on(appending)
                await store.release("id-one", {PLACEMENT_SHARD: turn})
                assert await store.claim("id-one", {PLACEMENT_SHARD: turn})
                after_the_claim = await written(store, turn)
                await appending
                assert await written(store, turn) == after_the_claim


class FormatConformance:
    """`finish_upgrade`, and who may join then."""

    @asynchronous
    async def test_a_format_waits_for_all_who_live(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "old") as store:
            await store.join(replica("new", format=FORMAT + 1), LEASE_US)
            with pytest.raises(ConflictError, match="old"):
                await store.finish_upgrade(FORMAT + 1)
            assert (await store.cluster()).format == FORMAT
            assert await store.finish_upgrade(FORMAT) == FORMAT
            await store.leave("id-old")
            assert await store.finish_upgrade(FORMAT + 1) == FORMAT + 1
            assert (await store.cluster()).format == FORMAT + 1
            assert await store.finish_upgrade(FORMAT) == FORMAT + 1  # it never goes back

    @asynchronous
    async def test_who_cant_read_what_may_be_written_doesnt_join(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory) as store:
            assert await store.finish_upgrade(FORMAT + 1) == FORMAT + 1
            with pytest.raises(SchemaTooNewError):
                await store.join(replica("old"), LEASE_US)
            assert (await store.cluster()).replicas == ()
            joined = await store.join(replica("new", format=FORMAT + 2), LEASE_US)
            assert (names_in(joined), joined.format) == ({"new"}, FORMAT + 1)

    @asynchronous
    async def test_those_whose_lease_has_ended_hold_nobody_up(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "gone") as store:
            await store_factory.elapse(store, LEASE_US + 1)
            assert await store.finish_upgrade(FORMAT + 1) == FORMAT + 1


class WakeConformance:
    """`listen`."""

    @asynchronous
    async def test_others_are_woken_by_posts_and_by_moves(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one") as store, reopened(store_factory, store) as other:
            heard: set[str] = set()
            other.listen(heard.add)
            scribe = Scribe(store)
            await scribe.take([1])
            number = 0

            async def heard_of(what: str) -> bool:  # again and again: who has just begun to listen may miss the first
                nonlocal number
                number += 1
                if what == "inbox":
                    await store.post(scribe.post(A, f"{number}"))
                elif what == "append":
                    await store.append(Append({1: 1}, (), (), inbox=[scribe.post(A, f"{number}")]))
                elif what == "claim":
                    await store.claim("id-one", {1 + number: 0})
                else:
                    await store.join(replica(what), LEASE_US)
                    await store.leave(f"id-{what}")
                return bool(heard)

            for what, hint in (("inbox", "inbox"), ("append", "inbox"), ("claim", "replicas"), ("two", "replicas")):
                heard.clear()
                await eventually(lambda what=what: heard_of(what))  # type: ignore[misc]
                await eventually(lambda hint=hint: hint in heard)  # type: ignore[misc]

    @asynchronous
    async def test_after_close_nothing_is_told_and_nothing_done(self, store_factory: SharedStoreFactory) -> None:
        async with shared(store_factory, "one") as store:
            await store.close()
            for use in (
                store.join(replica("two"), LEASE_US),
                store.renew("id-one", LEASE_US),
                store.claim("id-one", {1: 0}),
                store.cluster(),
            ):
                with pytest.raises(StoreUnavailableError):
                    await use


class MembershipConformance(LeaseConformance, ClaimConformance, FormatConformance, WakeConformance):
    """All of it."""


def owner_of(store: Store, rows: dict[int, ShardRow]) -> Scribe:
    """Return a scribe that writes under claimed fences."""
    scribe = Scribe(store)
    for shard, row in rows.items():
        scribe.fences[shard] = row.fence
        scribe.positions[shard] = row.position
    return scribe


async def appended_until_refused(store: Store, turn: int) -> None:
    """Append posts one after the other under this fence of the placement shard, until it is lost."""
    scribe = Scribe(store)
    for number in count():
        post = scribe.post(A, f"{turn}-{number}")
        try:
            await store.append(Append({PLACEMENT_SHARD: turn}, (), (), inbox=[post]))
        except FenceLostError:
            return
        await asyncio.sleep(0)


async def appending_goes_on(appending: asyncio.Task[None]) -> None:
    """Let the other task have its turn; raise what has ended it."""
    await asyncio.sleep(0)
    if appending.done():
        await appending


async def written(store: Store, turn: int) -> int:
    """Return how many posts of this turn are there."""
    rows = await store.inbox(ALL_SHARDS, 0, 1_000_000)
    return sum(row.input_id.startswith(f"{turn}-") for row in rows)
