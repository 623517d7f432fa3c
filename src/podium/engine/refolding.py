"""What the events of executions say, folded anew: against their rows, their snapshots, and what is in memory.

A few executions each look, going round by their ids; a thorough look takes all that have no end yet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from podium.clock import Clock
from podium.engine.arrivals import row_of
from podium.engine.codec import decode_row
from podium.engine.evolve import evolve
from podium.engine.examining import PAGE, executions_of
from podium.engine.inside import Inside
from podium.engine.reconciliation import Kind, Suspect, contradictions, moved_by_a_tick, nothing_to_wait_for
from podium.engine.recovery import Definitions, Offload, hot_blobs, load_texts, rebuild
from podium.engine.snapshot import encode_state
from podium.engine.state import State
from podium.exceptions import CorruptHistoryError
from podium.ids import shard_of
from podium.store.protocol import ExecutionRow, Loaded, LogRow, Snapshot, Store

EXECUTIONS_AT_ONCE = 10  # that are folded in one look, of those without an end,
ENDED_AT_ONCE = 3  # and, now and then, of all
MOST_FOLDED = 20_000  # events in one look, beyond the first execution; and of a history that is folded without snapshot
LOAD_SECONDS = 5.0  # an execution that shall move has so long to be loaded
_READABLE = "readable"
_COLUMNS = (
    "tenant", "shard", "workflow", "version", "definition", "status", "run", "sequence", "wake_at_us", "active",
    "created_us", "updated_us", "finished_us", "priority",
)  # fmt: skip


class HistoryCheck:
    """What the events of executions say, against their rows, their snapshots, and what is in memory."""

    every = 2

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        clock: Clock,
        offload: Offload[Any],
        inside: Inside | None,
        shards: Sequence[int] = (),
    ) -> None:
        """Without `inside` nobody owns these shards; nothing is in memory then, and nothing is mended."""
        self.looked_at: Counter[str] = Counter()
        self._store = store
        self._definitions = definitions
        self._clock = clock
        self._offload = offload
        self._inside = inside
        self._shards = list(shards)
        self._after = {True: "", False: ""}  # by whether only those without an end are looked at
        self._turn = 0

    async def look(self, thorough: bool) -> AsyncIterator[Suspect]:
        """Fold the next few executions, most of them without an end."""
        self._turn += 1
        for row in await self._rows(thorough):
            async for suspect in self._of(row.id):
                yield suspect
            self.looked_at["histories"] += 1
        for execution in list(self._inside.residency.quarantined) if self._inside is not None else ():
            async for suspect in self._of(execution):
                yield suspect

    async def again(self, suspects: Sequence[Suspect]) -> AsyncIterator[Suspect]:
        """Fold some executions once more."""
        for execution in executions_of(suspects):
            async for suspect in self._of(execution):
                yield suspect

    async def mend(self, suspect: Suspect) -> bool:
        """Have an execution at rest moved on, where its rules do; replace a wrong snapshot. A difference stays one."""
        inside, state = self._inside, suspect.state
        if inside is None:
            return False
        match suspect.kind:
            case Kind.STUCK if state is not None and moved_by_a_tick(state, self._clock.now_us()):
                return await self._moved_on(inside, suspect.execution)
            case Kind.SNAPSHOT_DIFFERS if state is not None:
                whole = encode_state(state)
                await self._store.put_snapshot(
                    Snapshot(state.id, state.sequence, state.run, whole, self._clock.now_us())
                )
                return True
            case Kind.UNREADABLE if suspect.evidence == (_READABLE,):
                inside.bring_in(suspect.execution)
                return True
            case _:
                return False

    @staticmethod
    async def _moved_on(inside: Inside, execution: str) -> bool:
        """Have an execution looked at in memory; False if it can't be had there."""
        inside.bring_in(execution)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOAD_SECONDS):
                while inside.state(execution) is None:  # noqa: ASYNC110 - the loader has no such event
                    await asyncio.sleep(0.01)
        inside.look_at(execution)
        return inside.state(execution) is not None

    async def _rows(self, thorough: bool) -> list[ExecutionRow]:
        shards = self._inside.shards if self._inside is not None else self._shards
        if not shards:
            return []
        if thorough:
            return [row async for row in self._all(shards)]
        rows = await self._page(shards, EXECUTIONS_AT_ONCE, unfinished=True)
        if self._turn % 5 == 1:
            known = {row.id for row in rows}
            rows += [row for row in await self._page(shards, ENDED_AT_ONCE, unfinished=False) if row.id not in known]
        events, some = 0, list[ExecutionRow]()
        for row in rows:
            events += row.sequence
            if some and events > MOST_FOLDED:
                break
            some.append(row)
        return some

    async def _all(self, shards: Sequence[int]) -> AsyncIterator[ExecutionRow]:
        """Yield all executions without an end, and some of all."""
        after = ""
        while page := await self._store.listed(shards, after, PAGE, unfinished=True):
            for row in page:
                yield row
            after = page[-1].id
        for row in await self._page(shards, PAGE, unfinished=False):
            if row.finished_us is not None:
                yield row

    async def _page(self, shards: Sequence[int], limit: int, *, unfinished: bool) -> list[ExecutionRow]:
        """Return the next few by this cursor; at the end it begins again."""
        page = await self._store.listed(shards, self._after[unfinished], limit, unfinished=unfinished)
        self._after[unfinished] = page[-1].id if len(page) == limit else ""
        return page

    async def _of(self, execution: str) -> AsyncIterator[Suspect]:
        try:
            loaded = await self._store.load(execution)
            if loaded is None:
                return
            definition = await self._definitions.get(loaded.execution.tenant, loaded.execution.definition)
            payloads = {r.payload_blob: await self._get(r) for r in loaded.tail if r.payload_blob}
            state = await self._offload(lambda: rebuild(loaded, definition, payloads))
            whole = await self._folded(loaded) if loaded.snapshot is not None else None
            await load_texts(self._store, state, hot_blobs(state) if not state.final else [])
        except (CorruptHistoryError, KeyError) as error:
            why = f"its history can't be read: {error}"
            yield Suspect(Kind.UNREADABLE, execution, why, (), execution, "", self._clock.now_us())
            return
        if self._inside is not None and execution in self._inside.residency.quarantined:
            why = "it was set aside, and its history can be read again"
            yield Suspect(Kind.UNREADABLE, execution, why, (_READABLE,), execution, "", self._clock.now_us())
        async for suspect in self._compared(loaded.execution, state, whole):
            yield suspect

    async def _compared(self, row: ExecutionRow, state: State, whole: State | None) -> AsyncIterator[Suspect]:
        now_us, execution, at = self._clock.now_us(), row.id, (row.sequence,)
        differs = different_columns(row, row_of(state))
        if differs:
            why = f"by its events {differs}"
            yield Suspect(Kind.ROW_DIFFERS, execution, why, (*at, differs), execution, "", now_us)
        if whole is not None and encode_state(whole) != encode_state(state):
            why = "its snapshot and what came after it aren't what all its events say"
            yield Suspect(Kind.SNAPSHOT_DIFFERS, execution, why, at, execution, "", now_us, whole)
        problems = "; ".join(await self._offload(lambda: contradictions(state)))
        if problems:
            yield Suspect(Kind.CONTRADICTION, execution, problems, (*at, problems), execution, "", now_us)
        for suspect in self._against_memory(row, state, now_us):
            yield suspect
        why = nothing_to_wait_for(state, now_us)
        if why and not await self._is_moved(execution):
            yield Suspect(Kind.STUCK, execution, why, at, execution, "", now_us, state)

    def _against_memory(self, row: ExecutionRow, state: State, now_us: int) -> Iterator[Suspect]:
        inside = self._inside
        held = inside.state(row.id) if inside is not None else None
        if held is None or inside is None or row.id in inside.under_way:
            return
        if held.sequence != row.sequence:
            why = f"it is at {held.sequence} in memory, at {row.sequence} in the store"
        elif encode_state(held) != encode_state(state):
            why = "what is in memory isn't what its events say"
        else:
            return
        yield Suspect(Kind.MEMORY_DIFFERS, row.id, why, (held.sequence, row.sequence), row.id, "", now_us)

    async def _is_moved(self, execution: str) -> bool:
        """Whether something is on its way that moves an execution on."""
        if self._inside is not None and execution in self._inside.under_way:
            return True
        waiting = await self._store.inbox([shard_of(execution)], 0, PAGE)
        return any(row.execution == execution for row in waiting)

    async def _folded(self, loaded: Loaded) -> State | None:
        """Return the fold of all events without a snapshot; None of a history that is too long for that."""
        row = loaded.execution
        if row.sequence > MOST_FOLDED:
            return None
        state = State(row.id, row.tenant, await self._definitions.get(row.tenant, row.definition))
        while state.sequence < row.sequence:
            for entry in await self._store.history(row.id, state.sequence, PAGE):
                payload = await self._get(entry) if entry.payload_blob else None
                for event in decode_row(entry, payload)[1] if entry.sequence <= row.sequence else ():
                    evolve(state, event, entry.now_us)
            await asyncio.sleep(0)
        return state

    async def _get(self, entry: LogRow) -> bytes:
        return await self._store.get(entry.tenant, entry.payload_blob or "")


def different_columns(row: ExecutionRow, folded: ExecutionRow) -> str:
    """Return in words where a row isn't what the fold gives; empty if it is. What is only shown isn't compared."""
    names = [name for name in _COLUMNS if getattr(row, name) != getattr(folded, name)]
    return ", ".join(f"{name} is {getattr(folded, name)!r}, its row says {getattr(row, name)!r}" for name in names)
