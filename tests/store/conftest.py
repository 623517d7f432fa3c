"""A PostgreSQL server for all tests of a process, and a database to copy: that is quicker than to make the tables."""

from __future__ import annotations

import asyncio

import pytest

from podium.store.postgres.migrations import upgrade
from podium.testing.postgresserver import PostgresServer


@pytest.fixture(scope="session")
def podium_tables(podium_postgres: PostgresServer) -> PostgresServer:
    """The server, with the database `podium_tables` to be a template."""
    asyncio.run(upgrade(podium_postgres.create_database("podium_tables")))
    return podium_postgres
