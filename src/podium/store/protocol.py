"""The protocols of a store, and the rows they speak of. The docstrings are law: `podium.testing` checks each.

A store keeps bytes; it never decodes an input or an event, and it decides nothing. The owner of a shard appends; who is
not the owner posts to the inbox and reads. Every change of state is one guarded statement within one transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Protocol
from zlib import crc32

from msgspec import Struct

FORMAT = 1  # the lowest format a reader must know to read the rows written today
DEFAULT_TENANT = "default"


class LogRow(Struct, frozen=True, gc=False):
    """One input of one execution, with the events it caused. Never changed, never deleted before its execution is.

    `position` counts a shard's rows without a gap from 1; `sequence` is the number of the first event, counted for each
    execution without a gap from 1, and every row has at least one event. `payload` is the encoded input, or empty where
    `payload_blob` names the blob that holds it. `events` is a JSON list.
    """

    shard: int
    position: int
    tenant: str
    execution: str
    sequence: int
    event_count: int
    input_id: str
    kind: str
    now_us: int
    payload: bytes
    events: bytes
    payload_blob: str | None = None
    format: int = FORMAT
    checksum: int = 0

    def computed_checksum(self) -> int:
        """Return the CRC-32 over every other column."""
        head = (
            f"{self.shard}|{self.position}|{self.tenant}|{self.execution}|{self.sequence}|{self.event_count}|"
            f"{self.input_id}|{self.kind}|{self.now_us}|{self.payload_blob or ''}|{self.format}|"
        ).encode()
        return crc32(self.events, crc32(self.payload, crc32(head)))


class ExecutionRow(Struct, frozen=True, gc=False):
    """What is looked up of an execution without its history. Written only by the append that moves it.

    `sequence` is the last event's. `wake_at_us` is when its next timer is due; `active` says that its owner must hold
    it in memory (it has live attempts or tasks that are ready). `summary` is JSON for lists: counts, error. Tenant,
    shard, workflow, parent and `created_us` are fixed at its creation: what a later row says of them is passed over.
    """

    id: str
    tenant: str
    shard: int
    workflow: str
    version: str
    definition: str  # the stored definition's hash, a blob
    status: str
    run: int
    sequence: int
    wake_at_us: int | None
    active: bool
    created_us: int
    updated_us: int
    finished_us: int | None = None
    priority: int = 50
    parent: str | None = None
    summary: bytes = b"{}"


class ExecutionChange(Struct, frozen=True, gc=False):
    """An execution's new row, and the sequence it must have now (0: it must not exist)."""

    row: ExecutionRow
    expected_sequence: int


class InboxRow(Struct, frozen=True, gc=False):
    """An input written by who isn't the owner, once for each `(execution, input_id)`.

    A shard's number above 127 is that of a waiting room: starts that wait for room, which no inbox shows.
    """

    execution: str
    input_id: str
    tenant: str
    shard: int
    kind: str
    payload: bytes
    posted_us: int
    id: int = 0  # given by the store; grows


class Blob(Struct, frozen=True, gc=False):
    """Bytes kept once a tenant by the SHA-256 of their content (hex)."""

    tenant: str
    hash: str
    content: bytes


class CounterChange(Struct, frozen=True, gc=False):
    """A move of a guarded counter: refused when it would pass the limit (only upward moves have one)."""

    tenant: str
    key: str
    delta: int
    limit: int | None = None


class Append(Struct, frozen=True):
    """Everything that one transaction changes. `fences` has the fence of each shard whose rows it holds."""

    fences: dict[int, int]
    rows: Sequence[LogRow]
    executions: Sequence[ExecutionChange]
    drained: Sequence[int] = ()  # inbox ids
    inbox: Sequence[InboxRow] = ()  # inputs for other executions
    blobs: Sequence[Blob] = ()
    counters: Sequence[CounterChange] = ()
    now_us: int = 0


class ShardRow(Struct, frozen=True):
    """A shard as its owner holds it: `fence` is raised at each taking, `position` is the last row's.

    `owner` is a replica's id, empty while nobody has it.
    """

    shard: int
    fence: int
    position: int
    owner: str


class Snapshot(Struct, frozen=True):
    """An execution's state after the event `sequence`, so that a load needn't fold the whole history."""

    execution: str
    sequence: int
    run: int
    state: bytes
    created_us: int
    format: int = FORMAT


class Loaded(Struct, frozen=True):
    """What rebuilds one execution, read in one consistent view: its newest snapshot and the rows behind it."""

    execution: ExecutionRow
    snapshot: Snapshot | None
    tail: list[LogRow]


class Replica(Struct, frozen=True):
    """One orchestrator process, as the others see it. Its lease ends by the store's clock alone."""

    id: str  # of this start of the process: another start is another replica, whatever its name
    name: str  # for people
    bus: str  # the bus that it speaks on, so that all are on one; empty: it has none and must be alone
    version: str  # of Podium
    format: int  # the newest format of rows that it can read
    started_us: int = 0  # by the store's clock, like the next
    lease_until_us: int = 0
    draining: bool = False  # it gives its shards away and takes none
    details: bytes = b"{}"  # JSON for people: host, pid, addresses


class Cluster(Struct, frozen=True):
    """All replicas and all shards in one consistent view, at a time of the store's clock.

    `format` is what rows may be written in: what every replica, and every one that may come back, can read.
    """

    now_us: int
    replicas: tuple[Replica, ...]
    shards: tuple[ShardRow, ...]
    format: int = FORMAT

    def live(self, replica: Replica) -> bool:
        """Whether a replica's lease holds."""
        return replica.lease_until_us > self.now_us


class ModelRow(Struct, frozen=True):
    """One entry of a read model: JSON by key. `value` None: the entry goes."""

    key: str
    value: bytes | None


class Counted(Struct, frozen=True):
    """A guarded counter that a workflow's executions move, and how many of those have no end yet, by definition."""

    tenant: str
    key: str
    value: int
    unfinished: dict[str, int]


class Log(Protocol):
    """The event log with what must change in the same transaction."""

    async def take(self, owner: str, shards: Sequence[int], now_us: int) -> dict[int, ShardRow]:
        """Become the owner: raise each shard's fence by one, return the rows. Earlier owners' appends fail then."""
        ...

    async def append(self, batch: Append) -> None:
        """Write the batch in one transaction, all or nothing; when it returns, it is as durable as the store promises.

        Raises FenceLostError when a fence or a position has moved, SequenceConflictError (naming the executions) when
        an execution isn't at its expected sequence, DuplicateInputError (naming the inputs) when an input is already
        recorded, LimitReachedError when a counter would pass its limit, StoreUnavailableError when it can't be written.
        Of several reasons the first in this order is given. After any of them nothing of the batch is there. A batch
        that contradicts itself (a gap, no fence, an execution without its new row) is the caller's mistake: ValueError.

        Inbox rows that are in the log or the inbox already, and drained ids that aren't there, change nothing. What is
        drained goes first, so that an inbox row may come back under another shard. Appends called together are written
        in the order of the calls.
        """
        ...

    async def load(self, execution: str) -> Loaded | None:
        """Return the execution's row, newest snapshot and later rows in order of sequence; None if there is none.

        A snapshot that is ahead of the row, or damaged, is passed over for the one before it.
        Raises CorruptHistoryError when a row's checksum doesn't match or a sequence is missing.
        """
        ...

    async def recorded(self, inputs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of the `(execution, input_id)` pairs that are in the log."""
        ...

    async def post(self, row: InboxRow) -> bool:
        """Write an input to the inbox. False, and nothing changed, if it is there or in the log already."""
        ...

    async def inbox(self, shards: Sequence[int], after: int, limit: int, known: Collection[int] = ()) -> list[InboxRow]:
        """Return inbox rows of these shards with an id above `after` that isn't among `known`, oldest first.

        Where several processes write, a row may become visible after another with a larger id: who reads them all
        says which ones it knows, and not how far it has come.
        """
        ...

    async def due(self, shards: Sequence[int], until_us: int, limit: int) -> list[ExecutionRow]:
        """Return executions whose `wake_at_us` is at or before `until_us`, soonest first."""
        ...

    async def active(self, shards: Sequence[int]) -> list[ExecutionRow]:
        """Return the executions that an owner must hold in memory, oldest first."""
        ...

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot; of an older sequence than the newest kept it changes nothing. Not needed to be durable."""
        ...

    async def changed(self) -> bool:
        """Return whether another process may have committed here since the last call.

        False where nobody else can; True where only a look would tell.
        """
        ...

    def listen(self, wake: Callable[[str], None]) -> None:
        """Have `wake` called on the loop when others have posted (`inbox`) or shards or replicas moved (`replicas`).

        Only a hint: it may come for nothing, and be lost. Where processes can't tell each other, it never comes.
        """
        ...

    async def close(self) -> None:
        """Stop writing, finish what was begun, let go. Safe twice; any use afterwards raises StoreUnavailableError."""
        ...


class Blobs(Protocol):
    """Content by hash. They are written by `Log.append`, before or with their first mention."""

    async def get(self, tenant: str, digest: str) -> bytes:
        """Return the content. Raises KeyError if it isn't there, CorruptHistoryError if it doesn't match its hash."""
        ...

    async def put(self, blobs: Sequence[Blob], now_us: int) -> None:
        """Keep the blobs; those already there change nothing (their age is renewed)."""
        ...

    async def sweep(self, mentioned: set[tuple[str, str]], older_than_us: int) -> int:
        """Delete the blobs written before this time that aren't in `mentioned` (tenant, hash); return how many."""
        ...


class Views(Protocol):
    """What people and other processes ask: lists, histories, positions. Never sees what isn't committed."""

    async def execution(self, execution: str) -> ExecutionRow | None:
        """Return the execution's row."""
        ...

    async def executions(
        self,
        tenant: str | None,
        statuses: Sequence[str] = (),
        prefix: str = "",
        limit: int = 100,
        before_us: int | None = None,
    ) -> list[ExecutionRow]:
        """Return executions, newest first: of a tenant (None: all), of these statuses, whose id begins so."""
        ...

    async def history(self, execution: str, after: int = 0, limit: int = 1_000) -> list[LogRow]:
        """Return rows whose first sequence is above `after`, in order."""
        ...

    async def follow(self, shard: int, after: int, limit: int = 1_000) -> list[LogRow]:
        """Return a shard's rows with a position above `after`, in order: what a projection reads."""
        ...

    async def shards(self) -> list[ShardRow]:
        """Return all shards that were ever taken."""
        ...

    async def cursor(self, name: str, shard: int) -> int:
        """Return a reader's saved position, 0 at first."""
        ...

    async def save_cursor(self, name: str, shard: int, position: int) -> None:
        """Save a reader's position; it never goes back."""
        ...

    async def counter(self, tenant: str, key: str) -> int:
        """Return a guarded counter, 0 at first."""
        ...

    async def unfinished(self, shards: Sequence[int]) -> int:
        """Return how many executions of these shards have no end yet (`finished_us` is unset)."""
        ...

    async def listed(
        self, shards: Sequence[int], after: str = "", limit: int = 100, *, unfinished: bool = False
    ) -> list[ExecutionRow]:
        """Return executions of these shards with an id above `after`, in order of id.

        `unfinished`: only those that have no end yet.
        """
        ...

    async def counted(self, prefix: str) -> list[Counted]:
        """Return the guarded counters whose keys are this prefix and a workflow's name, in order of tenant and key.

        Each with how many executions of that workflow have no end yet, all in one consistent view.
        """
        ...

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
        """Change a read model's entries of one shard and save its place, in one transaction.

        The place is the cursor of that name. False, and nothing changed, when it is at `position` or beyond already, or
        anywhere else than at `before` where that is given: somebody else has done it, or what was written before is
        lost. A key is there at most once. Unless it is to be `durable`, as an append is, entries and place may be lost,
        though together, and are made again from the log; so who writes only what has changed since its last place must
        say which one that was.
        """
        ...

    async def model(self, name: str, prefix: str = "", shard: int | None = None, limit: int = 10_000) -> list[ModelRow]:
        """Return a read model's entries whose keys begin so, in order of key: of one shard, or of all.

        Entries of several shards may have the same key.
        """
        ...

    async def replace_model(self, name: str, by: str, shard: int) -> bool:
        """Give a read model the entries and the place of another one, which has none then; in one transaction.

        False, and nothing changed, when the other one's place in this shard is before this one's.
        """
        ...

    async def drop_model(self, name: str, shard: int | None = None) -> None:
        """Delete a read model's entries and its place: of one shard, or of all."""
        ...

    async def tenants(self) -> list[str]:
        """Return the tenants, `default` among them."""
        ...

    async def add_tenant(self, tenant: str, now_us: int) -> None:
        """Make a tenant known; once more changes nothing."""
        ...

    def mentions(self) -> AsyncIterator[LogRow]:
        """Yield every row of the log, for the sweep that looks for blobs' hashes."""
        ...


class Membership(Protocol):
    """Who is there, and who owns which shards, where several replicas share a store. Its clock alone counts."""

    async def join(self, replica: Replica, lease_us: int) -> Cluster:
        """Make a replica known, with a lease from now on, and return what is there.

        Raises NotTheOwnerError, naming who is there, when a live replica is on another bus, or when one of the two has
        none; SchemaTooNewError when rows may be written that it can't read.
        """
        ...

    async def renew(self, replica: str, lease_us: int, *, draining: bool = False) -> Cluster | None:
        """Begin its lease anew and return what is there; None, and nothing changed, if it is no longer known.

        Replicas whose lease ended a minute ago, and that own nothing, are forgotten.
        """
        ...

    async def claim(self, replica: str, fences: Mapping[int, int]) -> dict[int, ShardRow]:
        """Take shards that nobody owns, or whose owner's lease has ended, as long as they have these fences (0: never
        taken yet); return the rows of those that were got. Each fence is raised by one.

        Of two who claim the same shard by the same fence, one gets it. A replica whose own lease has ended gets none.
        """
        ...

    async def release(self, replica: str, fences: Mapping[int, int]) -> None:
        """Give shards back, those of them that it still owns with these fences; nobody owns them then."""
        ...

    async def leave(self, replica: str) -> None:
        """Give back everything and be forgotten. Once more changes nothing."""
        ...

    async def cluster(self) -> Cluster:
        """Return what is there."""
        ...

    async def finish_upgrade(self, format: int) -> int:
        """Let rows be written in this format from now on, and return the format in force; it never goes back.

        Raises ConflictError, naming them, while live replicas can't read it.
        """
        ...


class Store(Log, Blobs, Views, Protocol):
    """What an adapter implements at the least; one that several replicas can share is a `Membership` too."""
