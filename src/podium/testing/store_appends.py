"""The part of the conformance suite about writing: ownership, guards, inputs, limits, all or nothing."""

# ruff: noqa: D102 - a test's name says what holds
from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from msgspec.structs import replace

from podium.exceptions import (
    DuplicateInputError,
    FenceLostError,
    LimitReachedError,
    PodiumError,
    SequenceConflictError,
)
from podium.ids import PLACEMENT_SHARD, shard_of
from podium.store.protocol import (
    DEFAULT_TENANT,
    Append,
    CounterChange,
    ExecutionChange,
    ShardRow,
)
from podium.testing.scribe import ALL_SHARDS, Scribe, check_gapless, everything
from podium.testing.store_tools import (
    LIMITED,
    A,
    B,
    C,
    FailingParts,
    Fault,
    StoreFactory,
    asynchronous,
    blob,
    on_another_shard,
    opened,
    refused,
    reopened,
)


class OwnershipConformance:
    """`take`, fences and positions."""

    @asynchronous
    async def test_taking_raises_each_fence_by_one_and_keeps_positions(self, store_factory: StoreFactory) -> None:
        store = store_factory.fresh()
        first = await store.take("one", [3, 5], 1)
        assert first == {3: ShardRow(3, 1, 0, "one"), 5: ShardRow(5, 1, 0, "one")}
        assert await store.take("two", [5, 7], 2) == {5: ShardRow(5, 2, 0, "two"), 7: ShardRow(7, 1, 0, "two")}
        assert await store.shards() == [ShardRow(3, 1, 0, "one"), ShardRow(5, 2, 0, "two"), ShardRow(7, 1, 0, "two")]
        await store.close()

    @asynchronous
    async def test_a_fence_taken_over_refuses_the_old_owner(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as old, reopened(store_factory, old.store) as other:
            await old.append({A: [("start", 2)]})
            new = Scribe(other, "new")
            taken = await new.take()
            assert taken[shard_of(A)].position == 1
            await refused(FenceLostError, old, old.batch({A: [("late", 1)]}))
            await new.learn()
            await new.append({A: [("next", 1)]})
            await refused(FenceLostError, old, old.batch({A: [("later", 1)]}))
            await check_gapless(other)

    @asynchronous
    async def test_only_the_shards_taken_are_lost(self, store_factory: StoreFactory) -> None:
        other = on_another_shard(A)
        async with opened(store_factory) as scribe:
            await scribe.store.take("thief", [shard_of(A)], 1)
            await refused(FenceLostError, scribe, scribe.batch({other: [("start", 1)], A: [("start", 1)]}))
            await scribe.append({other: [("start", 1)]})

    @asynchronous
    async def test_a_shard_never_taken_is_refused(self, store_factory: StoreFactory) -> None:
        store = store_factory.fresh()
        for fence in (0, 1):
            scribe = Scribe(store)
            scribe.fences[shard_of(A)] = fence
            await refused(FenceLostError, scribe, scribe.batch({A: [("start", 1)]}))
        await store.close()

    @asynchronous
    async def test_a_fence_is_checked_without_rows_too(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.store.append(Append({1: 1, 2: 1}, (), ()))
            await refused(FenceLostError, scribe, Append({1: 1, 2: 2}, (), (), blobs=[blob(b"content")]))

    @asynchronous
    async def test_a_fence_without_rows_guards_the_whole_append(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.store.take("leader", [PLACEMENT_SHARD], 1)
            batch = scribe.batch({A: [("start", 1)]}, inbox=[scribe.post(B, "grant")], blobs=[blob(b"content")])
            for fence in (0, 2):
                batch.fences[PLACEMENT_SHARD] = fence
                await refused(FenceLostError, scribe, batch)
            batch.fences[PLACEMENT_SHARD] = 1
            await scribe.write(batch)
            await scribe.append({A: [("next", 1)]})
            (row,) = [row for row in await scribe.store.shards() if row.shard == PLACEMENT_SHARD]
            assert row == ShardRow(PLACEMENT_SHARD, 1, 0, "leader")

    @asynchronous
    async def test_a_fence_of_a_shard_never_taken_is_refused_without_rows(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            for fence in (0, 1):
                await refused(
                    FenceLostError, scribe, Append({PLACEMENT_SHARD: fence}, (), (), blobs=[blob(b"content")])
                )

    @pytest.mark.parametrize("moved", [-1, 1])
    @asynchronous
    async def test_a_position_that_has_moved_is_refused(self, store_factory: StoreFactory, moved: int) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 1), ("two", 1)]})
            scribe.positions[shard_of(A)] += moved
            await refused(FenceLostError, scribe, scribe.batch({A: [("three", 1)]}))

    @asynchronous
    async def test_one_of_many_appends_at_the_same_position_wins(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe, reopened(store_factory, scribe.store) as other:
            names = [name for name in (f"racer-{n}" for n in range(2_000)) if shard_of(name) == 9][:16]
            batches = [scribe.batch({name: [("start", 1)]}) for name in names]
            stores = [scribe.store, other] * (len(names) // 2)
            results = await asyncio.gather(
                *(store.append(each) for store, each in zip(stores, batches, strict=True)), return_exceptions=True
            )
            assert results.count(None) == 1
            assert all(isinstance(result, FenceLostError) for result in results if result is not None)
            (row,) = await scribe.store.follow(9, 0)
            assert row.execution == names[results.index(None)]
            await check_gapless(scribe.store)

    @asynchronous
    async def test_appends_called_together_are_written_in_the_order_of_the_calls(
        self, store_factory: StoreFactory
    ) -> None:
        async with opened(store_factory) as scribe:
            batches = []
            for number in range(20):
                batch = scribe.batch({A: [(f"input-{number}", 2)]})
                batches.append(batch)
                scribe.positions[shard_of(A)] += 1
                scribe.executions[A] = batch.executions[0].row
            await asyncio.gather(*(scribe.store.append(batch) for batch in batches))
            rows = await scribe.store.history(A)
            assert [row.input_id for row in rows] == [f"input-{number}" for number in range(20)]
            await check_gapless(scribe.store)


class AppendConformance:
    """`append`: guards, inputs, limits, all or nothing."""

    @asynchronous
    async def test_rows_come_back_as_they_were_written(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            columns = {
                "wake_at_us": 5,
                "active": False,
                "finished_us": 7,
                "priority": 99,
                "parent": "père",
                "summary": b'{"\xc3\xa9":1}',
                "tenant": "mieter",
            }
            payload = bytes(range(256)) * 40
            batch = await scribe.append(
                {"ünïcödé 'quoted\"": [("i/1", 3), ("i/2", 1)]}, columns=columns, payload=payload
            )
            rows = await scribe.store.history("ünïcödé 'quoted\"")
            assert [replace(row, checksum=0) for row in rows] == batch.rows
            assert all(row.checksum == row.computed_checksum() for row in rows)
            assert await scribe.store.execution("ünïcödé 'quoted\"") == batch.executions[0].row

    @asynchronous
    async def test_some_columns_are_fixed_at_an_executions_creation(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 1)]}, columns={"parent": "parent", "created_us": 5})
            first = await scribe.store.execution(A)
            assert first is not None
            fixed = {"tenant": "x", "workflow": "x", "parent": None, "created_us": 9}
            moving = {"version": "2", "definition": "d", "status": "DONE", "run": 2, "wake_at_us": 4, "active": False}
            more = {"finished_us": 6, "priority": 1, "summary": b"[]"}
            await scribe.append({A: [("next", 1)]}, columns=fixed | moving | more)
            expected = replace(first, sequence=2, updated_us=scribe.now_us, **moving, **more)
            assert await scribe.store.execution(A) == expected

    @asynchronous
    async def test_a_payload_in_a_blob_and_a_checksum_given_are_kept(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            big = blob(b"x" * 100_000)
            batch = scribe.batch({A: [("start", 1)]}, payload=b"", blobs=[big])
            row = replace(batch.rows[0], payload_blob=big.hash)
            row = replace(row, checksum=row.computed_checksum())
            await scribe.write(replace(batch, rows=[row]))
            assert await scribe.store.history(A) == [row]
            assert await scribe.store.get(DEFAULT_TENANT, big.hash) == big.content

    @asynchronous
    async def test_an_execution_that_exists_isnt_created_again(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 1)]})
            del scribe.executions[A]
            error = await refused(SequenceConflictError, scribe, scribe.batch({A: [("again", 1)]}))
            assert isinstance(error, SequenceConflictError)
            assert error.executions == (A,)

    @asynchronous
    async def test_an_execution_that_doesnt_exist_isnt_moved(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            scribe.executions[A] = replace(scribe.created(A), sequence=4)
            await refused(SequenceConflictError, scribe, scribe.batch({A: [("next", 1)]}))

    @asynchronous
    async def test_all_executions_that_have_moved_are_named(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 2)], B: [("start", 2)], C: [("start", 2)]})
            for name in (A, C):
                scribe.executions[name] = replace(scribe.executions[name], sequence=1)
            batch = scribe.batch({A: [("next", 1)], B: [("next", 1)], C: [("next", 1)]})
            error = await refused(SequenceConflictError, scribe, batch)
            assert isinstance(error, SequenceConflictError)
            assert set(error.executions) == {A, C}

    @asynchronous
    async def test_an_input_is_recorded_once(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 2), ("result", 1)]})
            error = await refused(DuplicateInputError, scribe, scribe.batch({A: [("new", 1), ("result", 1)]}))
            assert isinstance(error, DuplicateInputError)
            assert error.inputs == ((A, "result"),)
            await scribe.append({B: [("result", 1)]})  # another execution's is another input

    @asynchronous
    async def test_an_input_twice_in_one_batch_is_refused(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            error = await refused(DuplicateInputError, scribe, scribe.batch({A: [("one", 1), ("two", 1), ("one", 1)]}))
            assert isinstance(error, DuplicateInputError)
            assert error.inputs == ((A, "one"),)

    @asynchronous
    async def test_recorded_names_the_inputs_in_the_log(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 1)], B: [("start", 1), ("next", 1)]})
            await scribe.store.post(scribe.post(A, "posted"))
            asked = [(A, "start"), (A, "next"), (B, "next"), (C, "start"), (A, "posted")]
            assert await scribe.store.recorded(asked) == {(A, "start"), (B, "next")}
            assert await scribe.store.recorded([]) == set()

    @asynchronous
    async def test_a_counter_doesnt_pass_its_limit(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            up, down = CounterChange(*LIMITED, 1, 2), CounterChange(*LIMITED, -1)
            await scribe.append({A: [("1", 1)]}, counters=[up])
            await scribe.append({A: [("2", 1)]}, counters=[up])
            await refused(LimitReachedError, scribe, scribe.batch({A: [("3", 1)]}, counters=[up]))
            await refused(LimitReachedError, scribe, scribe.batch({A: [("3", 1)]}, counters=[down, up, up]))
            await scribe.append({A: [("3", 1)]}, counters=[down, up])
            await scribe.append(
                {A: [("4", 1)]}, counters=[CounterChange(*LIMITED, 5), CounterChange("other", "key", 1)]
            )
            await scribe.append({A: [("5", 1)]}, counters=[down])  # above the limit, downwards is free
            await scribe.append({A: [("6", 1)]}, counters=[CounterChange(*LIMITED, -1, 2)])
            assert await scribe.store.counter(*LIMITED) == 5
            assert await scribe.store.counter("other", "key") == 1
            assert await scribe.store.counter("other", LIMITED[1]) == 0

    @asynchronous
    async def test_an_inbox_row_may_come_under_another_shard_in_one_append(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store, shard, elsewhere = scribe.store, shard_of(B), 128 + shard_of(B)
            await scribe.append({A: [("start", 1)]})
            await store.post(scribe.post(B, "start"))
            (posted,) = await store.inbox([shard], 0, 10)
            await scribe.append({A: [("next", 1)]}, drained=[posted.id], inbox=[replace(posted, id=0, shard=elsewhere)])
            assert await store.inbox([shard], 0, 10) == []
            (moved,) = await store.inbox([elsewhere], 0, 10)
            assert (moved.execution, moved.input_id, moved.payload) == (B, "start", posted.payload)
            assert not await store.post(scribe.post(B, "start"))  # it is still the same input
            await scribe.append({B: [("start", 1)]}, drained=[moved.id])
            assert await store.inbox([elsewhere], 0, 10) == []

    @pytest.mark.parametrize("failure", ["fence", "position", "sequence", "created", "duplicate", "repeated", "limit"])
    @asynchronous
    async def test_after_a_refusal_nothing_of_the_batch_is_there(
        self, store_factory: StoreFactory, failure: str
    ) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            await scribe.append({A: [("start", 2)], B: [("start", 2)]}, counters=[CounterChange(*LIMITED, 1)])
            await store.post(scribe.post(A, "posted"))
            (posted,) = await store.inbox(ALL_SHARDS, 0, 10)
            limit = 1 if failure == "limit" else 5
            if failure == "sequence":
                scribe.executions[B] = replace(scribe.executions[B], sequence=1)
            elif failure == "created":
                del scribe.executions[B]
            elif failure == "position":
                scribe.positions[shard_of(B)] += 7
            last = {"duplicate": [("start", 1)], "repeated": [("x", 1), ("x", 1)]}.get(failure, [("x", 1)])
            batch = scribe.batch(
                {A: [("posted", 1)], C: [("start", 1)], B: last},
                columns={"status": "CHANGED", "wake_at_us": 3},
                drained=[posted.id],
                inbox=[scribe.post(C, "from a")],
                blobs=[blob(b"of the batch")],
                counters=[CounterChange(*LIMITED, 1, limit)],
            )
            if failure == "fence":
                batch.fences[shard_of(B)] += 1
            expected = {
                "fence": FenceLostError,
                "position": FenceLostError,
                "sequence": SequenceConflictError,
                "created": SequenceConflictError,
                "duplicate": DuplicateInputError,
                "repeated": DuplicateInputError,
                "limit": LimitReachedError,
            }
            await refused(expected[failure], scribe, batch)
            await store.append(Append({shard_of(A): 1}, (), ()))  # and the store goes on

    @asynchronous
    async def test_of_several_reasons_the_first_in_order_is_given(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 1)], B: [("start", 1)]}, counters=[CounterChange(*LIMITED, 1)])
            over = [CounterChange(*LIMITED, 1, 1)]
            duplicate = scribe.batch({A: [("start", 1)], B: [("x", 1)]}, counters=over)
            scribe.executions[B] = replace(scribe.executions[B], sequence=7)
            moved = scribe.batch({A: [("start", 1)], B: [("x", 1)]}, counters=over)
            scribe.fences[shard_of(A)] = 9
            fenced = scribe.batch({A: [("start", 1)], B: [("x", 1)]}, counters=over)
            await refused(FenceLostError, scribe, fenced)
            await refused(SequenceConflictError, scribe, moved)
            await refused(DuplicateInputError, scribe, duplicate)

    @asynchronous
    async def test_a_batch_that_contradicts_itself_is_refused(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            good = scribe.batch({A: [("1", 1), ("2", 2)], B: [("1", 1)]})
            first, second, third = good.rows
            a, b = good.executions
            shard = shard_of(A)
            for bad in (
                replace(good, fences={shard: 1}),
                replace(good, rows=[first, third]),
                replace(good, rows=[first, replace(second, position=3), third]),
                replace(good, rows=[first, replace(second, sequence=3), third]),
                replace(good, rows=[first, replace(second, event_count=0), third]),
                replace(good, executions=[a]),
                replace(good, executions=[a, b, b]),
                replace(good, executions=[replace(a, row=replace(a.row, sequence=9)), b]),
                Append({shard: 1}, (), [ExecutionChange(scribe.created(A), 0)]),
            ):
                await refused(ValueError, scribe, bad)
            await scribe.write(good)

    @pytest.mark.parametrize("part", ["rows", "executions", "drained", "inbox", "blobs", "counters"])
    @asynchronous
    async def test_a_fault_within_an_append_leaves_nothing(self, store_factory: StoreFactory, part: str) -> None:
        async with opened(store_factory) as scribe:
            await scribe.append({A: [("start", 1)]})
            await scribe.store.post(scribe.post(A, "x"))
            (posted,) = await scribe.store.inbox(ALL_SHARDS, 0, 9)
            batch = scribe.batch(
                {A: [("x", 1), ("y", 1)], B: [("x", 1)]},
                blobs=[blob(b"fault"), blob(b"another")],
                inbox=[scribe.post(C, "i"), scribe.post(C, "j")],
                drained=[posted.id, posted.id],
                counters=[CounterChange(*LIMITED, 1, 5), CounterChange(*LIMITED, 1, 5)],
            )
            before = await everything(scribe.store, [LIMITED], [blob(b"fault").hash])
            at = 0
            while True:
                parts = FailingParts(list(getattr(batch, part)), at)
                try:
                    await scribe.store.append(replace(batch, **{part: parts}))
                except Fault:
                    assert await everything(scribe.store, [LIMITED], [blob(b"fault").hash]) == before
                    at += 1
                else:
                    break
            assert at >= 2, "the fault was never met"
            assert await scribe.store.counter(*LIMITED) == 2
            await check_gapless(scribe.store)

    @asynchronous
    async def test_a_batch_of_any_size_is_one_transaction(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            names = [f"many-{number}" for number in range(1_500)]
            scribe.executions["many-1499"] = replace(scribe.created("many-1499"), sequence=3)
            await refused(SequenceConflictError, scribe, scribe.batch({name: [("start", 1)] for name in names}))
            del scribe.executions["many-1499"]
            await scribe.append({name: [("start", 1), ("next", 2)] for name in names})
            assert len(await scribe.store.active(ALL_SHARDS)) == 1_500
            await check_gapless(scribe.store)

    @asynchronous
    async def test_positions_and_sequences_have_no_gap_whatever_fails(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            for number in range(60):
                name = f"mixed-{number % 7}"
                inputs = {name: [(f"i{number}", 1 + number % 3)], f"mixed-{(number + 3) % 7}": [(f"j{number // 2}", 1)]}
                with suppress(PodiumError):
                    await scribe.append(inputs)
                if number % 20 == 19:
                    await check_gapless(scribe.store)

    @asynchronous
    async def test_what_was_appended_is_there_for_the_next_process(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            content = blob(b"kept")
            await scribe.append(
                {A: [("start", 2)], B: [("start", 1)]},
                blobs=[content],
                inbox=[scribe.post(C, "start")],
                counters=[CounterChange(*LIMITED, 3)],
            )
            before = await everything(scribe.store, [LIMITED], [content.hash])
            await scribe.store.close()
            async with reopened(store_factory, scribe.store) as other:
                assert await everything(other, [LIMITED], [content.hash]) == before
