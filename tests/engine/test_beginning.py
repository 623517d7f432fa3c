"""Where a reader begins: of several processes that begin at once one says so, the others begin where it said."""

from __future__ import annotations

import asyncio

from podium.engine.beginning import begin_now
from podium.store.memory import MemoryStore
from podium.store.protocol import ShardRow


class Watched(MemoryStore):
    """A store whose answer about the shards waits for a gate: the position grows with each question."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.somebody_asked = asyncio.Event()
        self.asked = 0

    async def shards(self) -> list[ShardRow]:
        self.asked += 1
        self.somebody_asked.set()
        position = self.asked
        await self.gate.wait()
        return [ShardRow(3, 1, position, "one")]


def test_of_two_that_begin_at_once_one_sets_the_places():
    async def story() -> None:
        store = Watched()
        both = [asyncio.create_task(begin_now(store, "reader")) for _ in range(2)]
        await store.somebody_asked.wait()
        store.gate.set()
        await asyncio.gather(*both)
        assert (store.asked, await store.cursor("reader", 3)) == (1, 1)

    asyncio.run(story())


def test_who_began_before_begins_where_it_was():
    async def story() -> None:
        store = Watched()
        store.gate.set()
        await begin_now(store, "reader")
        await store.save_cursor("reader", 3, 17)
        await begin_now(store, "reader")
        assert await store.cursor("reader", 3) == 17

    asyncio.run(story())


def test_what_another_one_has_left_half_done_is_done(monkeypatch):
    async def story() -> None:
        store = Watched()
        store.gate.set()
        await store.put_model("reader.beginning", 0, 1, ())
        monkeypatch.setattr("podium.engine.beginning.LOOK_SECONDS", 0.0)
        await begin_now(store, "reader")
        assert await store.cursor("reader", 3) == 1

    asyncio.run(story())
