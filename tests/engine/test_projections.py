"""A projection is given each committed row, in its shard's order, at least once, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio

from podium.engine.projections import Projection
from podium.exceptions import StoreUnavailableError
from podium.store.memory import MemoryStore
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
