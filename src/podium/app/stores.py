"""Which adapters a database's address means: in memory, in a file of this machine, on a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from podium.exceptions import StoreUnavailableError
from podium.settings import Settings
from podium.store.memory import MemoryStore
from podium.store.owners import Owners
from podium.store.protocol import Store

if TYPE_CHECKING:
    from podium.engine.ownership import SharedStore
    from podium.store.logs import AttemptLogs
    from podium.store.ownership import FileLock


class Opened:
    """A store that is open, with the logs beside it and what says who owns it."""

    def __init__(
        self,
        store: Store,
        logs: AttemptLogs,
        *,
        lock: FileLock | None = None,
        owners: Owners | None = None,
        shared: SharedStore | None = None,
    ) -> None:
        """One with a `lock` has one owner, one that is `shared` has replicas, whom `owners` knows."""
        self.store = store
        self.logs = logs
        self.lock = lock
        self.owners = owners
        self.shared = shared


async def open_store(settings: Settings, at_hand: SharedStore | None = None) -> Opened:
    """Open what the settings name, or one that is at hand and shared. Raises StoreError."""
    if at_hand is not None:
        from podium.store.logs import MemoryLogs

        return Opened(at_hand, MemoryLogs(), shared=at_hand)
    if settings.on_postgres:
        return await _on_postgres(settings)
    return _in_memory() if settings.in_memory else _on_disk(settings)


def _in_memory() -> Opened:
    from podium.store.logs import MemoryLogs

    return Opened(MemoryStore(), MemoryLogs())


def _on_disk(settings: Settings) -> Opened:
    from podium.store.logs import SqliteLogs
    from podium.store.ownership import FileLock
    from podium.store.sqlite import SqliteStore

    path = Path(settings.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailableError(f"the folder {path.parent} can't be made: {error.strerror}") from error
    store = SqliteStore.open(path, synchronous=settings.synchronous)
    return Opened(store, SqliteLogs(settings.logs_path, read_only=True), lock=FileLock(path))


async def _on_postgres(settings: Settings) -> Opened:
    from podium.store.postgres import PostgresStore
    from podium.store.postgres.logs import PostgresLogs
    from podium.store.postgres.owners import ReplicaOwners

    store = await PostgresStore.open(settings.database)
    owners = ReplicaOwners.at(settings.database, store)
    return Opened(store, PostgresLogs(settings.database), owners=owners, shared=store)
