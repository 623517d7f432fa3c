"""When snapshots are written: by a history's size, by the clock (document 004's checkpoint interval), and not for
nothing.
"""

from __future__ import annotations

import asyncio

from podium.clock import SECOND
from podium.engine import snapshots
from podium.engine.recovery import Definitions, inline
from podium.engine.snapshots import Snapshots
from podium.testing.virtual import virtual_loop
from tests.runtime.support import ONE, Hand, UnreliableStore, start, until, virtual

MINUTES = 60.0


class Written(UnreliableStore):
    """A store that notes the snapshots it is given."""

    def __init__(self, data=None) -> None:
        super().__init__(data)
        self.snapshots: list[tuple[str, int]] = []

    async def put_snapshot(self, snapshot) -> None:
        self.snapshots.append((snapshot.execution, snapshot.sequence))
        await super().put_snapshot(snapshot)


async def running(number: int = 1) -> tuple[Written, list[str], Definitions]:
    """A store with executions that have begun, each with an attempt under way."""
    store = Written()
    engine, hand, _ = await start(store, Hand(slots=1_000))
    executions = [await engine.submit(ONE) for _ in range(number)]
    await hand.assigned(number)
    await engine.stop()
    return store, executions, Definitions(store)


def writing(store: Written, definitions: Definitions, minutes: float = 5, least: int = 8 << 20) -> Snapshots:
    made = Snapshots(store, definitions, inline, least, virtual_loop().clock, minutes * MINUTES)
    for work in (made.write(), made.look_at_the_clock()):
        task = asyncio.create_task(work)
        task.add_done_callback(lambda done: done.cancelled() or done.result())
    return made


@virtual
async def test_an_execution_that_has_moved_gets_one_at_the_latest_after_the_interval():
    store, (execution,), definitions = await running()
    made = writing(store, definitions)
    made.grown(execution, 100)
    await asyncio.sleep(4 * MINUTES)
    assert store.snapshots == []
    await asyncio.sleep(1.5 * MINUTES)
    assert [each for each, _ in store.snapshots] == [execution]
    await asyncio.sleep(60 * MINUTES)
    assert len(store.snapshots) == 1  # it hasn't moved since
    made.grown(execution, 100)
    await asyncio.sleep(5.5 * MINUTES)
    assert len(store.snapshots) == 2


@virtual
async def test_without_an_interval_only_the_size_counts():
    store, (execution,), definitions = await running()
    made = writing(store, definitions, minutes=0, least=1_000)
    made.grown(execution, 900)
    await asyncio.sleep(600 * MINUTES)
    assert store.snapshots == []
    made.grown(execution, 200)
    await until(lambda: len(store.snapshots) == 1)


@virtual
async def test_one_that_has_ended_needs_none():
    store, (execution,), definitions = await running()
    made = writing(store, definitions)
    made.grown(execution, 100)
    made.forget(execution)
    await asyncio.sleep(60 * MINUTES)
    assert store.snapshots == []


@virtual
async def test_not_all_are_written_at_once(monkeypatch):
    monkeypatch.setattr(snapshots, "MOST_AT_A_LOOK", 10)
    store, executions, definitions = await running(35)
    made = writing(store, definitions)
    for execution in executions:
        made.grown(execution, 100)
    await asyncio.sleep(5 * MINUTES + 1)
    assert len(store.snapshots) == 10
    await asyncio.sleep(MINUTES)
    assert sorted(each for each, _ in store.snapshots) == sorted(executions)


@virtual
async def test_one_that_is_loaded_with_a_long_old_tail_or_leaves_with_one_gets_it_soon():
    store, (loaded, short, leaving), definitions = await running(3)
    made = writing(store, definitions)
    now_us = virtual_loop().clock.now_us()
    made.found(loaded, 100_000, now_us - 600 * SECOND)
    made.found(short, 1_000, now_us - 600 * SECOND)
    made.grown(leaving, 100_000)
    made.leave(leaving)
    await until(lambda: len(store.snapshots) == 2, 5)
    assert {each for each, _ in store.snapshots} == {loaded, leaving}


@virtual
async def test_a_snapshot_that_cannot_be_written_stops_nothing():
    store, (execution, other), definitions = await running(2)
    made = writing(store, definitions)
    made.grown("unknown", 100)
    made.grown(execution, 100)
    made.grown(other, 100)
    await asyncio.sleep(6 * MINUTES)
    assert sorted(each for each, _ in store.snapshots) == sorted([execution, other])
