"""`docs/postgresql.md`: its SQL runs, and the columns that it lists are those of the views."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from podium.store.postgres import PostgresStore
from podium.store.postgres.connection import asyncpg
from podium.store.postgres.migrations import upgrade
from podium.store.protocol import FORMAT, CounterChange, ModelRow, Replica, Snapshot
from podium.testing.postgresserver import PostgresServer
from podium.testing.scribe import Scribe
from tests.docs_pages.markdown import page, section, tables

pytestmark = pytest.mark.xdist_group("postgres")
PAGE = page("postgresql.md")
BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
GRANTS = [sql for sql in BLOCKS if "CREATE ROLE" in sql]


@pytest.fixture(scope="module")
def url(podium_postgres: PostgresServer) -> str:
    url = podium_postgres.create_database("page")
    asyncio.run(upgrade(url))
    for sql in GRANTS:
        asyncio.run(asked(url, sql))
    return url


async def asked(url: str, sql: str) -> Any:
    connection = await asyncpg().connect(url)
    try:
        return await (connection.execute(sql) if sql.count(";") > 1 else connection.fetch(sql))
    finally:
        await connection.close()


@pytest.mark.parametrize("sql", [sql for sql in BLOCKS if sql not in GRANTS])
def test_the_questions_of_the_page_have_answers(url: str, sql: str) -> None:
    asyncio.run(asked(url, sql))


def test_each_view_has_the_columns_that_the_page_lists(url: str) -> None:
    (rows,) = tables(section(PAGE, "Ask it"))
    for row in rows:
        view = row["view"].strip("`")
        columns = (
            f"SELECT column_name FROM information_schema.columns WHERE table_name = '{view}' ORDER BY ordinal_position"
        )
        there = [column[0] for column in asyncio.run(asked(url, columns))]
        assert re.findall(r"\w+", re.sub(r"\([^)]*\)", "", row["columns"])) == there, view


def test_a_replica_needs_no_more_than_the_page_grants(podium_postgres: PostgresServer, url: str) -> None:
    async def check() -> None:
        store = await PostgresStore.open(podium_postgres.url("page", "podium_replica"))
        await store.join(Replica("id", "name", "nats://one", "1", FORMAT), 60_000_000)
        await store.claim("id", dict.fromkeys(range(64), 0))
        assert await store.renew("id", 60_000_000) is not None
        scribe = Scribe(store)
        await scribe.take()
        await scribe.append({"a": [("start", 1)]}, inbox=[scribe.post("b", "i")], counters=[CounterChange("t", "k", 1)])
        await store.post(scribe.post("b", "j"))
        await store.put_model("m", 1, 1, [ModelRow("k", b"{}")])
        await store.put_snapshot(Snapshot("a", 1, 1, b"", 1))
        await store.add_tenant("t", 1)
        await store.finish_upgrade(FORMAT)
        await store.drop_model("m")
        await store.sweep(set(), 1)
        await store.leave("id")
        await store.close()

    asyncio.run(check())
