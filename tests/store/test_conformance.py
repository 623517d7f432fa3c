"""Both stores keep every promise of the protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from podium.clock import VirtualClock
from podium.store.memory import MemoryStore
from podium.store.protocol import Store
from podium.store.sqlite import SqliteStore
from podium.testing.store import MembershipConformance, StoreConformance


class _Memory:
    shared = False

    def __init__(self) -> None:
        self._clock = VirtualClock()

    def fresh(self) -> MemoryStore:
        return MemoryStore(clock=self._clock)

    async def elapse(self, store: Store, us: int) -> None:
        self._clock.advance(us)

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, MemoryStore)
        return store.reopen()


class _Sqlite:
    shared = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def fresh(self) -> Store:
        self._count += 1
        return SqliteStore.open(self._folder / f"{self._count}.db")

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, SqliteStore)
        return SqliteStore.open(store.path)


class TestMemory(StoreConformance, MembershipConformance):
    @pytest.fixture
    def store_factory(self) -> _Memory:
        return _Memory()


class TestSqlite(StoreConformance):
    @pytest.fixture
    def store_factory(self, tmp_path: Path) -> _Sqlite:
        return _Sqlite(tmp_path)
