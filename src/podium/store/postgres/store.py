"""The store in a PostgreSQL database, method by method as `store/memory/store.py`: a writer's session, a pool, a bell.

All replicas share the database, and each opens a store of its own. Appends go through one session in the order of the
calls; what processes post and put goes out in groups. Nothing is kept here: whatever is asked is asked of the database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from podium.clock import Clock
from podium.exceptions import CorruptHistoryError
from podium.store.batch import check_history, check_row, check_sequences, shard_moves, snapshot_checksum, sound_snapshot
from podium.store.counting import counted
from podium.store.named_sql import named_blocks
from podium.store.postgres.append import Definition, Statement, blob_columns, inbox_columns
from podium.store.postgres.bell import Bell
from podium.store.postgres.connection import Address
from podium.store.postgres.grouping import Grouped
from podium.store.postgres.membership import PostgresMembership
from podium.store.postgres.migrations import check_schema, upgrade
from podium.store.postgres.rows import (
    EXECUTION_COLUMNS,
    SNAPSHOT_COLUMNS,
    execution_row,
    inbox_row,
    log_row,
    model_row,
    shard_row,
)
from podium.store.postgres.sessions import Sessions
from podium.store.postgres.writer import Writer
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

T = TypeVar("T")
_END_OF_TIME = (1 << 63) - 1
_TAIL_PAGE = 5_000
_MENTIONS_PAGE = 1_000
_DEFINITIONS_KNOWN = 10_000
_LAST_CHARACTER = "\U0010ffff"
_SQL = named_blocks("postgres.sql")


class PostgresStore(PostgresMembership):
    """Log, Blobs, Views and Membership in one database. Make it with `open`."""

    def __init__(self, address: Address, schema: str, max_connections: int) -> None:
        self._address = address
        self._sessions = Sessions(address, max_connections)
        self._writer = Writer(address, self._sessions)
        self._bell = Bell(address, self._sessions, schema)
        self._posts: Grouped[InboxRow, bool] = Grouped("posts", self._post_all)
        self._puts: Grouped[tuple[Sequence[Blob], int], None] = Grouped("puts", self._put_all)
        self._definitions: set[Definition] = set()

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock | None = None,
        migrate: bool = False,
        application: str = "podium",
        max_connections: int = 6,
        connect_timeout_seconds: float = 10.0,
        statement_timeout_seconds: float = 30.0,
    ) -> PostgresStore:
        """Return the store at `postgresql://USER:PASSWORD@HOST:PORT/NAME?sslmode=…`, as libpq writes it.

        `migrate` makes the tables or brings them up to date; without it a database that isn't is refused.
        `max_connections` bounds the pool; one more appends, and one more listens. `clock` is not asked: the database's
        alone counts. Raises StoreUnavailableError, SchemaTooNewError, MissingExtraError.
        """
        address = Address(url, application, connect_timeout_seconds, statement_timeout_seconds)
        if migrate:
            await upgrade(url)
        schema = await check_schema(address)
        return cls(address, schema, max_connections)

    def __repr__(self) -> str:
        return f"PostgresStore({str(self._address)!r})"

    @property
    def url(self) -> str:
        """Where the database is, as it may be shown: without user, password and parameters."""
        return str(self._address)

    # --- Log ---------------------------------------------------------------------------------------------------

    async def take(self, owner: str, shards: Sequence[int], now_us: int) -> dict[int, ShardRow]:
        """Raise the fences of these shards and return their rows."""
        rows = await self._sessions.rows(_SQL["take"], owner, list(shards), again=False)
        taken = {row.shard: row for row in sorted(map(shard_row, rows), key=lambda row: row.shard)}
        self._bell.owned(taken, now=True)
        self._bell.ring("replicas")
        return taken

    async def append(self, batch: Append) -> None:
        """Write the batch in one statement, which is one transaction."""
        moves = shard_moves(batch)
        check_sequences(batch)
        statement = Statement(batch, moves, self._definitions)
        await self._writer.write(statement)
        if statement.definitions:
            if len(self._definitions) > _DEFINITIONS_KNOWN:
                self._definitions.clear()
            self._definitions |= statement.definitions
        if statement.posted:
            self._bell.ring("inbox", statement.posted)

    async def load(self, execution: str) -> Loaded | None:
        """Return the execution's row, newest snapshot and tail."""
        below = _END_OF_TIME
        while True:
            found = await self._sessions.row(_SQL["load"], execution, below, _TAIL_PAGE)
            if found is None:
                return None
            row = execution_row(found[:EXECUTION_COLUMNS])
            columns = found[EXECUTION_COLUMNS : EXECUTION_COLUMNS + SNAPSHOT_COLUMNS]
            snapshot = sound_snapshot(execution, columns)
            if columns[0] is None or snapshot is not None:
                break
            below = columns[0]
        tail = [log_row(each) for each in found[-1] or ()]
        page = len(tail)
        while page == _TAIL_PAGE:  # rows never change, so what was read after the first page fits it
            more = await self._history(execution, tail[-1].sequence, row.sequence, _TAIL_PAGE)
            tail += more
            page = len(more)
        check_history(execution, tail, snapshot.sequence if snapshot else 0, row.sequence)
        return Loaded(row, snapshot, tail)

    async def recorded(self, inputs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of the inputs that are in the log."""
        executions, ids = [execution for execution, _ in inputs], [input_id for _, input_id in inputs]
        return {(row[0], row[1]) for row in await self._sessions.rows(_SQL["recorded"], executions, ids)}

    async def post(self, row: InboxRow) -> bool:
        """Write an input to the inbox, once."""
        return await self._posts.add(row)

    async def _post_all(self, rows: Sequence[InboxRow]) -> list[bool]:
        written = {row[0] for row in await self._sessions.rows(_SQL["post"], *inbox_columns(rows), again=False)}
        if written:
            self._bell.ring("inbox", (row.shard for nth, row in enumerate(rows, 1) if nth in written))
        return [nth in written for nth in range(1, len(rows) + 1)]

    async def inbox(self, shards: Sequence[int], after: int, limit: int, known: Collection[int] = ()) -> list[InboxRow]:
        """Return inbox rows of these shards, oldest first."""
        return await self._list(inbox_row, "inbox", list(shards), after, list(known), limit)

    async def due(self, shards: Sequence[int], until_us: int, limit: int) -> list[ExecutionRow]:
        """Return executions whose timer is due, soonest first."""
        return await self._list(execution_row, "due", list(shards), until_us, limit)

    async def active(self, shards: Sequence[int]) -> list[ExecutionRow]:
        """Return active executions, oldest first."""
        return await self._list(execution_row, "active", list(shards))

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and the one before it."""
        await self._sessions.rows(
            _SQL["put_snapshot"],
            snapshot.execution,
            snapshot.sequence,
            snapshot.run,
            snapshot.state,
            snapshot.created_us,
            snapshot.format,
            snapshot_checksum(snapshot),
        )

    async def changed(self) -> bool:
        """Return True: other replicas may always have written."""
        self._sessions.check_open()
        return True

    def listen(self, wake: Callable[[str], None]) -> None:
        """Have `wake` called when others ring."""
        self._sessions.check_open()
        self._bell.listen(wake)

    async def close(self) -> None:
        """Finish what was begun and let go of the database."""
        await self._posts.close()
        await self._puts.close()
        await self._writer.close()
        await self._bell.close()
        await self._sessions.close()

    # --- Blobs -------------------------------------------------------------------------------------------------

    async def get(self, tenant: str, digest: str) -> bytes:
        """Return the content of a blob."""
        row = await self._sessions.row(_SQL["get_blob"], tenant, digest)
        if row is None:
            raise KeyError(tenant, digest)
        content: bytes = row[0]
        if sha256(content).hexdigest() != digest:
            raise CorruptHistoryError(f"the blob {digest} of tenant {tenant} doesn't match its hash")
        return content

    async def put(self, blobs: Sequence[Blob], now_us: int) -> None:
        """Keep the blobs."""
        await self._puts.add((blobs, now_us))

    async def _put_all(self, puts: Sequence[tuple[Sequence[Blob], int]]) -> list[None]:
        await self._sessions.rows(
            _SQL["put"], *blob_columns((blob, now_us) for blobs, now_us in puts for blob in blobs)
        )
        return [None] * len(puts)

    async def sweep(self, mentioned: set[tuple[str, str]], older_than_us: int) -> int:
        """Delete old blobs that nothing mentions."""
        old = await self._sessions.rows(_SQL["old_blobs"], older_than_us)
        unmentioned = [(row[0], row[1]) for row in old if (row[0], row[1]) not in mentioned]
        if not unmentioned:
            return 0
        tenants, hashes = [tenant for tenant, _ in unmentioned], [digest for _, digest in unmentioned]
        return await self._number("drop_blobs", older_than_us, tenants, hashes)

    # --- Views -------------------------------------------------------------------------------------------------

    async def execution(self, execution: str) -> ExecutionRow | None:
        """Return the execution's row."""
        row = await self._sessions.row(_SQL["execution"], execution)
        return None if row is None else execution_row(row)

    async def executions(
        self,
        tenant: str | None,
        statuses: Sequence[str] = (),
        prefix: str = "",
        limit: int = 100,
        before_us: int | None = None,
    ) -> list[ExecutionRow]:
        """Return executions, newest first."""
        before_us = _END_OF_TIME if before_us is None else before_us
        if prefix:
            bounds = (prefix, prefix + _LAST_CHARACTER)
            about = (tenant, list(statuses), *bounds, before_us, limit)
            return await self._list(execution_row, "executions_by_prefix", *about)
        if statuses:
            wanted = sorted(set(statuses))
            return await self._list(execution_row, "executions_by_status", tenant, wanted, before_us, limit)
        if tenant is None:
            return await self._list(execution_row, "executions_of_all", before_us, limit)
        return await self._list(execution_row, "executions_of_tenant", tenant, before_us, limit)

    async def history(self, execution: str, after: int = 0, limit: int = 1_000) -> list[LogRow]:
        """Return an execution's rows."""
        page = await self._history(execution, after, _END_OF_TIME, limit)
        for row in page:
            check_row(row)
        return page

    async def _history(self, execution: str, after: int, until: int, limit: int) -> list[LogRow]:
        return await self._list(log_row, "history", execution, after, until, limit)

    async def follow(self, shard: int, after: int, limit: int = 1_000) -> list[LogRow]:
        """Return a shard's rows."""
        return await self._list(log_row, "follow", shard, after, limit)

    async def shards(self) -> list[ShardRow]:
        """Return all shards that were ever taken; after an append of unknown outcome this is the last word."""
        await self._writer.settled()
        return await self._list(shard_row, "shards")

    async def cursor(self, name: str, shard: int) -> int:
        """Return a reader's saved position."""
        return await self._number("cursor", name, shard)

    async def save_cursor(self, name: str, shard: int, position: int) -> None:
        """Save a reader's position."""
        await self._sessions.rows(_SQL["save_cursor"], name, shard, position)

    async def counter(self, tenant: str, key: str) -> int:
        """Return a guarded counter."""
        return await self._number("counter", tenant, key)

    async def unfinished(self, shards: Sequence[int]) -> int:
        """Return how many executions have no end yet."""
        return await self._number("unfinished", list(shards))

    async def listed(
        self, shards: Sequence[int], after: str = "", limit: int = 100, *, unfinished: bool = False
    ) -> list[ExecutionRow]:
        """Return executions in order of id."""
        name = "listed_unfinished" if unfinished else "listed"
        return await self._list(execution_row, name, list(shards), after, limit)

    async def counted(self, prefix: str) -> list[Counted]:
        """Return the workflows' counters, each with the executions that move it."""
        return counted(await self._list(tuple, "counted", prefix))

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
        last = {row.key: row.value for row in rows}
        put = {key: value for key, value in last.items() if value is not None}
        drop = [key for key, value in last.items() if value is None]
        arguments = (name, shard, before, position, list(put), list(put.values()), drop, durable)
        row = await self._sessions.row(_SQL["put_model"], *arguments, again=False)
        return bool(row and row[0])

    async def model(self, name: str, prefix: str = "", shard: int | None = None, limit: int = 10_000) -> list[ModelRow]:
        """Return a read model's entries in order of key."""
        return await self._list(model_row, "model", name, prefix, prefix + _LAST_CHARACTER, shard, limit)

    async def replace_model(self, name: str, by: str, shard: int) -> bool:
        """Give a read model the entries and the place of another one."""
        row = await self._sessions.row(_SQL["replace_model"], name, by, shard, again=False)
        return bool(row and row[0])

    async def drop_model(self, name: str, shard: int | None = None) -> None:
        """Delete a read model's entries and its place."""
        await self._sessions.rows(_SQL["drop_model"], name, shard)

    async def tenants(self) -> list[str]:
        """Return the tenants in order of name."""
        return await self._list(_first, "tenants")

    async def add_tenant(self, tenant: str, now_us: int) -> None:
        """Make a tenant known."""
        await self._sessions.rows(_SQL["add_tenant"], tenant, now_us)

    async def mentions(self) -> AsyncIterator[LogRow]:
        """Yield every row of the log, shard by shard."""
        shard, position = -1, 0
        while page := await self._list(log_row, "mentions", shard, position, _MENTIONS_PAGE):
            for row in page:
                yield row
            shard, position = page[-1].shard, page[-1].position

    # --- ways to the database ----------------------------------------------------------------------------------

    async def _list(self, shape: Callable[[Any], T], name: str, *arguments: Any) -> list[T]:
        return [shape(row) for row in await self._sessions.rows(_SQL[name], *arguments)]

    async def _number(self, name: str, *arguments: Any) -> int:
        row = await self._sessions.row(_SQL[name], *arguments)
        return int(row[0]) if row else 0


def _first(row: Sequence[Any]) -> Any:
    return row[0]
