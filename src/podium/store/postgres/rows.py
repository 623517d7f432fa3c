"""What the server answers, to rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podium.store.protocol import Cluster, ExecutionRow, InboxRow, LogRow, ModelRow, Replica, ShardRow

EXECUTION_COLUMNS = 17
SNAPSHOT_COLUMNS = 6


def log_row(row: Sequence[Any]) -> LogRow:
    """Return a row of the log as `history` and `follow` select it: in the order of its fields."""
    return LogRow(*row)


def execution_row(row: Sequence[Any]) -> ExecutionRow:
    """Return an execution's row."""
    return ExecutionRow(*row)


def inbox_row(row: Sequence[Any]) -> InboxRow:
    """Return a row of the inbox."""
    return InboxRow(*row)


def shard_row(row: Sequence[Any]) -> ShardRow:
    """Return a shard's row."""
    return ShardRow(*row)


def model_row(row: Sequence[Any]) -> ModelRow:
    """Return an entry of a read model."""
    return ModelRow(*row)


def cluster_row(row: Sequence[Any]) -> Cluster:
    """Return the cluster as `podium_cluster_1` answers it: nine columns of replicas, then four of shards."""
    now_us, form, *columns = row
    replicas = zip(*(column or () for column in columns[:9]), strict=True)
    shards = zip(*(column or () for column in columns[9:]), strict=True)
    return Cluster(
        now_us, tuple(Replica(*replica) for replica in replicas), tuple(ShardRow(*shard) for shard in shards), form
    )
