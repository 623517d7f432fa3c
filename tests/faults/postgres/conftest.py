"""Fixtures: one PostgreSQL server and one NATS server for all tests of the folder, a database for each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from podium.store.postgres.migrations import upgrade
from podium.testing.natsserver import NatsServer, nats_server
from podium.testing.postgresserver import PostgresServer, postgres_server
from tests.cli.support import Shell
from tests.faults.bus.support import Aside
from tests.faults.postgres.support import Replicas

TABLES = "podium_tables"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of this folder on one worker: they share the servers, and each keeps both cores busy."""
    for item in items:
        if "tests/faults/postgres/" in item.nodeid or item.nodeid.startswith("postgres/"):
            item.add_marker(pytest.mark.xdist_group("replicas-under-faults"))


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """The server; a test that ends it has it started again."""
    with postgres_server() as server:
        asyncio.run(upgrade(server.create_database(TABLES)))
        yield server


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """The NATS server of all tests."""
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def nats(shared_nats: NatsServer) -> NatsServer:
    """The NATS server, without what another test left in it."""
    shared_nats.wipe()
    return shared_nats


@pytest.fixture
def database(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a database with all tables."""
    server.start()
    name = f"db_{abs(hash(request.node.name))}"
    server.create_database(name, template=TABLES)
    yield name
    server.start()
    server.drop_database(name)


@pytest.fixture
def replicas(shell: Shell, server: PostgresServer, database: str, nats: NatsServer) -> Iterator[Replicas]:
    """Replicas that are still to be started; they end with the test."""
    yield Replicas(shell, server, database, nats)
    shell.close()


@pytest.fixture
def aside() -> Iterator[Aside]:
    """An event loop on a thread of its own."""
    aside = Aside()
    yield aside
    aside.close()
