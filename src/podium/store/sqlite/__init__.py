"""The store in one SQLite file: WAL, one writer thread, group commit, several processes reading and posting."""

from podium.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
