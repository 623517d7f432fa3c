"""One append as one statement: a batch becomes rows of the view `batch` (see `sql/sqlite_append.sql`).

The parameters are made on the caller's thread; the writer's thread only executes. When the statement is refused nothing
of it is there, and `refusal` finds out why: in the order in which every store looks (fence, sequence, input, limit).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from typing import Any

from podium.exceptions import (
    DuplicateInputError,
    FenceLostError,
    LimitReachedError,
    SequenceConflictError,
    StoreError,
)
from podium.store.batch import ShardMove, repeated_inputs
from podium.store.named_sql import named_blocks
from podium.store.protocol import Append
from podium.store.sqlite.rows import list_argument, listed

WIDTH = 18  # the view's columns
_SIZES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024, 1_536)
_LARGEST = _SIZES[-1]  # times WIDTH is below SQLite's limit of 32,766 variables
_PADDING = [(None,) * count for count in range(WIDTH + 1)]


class Statements:
    """The parameters of an append, cut into statements: one nearly always, more for a batch of many rows."""

    __slots__ = ("_batch", "_changes", "_moves")

    def __init__(self, batch: Append, moves: list[ShardMove]) -> None:
        self._batch = batch
        self._moves = moves
        changes = list(_changes(batch, moves))
        self._changes = [_filled(changes[start : start + _LARGEST]) for start in range(0, len(changes), _LARGEST)]

    def execute(self, connection: sqlite3.Connection) -> None:
        """Write the batch in one transaction. Raises what the protocol says for a batch that doesn't fit."""
        try:
            if len(self._changes) == 1:
                size, parameters = self._changes[0]
                connection.execute(_insert(size), parameters)
            elif self._changes:
                connection.execute("BEGIN IMMEDIATE")
                for size, parameters in self._changes:
                    connection.execute(_insert(size), parameters)
                connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise refusal(connection, self._batch, self._moves, error) from error


@cache
def _insert(size: int) -> str:
    row = "(" + ",".join("?" * WIDTH) + ")"
    return named_blocks("sqlite.sql")["insert_batch"].replace("{rows}", ",".join([row] * size))


def _filled(changes: list[tuple[Any, ...]]) -> tuple[int, list[Any]]:
    """Return a statement's size, and the changes as its flat parameters, filled up with NULLs."""
    size = next(each for each in _SIZES if each >= len(changes))
    flat: list[Any] = []
    for change in changes:
        flat += change
        flat += _PADDING[WIDTH - len(change)]
    flat += (None,) * ((size - len(changes)) * WIDTH)
    return size, flat


def _changes(batch: Append, moves: list[ShardMove]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the view: the guards first, then what they guard."""
    moved = {move.shard for move in moves}
    for move in moves:
        yield "shard", move.shard, move.fence, move.before, move.after
    for shard, fence in batch.fences.items():
        if shard not in moved:
            yield "shard", shard, fence
    for change in batch.executions:
        row = change.row
        created = change.expected_sequence == 0
        yield (
            "create" if created else "move",
            row.id,
            row.tenant if created else change.expected_sequence,
            row.shard,
            row.workflow,
            row.version,
            row.definition,
            row.status,
            row.run,
            row.sequence,
            row.wake_at_us,
            row.active,
            row.created_us,
            row.updated_us,
            row.finished_us,
            row.priority,
            row.parent,
            row.summary,
        )
    for entry in batch.rows:
        yield (
            "log",
            entry.shard,
            entry.position,
            entry.tenant,
            entry.execution,
            entry.sequence,
            entry.event_count,
            entry.input_id,
            entry.kind,
            entry.now_us,
            entry.payload,
            entry.events,
            entry.payload_blob,
            entry.format,
            entry.checksum or entry.computed_checksum(),
        )
    for drained in batch.drained:
        yield "drained", drained
    for post in batch.inbox:
        yield "inbox", post.execution, post.input_id, post.tenant, post.shard, post.kind, post.payload, post.posted_us
    for blob in batch.blobs:
        yield "blob", blob.tenant, blob.hash, blob.content, batch.now_us
    for count in batch.counters:
        yield "counter", count.tenant, count.key, count.delta, count.limit


def refusal(connection: sqlite3.Connection, batch: Append, moves: list[ShardMove], error: sqlite3.Error) -> StoreError:
    """Return why the store refused the batch; called after the roll-back, on the writer's thread."""
    queries = named_blocks("sqlite.sql")
    before = {move.shard: move.before for move in moves}
    (answer,) = connection.execute(queries["shards"], {"shards": None}).fetchone()
    found = {shard: (fence, position) for shard, fence, position, _ in listed(answer)}
    lost = [
        shard
        for shard, fence in batch.fences.items()
        if found.get(shard, (None, 0)) != (fence, before.get(shard, found.get(shard, (None, 0))[1]))
    ]
    if lost:
        return FenceLostError(f"another owner has taken or moved the shards {sorted(lost)}; stop writing to them")

    ids = list_argument([change.row.id for change in batch.executions])
    (answer,) = connection.execute(queries["sequences"], {"executions": ids}).fetchone()
    sequences: dict[str, int] = dict(listed(answer))
    moved = [each.row.id for each in batch.executions if sequences.get(each.row.id, 0) != each.expected_sequence]
    if moved:
        return SequenceConflictError(tuple(moved))

    inputs = list_argument([(row.execution, row.input_id) for row in batch.rows])
    (answer,) = connection.execute(queries["recorded"], {"inputs": inputs}).fetchone()
    again = {(execution, input_id) for execution, input_id in listed(answer)} | set(repeated_inputs(batch.rows))
    if again:
        return DuplicateInputError(tuple(sorted(again)))

    if "limit" in str(error):
        return _limit_reached(connection, batch)
    return StoreError(f"the batch was refused, and nothing stored explains it: {error}")


def _limit_reached(connection: sqlite3.Connection, batch: Append) -> LimitReachedError:
    counted: dict[tuple[str, str], int] = {}
    for change in batch.counters:
        key = (change.tenant, change.key)
        if key not in counted:
            query = named_blocks("sqlite.sql")["counter"]
            row = connection.execute(query, {"tenant": change.tenant, "key": change.key}).fetchone()
            counted[key] = row[0] if row else 0
        counted[key] += change.delta
        if change.delta > 0 and change.limit is not None and counted[key] > change.limit:
            return LimitReachedError(f"{change.key} of tenant {change.tenant} is at its limit of {change.limit}")
    return LimitReachedError()
