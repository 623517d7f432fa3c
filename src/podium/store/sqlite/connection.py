"""Connections to the file: how they are opened, how the schema is brought up to date, and how SQLite's errors are said.

Every error of `sqlite3` becomes one of `podium.exceptions` here and nowhere else.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

from podium.exceptions import SchemaTooNewError, StoreUnavailableError
from podium.store.sqlite.queries import migrations, script

T = TypeVar("T")
Synchronous = Literal["FULL", "NORMAL", "OFF"]

APPLICATION_ID = 0x506F6469  # "Podi", in the file's header
BUSY_TIMEOUT_MS = 5_000
CACHED_STATEMENTS = 256
CHECKPOINT_PAGES = 4_000  # 16 MB of WAL
_CACHE_KIB = 32 * 1024
_NORMAL = 1  # of PRAGMA synchronous

_REASONS = {
    sqlite3.SQLITE_BUSY: "another process has held its write lock for too long",
    sqlite3.SQLITE_LOCKED: "it is locked",
    sqlite3.SQLITE_READONLY: "it can't be written (read-only file or folder)",
    sqlite3.SQLITE_IOERR: "the disk reports an I/O error",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a copy",
    sqlite3.SQLITE_NOTADB: "the file isn't a SQLite database",
    sqlite3.SQLITE_NOMEM: "there isn't enough memory",
}


def result_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code of an error, 0 if it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def unavailable(path: Path, error: sqlite3.Error) -> StoreUnavailableError:
    """Say in a sentence why the store can't be used."""
    reason = _REASONS.get(result_code(error), str(error))
    return StoreUnavailableError(f"{path}: {reason}; nothing was acknowledged ({error})")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreUnavailableError."""
    try:
        yield
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    except UnicodeDecodeError as error:  # SQLite quotes its damaged schema
        raise StoreUnavailableError(f"{path}: {_REASONS[sqlite3.SQLITE_CORRUPT]} ({error})") from error


def connect_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that can't write. Its file isn't `mode=ro`: it may have to rebuild the WAL's index."""
    connection = _connect(path, read_only=False)
    connection.execute("PRAGMA query_only = ON")
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that this process must not or can't change."""
    return _connect(path, read_only=True)


def connect_writer(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Return the connection of the writer thread, with the view that appends are written to."""
    connection = _connect(path, read_only=False)
    try:
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("PRAGMA secure_delete = OFF")
        for statement in script("sqlite_append.sql"):
            connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def unsynced(work: Callable[[sqlite3.Connection], T]) -> Callable[[sqlite3.Connection], T]:
    """Have work done that needn't be durable: its commit doesn't wait for the disk, the next one's covers it."""

    def do(connection: sqlite3.Connection) -> T:
        (level,) = connection.execute("PRAGMA synchronous").fetchone()
        connection.execute(f"PRAGMA synchronous = {min(level, _NORMAL)}")
        try:
            return work(connection)
        finally:
            if connection.in_transaction:  # the level can't be changed within one
                connection.execute("ROLLBACK")
            connection.execute(f"PRAGMA synchronous = {level}")

    return do


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
        timeout=BUSY_TIMEOUT_MS / 1_000,
    )
    connection.text_factory = _text
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _text(stored: bytes) -> str:
    """Return stored text. What was damaged on disk may not be UTF-8 any more: it is read, and fails its checksum."""
    return stored.decode("utf-8", "replace")


def prepare_file(path: Path, now_us: int) -> None:
    """Create the file, or bring its schema up to date, in one transaction. Raises SchemaTooNewError for a newer one."""
    connection = _connect(path, read_only=False)
    try:
        if _schema_version(connection, path) == migrations("sqlite")[-1][0]:
            return
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            _migrate(connection, _schema_version(connection, path), now_us)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    finally:
        connection.close()


def check_file(path: Path) -> None:
    """Check that a file which must not be changed has the schema that this Podium knows."""
    connection = _connect(path, read_only=True)
    try:
        version = _schema_version(connection, path)
    finally:
        connection.close()
    known = migrations("sqlite")[-1][0]
    if version < known:
        raise StoreUnavailableError(
            f"{path} has schema version {version}, this Podium needs {known}; open it once for writing to migrate it"
        )


def _schema_version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    known = migrations("sqlite")[-1][0]
    if application != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if version or tables or application:
            raise StoreUnavailableError(f"{path} is a SQLite database, but not one of Podium's; use another path")
    if version > known:
        raise SchemaTooNewError(
            f"{path} has schema version {version}, written by a newer Podium; this one knows versions up to {known}. "
            f"Upgrade this installation or use another database; nothing was changed."
        )
    return int(version)


def _migrate(connection: sqlite3.Connection, version: int, now_us: int) -> None:
    for number, statements in migrations("sqlite"):
        if number <= version:
            continue
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        version = number
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("INSERT INTO meta (key, value) VALUES ('created_us', ?) ON CONFLICT DO NOTHING", (str(now_us),))
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('schema', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (str(version),),
    )


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Turn WAL on. SQLite doesn't wait for a lock here, and two processes may create the file at the same moment."""
    for _ in range(BUSY_TIMEOUT_MS // 10):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if result_code(error) != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(0.01)
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")
