"""Migrations of PostgreSQL: up and down from every revision with rows in flight, and beside running replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from podium.exceptions import InvalidInputError, SchemaTooNewError, StoreUnavailableError
from podium.store.postgres import PostgresStore, migrations
from podium.store.postgres.connection import asyncpg
from podium.store.postgres.migrations import HEAD, current, downgrade, upgrade
from podium.testing.postgresserver import PostgresServer
from podium.testing.scribe import Scribe, check_gapless, everything
from podium.testing.store_tools import A, B

pytestmark = pytest.mark.xdist_group("postgres")

_CONFIG = Config()
_CONFIG.set_main_option("script_location", str(migrations._FOLDER))
_CONFIG.set_main_option("path_separator", "os")
_SCRIPTS = ScriptDirectory.from_config(_CONFIG)
REVISIONS = [script.revision for script in reversed(list(_SCRIPTS.walk_revisions()))]
SHAPE = """
SELECT 'column', table_name, column_name, data_type || is_nullable || coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'function', proname, pg_get_function_arguments(p.oid), prosrc
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace WHERE nspname = 'public'
ORDER BY 1, 2, 3, 4
"""


@pytest.fixture
def url(podium_postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"migrations_{abs(hash(request.node.name))}"
    yield podium_postgres.create_database(name)
    podium_postgres.drop_database(name)


async def shape(url: str) -> list[tuple[Any, ...]]:
    """Return all that a schema consists of."""
    connection = await asyncpg().connect(url)
    found = [tuple(row) for row in await connection.fetch(SHAPE)]
    await connection.close()
    return found


def test_the_newest_file_is_the_revision_that_is_needed() -> None:
    assert _SCRIPTS.get_current_head() == HEAD == REVISIONS[-1]
    assert sorted(REVISIONS) == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_up_and_down_from_every_revision_with_rows_in_flight(
    url: str, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        assert await current(url) == ""
        assert await upgrade(url, revision) == revision
        monkeypatch.setattr(migrations, "HEAD", revision)
        before = await shape(url)
        store = await PostgresStore.open(url)
        scribe = Scribe(store)
        await scribe.take()
        await scribe.append({A: [("start", 2)], B: [("start", 1)]}, inbox=[scribe.post("c", "i")])
        rows = await everything(store)
        for other in REVISIONS[REVISIONS.index(revision) + 1 :]:
            assert await upgrade(url, other) == other
            assert await everything(store) == rows
            await scribe.append({A: [(f"at {other}", 1)]})
            rows = await everything(store)
        assert await downgrade(url, revision) == revision
        assert await everything(store) == rows
        assert await shape(url) == before
        await scribe.append({A: [("after", 1)]})
        await check_gapless(store)
        await store.close()
        assert await downgrade(url, "base") == ""
        assert {row[1] for row in await shape(url)} <= {"alembic_version"}
        assert await upgrade(url) == REVISIONS[-1]

    asyncio.run(check())


def test_appends_go_on_while_the_schema_moves_under_them(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        await upgrade(url)
        monkeypatch.setattr(migrations, "HEAD", REVISIONS[0])
        store = await PostgresStore.open(url)
        scribe = Scribe(store)
        await scribe.take()
        done = asyncio.Event()

        async def append() -> int:
            count = 0
            while not done.is_set():
                await scribe.append({A: [(f"{count}", 1)]})
                count += 1
            return count

        appending = asyncio.create_task(append())
        for _ in range(3):
            await downgrade(url, REVISIONS[0])
            await upgrade(url, REVISIONS[-1])
        done.set()
        count = await appending
        assert len(await store.history(A, limit=100_000)) == count > 0
        await store.close()

    asyncio.run(check())


def test_two_migrations_at_once_are_one(url: str) -> None:
    async def check() -> None:
        assert await asyncio.gather(*(upgrade(url) for _ in range(4))) == [HEAD] * 4
        store = await PostgresStore.open(url)
        await store.close()

    asyncio.run(check())


def test_a_migration_that_cant_have_its_locks_lets_others_pass_and_tries_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr(migrations, "_PAUSE_SECONDS", 0.1)

    async def check() -> None:
        await upgrade(url)
        holder = await asyncpg().connect(url)
        held = holder.transaction()
        await held.start()
        await holder.execute("SELECT * FROM workflow_executions")
        moving = asyncio.create_task(downgrade(url, REVISIONS[0]))
        reader = await asyncpg().connect(url)
        async with asyncio.timeout(20):
            for _ in range(3):  # whoever asks for the view meanwhile waits for one time-out at most
                await reader.fetch("SELECT * FROM workflow_executions")
        assert not moving.done()
        await held.rollback()
        assert await moving == REVISIONS[0]
        monkeypatch.setattr(migrations, "_TRIES", 2)
        await upgrade(url)
        held = holder.transaction()
        await held.start()
        await holder.execute("SELECT * FROM workflow_executions")
        with pytest.raises(StoreUnavailableError, match="a lock"):
            await downgrade(url, REVISIONS[0])
        assert await current(url) == HEAD
        await held.rollback()
        await holder.close()
        await reader.close()

    asyncio.run(check())


def test_a_schema_that_isnt_there_or_is_older_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(StoreUnavailableError, match=r"aren't there.*podium migrate --database"):
        asyncio.run(PostgresStore.open(url))
    asyncio.run(upgrade(url, REVISIONS[0]))
    with pytest.raises(StoreUnavailableError, match=f"at revision {REVISIONS[0]}.*podium migrate --database"):
        asyncio.run(PostgresStore.open(url))
    asyncio.run(asyncio.wait_for(_opened(url, migrate=True), 60))
    assert asyncio.run(current(url)) == HEAD


async def _opened(url: str, **settings: Any) -> None:
    store = await PostgresStore.open(url, **settings)
    await store.close()


def test_a_newer_schema_is_accepted_until_it_says_that_it_is_too_new(url: str, podium_postgres: PostgresServer) -> None:
    database = url.rpartition("/")[2]
    asyncio.run(upgrade(url))
    podium_postgres.execute("UPDATE alembic_version SET version_num = '0999'", database)
    asyncio.run(_opened(url))
    assert asyncio.run(upgrade(url)) == "0999"
    with pytest.raises(InvalidInputError):
        asyncio.run(downgrade(url, REVISIONS[0]))
    podium_postgres.execute("UPDATE meta SET value = '0998' WHERE key = 'oldest_schema'", database)
    with pytest.raises(SchemaTooNewError, match="0998"):
        asyncio.run(_opened(url))


@pytest.mark.parametrize("revision", ["nothing", "0777", "-", ""])
def test_a_revision_that_there_isnt_is_refused(url: str, revision: str) -> None:
    asyncio.run(upgrade(url))
    for move in (upgrade, downgrade):
        with pytest.raises(InvalidInputError):
            asyncio.run(move(url, revision))
    assert asyncio.run(current(url)) == HEAD
