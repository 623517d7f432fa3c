"""A PostgreSQL server for all tests of a process, and databases with Podium's tables in it: made once, then emptied."""

from __future__ import annotations

import asyncio

import pytest

from podium.store.postgres import PostgresStore
from podium.store.postgres.migrations import upgrade
from podium.testing.postgresserver import PostgresServer

_EMPTY = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables
                WHERE schemaname = current_schema() AND tablename NOT IN ('alembic_version', 'meta', 'tenants')
    LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
    DELETE FROM tenants WHERE tenant <> 'default';
    UPDATE meta SET value = '1' WHERE key = 'format';
END $$
"""


class Databases:
    """Databases with Podium's tables, by name."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._made: set[str] = set()
        asyncio.run(upgrade(server.create_database("podium_tables")))

    def url(self, name: str) -> str:
        """Return the URL of a database, a copy of the one with the tables."""
        if name not in self._made:
            self._made.add(name)
            self.server.create_database(name, template="podium_tables")
        return self.server.url(name)

    async def empty(self, name: str) -> str:
        """Return the URL of a database with nothing in it."""
        store = await PostgresStore.open(self.url(name))
        await store._sessions.rows(_EMPTY)
        await store.close()
        return self.url(name)


@pytest.fixture(scope="session")
def podium_databases(podium_postgres: PostgresServer) -> Databases:
    """Databases on the server of this process."""
    return Databases(podium_postgres)
