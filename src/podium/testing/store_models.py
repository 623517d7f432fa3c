"""The part of the conformance suite about read models: entries by key and shard, changed together with their place."""

# ruff: noqa: D102 - a test's name says what holds
from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from podium.ids import shard_of
from podium.store.protocol import DEFAULT_TENANT, Counted, CounterChange, ModelRow, Store
from podium.testing.scribe import ALL_SHARDS
from podium.testing.store_tools import A, B, C, StoreFactory, asynchronous, opened, reopened

NAME = "model"


def entries(given: dict[str, Any]) -> list[ModelRow]:
    """Return a model's changes; None takes an entry away."""
    return [ModelRow(key, None if value is None else json.dumps(value).encode()) for key, value in given.items()]


def shown(rows: Sequence[ModelRow]) -> list[tuple[str, Any]]:
    """Return entries as values: a store may write their JSON in its own way."""
    return [(row.key, None if row.value is None else json.loads(row.value)) for row in rows]


async def asked(store: Store, *arguments: Any, **named: Any) -> list[tuple[str, Any]]:
    """Return what a model says."""
    return shown(await store.model(NAME, *arguments, **named))


class ModelConformance:
    """`put_model`, `model`, `drop_model`, `unfinished`, `listed`, `counted`."""

    @asynchronous
    async def test_entries_are_put_changed_and_taken_away(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            assert await asked(store) == []
            assert await store.put_model(NAME, 1, 3, entries({"b": {"é": [1, None]}, "a": 1, "c": "x"}))
            assert await asked(store) == [("a", 1), ("b", {"é": [1, None]}), ("c", "x")]
            assert await store.put_model(NAME, 1, 4, entries({"b": 2, "c": None, "never": None, "d": 0.5}))
            assert await asked(store) == [("a", 1), ("b", 2), ("d", 0.5)]
            assert await store.model("another") == []

    @asynchronous
    async def test_the_place_is_the_cursor_of_the_same_name(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            assert await store.cursor(NAME, 1) == 0
            assert await store.put_model(NAME, 1, 7, ())
            assert await store.cursor(NAME, 1) == 7
            assert (await store.cursor(NAME, 2), await store.cursor("another", 1)) == (0, 0)
            await store.save_cursor(NAME, 1, 9)
            assert not await store.put_model(NAME, 1, 8, entries({"a": 1}))
            assert await store.put_model(NAME, 1, 10, entries({"a": 2}))
            assert await asked(store) == [("a", 2)]

    @asynchronous
    async def test_who_says_where_the_place_was_writes_from_there_only(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            assert not await store.put_model(NAME, 1, 5, entries({"a": 0}), before=3)  # what was there at 3 is lost
            assert await store.put_model(NAME, 1, 5, entries({"a": 1}), before=0)
            for elsewhere in (0, 4, 6):
                assert not await store.put_model(NAME, 1, 7, entries({"a": 2}), before=elsewhere)
            assert (await store.cursor(NAME, 1), await asked(store)) == (5, [("a", 1)])
            assert await store.put_model(NAME, 1, 7, entries({"b": 3}), before=5)
            assert not await store.put_model(NAME, 1, 7, entries({"b": 4}), before=7)
            assert (await store.cursor(NAME, 1), await asked(store)) == (7, [("a", 1), ("b", 3)])

    @asynchronous
    async def test_places_may_be_large(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            large = 2**62
            await scribe.store.save_cursor(NAME, 1, large)
            assert await scribe.store.cursor(NAME, 1) == large
            assert await scribe.store.put_model(NAME, 1, large + 1, entries({"a": 1}), before=large)
            assert await scribe.store.cursor(NAME, 1) == large + 1

    @asynchronous
    async def test_what_is_put_durably_is_put_by_the_same_rules(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe, reopened(store_factory, scribe.store) as other:
            assert await scribe.store.put_model(NAME, 1, 1, entries({"a": 1, "b": 1}), before=0, durable=True)
            assert not await other.put_model(NAME, 1, 1, entries({"a": 2}), before=0, durable=True)
            assert not await other.put_model(NAME, 1, 2, entries({"a": 2}), before=0, durable=True)
            assert await other.put_model(NAME, 1, 2, entries({"a": 3, "b": None}), before=1, durable=True)
            assert await scribe.store.put_model(NAME, 1, 3, entries({"c": 4}), before=2)
            assert (await other.cursor(NAME, 1), await asked(other)) == (3, [("a", 3), ("c", 4)])

    @asynchronous
    async def test_what_was_done_up_to_a_place_isnt_done_again(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            assert not await store.put_model(NAME, 1, 0, entries({"a": 0}))
            assert await store.put_model(NAME, 1, 5, entries({"a": 1}))
            for position in (5, 4, 1, 0):
                assert not await store.put_model(NAME, 1, position, entries({"a": 2, "b": 2}))
            assert await store.cursor(NAME, 1) == 5
            assert await store.put_model(NAME, 2, 1, entries({"b": 3}))  # another shard is at another place
            assert await asked(store) == [("a", 1), ("b", 3)]

    @asynchronous
    async def test_of_many_who_come_to_the_same_place_one_writes(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe, reopened(store_factory, scribe.store) as other:
            for position in range(1, 6):
                stores = [scribe.store, other] * 4
                done = await asyncio.gather(
                    *(
                        store.put_model(NAME, 1, position, entries({"a": [position, number]}))
                        for number, store in enumerate(stores)
                    )
                )
                assert sum(done) == 1
                assert await asked(other) == [("a", [position, done.index(True)])]

    @asynchronous
    async def test_entries_are_asked_for_by_prefix_and_shard_in_order(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            await store.put_model(NAME, 2, 1, entries({"a/1": 21, "a%": 22, "a_": 23, "b": 24}))
            await store.put_model(NAME, 1, 1, entries({"a/1": 11, "A": 12, "é": 13, "ab": 14}))
            await store.put_model("another", 1, 1, entries({"a/1": 0}))
            in_order = [("A", 12), ("a%", 22), ("a/1", 11), ("a/1", 21), ("a_", 23), ("ab", 14), ("b", 24), ("é", 13)]
            assert await asked(store) == in_order
            assert await asked(store, shard=1) == [("A", 12), ("a/1", 11), ("ab", 14), ("é", 13)]
            assert await asked(store, "a") == [each for each in in_order if each[0].startswith("a")]
            assert await asked(store, "a%") == [("a%", 22)]
            assert await asked(store, "a_") == [("a_", 23)]
            assert await asked(store, "a/", 2) == [("a/1", 21)]
            assert await asked(store, "z") == []
            assert await asked(store, limit=3) == in_order[:3]
            assert await asked(store, shard=3) == []

    @asynchronous
    async def test_a_model_is_dropped_with_its_place(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            for shard in (1, 2, 3):
                await store.put_model(NAME, shard, 5, entries({"a": shard}))
                await store.put_model("another", shard, 5, entries({"a": shard}))
            await store.drop_model(NAME, 2)
            assert await asked(store) == [("a", 1), ("a", 3)]
            assert [await store.cursor(NAME, shard) for shard in (1, 2, 3)] == [5, 0, 5]
            assert await store.put_model(NAME, 2, 1, entries({"a": "again"}))
            await store.drop_model(NAME)
            await store.drop_model(NAME)
            assert await asked(store) == []
            assert [await store.cursor(NAME, shard) for shard in (1, 2, 3)] == [0, 0, 0]
            assert len(await store.model("another")) == 3
            assert await store.cursor("another", 2) == 5

    @asynchronous
    async def test_a_model_takes_the_place_of_another_that_is_as_far(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            for shard in (1, 2):
                await store.put_model(NAME, shard, 5, entries({"a": f"old {shard}", "gone": 1}))
                await store.put_model("new", shard, 4, entries({"a": f"new {shard}", "b": 2}))
            before = await asked(store)
            assert not await store.replace_model(NAME, "new", 1)
            assert await asked(store) == before
            assert await store.put_model("new", 1, 5, entries({"c": 3}))
            assert await store.replace_model(NAME, "new", 1)
            assert await asked(store, shard=1) == [("a", "new 1"), ("b", 2), ("c", 3)]
            assert await asked(store, shard=2) == [("a", "old 2"), ("gone", 1)]
            assert await store.model("new", shard=1) == []
            assert (await store.cursor("new", 1), await store.cursor("new", 2)) == (0, 4)
            assert not await store.put_model(NAME, 1, 5, entries({"a": "late"}))
            assert await store.put_model(NAME, 1, 6, entries({"a": 6}))
            assert await store.put_model("new", 2, 9, ())
            assert await store.replace_model(NAME, "new", 2)
            assert (await store.cursor(NAME, 1), await store.cursor(NAME, 2)) == (6, 9)
            assert await store.replace_model(NAME, "new", 3)  # neither has begun
            assert not await store.replace_model(NAME, "new", 1)

    @asynchronous
    async def test_another_process_sees_entries_and_place_together(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe, reopened(store_factory, scribe.store) as other:

            async def write() -> None:
                for position in range(1, 40):
                    changes = {f"{number}": position for number in range(30)}
                    assert await scribe.store.put_model(NAME, 1, position, entries(changes))

            writing = asyncio.create_task(write())
            while not writing.done():
                place = await other.cursor(NAME, 1)
                seen = {value for _, value in await asked(other)}
                assert len(seen) <= 1
                assert min(seen, default=0) >= place
                await asyncio.sleep(0)
            await writing
            assert {value for _, value in await asked(other)} == {39}

    @asynchronous
    async def test_executions_without_an_end_are_counted(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store = scribe.store
            assert await store.unfinished(ALL_SHARDS) == 0
            await scribe.append({A: [("start", 1)], B: [("start", 1)], C: [("start", 1)]}, columns={"active": False})
            assert await store.unfinished(ALL_SHARDS) == 3
            of_a = sum(shard_of(each) == shard_of(A) for each in (A, B, C))
            assert await store.unfinished([shard_of(A)]) == of_a
            await scribe.append({A: [("end", 1)]}, columns={"finished_us": 5})
            assert await store.unfinished(ALL_SHARDS) == 2
            assert await store.unfinished([shard_of(A)]) == of_a - 1
            await scribe.append({A: [("retry", 1)]}, columns={"finished_us": None})
            assert await store.unfinished(ALL_SHARDS) == 3
            assert await store.unfinished([]) == 0

    @asynchronous
    async def test_executions_are_listed_page_by_page(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store, names = scribe.store, [f"e{number:02}" for number in range(25)]
            await scribe.append({name: [("start", 1)] for name in reversed(names)})
            await scribe.append({name: [("end", 1)] for name in names[::2]}, columns={"finished_us": 5})
            for unfinished, expected in ((False, names), (True, names[1::2])):
                found: list[str] = []
                while page := await store.listed(ALL_SHARDS, found[-1] if found else "", 4, unfinished=unfinished):
                    assert len(page) <= 4
                    found += [row.id for row in page]
                assert found == expected
            (shard, *_) = {shard_of(name) for name in names}
            of_shard = [row.id for row in await store.listed([shard])]
            assert of_shard == [name for name in names if shard_of(name) == shard]
            assert (await store.listed([shard]))[0] == scribe.executions[of_shard[0]]
            assert await store.listed([]) == []

    @asynchronous
    async def test_counters_come_with_the_executions_that_move_them(self, store_factory: StoreFactory) -> None:
        async with opened(store_factory) as scribe:
            store, move = scribe.store, partial(CounterChange, DEFAULT_TENANT)
            await scribe.append({A: [("start", 1)]}, counters=[move("of:workflow", 1), move("other", 1)])
            await scribe.append({B: [("start", 1)]}, columns={"definition": "b" * 64}, counters=[move("of:none", 5)])
            await scribe.append({C: [("start", 1)]}, columns={"finished_us": 3}, counters=[move("of:workflow", 1)])
            assert await store.counted("of:") == [
                Counted(DEFAULT_TENANT, "of:none", 5, {}),
                Counted(DEFAULT_TENANT, "of:workflow", 2, {"0" * 64: 1, "b" * 64: 1}),
            ]
            assert await store.counted("of:x") == []
