"""The part of the conformance suite about reading: loads, inbox, look-ups, blobs, handles."""

# ruff: noqa: D102 - a test's name says what holds
from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from podium.exceptions import (
    StoreUnavailableError,
)
from podium.ids import shard_of
from podium.store.protocol import (
    DEFAULT_TENANT,
    LogRow,
    Snapshot,
)
from podium.testing.scribe import ALL_SHARDS, fold
from podium.testing.store_tools import (
    A,
    B,
    C,
    StoreFactory,
    asynchronous,
    blob,
    on_another_shard,
    opened,
    reopened,
)


class LoadConformance:
    """`load`, snapshots and histories."""

    @asynchronous
    async def test_what_isnt_there_is_none(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            assert await scribe.store.load(A) is None
            assert await scribe.store.execution(A) is None
            assert await scribe.store.history(A) == []

    @asynchronous
    async def test_a_snapshot_and_its_tail_are_the_fold_of_the_history(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            for number in range(12):
                await scribe.append({A: [(f"{number}", 1 + number % 3)], B: [(f"{number}", 1)]})
                history = await store.history(A)
                if number % 4 == 3:
                    sequence = scribe.executions[A].sequence
                    await store.put_snapshot(Snapshot(A, sequence, 1, fold(history), scribe.now_us))
                loaded = await store.load(A)
                assert loaded is not None
                assert loaded.execution == scribe.executions[A]
                state = loaded.snapshot.state if loaded.snapshot else b"[]"
                assert fold(loaded.tail, state) == fold(history)
                if loaded.snapshot:
                    assert [row.sequence for row in loaded.tail] == [
                        row.sequence for row in history if row.sequence > loaded.snapshot.sequence
                    ]

    @asynchronous
    async def test_an_older_snapshot_changes_nothing(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            for number in range(4):
                await scribe.append({A: [(f"{number}", 1)]})
            newest = Snapshot(A, 3, 1, b"three", 1)
            await scribe.store.put_snapshot(newest)
            await scribe.store.put_snapshot(Snapshot(A, 2, 1, b"two", 2))
            loaded = await scribe.store.load(A)
            assert loaded is not None
            assert loaded.snapshot == newest
            again = Snapshot(A, 3, 2, b"three again", 3)
            await scribe.store.put_snapshot(again)
            loaded = await scribe.store.load(A)
            assert loaded is not None
            assert loaded.snapshot == again
            assert [row.sequence for row in loaded.tail] == [4]

    @asynchronous
    async def test_a_snapshot_ahead_of_the_history_isnt_used(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("1", 1), ("2", 1)]})
            await scribe.store.put_snapshot(Snapshot(A, 1, 1, b"one", 1))
            await scribe.store.put_snapshot(Snapshot(A, 9, 1, b"nine", 1))
            loaded = await scribe.store.load(A)
            assert loaded is not None
            assert loaded.snapshot == Snapshot(A, 1, 1, b"one", 1)

    @asynchronous
    async def test_histories_come_in_pages(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [(f"{number}", 2) for number in range(25)], B: [("b", 1)]})
            seen: list[LogRow] = []
            while page := await scribe.store.history(A, seen[-1].sequence if seen else 0, 10):
                assert len(page) <= 10
                seen += page
            assert [row.sequence for row in seen] == list(range(1, 51, 2))
            assert await scribe.store.history(A, 1, 1) == [seen[1]]

    @asynchronous
    async def test_a_shard_is_followed_in_pages(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            other = on_another_shard(A)
            await scribe.append({A: [(f"{number}", 1) for number in range(25)], other: [("b", 1)]})
            seen: list[LogRow] = []
            while page := await scribe.store.follow(shard_of(A), seen[-1].position if seen else 0, 10):
                assert len(page) <= 10
                seen += page
            assert [row.position for row in seen] == list(range(1, 26))
            assert {row.execution for row in seen} == {A}
            everywhere = [row async for row in scribe.store.mentions()]
            assert len(everywhere) == 26


class InboxConformance:
    """`post`, `inbox`, and what an append does to it."""

    @asynchronous
    async def test_an_input_is_posted_once(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe, reopened(store_factory, scribe.store) as other:
            assert await scribe.store.post(scribe.post(A, "signal", b"first"))
            assert not await other.post(scribe.post(A, "signal", b"second"))
            assert await other.post(scribe.post(B, "signal", b"third"))
            rows = await scribe.store.inbox(ALL_SHARDS, 0, 10)
            assert [(row.execution, row.payload) for row in rows] == [(A, b"first"), (B, b"third")]
            assert rows[0].id < rows[1].id

    @asynchronous
    async def test_what_is_in_the_log_isnt_posted(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("signal", 1)]})
            assert not await scribe.store.post(scribe.post(A, "signal"))
            await scribe.append({B: [("start", 1)]}, inbox=[scribe.post(A, "signal"), scribe.post(B, "start")])
            assert await scribe.store.inbox(ALL_SHARDS, 0, 10) == []

    @asynchronous
    async def test_an_append_drains_what_it_records(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.store.post(scribe.post(A, "one"))
            await scribe.store.post(scribe.post(A, "two"))
            one, two = await scribe.store.inbox(ALL_SHARDS, 0, 10)
            await scribe.append({A: [("one", 1)]}, drained=[one.id, 999_999])
            assert await scribe.store.inbox(ALL_SHARDS, 0, 10) == [two]
            assert not await scribe.store.post(scribe.post(A, "one"))

    @asynchronous
    async def test_an_append_posts_to_other_executions(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            children = [scribe.post(B, "start"), scribe.post(C, "start"), scribe.post(B, "start")]
            await scribe.append({A: [("start", 1)]}, inbox=children)
            rows = await scribe.store.inbox(ALL_SHARDS, 0, 10)
            assert [(row.execution, row.input_id) for row in rows] == [(B, "start"), (C, "start")]
            await scribe.append({A: [("again", 1)]}, inbox=[scribe.post(B, "start")], drained=[rows[1].id])
            assert await scribe.store.inbox(ALL_SHARDS, 0, 10) == rows[:1]

    @asynchronous
    async def test_ids_grow_and_are_never_given_again(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            last = 0
            for number in range(5):
                await scribe.store.post(scribe.post(A, f"{number}"))
                (row,) = await scribe.store.inbox(ALL_SHARDS, 0, 10)
                assert row.id > last
                last = row.id
                await scribe.append({A: [(f"{number}", 1)]}, drained=[row.id])

    @asynchronous
    async def test_the_inbox_is_read_by_shard_in_pages(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            other = on_another_shard(A)
            for number in range(6):
                await scribe.store.post(scribe.post(A if number % 2 else other, f"{number}"))
            mine = await scribe.store.inbox([shard_of(A)], 0, 2)
            assert [row.input_id for row in mine] == ["1", "3"]
            assert [row.input_id for row in await scribe.store.inbox([shard_of(A)], mine[-1].id, 9)] == ["5"]
            assert await scribe.store.inbox([], 0, 9) == []

    @asynchronous
    async def test_rows_that_are_known_arent_read_again(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            for number in range(6):
                await scribe.store.post(scribe.post(A, f"{number}"))
            every = await scribe.store.inbox(ALL_SHARDS, 0, 10)
            known = {every[0].id, every[2].id, every[5].id, 999_999}
            left = [every[1], every[3], every[4]]
            assert await scribe.store.inbox(ALL_SHARDS, 0, 10, known) == left
            assert await scribe.store.inbox(ALL_SHARDS, 0, 2, list(known)) == left[:2]
            assert await scribe.store.inbox(ALL_SHARDS, every[1].id, 10, known) == left[1:]

    @asynchronous
    async def test_of_many_who_post_the_same_one_succeeds(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe, reopened(store_factory, scribe.store) as other:
            posts = [store.post(scribe.post(A, "same")) for store in (scribe.store, other) * 8]
            assert sum(await asyncio.gather(*posts)) == 1


class LookupConformance:
    """`due`, `active` and what people ask."""

    @asynchronous
    async def test_due_executions_come_soonest_first(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            for name, wake in (("late", 30), ("soon", 10), ("never", None), ("now", 20), ("same", 20)):
                await scribe.append({name: [("start", 1)]}, columns={"wake_at_us": wake})
            due = [row.id for row in await scribe.store.due(ALL_SHARDS, 20, 10)]
            assert due == ["soon", "now", "same"]
            assert [row.id for row in await scribe.store.due(ALL_SHARDS, 99, 2)] == ["soon", "now"]
            assert [row.id for row in await scribe.store.due([shard_of("late")], 99, 10) if row.id != "late"] == [
                name for name in due if shard_of(name) == shard_of("late")
            ]
            await scribe.append({"soon": [("timer", 1)]}, columns={"wake_at_us": None})
            assert [row.id for row in await scribe.store.due(ALL_SHARDS, 20, 10)] == ["now", "same"]

    @asynchronous
    async def test_active_executions_come_oldest_first(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 1)]})
            await scribe.append({B: [("start", 1)]})
            await scribe.append({C: [("start", 1)]})
            await scribe.append({B: [("wait", 1)]}, columns={"active": False})
            assert [row.id for row in await scribe.store.active(ALL_SHARDS)] == [A, C]
            assert [row.id for row in await scribe.store.active([shard_of(C)]) if row.id == C] == [C]
            assert await scribe.store.active([]) == []

    @asynchronous
    async def test_executions_are_listed_newest_first(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            for number, (name, tenant, status) in enumerate(
                [("a_1", "x", "RUNNING"), ("a_2", "y", "DONE"), ("ab1", "x", "DONE"), ("a%1", "x", "RUNNING")]
            ):
                columns = {"tenant": tenant, "status": status, "created_us": 100 + number}
                await scribe.append({name: [("start", 1)]}, columns=columns)
            store = scribe.store

            async def ids(*args: Any, **more: Any) -> list[str]:
                return [row.id for row in await store.executions(*args, **more)]

            assert await ids(None) == ["a%1", "ab1", "a_2", "a_1"]
            assert await ids("x") == ["a%1", "ab1", "a_1"]
            assert await ids("x", ["DONE", "FAILED"]) == ["ab1"]
            assert await ids(None, ["RUNNING"]) == ["a%1", "a_1"]
            assert await ids(None, prefix="a_") == ["a_2", "a_1"]
            assert await ids("x", prefix="a%") == ["a%1"]
            assert await ids(None, prefix="z") == []
            assert await ids(None, before_us=102) == ["a_2", "a_1"]
            assert await ids("x", ["RUNNING"], "a", 1, 103) == ["a_1"]
            assert await ids(None, limit=2) == ["a%1", "ab1"]
            assert await ids("nobody") == []

    @asynchronous
    async def test_a_cursor_never_goes_back(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            assert await scribe.store.cursor("reader", 1) == 0
            for position, expected in ((5, 5), (3, 5), (8, 8)):
                await scribe.store.save_cursor("reader", 1, position)
                assert await scribe.store.cursor("reader", 1) == expected
            assert await scribe.store.cursor("reader", 2) == 0
            assert await scribe.store.cursor("other", 1) == 0

    @asynchronous
    async def test_tenants_are_made_known_once(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            assert await scribe.store.tenants() == [DEFAULT_TENANT]
            for name in ("b", "a", "b", DEFAULT_TENANT):
                await scribe.store.add_tenant(name, 1)
            assert await scribe.store.tenants() == ["a", "b", DEFAULT_TENANT]

    @asynchronous
    async def test_readers_never_see_half_an_append(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe, reopened(store_factory, scribe.store) as other:
            names = [name for name in (f"half-{n}" for n in range(9_000)) if shard_of(name) == 4][:100]

            async def write() -> None:
                for number in range(10):
                    await scribe.append({name: [(f"{number}", 1)] for name in names})

            writing = asyncio.create_task(write())
            while not writing.done():
                for store in (other, scribe.store):
                    assert len(await store.follow(4, 0, 10_000)) % len(names) == 0
                    loaded = await store.load(names[-1])
                    if loaded is not None:
                        assert loaded.execution.sequence == len(loaded.tail)
                await asyncio.sleep(0)
            await writing
            assert len(await other.follow(4, 0, 10_000)) == 1_000


class BlobConformance:
    """`get`, `put`, `sweep`."""

    @asynchronous
    async def test_content_is_kept_by_hash_and_tenant(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            one = blob(b"\x00 one")
            await scribe.store.put([one, one, blob(b"")], 1)
            assert await scribe.store.get(DEFAULT_TENANT, one.hash) == one.content
            assert await scribe.store.get(DEFAULT_TENANT, blob(b"").hash) == b""
            with pytest.raises(KeyError):
                await scribe.store.get("other", one.hash)
            with pytest.raises(KeyError):
                await scribe.store.get(DEFAULT_TENANT, "0" * 64)

    @asynchronous
    async def test_the_sweep_leaves_what_is_mentioned_and_what_is_young(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            old, mentioned, renewed, young = (blob(name) for name in (b"old", b"mentioned", b"renewed", b"young"))
            elsewhere = blob(b"mentioned", "other")
            await scribe.store.put([old, mentioned, renewed, elsewhere], 10)
            await scribe.store.put([young, renewed], 20)
            await scribe.store.put([renewed], 5)
            assert await scribe.store.sweep({(DEFAULT_TENANT, mentioned.hash)}, 20) == 2
            for gone in (old, elsewhere):
                with pytest.raises(KeyError):
                    await scribe.store.get(gone.tenant, gone.hash)
            for kept in (mentioned, renewed, young):
                assert await scribe.store.get(kept.tenant, kept.hash) == kept.content
            assert await scribe.store.sweep(set(), 10) == 0


class HandleConformance:
    """`changed` and `close`."""

    @asynchronous
    async def test_changed_tells_of_other_processes_only(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 1)]})
            await scribe.store.post(scribe.post(A, "own"))
            assert not await scribe.store.changed()
            async with reopened(store_factory, scribe.store) as other:
                await other.post(scribe.post(A, "signal"))
                assert await scribe.store.changed() == store_factory.shared
                assert not await scribe.store.changed()

    @asynchronous
    async def test_close_finishes_what_was_begun_and_is_safe_twice(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            writing = [asyncio.create_task(scribe.store.append(scribe.batch({A: [("start", 1)]})))]
            await asyncio.sleep(0)
            await asyncio.gather(scribe.store.close(), scribe.store.close(), *writing)
            await scribe.store.close()
            uses: list[Awaitable[object]] = [
                scribe.store.append(scribe.batch({A: [("next", 1)]})),
                scribe.store.post(scribe.post(A, "x")),
                scribe.store.execution(A),
                scribe.store.load(A),
                scribe.store.take("x", [1], 1),
            ]
            for use in uses:
                with pytest.raises(StoreUnavailableError):
                    await use
            async with reopened(store_factory, scribe.store) as other:
                assert len(await other.history(A)) == 1
