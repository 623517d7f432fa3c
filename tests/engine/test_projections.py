"""A projection is given each committed row, in its shard's order, at least once, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio

from podium.engine.projections import Projection
from podium.exceptions import StoreUnavailableError
from podium.store.memory import MemoryStore
from podium.store.protocol import ModelRow
from tests.runtime.support import ONE, Hand, crash, start, virtual


async def finished(engine, count: int) -> list[str]:
    executions = [await engine.submit(ONE) for _ in range(count)]
    for execution in executions:
        await engine.finished(execution)
    return executions


async def rows_of(store: MemoryStore, executions: list[str]) -> set[tuple[int, int]]:
    return {(row.shard, row.position) for each in executions for row in await store.history(each)}


@virtual
async def test_what_is_committed_is_taken_in_order_and_again_after_the_store_has_failed_in_the_middle():
    engine, _, store = await start(hand=Hand(auto=True))
    taken: list[tuple[int, int]] = []
    failures = [2, 5]  # of the calls

    async def take(rows) -> None:
        if failures and len(taken) >= failures[0]:
            failures.pop(0)
            raise StoreUnavailableError("a blob can't be read")
        taken.extend((row.shard, row.position) for row, _ in rows)

    projection = Projection(store, "test", take)
    await projection.start()
    engine.landed.append(projection.landed)
    executions = await finished(engine, 8)
    await projection.caught_up()
    assert projection.failure is None
    assert not failures
    assert set(taken) == await rows_of(store, executions)
    for shard in {shard for shard, _ in taken}:
        positions = [position for of, position in taken if of == shard]
        assert positions == sorted(positions), "each shard's rows come in order"
    await projection.stop()
    await crash(engine)


@virtual
async def test_the_first_start_begins_with_what_comes_and_a_later_one_where_it_was():
    engine, _, store = await start(hand=Hand(auto=True))
    before = await finished(engine, 3)
    taken: set[tuple[int, int]] = set()

    async def take(rows) -> None:
        taken.update((row.shard, row.position) for row, _ in rows)

    projection = Projection(store, "test", take)
    await projection.start()
    engine.landed.append(projection.landed)
    seen = await finished(engine, 2)
    await projection.caught_up()
    await projection.stop()
    assert taken == await rows_of(store, seen)
    engine.landed.clear()
    missed = await finished(engine, 2)
    later = Projection(store, "test", take)
    await later.start()
    await asyncio.wait_for(later.caught_up(), 60)
    assert taken == await rows_of(store, [*seen, *missed])
    assert not taken & await rows_of(store, before)
    await later.stop()
    await crash(engine)


class Reader:
    """Remembers what it was given; it can be held in the middle."""

    def __init__(self, store: MemoryStore) -> None:
        self.taken: list[tuple[int, int]] = []
        self.holds = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.projection = Projection(store, "test", self.take)

    async def take(self, rows) -> None:
        self.holds.set()
        await self.goes_on.wait()
        self.taken.extend((row.shard, row.position) for row, _ in rows)

    async def stop(self) -> None:
        self.goes_on.set()
        await self.projection.stop()


@virtual
async def test_shards_that_go_to_another_reader_are_followed_there_from_their_places():
    engine, _, store = await start(hand=Hand(auto=True))
    one, two = Reader(store), Reader(store)
    low, high = range(32), range(32, 64)
    await one.projection.start()
    await two.projection.start(())
    engine.landed += [one.projection.landed, two.projection.landed]
    first = await finished(engine, 20)
    await one.projection.caught_up()
    assert not two.taken
    await one.projection.disown(high)
    before = len(one.taken)
    missed = await finished(engine, 10)
    two.projection.own(high)
    second = await finished(engine, 20)
    await one.projection.caught_up()
    await two.projection.caught_up()
    assert {shard for shard, _ in one.taken[before:]} <= set(low)
    assert {shard for shard, _ in two.taken} <= set(high)
    assert sorted(one.taken + two.taken) == sorted(await rows_of(store, [*first, *missed, *second]))
    await two.projection.disown(high)
    await two.projection.disown(high)
    one.projection.own(high)
    third = await finished(engine, 20)
    await one.projection.caught_up()
    assert sorted(one.taken + two.taken) == sorted(await rows_of(store, [*first, *missed, *second, *third]))
    assert one.projection.lag == two.projection.lag == 0
    await one.stop()
    await two.stop()
    await crash(engine)


@virtual
async def test_a_shard_goes_although_what_is_taken_of_it_never_ends():
    engine, _, store = await start(hand=Hand(auto=True))
    one, two = Reader(store), Reader(store)
    await one.projection.start()
    engine.landed += [one.projection.landed, two.projection.landed]
    one.goes_on.clear()
    executions = await finished(engine, 20)
    await one.holds.wait()
    await asyncio.wait_for(one.projection.disown(range(40)), 60)
    one.goes_on.set()
    await two.projection.start(range(40))
    await one.projection.caught_up()
    await two.projection.caught_up()
    assert sorted(one.taken + two.taken) == sorted(await rows_of(store, executions))
    assert {shard for shard, _ in one.taken} <= set(range(40, 64))
    await one.stop()
    await two.stop()
    await crash(engine)


@virtual
async def test_a_reader_that_falls_behind_reads_the_store(monkeypatch):
    monkeypatch.setattr("podium.engine.projections.MOST_WAITING", 10)
    engine, _, store = await start(hand=Hand(auto=True))
    reader = Reader(store)
    await reader.projection.start()
    engine.landed.append(reader.projection.landed)
    reader.goes_on.clear()
    executions = await finished(engine, 30)
    rows = await rows_of(store, executions)
    assert reader.projection.lag == len(rows)
    reader.goes_on.set()
    await reader.projection.caught_up()
    assert sorted(reader.taken) == sorted(rows)
    await reader.stop()
    await crash(engine)


@virtual
async def test_what_was_committed_without_being_handed_over_is_found():
    engine, _, store = await start(hand=Hand(auto=True))
    reader = Reader(store)
    await reader.projection.start()
    await reader.projection.caught_up()
    executions = await finished(engine, 3)  # nobody tells the reader
    rows = await rows_of(store, executions)
    for _ in range(120):
        if len(reader.taken) < len(rows):
            await asyncio.sleep(1)
    assert sorted(reader.taken) == sorted(rows)
    await reader.stop()
    await crash(engine)


class Kept:
    """Places that were saved with what was made of the rows: of two readers, one is told that it came too late."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.sums: dict[int, int] = {}
        self.refused = 0

    async def begin(self) -> None:
        pass

    async def at(self, shard: int) -> int:
        rows = await self._store.model("sums", shard=shard)
        self.sums[shard] = int(rows[0].value or 0) if rows else 0
        return await self._store.cursor("sums", shard)

    async def take(self, rows) -> None:
        for row, _ in rows:
            self.sums[row.shard] += row.event_count

    async def save(self, shard: int, position: int) -> bool:
        done = await self._store.put_model("sums", shard, position, [ModelRow("sum", b"%d" % self.sums[shard])])
        self.refused += not done
        return done

    def forget(self, shard: int) -> None:
        self.sums.pop(shard, None)


@virtual
async def test_of_two_who_believe_to_own_a_shard_each_row_is_counted_once():
    engine, _, store = await start(hand=Hand(auto=True))
    both = [Kept(store), Kept(store)]
    readers = [Projection(store, "sums", kept.take, kept, save_seconds=1.0 + n) for n, kept in enumerate(both)]
    for reader in readers:
        await reader.start()
        engine.landed.append(reader.landed)
    executions = []
    for _ in range(12):
        executions += await finished(engine, 6)
        await asyncio.sleep(0.4)
    for reader in readers:
        await reader.caught_up()
        await reader.stop()
    assert sum(kept.refused for kept in both)
    events: dict[int, int] = {}
    for execution in executions:
        for row in await store.history(execution):
            events[row.shard] = events.get(row.shard, 0) + row.event_count
    found = {s: int(rows[0].value or 0) for s in range(64) if (rows := await store.model("sums", shard=s))}
    assert found == events
    await crash(engine)
