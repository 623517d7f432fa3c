"""Rows to parameters, and what SQLite answers back to rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from podium.store.protocol import ExecutionRow, InboxRow, LogRow, ModelRow, ShardRow


def list_argument(values: Sequence[object]) -> str:
    """Return a list as the JSON that `json_each` takes."""
    return msgspec.json.encode(values).decode()


def listed(answer: str) -> Any:
    """Return what a JSON text holds: a list of rows."""
    return msgspec.json.decode(answer)


def log_row(row: Sequence[Any]) -> LogRow:
    """Return a row of the log as `history` and `follow` select it: in the order of its fields, bytes in hexadecimal."""
    columns = (*row[:9], bytes.fromhex(row[9]), bytes.fromhex(row[10]), *row[11:])
    return LogRow(*columns)


def execution_row(row: Sequence[Any]) -> ExecutionRow:
    """Return an execution's row; its summary is bytes, or hexadecimal text within a list."""
    summary = row[16] if isinstance(row[16], bytes) else bytes.fromhex(row[16])
    columns = (*row[:10], bool(row[10]), *row[11:16], summary)
    return ExecutionRow(*columns)


def inbox_row(row: Sequence[Any]) -> InboxRow:
    """Return a row of the inbox."""
    execution, input_id, tenant, shard, kind, payload, posted_us, key = row
    return InboxRow(execution, input_id, tenant, shard, kind, bytes.fromhex(payload), posted_us, key)


def model_row(row: Sequence[Any]) -> ModelRow:
    """Return an entry of a read model."""
    key, value = row
    return ModelRow(key, bytes.fromhex(value))


def shard_row(row: Sequence[Any]) -> ShardRow:
    """Return a shard's row."""
    return ShardRow(*row)
