"""The waiting room: starts for which there is no room lie in the store until it is their turn (`admission` says whose).

They lie in the inbox under a number of their own, so that who reads the inbox doesn't meet them again and again; one
commit brings a start there, another one from there into the log. What is said to an execution that waits lets it begin
out of its turn: a cancellation must find it. Only who waits for its end waits for its turn, too; and everybody does
while its workflow's own limit keeps it back (`holding`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any

import msgspec

from podium.engine import inputs as inp
from podium.engine.admission import MOST_KNOWN, Admission, Waiting, counts, waiting_room
from podium.engine.arrivals import Arrival, Batch, Batches, posted
from podium.engine.codec import decode_input
from podium.engine.definition import Definition
from podium.engine.intake import Intake
from podium.engine.recovery import Definitions
from podium.engine.shards import OwnedShards
from podium.engine.state import State
from podium.engine.whereabouts import waits_for_room
from podium.exceptions import CorruptHistoryError, PodiumError
from podium.ids import shard_of
from podium.store.protocol import InboxRow, Store
from podium.telemetry.logs import get_logger

AGAIN_SECONDS = 1.0  # for those whose workflow's own limit is reached
LOOK_SECONDS = 60.0  # though nothing says that it is time
_log = get_logger("podium.engine")


class WaitingRoom:
    """Brings starts into the waiting room and out of it, for the owner of their shards."""

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        admission: Admission,
        intake: Intake,
        shards: OwnedShards,
        batches: Batches,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
        reject: Callable[[Arrival, PodiumError], None],
    ) -> None:
        self._store = store
        self._definitions = definitions
        self._admission = admission
        self._intake = intake
        self._shards = shards
        self._batches = batches
        self._spawn = spawn
        self._reject = reject
        self._begun: dict[str, tuple[Waiting, str]] = {}  # not committed yet, with their workflow's counter
        self._considered: set[str] = set()  # from the inbox, and not decided yet whether they may begin
        self._at_limit: set[str] = set()  # counters
        self._again_seconds = 0.0  # by the loop's time
        self._wake = asyncio.Event()

    # --- in ----------------------------------------------------------------------------------------------------

    async def enter(self, row: InboxRow) -> None:
        """Have a new start wait. One that is known already is left where it is."""
        await self._intake.retrying(partial(self._store.post, row))
        self.news()

    def admits(self, row: InboxRow, arrival: Arrival) -> bool:
        """Whether a start from the inbox may begin now; if not, it is taken care of here."""
        if not self._admission.full:
            self._admission.take(arrival.execution)
            return True
        self._considered.add(arrival.execution)
        self._spawn(self._consider(row, arrival), f"podium-admits-{arrival.execution}")
        return False

    async def _consider(self, row: InboxRow, arrival: Arrival) -> None:
        definition = await self._definition_of(arrival)
        if arrival.execution not in self._considered:  # it was called meanwhile
            return
        self._considered.discard(arrival.execution)
        if not self._shards.owns(arrival.execution):
            return
        if definition is None or not counts(definition.workflow) or not self._admission.full:
            self._admission.take(arrival.execution)
            await self._put(arrival)
        else:
            self._batches.filling.move(row, waiting_room(row.shard))
            self._intake.wake.set()

    async def _put(self, arrival: Arrival) -> None:
        """Queue a start from the inbox; while the same is under way, wait for what comes of that: its row must go."""
        if arrival.key not in self._intake.known:
            self._intake.put(arrival)
            return
        while (under_way := self._intake.known.get(arrival.key)) is not None:
            with contextlib.suppress(PodiumError):
                await self._intake.joined(under_way)
        self._intake.doubt(arrival)

    @property
    def known(self) -> set[int]:
        """The inbox rows of the starts that are known to wait, or have just begun."""
        return {*self._admission.known, *(start.row_id for start, _ in self._begun.values())}

    # --- out ---------------------------------------------------------------------------------------------------

    def news(self) -> None:
        """Starts have come into the waiting room that aren't known here."""
        self._admission.more = True
        self._wake.set()

    async def open(self) -> None:
        """Shards have come: see who waits there."""
        self._admission.more = True
        await self._read()
        self._wake.set()

    def landed(self, batch: Batch) -> None:
        """A batch is committed: starts in it have begun, and what was at work may be no more."""
        for decided in batch.decided if self._begun else ():
            if isinstance(decided.arrival.given, inp.Start):
                self._begun.pop(decided.arrival.execution, None)
        if batch.moved:
            self.news()
        elif self._admission.somebody_may_begin:
            self._wake.set()

    def begun_before(self, execution: str, state: State | None) -> None:
        """A start has come once more: its execution counts as what it is."""
        self._begun.pop(execution, None)
        self._admission.gone(execution)
        if state is not None:
            self._admission.note(state)

    def gone(self, execution: str) -> None:
        """An execution doesn't begin here after all: its start was refused, or is another replica's to decide."""
        self._begun.pop(execution, None)
        self._admission.gone(execution)

    def disown(self, shards: Collection[int]) -> None:
        """These shards are others' now, and so is who waits there."""
        for execution in [each for each in self._begun if shard_of(each) in shards]:
            del self._begun[execution]
        self._admission.disown(shards)
        self._admission.own(self._shards.ours)

    def back(self, arrival: Arrival) -> bool:
        """A start can't begin, since its workflow's own limit is reached: it waits on, if it has waited before."""
        start, key = self._begun.pop(arrival.execution, (None, ""))
        if start is None or not isinstance(arrival.given, inp.Start):
            return False
        self._intake.settle(arrival, [])
        self._put_off(start, key)
        return True

    async def let_in(self) -> None:
        """Let starts begin, for ever, whenever there is room."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS if self._admission.put_offs else LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if loop.time() >= self._again_seconds:
                self._again_seconds = loop.time() + AGAIN_SECONDS
                self._at_limit.clear()
                self._admission.call_again()
            await self._look()

    async def _look(self) -> None:
        while True:
            if self._admission.more and self._admission.waiting <= MOST_KNOWN // 2:
                await self._read()
            start = self._admission.next()
            if start is None:
                return
            await self._begin(start)

    async def _read(self) -> None:
        """Read who waits, beside those that are known."""
        self._admission.more = False
        most = MOST_KNOWN - self._admission.waiting
        rooms = [waiting_room(shard) for shard in self._shards.ours]
        known = [*self._admission.known, *(start.row_id for start, _ in self._begun.values())]
        ask = partial(self._store.inbox, rooms, 0, most, known)
        rows: list[InboxRow] = await self._intake.retrying(ask) if rooms else []
        for row in rows:
            if self._shards.owns(row.execution):
                self._admission.wait(Waiting(row.execution, await self._priority_of(row), row.posted_us, row.id))
        if len(rows) == most:
            self._admission.more = True

    async def _priority_of(self, row: InboxRow) -> int:
        try:
            arrival = posted(row, decode_input(row.payload))
        except CorruptHistoryError:
            return 100  # found out, and set aside, when it begins
        definition = await self._definition_of(arrival)
        if isinstance(arrival.given, inp.Start) and arrival.given.priority is not None:
            return arrival.given.priority
        return definition.workflow.config.priority if definition is not None else 100

    async def _begin(self, start: Waiting) -> None:
        if start.limited in self._at_limit:
            self._admission.put_off(start)
            return
        room = waiting_room(shard_of(start.execution))
        rows = await self._intake.retrying(partial(self._store.inbox, [room], start.row_id - 1, 1))
        if not rows or rows[0].id != start.row_id or not self._shards.owns(start.execution):
            self._admission.gone(start.execution)
            return
        arrival = self._arrival_of(rows[0])
        if arrival is None:
            return
        definition = await self._definition_of(arrival)
        key = f"workflow:{definition.workflow.name}" if definition is not None else ""
        if definition is not None and await self._is_at_its_limit(rows[0].tenant, key, definition):
            self._put_off(start, key)
            return
        self._begun[start.execution] = (start, key)
        self._intake.put_once(arrival)

    def _put_off(self, start: Waiting, key: str) -> None:
        self._at_limit.add(key)
        self._admission.put_off(msgspec.structs.replace(start, limited=key))

    async def _is_at_its_limit(self, tenant: str, key: str, definition: Definition) -> bool:
        limit = definition.workflow.config.max_concurrent_executions
        if limit is None:
            return False
        count: int = await self._intake.retrying(partial(self._store.counter, tenant, key))
        return count + sum(each == key for _, each in self._begun.values()) >= limit

    # --- who is asked for --------------------------------------------------------------------------------------

    def is_put_off(self, execution: str) -> bool:
        """Whether its workflow's own limit keeps a start back: it can't begin, whoever asks for it."""
        return self._admission.is_put_off(execution)

    def called(self, row: InboxRow) -> Arrival | None:
        """Return a start out of its turn, so that it begins now; None if it can't be read."""
        execution = row.execution
        self._considered.discard(execution)
        start = self._admission.summon(execution) or Waiting(execution, 0, row.posted_us, row.id)
        self._admission.take(execution)
        if waits_for_room(row):
            self._begun.setdefault(execution, (start, ""))
        return self._arrival_of(row)

    def _arrival_of(self, row: InboxRow) -> Arrival | None:
        try:
            return posted(row, decode_input(row.payload))
        except CorruptHistoryError as error:
            _log.error("a start that waited can't be read", execution=row.execution, error=str(error))
            self._admission.gone(row.execution)
            self._reject(posted(row, inp.Tick()), error)
            return None

    async def _definition_of(self, arrival: Arrival) -> Definition | None:
        """Return a start's definition; None if there is none: who decides it finds that out again, and says so."""
        if not isinstance(arrival.given, inp.Start):
            return None
        try:
            found: Definition = await self._intake.retrying(
                partial(self._definitions.get, arrival.tenant, arrival.given.definition)
            )
        except (KeyError, CorruptHistoryError):
            return None
        return found
