"""One append as one statement: a batch becomes columns, which the function `podium_append_1` writes.

When the batch is refused nothing of it is there, and `refusal` finds out why: in the order in which every store looks
(fence, sequence, input, limit).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from podium.exceptions import (
    DuplicateInputError,
    FenceLostError,
    LimitReachedError,
    SequenceConflictError,
    StoreError,
)
from podium.ids import workflow_id_for
from podium.store.batch import ShardMove, repeated_inputs
from podium.store.named_sql import named_blocks
from podium.store.postgres.connection import state_of
from podium.store.postgres.sessions import Sessions
from podium.store.protocol import Append, Blob, ExecutionRow, InboxRow, LogRow

_SQL = named_blocks("postgres.sql")
_REFUSALS = frozenset({"PD001", "PD002", "PD003", "23505"})  # a fence, a sequence, a limit; what is unique: an input
_SHARDS_POSTED_TO = -4  # the column of the inbox's shards
Definition = tuple[str, str, str, str]  # tenant, workflow, version, hash


class Statement:
    """A batch as the arguments of its one statement."""

    __slots__ = ("_batch", "_moves", "arguments", "definitions", "posted", "sql")

    def __init__(self, batch: Append, moves: list[ShardMove], known: set[Definition]) -> None:
        """`known` are the workflows that needn't be written again."""
        self._batch = batch
        self._moves = moves
        self.sql = _SQL["append"]
        created = [change.row for change in batch.executions if change.expected_sequence == 0]
        self.definitions = {(row.tenant, row.workflow, row.version, row.definition) for row in created} - known
        self.arguments: list[Any] = [
            *_shards(batch, moves),
            *_created(created),
            *_definitions(sorted(self.definitions)),
            *_moved(batch),
            *_log(batch.rows),
            list(batch.drained),
            *_counters(batch),
            *blob_columns((blob, batch.now_us) for blob in batch.blobs),
            *inbox_columns(batch.inbox),
        ]
        self.posted: list[int] = self.arguments[_SHARDS_POSTED_TO]

    def refused_by(self, error: BaseException) -> bool:
        """Whether the server's error says that the batch doesn't fit what is stored."""
        return state_of(error) in _REFUSALS

    async def refusal(self, sessions: Sessions) -> StoreError:
        """Return why the batch was refused, naming what is concerned; asked after it was rolled back."""
        return (
            await self._lost_fence(sessions)
            or await self._moved_on(sessions)
            or await self._recorded(sessions)
            or await self._limit_reached(sessions)
        )

    async def _lost_fence(self, sessions: Sessions) -> FenceLostError | None:
        before = {move.shard: move.before for move in self._moves}
        found = {row[0]: (row[1], row[2]) for row in await sessions.rows(_SQL["shards"])}
        lost = [
            shard
            for shard, fence in self._batch.fences.items()
            if found.get(shard, (None, 0)) != (fence, before.get(shard, found.get(shard, (None, 0))[1]))
        ]
        if not lost:
            return None
        return FenceLostError(f"another owner has taken or moved the shards {sorted(lost)}; stop writing to them")

    async def _moved_on(self, sessions: Sessions) -> SequenceConflictError | None:
        changes = self._batch.executions
        rows = await sessions.rows(_SQL["sequences"], [change.row.id for change in changes])
        sequences = {row[0]: row[1] for row in rows}
        moved = [each.row.id for each in changes if sequences.get(each.row.id, 0) != each.expected_sequence]
        return SequenceConflictError(tuple(moved)) if moved else None

    async def _recorded(self, sessions: Sessions) -> DuplicateInputError | None:
        rows = self._batch.rows
        found = await sessions.rows(_SQL["recorded"], [row.execution for row in rows], [row.input_id for row in rows])
        again = {(row[0], row[1]) for row in found} | set(repeated_inputs(rows))
        return DuplicateInputError(tuple(sorted(again))) if again else None

    async def _limit_reached(self, sessions: Sessions) -> StoreError:
        counted: dict[tuple[str, str], int] = {}
        for change in self._batch.counters:
            key = (change.tenant, change.key)
            if key not in counted:
                row = await sessions.row(_SQL["counter"], *key)
                counted[key] = row[0] if row else 0
            counted[key] += change.delta
            if change.delta > 0 and change.limit is not None and counted[key] > change.limit:
                return LimitReachedError(f"{change.key} of tenant {change.tenant} is at its limit of {change.limit}")
        if self._batch.counters:
            return LimitReachedError()
        return StoreError("the batch was refused, and nothing stored explains it")


def inbox_columns(rows: Sequence[InboxRow]) -> list[list[Any]]:
    """Return inbox rows as the columns that `podium_post_1` takes."""
    return [
        [row.execution for row in rows],
        [row.input_id for row in rows],
        [row.tenant for row in rows],
        [row.shard for row in rows],
        [row.kind for row in rows],
        [row.payload for row in rows],
        [row.posted_us for row in rows],
    ]


def blob_columns(blobs: Iterable[tuple[Blob, int]]) -> list[list[Any]]:
    """Return blobs and when each is written as the columns that `podium_put_1` takes."""
    pairs = list(blobs)
    return [
        [blob.tenant for blob, _ in pairs],
        [blob.hash for blob, _ in pairs],
        [blob.content for blob, _ in pairs],
        [written_us for _, written_us in pairs],
    ]


def _shards(batch: Append, moves: list[ShardMove]) -> list[list[Any]]:
    moved = {move.shard: move for move in moves}
    found = [(shard, fence, moved.get(shard)) for shard, fence in sorted(batch.fences.items())]
    return [
        [shard for shard, _, _ in found],
        [fence for _, fence, _ in found],
        [move.before if move else None for _, _, move in found],
        [move.after if move else None for _, _, move in found],
    ]


def _created(rows: Sequence[ExecutionRow]) -> list[Any]:
    return [
        [row.id for row in rows],
        _once([row.tenant for row in rows]),
        _numbers(row.shard for row in rows),
        _once([row.workflow for row in rows]),
        _once([row.version for row in rows]),
        _once([row.definition for row in rows]),
        _once([row.status for row in rows]),
        _once([row.run for row in rows]),
        _numbers(row.sequence for row in rows),
        _or_none([row.wake_at_us for row in rows]),
        _once([row.active for row in rows]),
        _once([row.created_us for row in rows]),
        _once([row.updated_us for row in rows]),
        _or_none([row.finished_us for row in rows]),
        _once([row.priority for row in rows]),
        _or_none([row.parent for row in rows]),
        _once([row.summary for row in rows]),
    ]


def _definitions(definitions: Sequence[Definition]) -> list[list[Any]]:
    return [
        [tenant for tenant, _, _, _ in definitions],
        [workflow for _, workflow, _, _ in definitions],
        [version for _, _, version, _ in definitions],
        [digest for _, _, _, digest in definitions],
        [UUID(workflow_id_for(workflow)) for _, workflow, _, _ in definitions],
    ]


def _moved(batch: Append) -> list[Any]:
    changes = [change for change in batch.executions if change.expected_sequence != 0]
    rows = [change.row for change in changes]
    return [
        [row.id for row in rows],
        _numbers(change.expected_sequence for change in changes),
        _once([row.version for row in rows]),
        _once([row.definition for row in rows]),
        _once([row.status for row in rows]),
        _once([row.run for row in rows]),
        _numbers(row.sequence for row in rows),
        _or_none([row.wake_at_us for row in rows]),
        _once([row.active for row in rows]),
        _once([row.updated_us for row in rows]),
        _or_none([row.finished_us for row in rows]),
        _once([row.priority for row in rows]),
        _once([row.summary for row in rows]),
    ]


def _log(rows: Sequence[LogRow]) -> list[Any]:
    return [
        _numbers(row.shard for row in rows),
        _numbers(row.position for row in rows),
        _once([row.tenant for row in rows]),
        [row.execution for row in rows],
        _numbers(row.sequence for row in rows),
        _once([row.event_count for row in rows]),
        [row.input_id for row in rows],
        _once([row.kind for row in rows]),
        _once([row.now_us for row in rows]),
        [row.payload for row in rows],
        [row.events for row in rows],
        _or_none([row.payload_blob for row in rows]),
        _once([row.format for row in rows]),
        _numbers(row.checksum or row.computed_checksum() for row in rows),
    ]


def _counters(batch: Append) -> list[list[Any]]:
    changes = batch.counters
    return [
        [change.tenant for change in changes],
        [change.key for change in changes],
        [change.delta for change in changes],
        [change.limit for change in changes],
    ]


def _once(column: list[Any]) -> list[Any]:
    """Return a column with its value once, where that is the same in all rows."""
    return column[:1] if column.count(column[0] if column else None) == len(column) else column


def _or_none(column: list[Any]) -> list[Any]:
    """Return a column that may hold None, empty where it holds nothing else."""
    return [] if column.count(None) == len(column) else column


def _numbers(column: Iterable[int]) -> str:
    """Return a column of numbers as PostgreSQL writes an array."""
    return f"{{{','.join(map(str, column))}}}"
