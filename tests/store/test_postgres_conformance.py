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
from podium.testing.store import MembershipConformance, StoreConformance, StoreFactory
from podium.testing.store_membership import SharedStore
from podium.testing.store_tools import asynchronous, opened

pytestmark = pytest.mark.xdist_group("postgres")
_SET_BACK = "UPDATE replicas SET started_us = started_us - $1, lease_until_us = lease_until_us - $1"


class _Postgres:
    """A test's first store is in one database, its second in another; the next test finds them emptied."""

    shared = True

    def __init__(self, databases: Any) -> None:
        self._databases = databases
        self._count = itertools.count(1)

    def fresh(self) -> SharedStore:
        return _opened(_now(self._databases.empty(f"conformance_{next(self._count)}")))

    def reopen(self, store: Store) -> SharedStore:
        assert isinstance(store, PostgresStore)
        return _opened(store._address.url)

    async def elapse(self, store: SharedStore, us: int) -> None:
        assert isinstance(store, PostgresStore)
        await store._sessions.rows(_SET_BACK, us)


def _opened(url: str) -> SharedStore:
    return cast(SharedStore, _now(PostgresStore.open(url)))


def _now(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine while the test's own loop stands still: the suite asks for stores without awaiting them."""
    found: list[Any] = []
    thread = Thread(target=lambda: found.append(asyncio.run(work)))
    thread.start()
    thread.join()
    return found[0]


class TestPostgres(StoreConformance, MembershipConformance):
    @pytest.fixture
    def store_factory(self, podium_databases: Any) -> _Postgres:
        return _Postgres(podium_databases)

    @asynchronous
    async def test_changed_tells_of_other_processes_only(self, store_factory: StoreFactory) -> None:
        """Here only a look would tell."""
        async with opened(store_factory) as scribe:
            assert await scribe.store.changed()
