"""The figures of PostgreSQL are of rows that are really there."""

from __future__ import annotations

import asyncio

import pytest

from bench import postgres
from podium.store.postgres import PostgresStore
from podium.testing.postgresserver import PostgresServer
from podium.testing.scribe import check_gapless

pytestmark = pytest.mark.xdist_group("postgres")


def test_both_sides_write_two_rows_a_step(podium_postgres: PostgresServer) -> None:
    url = podium_postgres.create_database("bench")

    async def check() -> None:
        assert await postgres.bare_seconds(url, 30, 4) > 0
        assert await postgres.store_seconds(url, 30, 4) > 0
        store = await PostgresStore.open(url)
        await check_gapless(store)
        assert sum(row.position for row in await store.shards()) == 30 * postgres.ROWS_A_STEP
        await store.close()

    asyncio.run(check())
    assert podium_postgres.execute("SELECT count(*) FROM bare", "bench") == "60"


def test_a_measured_figure_names_its_limit() -> None:
    store, bare = postgres.measure(steps=20, producers=4, runs=1)
    assert store.beside == bare.name
    assert bare.is_limit
