"""Recovery: an execution's state from the store: its newest snapshot and the fold of what came after.

Also who keeps snapshots and definitions. Nothing here decides; it brings back what was decided.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import NamedTuple, TypeVar

import msgspec

from podium.engine.codec import decode_row
from podium.engine.definition import Definition
from podium.engine.evolve import evolve
from podium.engine.numbering import AttemptNumbers
from podium.engine.snapshot import decode_state, encode_state, numbers_in
from podium.engine.state import State
from podium.engine.values import Value
from podium.exceptions import CorruptHistoryError
from podium.store.protocol import ExecutionRow, Loaded, Snapshot, Store
from podium.workflow.hashing import encode_workflow
from podium.workflow.model import Workflow

DEFINITIONS_KEPT = 256
_PAGE = 1_000

T = TypeVar("T")
_decoder: msgspec.json.Decoder[Workflow] = msgspec.json.Decoder(Workflow)
Offload = Callable[[Callable[[], T]], Awaitable[T]]


async def inline(work: Callable[[], T]) -> T:
    """Do the work here and now: what a simulation uses in place of a thread."""
    return work()


async def in_thread(work: Callable[[], T]) -> T:
    """Do the work in a thread, off the loop."""
    return await asyncio.to_thread(work)


class Definitions:
    """Compiled definitions by the hash of their stored bytes, the most recently used kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[str, tuple[Definition, bytes]] = OrderedDict()
        self._by_object: dict[int, tuple[Workflow, str]] = {}  # so that an object is encoded once

    def compile(self, workflow: Workflow) -> tuple[Definition, bytes]:
        """Return a workflow's compiled definition and the bytes that the store keeps of it."""
        asked = self._by_object.get(id(workflow))
        if asked is not None and asked[0] is workflow and asked[1] in self._kept:
            return self._kept[asked[1]]
        encoded = encode_workflow(workflow)
        digest = sha256(encoded).hexdigest()
        known = self._kept.get(digest) or self._keep(Definition(_decoded(encoded, digest), digest), encoded)
        while len(self._by_object) >= DEFINITIONS_KEPT:
            self._by_object.pop(next(iter(self._by_object)))
        self._by_object[id(workflow)] = (workflow, digest)
        return known

    async def get(self, tenant: str, digest: str) -> Definition:
        """Return the definition with this hash, which the store checks. Raises CorruptHistoryError if it is none."""
        known = self._kept.get(digest)
        if known is None:
            encoded = await self._store.get(tenant, digest)
            known = self._keep(Definition(_decoded(encoded, digest), digest), encoded)
        self._kept.move_to_end(digest)
        return known[0]

    def _keep(self, definition: Definition, encoded: bytes) -> tuple[Definition, bytes]:
        self._kept[definition.digest] = (definition, encoded)
        if len(self._kept) > DEFINITIONS_KEPT:
            self._kept.popitem(last=False)
        return definition, encoded


def _decoded(encoded: bytes, digest: str) -> Workflow:
    """Return the workflow as it is stored: what runs is always that, whether it was just submitted or loaded again."""
    try:
        return _decoder.decode(encoded)
    except msgspec.DecodeError as error:
        raise CorruptHistoryError(f"the definition {digest[:12]}… can't be read: {error}") from error


class Restored(NamedTuple):
    """An execution as committed, and how much of its history lies behind its newest snapshot, since when."""

    row: ExecutionRow
    state: State
    tail_bytes: int
    tail_since_us: int


async def restore(store: Store, definitions: Definitions, execution: str) -> Restored | None:
    """Return an execution's row and state as committed, with what its conditions read; None if there is none."""
    loaded = await store.load(execution)
    if loaded is None:
        return None
    row = loaded.execution
    definition = await definitions.get(row.tenant, row.definition)
    payloads = {r.payload_blob: await store.get(row.tenant, r.payload_blob) for r in loaded.tail if r.payload_blob}
    state = rebuild(loaded, definition, payloads)
    hot = hot_blobs(state)  # of one that has ended, too: a person's retry opens it again
    await load_texts(store, state, hot)
    state.pinned.update(hot)
    tail_bytes = sum(len(entry.payload) + len(entry.events) for entry in loaded.tail)
    return Restored(row, state, tail_bytes, loaded.tail[0].now_us if loaded.tail else row.updated_us)


def rebuild(loaded: Loaded, definition: Definition, payloads: dict[str, bytes] | None = None) -> State:
    """Return the fold of a snapshot and the rows behind it; `payloads` are those that are kept as blobs."""
    row, snapshot = loaded.execution, loaded.snapshot
    state = State(row.id, row.tenant, definition)
    if snapshot is not None:
        state = decode_state(row.id, row.tenant, definition, snapshot.state)
    for entry in loaded.tail:
        _, events = decode_row(entry, (payloads or {}).get(entry.payload_blob or ""))
        for event in events:
            evolve(state, event, entry.now_us)
    return state


def hot_blobs(state: State) -> list[str]:
    """Return the blobs that the state's conditions may read."""
    hot = state.definition.hot
    values: list[Value | None] = [state.input] if "" in hot else []
    if state.next_run is not None and "" in hot:
        values.append(state.next_run.input)
    values += [task.result for task in state.tasks.values() if task.compiled.id in hot]
    for name, kept in state.signals.items():
        if not hot.isdisjoint(state.definition.listeners.get(name, ())):
            values += kept.values()
    return [v.blob for v in values if v is not None and v.blob is not None]


async def load_texts(store: Store, state: State, digests: list[str] | tuple[str, ...]) -> None:
    """Load blobs into the state, those that aren't there yet."""
    for digest in digests:
        if digest not in state.loaded:
            state.loaded[digest] = await store.get(state.tenant, digest)


async def numbers_before(store: Store, execution: str, sequence: int) -> AttemptNumbers:
    """Return the numbers of attempts that an execution had come to before an event, from its snapshot if that helps."""
    loaded = await store.load(execution)
    numbers, after = AttemptNumbers(), 0
    if loaded is not None and loaded.snapshot is not None and loaded.snapshot.sequence < sequence:
        numbers, after = numbers_in(loaded.snapshot.state), loaded.snapshot.sequence
    while rows := await store.history(execution, after, _PAGE):
        for row in rows:
            if row.sequence >= sequence:
                return numbers
            payload = await store.get(row.tenant, row.payload_blob) if row.payload_blob else None
            numbers.take(decode_row(row, payload)[1])
        after = rows[-1].sequence
    return numbers


async def take_snapshot(store: Store, definitions: Definitions, execution: str, offload: Offload[Snapshot]) -> int:
    """Write a snapshot of what is committed, made off the loop; return its size in bytes."""
    loaded = await store.load(execution)
    if loaded is None:
        return 0
    row = loaded.execution
    definition = await definitions.get(row.tenant, row.definition)
    payloads = {r.payload_blob: await store.get(row.tenant, r.payload_blob) for r in loaded.tail if r.payload_blob}

    def encode() -> Snapshot:
        state = rebuild(loaded, definition, payloads)
        return Snapshot(execution, state.sequence, state.run, encode_state(state), state.updated_us)

    snapshot = await offload(encode)
    await store.put_snapshot(snapshot)
    return len(snapshot.state)
