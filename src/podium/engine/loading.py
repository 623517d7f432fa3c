"""Bringing executions into memory: for an input, for a timer, at a take-over; and reading the inbox.

An execution whose history can't be read is set aside, and the others aren't touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from podium.clock import SECOND, Clock
from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival, posted
from podium.engine.codec import decode_input
from podium.engine.following import Follower
from podium.engine.holding import MOST_HELD, Holding
from podium.engine.intake import Intake
from podium.engine.recovery import Definitions, Restored, restore
from podium.engine.residency import HORIZON_US, Residency
from podium.engine.shards import OwnedShards
from podium.engine.staffing import Staffing
from podium.engine.state import State
from podium.engine.values import Value, value_of
from podium.engine.waiting import WaitingRoom
from podium.engine.whereabouts import START, posted_input, waits_for_room
from podium.exceptions import (
    ConflictError,
    CorruptHistoryError,
    ExecutionNotFoundError,
    ExpressionError,
    InvalidInputError,
    PodiumError,
    StoreUnavailableError,
)
from podium.fleet.messages import ErrorInfo
from podium.ids import PLACEMENT_SHARD, shard_of
from podium.store.protocol import ExecutionRow, InboxRow, Store
from podium.telemetry.logs import get_logger
from podium.workflow.model import ExecutionStatus
from podium.workflow.nesting import check_nesting

LOADED_AT_ONCE = 32
_DUE_PAGE = 10_000
DUE_AGAIN_SECONDS = 0.5  # where so many are due that they aren't all in memory
_INBOX_PAGE = 500
MAX_WHY = 4_000  # characters
MOST_UNSETTLED = 10_000  # inbox rows that are read and not drained yet
_NO_RESULT = (ExpressionError, CorruptHistoryError, ExecutionNotFoundError, KeyError)
_log = get_logger("podium.engine")


class Loader:
    """Loads executions from the store into the residency, and inputs from the inbox into the intake."""

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        residency: Residency,
        staffing: Staffing,
        intake: Intake,
        clock: Clock,
        shards: OwnedShards,
        waiting_room: WaitingRoom,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
        adopted: Callable[[State], None] | None,
        reject: Callable[[Arrival, PodiumError], None],
        placed: Callable[[InboxRow], None],
        restored: Callable[[Restored], None],
    ) -> None:
        """`placed` takes what other replicas tell of placement, when we lead; `restored` is told of what was loaded."""
        self.waiting_room = waiting_room
        self.holding = Holding(intake)
        self._store = store
        self._definitions = definitions
        self._residency = residency
        self._staffing = staffing
        self._intake = intake
        self._clock = clock
        self._spawn = spawn
        self._adopted = adopted
        self._reject = reject
        self._shards = shards
        self._placed = placed
        self._restored = restored
        self._unsettled: dict[int, int] = {}  # inbox rows that are read and not drained yet, with their shards
        self._taking_over = 0
        self._readings: dict[tuple[str, int], asyncio.Future[bytes]] = {}  # results of ended executions, under way
        self._reads = asyncio.Semaphore(LOADED_AT_ONCE)
        self._twice: set[int] = set()  # inbox rows whose inputs were under way already
        self.inbox_wake = asyncio.Event()
        self._timers_wake = asyncio.Event()

    def load_for(self, execution: str, waiting: list[Arrival]) -> None:
        """Load an execution and let the inputs that wait for it go on; more may join them meanwhile."""
        under_way = self._residency.loading.get(execution)
        if under_way is not None:
            under_way += waiting
            return
        self._residency.loading[execution] = waiting
        self._spawn(self._load_for(execution), f"podium-load-{execution}")

    async def _load_for(self, execution: str) -> None:
        try:
            error = await self._bring_in(execution)
        except CorruptHistoryError as problem:
            error = problem
        waiting = self._residency.loading.pop(execution)
        if error is None:
            self._intake.put_first(waiting)
            return
        for arrival in waiting:
            self._reject(arrival, error)

    async def _bring_in(self, execution: str) -> PodiumError | None:
        """Load an execution, or have ready what its start needs; return why neither can be done."""
        if await self._intake.retrying(partial(self.load, execution)) or not self._shards.owns(execution):
            return None
        # Its start was refused, after slots had been found for it.
        self._staffing.placing.forget(execution, unused=lambda attempt: True)
        waiting = self._residency.loading[execution]
        while True:
            if await self._holds_back(execution, waiting):
                return None
            if waiting and isinstance(waiting[0].given, inp.Start):
                await self._intake.retrying(partial(self._prepare, waiting[0]))
                return None
            if execution in self._residency.quarantined:
                return CorruptHistoryError(self._residency.quarantined[execution])
            if await self._intake.retrying(partial(self.load, execution)) or not self._shards.owns(execution):
                return None  # it has begun meanwhile, or may begin elsewhere
            if not waiting or (execution, START) not in self._intake.known:  # else its start has come meanwhile
                return ExecutionNotFoundError(f"there is no execution {execution}")

    async def _holds_back(self, execution: str, waiting: list[Arrival]) -> bool:
        """Should an execution not have begun, have it begin now, or hold what is said to it; True if that is held."""
        if not waiting or isinstance(waiting[0].given, inp.Start):
            return False
        row = await self._intake.retrying(partial(posted_input, self._store, execution))
        under_way = self._intake.known.get((execution, START))
        if under_way is not None:  # it has come behind what is said to it
            self._intake.withdraw(under_way)
            waiting[:] = [under_way, *(each for each in waiting if each is not under_way)]
        elif row is not None and self._shards.owns(execution):
            if self.waiting_room.is_put_off(execution) or all(isinstance(each.given, inp.Await) for each in waiting):
                self._hold(row, waiting)
                return True
            if not waits_for_room(row):
                self._unsettled[row.id] = row.shard
            start = self.waiting_room.called(row)
            if start is not None:
                self._intake.known[start.key] = start
                waiting.insert(0, start)
        return False

    def _hold(self, start: InboxRow, waiting: list[Arrival]) -> None:
        """Have inputs wait until their execution begins in its turn."""
        for arrival in waiting:
            if isinstance(arrival.given, inp.Await) and arrival.given.tenant != start.tenant:
                self._reject(arrival, ExecutionNotFoundError(f"there is no execution {start.execution}"))
            elif not self.holding.hold(arrival):
                text = f"{MOST_HELD:,} inputs wait already for executions that wait for room"
                self._reject(arrival, ConflictError(text))
        waiting.clear()

    async def _prepare(self, arrival: Arrival) -> None:
        """Have what a start from the inbox needs: its definition, and its input if that is large."""
        start = arrival.given
        if not isinstance(start, inp.Start):
            return
        try:
            arrival.definition = await self._definitions.get(arrival.tenant, start.definition)
            if start.input.blob is not None:
                arrival.blobs = ((start.input.blob, await self._store.get(arrival.tenant, start.input.blob)),)
        except KeyError as error:
            raise CorruptHistoryError(f"a blob of the start is missing: {error}") from error

    async def load(self, execution: str) -> bool:
        """Bring an execution into memory; False if there is none or it can't be read."""
        if execution in self._residency.states:
            return True
        try:
            found = await self._restore(execution)
        except (CorruptHistoryError, KeyError) as error:
            self._residency.quarantined[execution] = f"execution {execution} is set aside: {error}"
            _log.error("an execution is set aside", execution=execution, error=str(error))
            return False
        if found is None:
            return False
        if execution in self._residency.states or not self._shards.owns(execution):
            return True
        state, now_us = found.state, self._clock.now_us()
        self._residency.add(state)
        self._restored(found)
        self._staffing.adopt(state, now_us)
        self._residency.note_rest(state, now_us)
        self.holding.release([execution])
        if self._adopted is not None:
            self._adopted(state)
        return True

    async def _restore(self, execution: str) -> Restored | None:
        """Return an execution as it is committed; read again if its shard has been another replica's meanwhile."""
        shard = shard_of(execution)
        while True:
            fence = self._shards.fences.get(shard)
            found = await restore(self._store, self._definitions, execution)
            if self._shards.fences.get(shard) in (fence, None):
                return found

    async def load_active(self, shards: Sequence[int]) -> None:
        """Load what the owner of these shards must hold, at a take-over."""
        self._taking_over += 1
        try:
            rows = await self._intake.retrying(partial(self._store.active, shards)) if shards else []
            for first in range(0, len(rows), LOADED_AT_ONCE):
                some = [row.id for row in rows[first : first + LOADED_AT_ONCE]]
                await asyncio.gather(*(self._load_now(execution) for execution in some))
        finally:
            self._taking_over -= 1

    @property
    def takes_over(self) -> bool:
        """Whether that is under way."""
        return bool(self._taking_over)

    async def _load_now(self, execution: str) -> None:
        if execution not in self._residency.states and execution not in self._residency.loading:
            self._residency.loading[execution] = []
            await self._load_for(execution)

    def look_at_once(self) -> None:
        """Shards have come: look into their inboxes and at their timers."""
        self.inbox_wake.set()
        self._timers_wake.set()

    def disown(self, shards: Collection[int]) -> None:
        """These shards are others' now, and what lies in their inboxes is, too."""
        self._twice.clear()  # those that are still ours are read again
        self.holding.disown(shards)
        self.drained([inbox_id for inbox_id, shard in self._unsettled.items() if shard in shards])

    def settle(self, inbox_ids: Iterable[int], shard: int) -> None:
        """These rows were read elsewhere, and are about to be drained."""
        self._unsettled.update(dict.fromkeys(inbox_ids, shard))

    def drained(self, inbox_ids: Iterable[int]) -> None:
        """These rows are no longer in the inbox, or no longer ours."""
        for inbox_id in inbox_ids:
            self._unsettled.pop(inbox_id, None)
        if self._twice:
            self.inbox_wake.set()

    def read_anew(self, inbox_id: int) -> None:
        """An inbox row was read, and nothing came of it: look once more."""
        self._unsettled.pop(inbox_id, None)
        self._twice.discard(inbox_id)
        self.inbox_wake.set()

    def look_at_repeated(self) -> None:
        """What was under way to another owner's inbox is there; our own inbox may have the same."""
        if self._twice:
            self.inbox_wake.set()

    @property
    def behind(self) -> bool:
        """Whether rows are left in the inbox, because so many are read already."""
        return self._intake.full or len(self._unsettled) - self.holding.rows >= MOST_UNSETTLED

    async def load_due(self, poll_seconds: float) -> None:
        """Load, for ever, the executions whose timers are due within the horizon."""
        while True:
            self._timers_wake.clear()
            until_us = self._clock.now_us() + HORIZON_US
            shards = self._shards.ours
            rows = await self._intake.retrying(partial(self._store.due, shards, until_us, _DUE_PAGE)) if shards else ()
            here = self._residency
            for row in rows:
                if not (row.id in here.states or row.id in here.loading or row.id in here.quarantined):
                    self.load_for(row.id, [])
            await _pause(
                self._timers_wake, poll_seconds if len(rows) < _DUE_PAGE else self._room_in(rows, poll_seconds)
            )

    def _room_in(self, rows: Sequence[ExecutionRow], most_seconds: float) -> float:
        """Return in how many seconds the first of these timers have been fired, and others behind them have room."""
        due_us = next((row.wake_at_us or 0 for row in rows if row.id not in self._residency.quarantined), 0)
        return min(max((due_us - self._clock.now_us()) / SECOND, 0.0) + DUE_AGAIN_SECONDS, most_seconds)

    async def watch_inbox(self, poll_seconds: float) -> None:
        """Read, for ever, what others wrote to the inbox: at a wake-up, else at each poll if anything has changed."""
        woken = True
        while True:
            unread = False
            try:
                if woken or await self._store.changed():
                    unread = await self._read_inbox()
            except StoreUnavailableError as error:
                unread = True
                _log.warning("the inbox can't be read", error=str(error))
            woken = await _pause(self.inbox_wake, poll_seconds) or unread  # nothing says it a second time
            self.inbox_wake.clear()

    async def _read_inbox(self) -> bool:
        """Read what is new; True when there may be more than the intake has room for: it waits on the disk."""
        seen: list[int] = []  # in this look
        placing, losses, led = self._staffing.placing, self._staffing.losses, self._shards.leads
        readings, look = placing.readings, losses.begin_look()
        while True:
            leads = self._shards.leads
            led = led and leads
            shards = (*self._shards.ours, PLACEMENT_SHARD) if leads else self._shards.ours
            rows = await self._store.inbox(shards, 0, _INBOX_PAGE, (*self._unsettled, *seen)) if shards else []
            seen += [row.id for row in rows]
            for row in rows:
                self._take_in(row)
            if len(rows) < _INBOX_PAGE:
                if led:
                    placing.told_all(readings)
                if not self._twice:
                    losses.looked(look)
                return False
            if self.behind:
                return True

    def _take_in(self, row: InboxRow) -> None:
        if row.shard == PLACEMENT_SHARD:
            if self._shards.leads:
                self._unsettled[row.id] = row.shard
                self._placed(row)
            return
        if row.shard not in self._shards.fences:
            return  # it went while we read
        try:
            arrival = posted(row, decode_input(row.payload))
        except CorruptHistoryError as error:
            self._unsettled[row.id] = row.shard
            _log.error("an input from the inbox can't be read", execution=row.execution, error=str(error))
            self._reject(posted(row, inp.Tick()), error)
            return
        if arrival.key in self._intake.known:  # it came another way, too: this row is looked at when that is recorded
            self._twice.add(row.id)
            return
        self._unsettled[row.id] = row.shard
        put = self._intake.doubt if row.id in self._twice else self._intake.put
        self._twice.discard(row.id)
        if isinstance(arrival.given, inp.Ended) and arrival.given.status == ExecutionStatus.COMPLETED:
            self._intake.known[arrival.key] = arrival
            self._spawn(self._put_with_output(arrival, arrival.given, put), "podium-output")
            return
        value = getattr(arrival.given, "value", None)
        if isinstance(value, Value) and value.blob is not None:
            self._intake.known[arrival.key] = arrival
            self._spawn(self._put_with_value(arrival, value.blob, put), "podium-value")
        elif not isinstance(arrival.given, inp.Start) or self.waiting_room.admits(row, arrival):
            put(arrival)

    async def _put_with_value(self, arrival: Arrival, digest: str, put: Callable[[Arrival], None]) -> None:
        """Have a result's large value at hand, since conditions may read it."""
        try:
            content = await self._intake.retrying(partial(self._store.get, arrival.tenant, digest))
        except (KeyError, CorruptHistoryError) as error:
            self._reject(arrival, CorruptHistoryError(f"the value of a result can't be read: {error}"))
            return
        arrival.blobs = ((digest, content),)
        put(arrival)

    async def _put_with_output(self, arrival: Arrival, given: inp.Ended, put: Callable[[Arrival], None]) -> None:
        """Have the result at hand of another execution, that has ended: what is recorded holds it."""
        try:
            text = await self._output_once(given)
            check_nesting(text, "it")
        except (*_NO_RESULT, InvalidInputError) as error:
            why = ErrorInfo(type(error).__name__, f"its result can't be had: {error}"[:MAX_WHY], retryable=False)
            arrival.given = msgspec.structs.replace(given, status="without a result", error=why)
        else:
            value, content = value_of(text)
            arrival.blobs = () if content is None or value.blob is None else ((value.blob, content),)
            arrival.given = msgspec.structs.replace(given, value=value)
        put(arrival)

    async def _output_once(self, given: inp.Ended) -> bytes:
        """Read the result of an execution that has ended: once for all that wait for it, and of a few at a time."""
        key = (given.execution, given.ended_us)
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = asyncio.get_running_loop().create_future()
            try:
                async with self._reads:
                    reading.set_result(await self._intake.retrying(partial(self._output_of, given)))
            except _NO_RESULT as error:
                reading.set_exception(error)
            finally:
                del self._readings[key]
                reading.cancel()  # should the engine end meanwhile
        return await asyncio.shield(reading)

    async def _output_of(self, given: inp.Ended) -> bytes:
        """Return the result that an execution had when it ended so; it may have been retried since."""
        found = await restore(self._store, self._definitions, given.execution)
        if found is None:
            raise ExecutionNotFoundError(f"there is no execution {given.execution}")
        follower = Follower(self._store, self._definitions, found.state)
        if given.ended_us and found.state.finished_us != given.ended_us:
            follower = follower.rewound()
            await follower.catch_up(ended_us=given.ended_us)
        if follower.state.status is not ExecutionStatus.COMPLETED:
            raise ExecutionNotFoundError(f"execution {given.execution} is {follower.state.status} again")
        return await follower.output()


async def _pause(wake: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until it is woken; return whether it was."""
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return wake.is_set()  # in the moment in which the time was over
    return True
