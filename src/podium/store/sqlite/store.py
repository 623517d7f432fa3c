"""The store in one SQLite file, method by method as `store/memory/store.py`: a writer's thread, and readers.

Other processes open the same file to post and to read while the owner writes. All writes of this process go through the
writer's one connection, so its `data_version` moves only by the commits of others.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from podium.clock import Clock, SystemClock
from podium.exceptions import CorruptHistoryError, StoreUnavailableError
from podium.store.batch import check_history, check_row, check_sequences, shard_moves, snapshot_checksum, sound_snapshot
from podium.store.counting import counted
from podium.store.named_sql import named_blocks
from podium.store.protocol import (
    Append,
    Blob,
    Counted,
    ExecutionRow,
    InboxRow,
    Loaded,
    LogRow,
    ModelRow,
    ShardRow,
    Snapshot,
)
from podium.store.sqlite.append import Statements
from podium.store.sqlite.connection import (
    Synchronous,
    check_file,
    connect_read_only,
    connect_reader,
    connect_writer,
    prepare_file,
    result_code,
    translated,
    unsynced,
)
from podium.store.sqlite.reader import Reader
from podium.store.sqlite.rows import (
    execution_row,
    inbox_row,
    list_argument,
    listed,
    log_row,
    model_row,
    shard_row,
)
from podium.store.sqlite.writer import Writer

T = TypeVar("T")
_END_OF_TIME = (1 << 63) - 1
_TAIL_PAGE = 5_000
_LAST_CHARACTER = "\U0010ffff"
_SQL = named_blocks("sqlite.sql")


class SqliteStore:
    """Log, Blobs and Views in one file. Make it with `open`."""

    def __init__(self, path: Path, reader: Reader, writer: Writer | None, data_version: int) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._data_version = data_version

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        synchronous: Synchronous = "FULL",
        read_only: bool = False,
        clock: Clock | None = None,
    ) -> SqliteStore:
        """Open or create the file and bring its schema up to date (blocks for some milliseconds).

        `read_only` changes nothing, not even the schema. Raises SchemaTooNewError, StoreUnavailableError.
        """
        path = Path(path)
        with translated(path):
            if read_only:
                check_file(path)
                return cls(path, Reader(path, connect_read_only), None, 0)
            prepare_file(path, (clock or SystemClock()).now_us())
            connection = connect_writer(path, synchronous)
            version = _data_version(connection)
        return cls(path, Reader(path, connect_reader), Writer(path, connection), version)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    # --- Log ---------------------------------------------------------------------------------------------------

    async def take(self, owner: str, shards: Sequence[int], now_us: int) -> dict[int, ShardRow]:
        """Raise the fences of these shards and return their rows."""
        arguments = {"owner": owner, "shards": list_argument(sorted(set(shards)))}

        def work(connection: sqlite3.Connection) -> dict[int, ShardRow]:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SQL["take"], arguments)
            (answer,) = connection.execute(_SQL["shards"], arguments).fetchone()
            connection.execute("COMMIT")
            return {row.shard: row for row in map(shard_row, listed(answer))}

        return await self._write(work)

    async def append(self, batch: Append) -> None:
        """Write the batch in one statement, which is one transaction."""
        moves = shard_moves(batch)
        check_sequences(batch)
        await self._write(Statements(batch, moves).execute)

    async def load(self, execution: str) -> Loaded | None:
        """Return the execution's row, newest snapshot and tail."""
        with _about(execution):
            return await self._load(execution)

    async def _load(self, execution: str) -> Loaded | None:
        below = _END_OF_TIME
        while True:
            found = await self._row("load", {"execution": execution, "below": below, "limit": _TAIL_PAGE}, tuple)
            if found is None:
                return None
            row = execution_row(found[:17])
            snapshot = sound_snapshot(execution, found[17:23])
            if found[17] is None or snapshot is not None:
                break
            below = found[17]
        tail = [log_row(each) for each in listed(found[23])]
        page = len(tail)
        while page == _TAIL_PAGE:  # rows never change, so what was read after the first page fits it
            more = await self._history(execution, tail[-1].sequence, row.sequence, _TAIL_PAGE)
            tail += more
            page = len(more)
        check_history(execution, tail, snapshot.sequence if snapshot else 0, row.sequence)
        return Loaded(row, snapshot, tail)

    async def recorded(self, inputs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of the inputs that are in the log."""
        answer = await self._list("recorded", {"inputs": list_argument(inputs)}, tuple)
        return set(answer)

    async def post(self, row: InboxRow) -> bool:
        """Write an input to the inbox, once."""
        arguments = {
            "execution": row.execution,
            "input_id": row.input_id,
            "tenant": row.tenant,
            "shard": row.shard,
            "kind": row.kind,
            "payload": row.payload,
            "posted_us": row.posted_us,
        }
        return await self._write(lambda connection: connection.execute(_SQL["post"], arguments).rowcount == 1)

    async def inbox(self, shards: Sequence[int], after: int, limit: int, known: Collection[int] = ()) -> list[InboxRow]:
        """Return inbox rows of these shards, oldest first."""
        lists = {"shards": list_argument(shards), "known": list_argument(list(known))}
        return await self._list("inbox", {**lists, "after": after, "limit": limit}, inbox_row)

    async def due(self, shards: Sequence[int], until_us: int, limit: int) -> list[ExecutionRow]:
        """Return executions whose timer is due, soonest first."""
        arguments = {"shards": list_argument(shards), "until_us": until_us, "limit": limit}
        return await self._list("due", arguments, execution_row)

    async def active(self, shards: Sequence[int]) -> list[ExecutionRow]:
        """Return active executions, oldest first."""
        return await self._list("active", {"shards": list_argument(shards)}, execution_row)

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and the one before it."""
        arguments = {
            "execution": snapshot.execution,
            "sequence": snapshot.sequence,
            "run": snapshot.run,
            "state": snapshot.state,
            "created_us": snapshot.created_us,
            "format": snapshot.format,
            "checksum": snapshot_checksum(snapshot),
        }

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SQL["put_snapshot"], arguments)
            connection.execute(_SQL["drop_old_snapshots"], {"execution": snapshot.execution})
            connection.execute("COMMIT")

        await self._write(work)

    async def changed(self) -> bool:
        """Return whether another process has committed since the last call."""
        if self._writer is None:
            return False
        version = await self._write(_data_version)
        seen, self._data_version = self._data_version, version
        return version != seen

    def listen(self, wake: Callable[[str], None]) -> None:
        """Do nothing: processes that share a file can't tell each other through it."""

    async def close(self) -> None:
        """Finish what was begun and let go of the file."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """Do what `close` does, blocking: for who has no event loop."""
        if self._writer is not None:
            self._writer.stop()
        self._reader.stop()

    # --- Blobs -------------------------------------------------------------------------------------------------

    async def get(self, tenant: str, digest: str) -> bytes:
        """Return the content of a blob."""
        content = await self._row("get_blob", {"tenant": tenant, "hash": digest}, lambda row: bytes(row[0]))
        if content is None:
            raise KeyError(tenant, digest)
        if sha256(content).hexdigest() != digest:
            raise CorruptHistoryError(f"the blob {digest} of tenant {tenant} doesn't match its hash")
        return content

    async def put(self, blobs: Sequence[Blob], now_us: int) -> None:
        """Keep the blobs."""
        await self._write(Statements(Append({}, (), (), blobs=blobs, now_us=now_us), []).execute)

    async def sweep(self, mentioned: set[tuple[str, str]], older_than_us: int) -> int:
        """Delete old blobs that nothing mentions."""

        def work(connection: sqlite3.Connection) -> int:
            connection.execute("BEGIN IMMEDIATE")
            (answer,) = connection.execute(_SQL["old_blobs"], {"older_than_us": older_than_us}).fetchone()
            unmentioned = [each for each in listed(answer) if tuple(each) not in mentioned]
            arguments = {"older_than_us": older_than_us, "unmentioned": list_argument(unmentioned)}
            deleted = connection.execute(_SQL["drop_blobs"], arguments).rowcount
            connection.execute("COMMIT")
            return deleted

        return await self._write(work)

    # --- Views -------------------------------------------------------------------------------------------------

    async def execution(self, execution: str) -> ExecutionRow | None:
        """Return the execution's row."""
        return await self._row("execution", {"execution": execution}, execution_row)

    async def executions(
        self,
        tenant: str | None,
        statuses: Sequence[str] = (),
        prefix: str = "",
        limit: int = 100,
        before_us: int | None = None,
    ) -> list[ExecutionRow]:
        """Return executions, newest first."""
        if prefix:
            name = "executions_by_prefix"
        else:
            name = "executions_of_all" if tenant is None else "executions_of_tenant"
        arguments = {
            "tenant": tenant,
            "statuses": list_argument(statuses),
            "prefix": prefix,
            "prefix_end": prefix + _LAST_CHARACTER,
            "before_us": _END_OF_TIME if before_us is None else before_us,
            "limit": limit,
        }
        return await self._list(name, arguments, execution_row)

    async def history(self, execution: str, after: int = 0, limit: int = 1_000) -> list[LogRow]:
        """Return an execution's rows."""
        with _about(execution):
            page = await self._history(execution, after, _END_OF_TIME, limit)
        for row in page:
            check_row(row)
        return page

    async def follow(self, shard: int, after: int, limit: int = 1_000) -> list[LogRow]:
        """Return a shard's rows."""
        return await self._list("follow", {"shard": shard, "after": after, "limit": limit}, log_row)

    async def shards(self) -> list[ShardRow]:
        """Return all shards that were ever taken."""
        return await self._list("shards", {"shards": None}, shard_row)

    async def cursor(self, name: str, shard: int) -> int:
        """Return a reader's saved position."""
        return await self._row("cursor", {"name": name, "shard": shard}, _first_number) or 0

    async def save_cursor(self, name: str, shard: int, position: int) -> None:
        """Save a reader's position."""
        arguments = {"name": name, "shard": shard, "position": position}
        await self._write(lambda connection: connection.execute(_SQL["save_cursor"], arguments))

    async def counter(self, tenant: str, key: str) -> int:
        """Return a guarded counter."""
        return await self._row("counter", {"tenant": tenant, "key": key}, _first_number) or 0

    async def unfinished(self, shards: Sequence[int]) -> int:
        """Return how many executions have no end yet."""
        return await self._row("unfinished", {"shards": list_argument(shards)}, _first_number) or 0

    async def listed(
        self, shards: Sequence[int], after: str = "", limit: int = 100, *, unfinished: bool = False
    ) -> list[ExecutionRow]:
        """Return executions in order of id."""
        arguments = {"shards": list_argument(shards), "after": after, "limit": limit}
        return await self._list("listed_unfinished" if unfinished else "listed", arguments, execution_row)

    async def counted(self, prefix: str) -> list[Counted]:
        """Return the workflows' counters, each with the executions that move it."""
        return counted(await self._list("counted", {"prefix": prefix}, tuple))

    async def put_model(
        self,
        name: str,
        shard: int,
        position: int,
        rows: Sequence[ModelRow],
        *,
        before: int | None = None,
        durable: bool = False,
    ) -> bool:
        """Change a read model's entries and save its place."""
        place = {"name": name, "shard": shard, "before": before, "position": position}
        entry = {"name": name, "shard": shard}
        put = [{**entry, "key": row.key, "value": row.value} for row in rows if row.value is not None]
        drop = [{**entry, "key": row.key} for row in rows if row.value is None]

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute(_SQL["move_model"], place).rowcount != 1:
                return False
            connection.executemany(_SQL["put_model_row"], put)
            connection.executemany(_SQL["drop_model_row"], drop)
            connection.execute("COMMIT")
            return True

        return await self._write(work if durable else unsynced(work))

    async def model(self, name: str, prefix: str = "", shard: int | None = None, limit: int = 10_000) -> list[ModelRow]:
        """Return a read model's entries in order of key."""
        arguments = {
            "name": name,
            "prefix": prefix,
            "prefix_end": prefix + _LAST_CHARACTER,
            "shard": shard,
            "limit": limit,
        }
        return await self._list("model", arguments, model_row)

    async def replace_model(self, name: str, by: str, shard: int) -> bool:
        """Give a read model the entries and the place of another one."""
        arguments = {"name": name, "by": by, "shard": shard}

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute("BEGIN IMMEDIATE")
            (behind,) = connection.execute(_SQL["is_behind"], arguments).fetchone()
            if behind:
                return False
            for statement in ("drop_model", "drop_model_place", "rename_model", "rename_model_place"):
                connection.execute(_SQL[statement], arguments)
            connection.execute("COMMIT")
            return True

        return await self._write(work)

    async def drop_model(self, name: str, shard: int | None = None) -> None:
        """Delete a read model's entries and its place."""
        arguments = {"name": name, "shard": shard}

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SQL["drop_model"], arguments)
            connection.execute(_SQL["drop_model_place"], arguments)
            connection.execute("COMMIT")

        await self._write(work)

    async def tenants(self) -> list[str]:
        """Return the tenants in order of name."""
        return await self._list("tenants", {}, str)

    async def add_tenant(self, tenant: str, now_us: int) -> None:
        """Make a tenant known."""
        arguments = {"tenant": tenant, "now_us": now_us}
        await self._write(lambda connection: connection.execute(_SQL["add_tenant"], arguments))

    async def mentions(self) -> AsyncIterator[LogRow]:
        """Yield every row of the log, in the order of their commits."""
        after: int | None = 0
        while after is not None:
            after, page = await self._row("mentions", {"after": after}, _page) or (None, [])
            for row in page:
                yield row

    # --- ways to the file --------------------------------------------------------------------------------------

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._writer is None:
            raise StoreUnavailableError(f"{self._path} was opened read-only; open it for writing to change it")
        return await self._writer.do(work)

    async def _row(self, name: str, arguments: dict[str, Any], shape: Callable[[Any], T]) -> T | None:
        return await self._reader.row(name, arguments, shape)

    async def _list(self, name: str, arguments: dict[str, Any], shape: Callable[[Any], T]) -> list[T]:
        rows = await self._reader.row(name, arguments, lambda row: [shape(each) for each in listed(row[0])])
        return rows or []

    async def _history(self, execution: str, after: int, until: int, limit: int) -> list[LogRow]:
        arguments = {"execution": execution, "after": after, "until": until, "limit": limit}
        return await self._list("history", arguments, log_row)


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


@contextmanager
def _about(execution: str) -> Iterator[None]:
    """Say of a damaged page that it is this execution's: others may be sound."""
    try:
        yield
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, sqlite3.Error) and result_code(error.__cause__) == sqlite3.SQLITE_CORRUPT:
            raise CorruptHistoryError(
                f"execution {execution}: a page of the file that holds a position of its history is damaged ({error})"
            ) from error
        raise


def _page(row: Any) -> tuple[int | None, list[LogRow]]:
    """Return the last row's id, None behind the end, and the rows."""
    last, answer = row
    return last, [log_row(each) for each in listed(answer)]


def _first_number(row: Any) -> int:
    return int(row[0])
