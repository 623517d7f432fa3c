"""Writes to a store as an owner would, and reads everything that is in one: for suites, crash tests and simulations.

A scribe knows fences, positions and sequences, so that a test says only what it is about. Its events are numbers in a
JSON list and its state is their fold, so that a snapshot can be compared with the history.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from podium.ids import SHARDS, shard_of
from podium.store.protocol import (
    DEFAULT_TENANT,
    Append,
    ExecutionChange,
    ExecutionRow,
    InboxRow,
    LogRow,
    ShardRow,
    Store,
)

ALL_SHARDS = tuple(range(SHARDS))
EPOCH_US = 1_700_000_000_000_000


class Scribe:
    """An owner of shards. `batch` prepares an append, `append` writes one, and what was written is remembered."""

    def __init__(self, store: Store, owner: str = "scribe") -> None:
        self.store = store
        self.owner = owner
        self.fences: dict[int, int] = {}
        self.positions: dict[int, int] = {}
        self.executions: dict[str, ExecutionRow] = {}
        self.now_us = EPOCH_US

    async def take(self, shards: Sequence[int] = ALL_SHARDS) -> dict[int, ShardRow]:
        """Become the owner, and learn where each shard is."""
        taken = await self.store.take(self.owner, shards, self.now_us)
        for shard, row in taken.items():
            self.fences[shard] = row.fence
            self.positions[shard] = row.position
        return taken

    async def learn(self) -> None:
        """Learn where each execution is from the store, as a new owner does."""
        self.executions = {row.id: row for row in await self.store.executions(None, limit=1_000_000)}

    def batch(
        self,
        inputs: Mapping[str, Iterable[tuple[str, int]]],
        *,
        columns: Mapping[str, Any] | None = None,
        payload: bytes = b"{}",
        **rest: Any,
    ) -> Append:
        """Return an append of `(input_id, events)` for each execution; `columns` go into the executions' new rows."""
        self.now_us += 1_000
        rows: list[LogRow] = []
        changes: list[ExecutionChange] = []
        positions = dict(self.positions)
        fences: dict[int, int] = {}
        for execution, given in inputs.items():
            before = self.executions.get(execution)
            shard = before.shard if before else shard_of(execution)
            sequence = before.sequence if before else 0
            after = replace(before or self.created(execution), updated_us=self.now_us, **(columns or {}))
            fences[shard] = self.fences.get(shard, 0)
            for input_id, count in given:
                positions[shard] = positions.get(shard, 0) + 1
                events = json.dumps([sequence + number for number in range(1, count + 1)]).encode()
                rows.append(
                    LogRow(
                        shard=shard,
                        position=positions[shard],
                        tenant=after.tenant,
                        execution=execution,
                        sequence=sequence + 1,
                        event_count=count,
                        input_id=input_id,
                        kind="test",
                        now_us=self.now_us,
                        payload=payload,
                        events=events,
                    )
                )
                sequence += count
            changes.append(ExecutionChange(replace(after, sequence=sequence), before.sequence if before else 0))
        return Append(fences, rows, changes, now_us=self.now_us, **rest)

    def created(self, execution: str) -> ExecutionRow:
        """Return the row of an execution that has no events yet."""
        return ExecutionRow(
            id=execution,
            tenant=DEFAULT_TENANT,
            shard=shard_of(execution),
            workflow="workflow",
            version="1",
            definition="0" * 64,
            status="RUNNING",
            run=1,
            sequence=0,
            wake_at_us=None,
            active=True,
            created_us=self.now_us,
            updated_us=self.now_us,
        )

    async def write(self, batch: Append) -> Append:
        """Append a batch, and remember where it leads."""
        await self.store.append(batch)
        for row in batch.rows:
            self.positions[row.shard] = row.position
        for change in batch.executions:
            self.executions[change.row.id] = change.row
        return batch

    async def append(self, inputs: Mapping[str, Iterable[tuple[str, int]]], **rest: Any) -> Append:
        """Prepare and append a batch."""
        return await self.write(self.batch(inputs, **rest))

    def post(self, execution: str, input_id: str, payload: bytes = b"{}") -> InboxRow:
        """Return an inbox row as another process would write it."""
        return InboxRow(execution, input_id, DEFAULT_TENANT, shard_of(execution), "test", payload, self.now_us)


def fold(rows: Iterable[LogRow], state: bytes = b"[]") -> bytes:
    """Return the state behind these rows: the list of all their events' numbers."""
    numbers = json.loads(state)
    for row in rows:
        numbers += json.loads(row.events)
    return json.dumps(numbers).encode()


async def everything(store: Store, counters: Sequence[tuple[str, str]] = (), blobs: Sequence[str] = ()) -> Any:
    """Return all that can be seen in a store, so that two can be compared, or one before and after."""
    executions = await store.executions(None, limit=1_000_000)
    found: list[bytes | None] = []
    for digest in blobs:
        try:
            found.append(await store.get(DEFAULT_TENANT, digest))
        except KeyError:
            found.append(None)
    return {
        "executions": executions,
        "histories": {row.id: await store.history(row.id, limit=1_000_000) for row in executions},
        "loaded": {row.id: await store.load(row.id) for row in executions},
        "log": [row async for row in store.mentions()],
        "shards": await store.shards(),
        "inbox": await store.inbox(ALL_SHARDS, 0, 1_000_000),
        "counters": [await store.counter(tenant, key) for tenant, key in counters],
        "blobs": found,
        "tenants": await store.tenants(),
    }


async def check_gapless(store: Store) -> None:
    """Check that positions and sequences have no gap, that each row is at home, and that rows agree with the log."""
    for shard in await store.shards():
        rows = await store.follow(shard.shard, 0, 1_000_000)
        assert [row.position for row in rows] == list(range(1, shard.position + 1)), f"shard {shard.shard} has a gap"
        assert all(row.shard == shard.shard for row in rows)
    for execution in await store.executions(None, limit=1_000_000):
        sequence = 0
        for row in await store.history(execution.id, limit=1_000_000):
            assert row.sequence == sequence + 1, f"execution {execution.id} has a gap at {row.sequence}"
            assert row.checksum == row.computed_checksum()
            sequence += row.event_count
        assert sequence == execution.sequence, f"execution {execution.id} isn't where its history ends"
