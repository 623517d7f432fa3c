"""What a batch says of itself, checked before any store is asked: pure, and the same for every adapter.

A batch whose own rows contradict one another (a gap, a missing fence, two changes of one execution) is a mistake of
its caller and is refused with ValueError; whether it fits what is stored, only the store can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

from podium.exceptions import CorruptHistoryError
from podium.store.protocol import Append, LogRow, Snapshot


class ShardMove(NamedTuple):
    """How a batch moves one shard: the fence it relies on, the position it must find, the position it leaves."""

    shard: int
    fence: int
    before: int
    after: int


def shard_moves(batch: Append) -> list[ShardMove]:
    """Return how the batch moves each shard that it has rows of; the rows' positions must be in order and gapless."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for row in batch.rows:
        shard = row.shard
        known = last.get(shard)
        if known is None:
            if shard not in batch.fences:
                raise ValueError(f"the batch has rows of shard {shard}, but no fence of it")
            first[shard] = row.position
        elif row.position != known + 1:
            raise ValueError(f"shard {shard}: position {row.position} follows {known}; positions have no gap")
        last[shard] = row.position
    return [ShardMove(shard, batch.fences[shard], start - 1, last[shard]) for shard, start in first.items()]


def check_sequences(batch: Append) -> None:
    """Check that each execution's rows follow its expected sequence without a gap and end at its new one."""
    at: dict[str, int] = {}
    for change in batch.executions:
        row = change.row
        if row.id in at:
            raise ValueError(f"execution {row.id} is changed twice in one batch")
        if row.shard not in batch.fences:
            raise ValueError(f"execution {row.id} is of shard {row.shard}, of which the batch has no fence")
        at[row.id] = change.expected_sequence
    for entry in batch.rows:
        known = at.get(entry.execution)
        if known is None:
            raise ValueError(f"the batch has rows of execution {entry.execution}, but not its new row")
        if entry.sequence != known + 1 or entry.event_count < 1:
            raise ValueError(
                f"execution {entry.execution}: sequence {entry.sequence} ({entry.event_count} events) follows {known}"
            )
        at[entry.execution] = known + entry.event_count
    for change in batch.executions:
        end, said = at[change.row.id], change.row.sequence
        if end != said or said < 1:
            raise ValueError(f"execution {change.row.id}: its rows end at {end}, its new row says {said}")


def repeated_inputs(rows: Sequence[LogRow]) -> list[tuple[str, str]]:
    """Return the `(execution, input_id)` pairs that are there more than once."""
    seen: set[tuple[str, str]] = set()
    repeated: dict[tuple[str, str], None] = {}
    for row in rows:
        pair = (row.execution, row.input_id)
        if pair in seen:
            repeated[pair] = None
        seen.add(pair)
    return list(repeated)


def check_row(row: LogRow) -> None:
    """Raise CorruptHistoryError if the row isn't what was written."""
    if row.computed_checksum() != row.checksum:
        raise CorruptHistoryError(
            f"execution {row.execution}: the row at shard {row.shard}, position {row.position} doesn't match its "
            f"checksum. The file was changed or damaged; restore it from a copy. Other executions are not touched."
        )


def snapshot_checksum(snapshot: Snapshot) -> int:
    """Return the CRC-32 over a snapshot: one that is damaged is passed over, not believed."""
    head = f"{snapshot.execution}|{snapshot.sequence}|{snapshot.run}|{snapshot.created_us}|{snapshot.format}|"
    return crc32(snapshot.state, crc32(head.encode()))


def sound_snapshot(execution: str, columns: Sequence[Any]) -> Snapshot | None:
    """Return the snapshot of these columns (sequence, run, state, created_us, format, checksum).

    None if the first is None, for there is none then, or if it doesn't match its checksum.
    """
    sequence, run, state, created_us, form, checksum = columns
    if sequence is None:
        return None
    snapshot = Snapshot(execution, sequence, run, state, created_us, form)
    return snapshot if snapshot_checksum(snapshot) == checksum else None


def check_history(execution: str, rows: Sequence[LogRow], after: int, until: int) -> None:
    """Check every row, and that their sequences run without a gap from `after` to `until`."""
    for row in rows:
        check_row(row)
        if row.sequence != after + 1:
            raise CorruptHistoryError(
                f"execution {execution}: sequence {after + 1} is missing before shard {row.shard}, "
                f"position {row.position}"
            )
        after += row.event_count
    if after != until:
        raise CorruptHistoryError(f"execution {execution}: the history ends at {after}, its row says {until}")
