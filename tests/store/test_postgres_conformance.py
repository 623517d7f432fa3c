"""The store on a real PostgreSQL server keeps every promise of the protocol."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from threading import Thread
from typing import Any, cast

import pytest

from podium.store.postgres import PostgresStore
from podium.store.protocol import Store
from podium.testing.postgresserver import PostgresServer
from podium.testing.store import MembershipConformance, StoreConformance, StoreFactory
from podium.testing.store_membership import SharedStore
from podium.testing.store_tools import asynchronous, opened

pytestmark = pytest.mark.xdist_group("postgres")


class _Postgres:
    """Each store has a database of its own, a copy of one with the tables."""

    shared = True
    _count = itertools.count(1)

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    def fresh(self) -> SharedStore:
        url = self._server.create_database(f"conformance_{next(self._count)}", template="podium_tables")
        return cast(SharedStore, _now(PostgresStore.open(url)))

    def reopen(self, store: Store) -> SharedStore:
        assert isinstance(store, PostgresStore)
        return cast(SharedStore, _now(PostgresStore.open(store._address.url)))

    async def elapse(self, store: SharedStore, us: int) -> None:
        assert isinstance(store, PostgresStore)
        await store._sessions.rows(
            "UPDATE replicas SET started_us = started_us - $1::bigint, lease_until_us = lease_until_us - $1::bigint", us
        )


def _now(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine while the test's own loop stands still: the suite asks for stores without awaiting them."""
    found: list[Any] = []
    thread = Thread(target=lambda: found.append(asyncio.run(work)))
    thread.start()
    thread.join()
    return found[0]


class TestPostgres(StoreConformance, MembershipConformance):
    @pytest.fixture
    def store_factory(self, podium_tables: PostgresServer) -> _Postgres:
        return _Postgres(podium_tables)

    @asynchronous
    async def test_changed_tells_of_other_processes_only(self, store_factory: StoreFactory) -> None:
        """Here only a look would tell."""
        async with opened(store_factory) as scribe:
            assert await scribe.store.changed()
