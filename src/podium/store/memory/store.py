"""A store in memory: the reference that the others are compared with, for simulations, tests and runs without a file.

`MemoryStore()` makes an empty store; `reopen()` gives another handle on the same data, as a process that starts after a
crash would. Nothing yields in the middle of a change, so each method is one transaction. No threads; only leases
ask for the time, from a clock that is given.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from hashlib import sha256
from itertools import islice

from msgspec.structs import replace

from podium.clock import Clock
from podium.exceptions import (
    CorruptHistoryError,
    DuplicateInputError,
    FenceLostError,
    LimitReachedError,
    SequenceConflictError,
)
from podium.store.batch import check_history, check_row, check_sequences, repeated_inputs, shard_moves
from podium.store.memory.membership import MemoryMembership
from podium.store.memory.tables import MemoryData
from podium.store.protocol import (
    Append,
    Blob,
    Counted,
    CounterChange,
    ExecutionRow,
    InboxRow,
    Loaded,
    LogRow,
    ModelRow,
    ShardRow,
    Snapshot,
)

SNAPSHOTS_KEPT = 2


class MemoryStore(MemoryMembership):
    """Log, Blobs, Views and Membership in one process' memory."""

    def __init__(self, data: MemoryData | None = None, clock: Clock | None = None) -> None:
        """`clock` is that of the leases; handles on the same data have the one of the first."""
        self._data = data or MemoryData(clock)
        self._closed = False

    def reopen(self) -> MemoryStore:
        """Return a new handle on the same data; this one works until a `take` of the other raises the fences."""
        return MemoryStore(self._data)

    # --- Log ---------------------------------------------------------------------------------------------------

    async def take(self, owner: str, shards: Sequence[int], now_us: int) -> dict[int, ShardRow]:
        """Raise the fences of these shards and return their rows."""
        data = self._writable()
        taken: dict[int, ShardRow] = {}
        for shard in sorted(set(shards)):
            known = data.shards.get(shard)
            taken[shard] = ShardRow(shard, known.fence + 1 if known else 1, known.position if known else 0, owner)
        data.shards.update(taken)
        data.tell(self, "replicas")
        return taken

    async def append(self, batch: Append) -> None:
        """Write the batch: everything is checked before anything is changed."""
        moves = shard_moves(batch)
        check_sequences(batch)
        data = self._writable()
        self._check_fences(batch, {move.shard: move.before for move in moves})
        self._check_expected(batch)
        self._check_inputs(batch)
        counters = self._counted(batch.counters)
        rows = [row if row.checksum else replace(row, checksum=row.computed_checksum()) for row in batch.rows]
        shards = {move.shard: replace(data.shards[move.shard], position=move.after) for move in moves}
        executions = {change.row.id: self._moved(change.row) for change in batch.executions}
        drained, inbox, blobs = list(batch.drained), list(batch.inbox), list(batch.blobs)

        for row in rows:  # from here on nothing fails
            data.log.setdefault(row.shard, []).append(row)
            data.histories.setdefault(row.execution, []).append(row)
            data.inputs.add((row.execution, row.input_id))
        data.executions.update(executions)
        data.shards.update(shards)
        for key in drained:
            gone = data.inbox.pop(key, None)
            if gone is not None:
                data.inbox_inputs.discard((gone.execution, gone.input_id))
        if [posted for posted in inbox if self._post(posted)]:
            data.tell(self, "inbox")
        self._keep_blobs(blobs, batch.now_us)
        data.counters.update(counters)

    async def load(self, execution: str) -> Loaded | None:
        """Return the execution's row, newest snapshot and tail."""
        data = self._open()
        row = data.executions.get(execution)
        if row is None:
            return None
        kept = data.snapshots.get(execution, [])
        snapshot = next((each for each in kept if each.sequence <= row.sequence), None)
        after = snapshot.sequence if snapshot else 0
        tail = _rows_after(data.histories.get(execution, []), after)
        check_history(execution, tail, after, row.sequence)
        return Loaded(row, snapshot, tail)

    async def recorded(self, inputs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of the inputs that are in the log."""
        return self._open().inputs.intersection(inputs)

    async def post(self, row: InboxRow) -> bool:
        """Write an input to the inbox, once."""
        data = self._writable()
        posted = self._post(row)
        if posted:
            data.tell(self, "inbox")
        return posted

    async def inbox(self, shards: Sequence[int], after: int, limit: int, known: Collection[int] = ()) -> list[InboxRow]:
        """Return inbox rows of these shards, oldest first."""
        wanted, passed = set(shards), set(known)
        rows = (
            row
            for row in self._open().inbox.values()
            if row.id > after and row.shard in wanted and row.id not in passed
        )
        return list(islice(rows, limit))

    async def due(self, shards: Sequence[int], until_us: int, limit: int) -> list[ExecutionRow]:
        """Return executions whose timer is due, soonest first."""
        wanted = set(shards)
        timed = [
            (row.wake_at_us, row.id, row)
            for row in self._open().executions.values()
            if row.wake_at_us is not None and row.wake_at_us <= until_us and row.shard in wanted
        ]
        return [row for _, _, row in sorted(timed, key=lambda each: each[:2])[:limit]]

    async def active(self, shards: Sequence[int]) -> list[ExecutionRow]:
        """Return active executions, oldest first."""
        wanted = set(shards)
        rows = [row for row in self._open().executions.values() if row.active and row.shard in wanted]
        return sorted(rows, key=lambda row: (row.created_us, row.id))

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and the one before it."""
        kept = self._writable().snapshots.setdefault(snapshot.execution, [])
        if kept and kept[0].sequence > snapshot.sequence:
            return
        if kept and kept[0].sequence == snapshot.sequence:
            del kept[0]
        kept.insert(0, snapshot)
        del kept[SNAPSHOTS_KEPT:]

    async def changed(self) -> bool:
        """Return False: no other process can write here."""
        return False

    def listen(self, wake: Callable[[str], None]) -> None:
        """Have `wake` called when other handles post, or move shards or replicas."""
        self._open().listen(self, wake)

    async def close(self) -> None:
        """Close this handle; the data stay for `reopen`."""
        self._closed = True
        self._data.unlisten(self)

    # --- Blobs -------------------------------------------------------------------------------------------------

    async def get(self, tenant: str, digest: str) -> bytes:
        """Return the content of a blob."""
        content, _ = self._open().blobs[tenant, digest]
        if sha256(content).hexdigest() != digest:
            raise CorruptHistoryError(f"the blob {digest} of tenant {tenant} doesn't match its hash")
        return content

    async def put(self, blobs: Sequence[Blob], now_us: int) -> None:
        """Keep the blobs."""
        self._writable()
        self._keep_blobs(blobs, now_us)

    async def sweep(self, mentioned: set[tuple[str, str]], older_than_us: int) -> int:
        """Delete old blobs that nothing mentions."""
        blobs = self._writable().blobs
        unmentioned = [
            key for key, (_, written_us) in blobs.items() if written_us < older_than_us and key not in mentioned
        ]
        for key in unmentioned:
            del blobs[key]
        return len(unmentioned)

    # --- Views -------------------------------------------------------------------------------------------------

    async def execution(self, execution: str) -> ExecutionRow | None:
        """Return the execution's row."""
        return self._open().executions.get(execution)

    async def executions(
        self,
        tenant: str | None,
        statuses: Sequence[str] = (),
        prefix: str = "",
        limit: int = 100,
        before_us: int | None = None,
    ) -> list[ExecutionRow]:
        """Return executions, newest first."""
        rows = [
            row
            for row in self._open().executions.values()
            if (tenant is None or row.tenant == tenant)
            and (not statuses or row.status in statuses)
            and row.id.startswith(prefix)
            and (before_us is None or row.created_us < before_us)
        ]
        return sorted(rows, key=lambda row: (row.created_us, row.id), reverse=True)[:limit]

    async def history(self, execution: str, after: int = 0, limit: int = 1_000) -> list[LogRow]:
        """Return an execution's rows."""
        page = _rows_after(self._open().histories.get(execution, []), after, limit)
        for row in page:
            check_row(row)
        return page

    async def follow(self, shard: int, after: int, limit: int = 1_000) -> list[LogRow]:
        """Return a shard's rows."""
        return self._open().log.get(shard, [])[after : after + limit]

    async def shards(self) -> list[ShardRow]:
        """Return all shards that were ever taken."""
        return [row for _, row in sorted(self._open().shards.items())]

    async def cursor(self, name: str, shard: int) -> int:
        """Return a reader's saved position."""
        return self._open().cursors.get((name, shard), 0)

    async def save_cursor(self, name: str, shard: int, position: int) -> None:
        """Save a reader's position."""
        cursors = self._writable().cursors
        cursors[name, shard] = max(position, cursors.get((name, shard), 0))

    async def counter(self, tenant: str, key: str) -> int:
        """Return a guarded counter."""
        return self._open().counters.get((tenant, key), 0)

    async def unfinished(self, shards: Sequence[int]) -> int:
        """Return how many executions have no end yet."""
        wanted = set(shards)
        return sum(row.finished_us is None and row.shard in wanted for row in self._open().executions.values())

    async def listed(
        self, shards: Sequence[int], after: str = "", limit: int = 100, *, unfinished: bool = False
    ) -> list[ExecutionRow]:
        """Return executions in order of id."""
        wanted = set(shards)
        rows = (
            row
            for row in self._open().executions.values()
            if row.id > after and row.shard in wanted and not (unfinished and row.finished_us is not None)
        )
        return sorted(rows, key=lambda row: row.id)[:limit]

    async def counted(self, prefix: str) -> list[Counted]:
        """Return the workflows' counters, each with the executions that move it."""
        data = self._open()
        found = []
        for (tenant, key), value in sorted(data.counters.items()):
            if key.startswith(prefix):
                moving = Counter(
                    row.definition
                    for row in data.executions.values()
                    if row.finished_us is None and row.tenant == tenant and prefix + row.workflow == key
                )
                found.append(Counted(tenant, key, value, dict(moving)))
        return found

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
        data = self._writable()
        place = data.cursors.get((name, shard), 0)
        if place >= position or before not in (None, place):
            return False
        changes = list(rows)
        data.cursors[name, shard] = position
        entries = data.models.setdefault((name, shard), {})
        for row in changes:
            if row.value is None:
                entries.pop(row.key, None)
            else:
                entries[row.key] = row.value
        return True

    async def model(self, name: str, prefix: str = "", shard: int | None = None, limit: int = 10_000) -> list[ModelRow]:
        """Return a read model's entries in order of key."""
        found = [
            (key, of_shard, value)
            for (of_name, of_shard), entries in self._open().models.items()
            if of_name == name and shard in (None, of_shard)
            for key, value in entries.items()
            if key.startswith(prefix)
        ]
        return [ModelRow(key, value) for key, _, value in sorted(found, key=lambda each: each[:2])[:limit]]

    async def replace_model(self, name: str, by: str, shard: int) -> bool:
        """Give a read model the entries and the place of another one."""
        data = self._writable()
        old, new = (name, shard), (by, shard)
        if data.cursors.get(new, 0) < data.cursors.get(old, 0):
            return False
        data.models[old] = data.models.pop(new, {})
        data.cursors[old] = data.cursors.pop(new, 0)
        return True

    async def drop_model(self, name: str, shard: int | None = None) -> None:
        """Delete a read model's entries and its place."""
        data = self._writable()
        for table in (data.models, data.cursors):
            for key in [each for each in table if each[0] == name and shard in (None, each[1])]:
                del table[key]

    async def tenants(self) -> list[str]:
        """Return the tenants in order of name."""
        return sorted(self._open().tenants)

    async def add_tenant(self, tenant: str, now_us: int) -> None:
        """Make a tenant known."""
        self._writable().tenants.add(tenant)

    async def mentions(self) -> AsyncIterator[LogRow]:
        """Yield every row of the log."""
        for shard in sorted(self._open().log):
            rows = self._data.log[shard]
            for row in rows[: len(rows)]:
                yield row

    # --- one transaction ---------------------------------------------------------------------------------------

    def _writable(self) -> MemoryData:
        return self._open()

    def _check_fences(self, batch: Append, before: dict[int, int]) -> None:
        lost = []
        for shard, fence in batch.fences.items():
            row = self._data.shards.get(shard)
            if row is None or row.fence != fence or before.get(shard, row.position) != row.position:
                lost.append(shard)
        if lost:
            raise FenceLostError(f"another owner has taken or moved the shards {sorted(lost)}; stop writing to them")

    def _check_expected(self, batch: Append) -> None:
        executions = self._data.executions
        moved = []
        for change in batch.executions:
            row = executions.get(change.row.id)
            if (row.sequence if row else 0) != change.expected_sequence:
                moved.append(change.row.id)
        if moved:
            raise SequenceConflictError(tuple(moved))

    def _moved(self, row: ExecutionRow) -> ExecutionRow:
        before = self._data.executions.get(row.id)
        if before is None:
            return row
        return replace(
            row,
            tenant=before.tenant,
            shard=before.shard,
            workflow=before.workflow,
            parent=before.parent,
            created_us=before.created_us,
        )

    def _check_inputs(self, batch: Append) -> None:
        pairs = [(row.execution, row.input_id) for row in batch.rows]
        again = {*self._data.inputs.intersection(pairs), *repeated_inputs(batch.rows)}
        if again:
            raise DuplicateInputError(tuple(sorted(again)))

    def _counted(self, changes: Sequence[CounterChange]) -> dict[tuple[str, str], int]:
        counted: dict[tuple[str, str], int] = {}
        for change in changes:
            key = (change.tenant, change.key)
            value = counted.get(key, self._data.counters.get(key, 0)) + change.delta
            if change.delta > 0 and change.limit is not None and value > change.limit:
                raise LimitReachedError(f"{change.key} of tenant {change.tenant} is at its limit of {change.limit}")
            counted[key] = value
        return counted

    def _post(self, row: InboxRow) -> bool:
        data = self._data
        pair = (row.execution, row.input_id)
        if pair in data.inputs or pair in data.inbox_inputs:
            return False
        data.last_inbox_id += 1
        data.inbox[data.last_inbox_id] = replace(row, id=data.last_inbox_id)
        data.inbox_inputs.add(pair)
        return True

    def _keep_blobs(self, blobs: Sequence[Blob], now_us: int) -> None:
        kept = self._data.blobs
        for blob in blobs:
            key = (blob.tenant, blob.hash)
            content, written_us = kept.get(key, (blob.content, now_us))
            kept[key] = (content, max(written_us, now_us))


def _rows_after(rows: list[LogRow], after: int, limit: int | None = None) -> list[LogRow]:
    """Return the rows whose first sequence is above `after`."""
    start = bisect_right(rows, after, key=lambda row: row.sequence)
    return rows[start:] if limit is None else rows[start : start + limit]
