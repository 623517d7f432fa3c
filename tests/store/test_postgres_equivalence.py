"""PostgreSQL and memory answer the same to the same operations, errors included, whatever their order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from podium.store.postgres import PostgresStore
from podium.store.protocol import Append, InboxRow
from tests.store.test_equivalence import SameAnswers

pytestmark = pytest.mark.xdist_group("postgres")
EVERYTHING = list(range(256))


class Numbered:
    """A store whose inbox ids are counted without a gap, as memory counts them: PostgreSQL's have gaps."""

    def __init__(self, store: PostgresStore, numbers: dict[int, int]) -> None:
        self._store = store
        self._numbers = numbers  # by the real id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, batch: Append) -> None:
        real = {number: key for key, number in self._numbers.items()}
        await self._store.append(replace(batch, drained=[real.get(number, 0) for number in batch.drained]))
        await self._number()

    async def post(self, row: InboxRow) -> bool:
        written = await self._store.post(row)
        await self._number()
        return written

    async def inbox(self, shards: Sequence[int], after: int, limit: int, known: Collection[int] = ()) -> list[InboxRow]:
        rows = await self._store.inbox(shards, 0, 1_000_000)
        numbered = [replace(row, id=self._numbers[row.id]) for row in rows]
        return [row for row in numbered if row.id > after and row.id not in known][:limit]

    async def _number(self) -> None:
        for row in await self._store.inbox(EVERYTHING, 0, 1_000_000):
            self._numbers.setdefault(row.id, len(self._numbers) + 1)


def test_memory_and_postgresql_answer_the_same(podium_databases: Any) -> None:
    class OnPostgres(SameAnswers):
        def opened(self) -> Any:
            if not hasattr(self, "numbers"):
                self.numbers: dict[int, int] = {}
                self.url = self.loop.run_until_complete(podium_databases.empty("equivalence"))
            return Numbered(self.loop.run_until_complete(PostgresStore.open(self.url)), self.numbers)

    few = settings(
        max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(OnPostgres, settings=few)
