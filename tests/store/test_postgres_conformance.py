"""The store on a real PostgreSQL server keeps every promise of the protocol."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from threading import Thread
from typing import Any

import pytest

from podium.store.postgres import PostgresStore
from podium.store.protocol import Store
from podium.testing.postgresserver import PostgresServer
from podium.testing.store import StoreConformance

pytestmark = pytest.mark.xdist_group("postgres")


class _Postgres:
    """Each store has a database of its own, a copy of one with the tables."""

    shared = True
    _count = itertools.count(1)

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    def fresh(self) -> Store:
        url = self._server.create_database(f"conformance_{next(self._count)}", template="podium_tables")
        return _now(PostgresStore.open(url))

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, PostgresStore)
        return _now(PostgresStore.open(store._address.url))


def _now(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine while the test's own loop stands still: the suite asks for stores without awaiting them."""
    found: list[Any] = []
    thread = Thread(target=lambda: found.append(asyncio.run(work)))
    thread.start()
    thread.join()
    return found[0]


class TestPostgres(StoreConformance):
    @pytest.fixture
    def store_factory(self, podium_tables: PostgresServer) -> _Postgres:
        return _Postgres(podium_tables)
