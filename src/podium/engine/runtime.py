"""The engine's shell: takes inputs, has them decided, writes them in batches, and only then lets anything out.

State runs ahead of the disk by one batch: while one append is under way, the next is decided. A failed append discards
both batches' decisions, keeps their inputs, loads what they touched again and decides anew. Doors, agents and watchers see
committed facts only. All methods belong to the loop's thread, except `receive`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from typing import Any, assert_never

import structlog
from msgspec import Struct

from podium.clock import Clock, SystemClock, seconds_to_us
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival, Batch, Decided, posted
from podium.engine.assignments import assignment_for
from podium.engine.codec import decode_input
from podium.engine.commands import Assign, Command, Stop
from podium.engine.leases import Leases
from podium.engine.recovery import Definitions, Offload, in_thread, load_texts, restore, take_snapshot
from podium.engine.residency import HORIZON_US, Residency
from podium.engine.scope import BlobMissing
from podium.engine.staffing import Staffing
from podium.engine.state import State
from podium.engine.step import step
from podium.engine.values import value_of
from podium.engine.watching import Watch, Watchers
from podium.exceptions import (
    ConflictError,
    CorruptHistoryError,
    DuplicateInputError,
    EngineStoppedError,
    ExecutionNotFoundError,
    ExpressionError,
    FenceLostError,
    InvalidInputError,
    LimitReachedError,
    PodiumError,
    SequenceConflictError,
    StoreUnavailableError,
)
from podium.fleet import messages as msg
from podium.ids import SHARDS, IdSource, execution_id_for
from podium.scheduling.placement import Placement
from podium.store.protocol import DEFAULT_TENANT, CounterChange, Store
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, Workflow

ALL_SHARDS = tuple(range(SHARDS))
_ENDS = (ev.ExecutionCompleted, ev.ExecutionFailed, ev.ExecutionCancelled)
_log = structlog.get_logger("podium.engine")


class EngineSettings(Struct, frozen=True):
    """The bounds and pauses of an engine; times in seconds."""

    lease_seconds: float = 15.0
    lease_check_seconds: float = 1.0
    inbox_poll_seconds: float = 0.25
    timer_poll_seconds: float = 30.0
    idle_seconds: float = 30.0
    unavailable_pause_seconds: float = 0.5
    max_batch: int = 1_000  # rows
    max_arrivals: int = 100_000
    snapshot_bytes: int = 1 << 20  # of history since the last one
    agents_end_with_process: bool = True  # in-process agents: what they held is lost at a take-over


class Engine:
    """The owner of a store's shards."""

    def __init__(
        self,
        store: Store,
        carrier: msg.Carrier,
        *,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        settings: EngineSettings | None = None,
        placement: Placement | None = None,
        offload: Offload[Any] = in_thread,
    ) -> None:
        self._store = store
        self._carrier = carrier
        self._clock = clock or SystemClock()
        self._ids = ids or IdSource(self._clock)
        self._settings = settings or EngineSettings()
        self._offload = offload
        self.definitions = Definitions(store)
        self.residency = Residency(seconds_to_us(self._settings.idle_seconds))
        self.staffing = Staffing(placement or Placement(), Leases(self._settings.lease_seconds), self._arrive_again)
        self.watchers = Watchers()
        self._arrivals: deque[Arrival] = deque()
        self._known: dict[tuple[str, str], Arrival] = {}  # under way: queued or decided, not yet committed
        self._doubtful: list[Arrival] = []
        self._fences: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._batch = Batch(self._positions)
        self._flying: Batch | None = None
        self._flight: asyncio.Task[None] | None = None
        self._snapshots_due: dict[str, None] = {}
        self._tail: dict[str, tuple[int, int]] = {}  # bytes since the last snapshot, and its size
        self._inbox_after = 0
        self._wake = asyncio.Event()
        self._inbox_wake = asyncio.Event()
        self._snapshot_wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._blocked_until_us = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_us = 0
        self._group: asyncio.TaskGroup | None = None
        self._main: asyncio.Task[None] | None = None
        self._thread = 0
        self._draining = False
        self._closing = False
        self._failure: BaseException | None = None

    # --- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the shards over, load what is active, and begin."""
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        await self._take_over()
        self._main = asyncio.create_task(self._run(), name="podium-engine")

    async def stop(self) -> None:
        """Decide nothing more, finish the append under way, let go. Safe twice."""
        self._closing = True
        self._wake.set()
        if self._main is not None:
            await asyncio.shield(asyncio.wait({self._main}))

    def drain(self) -> None:
        """Start nothing more; what agents still say is recorded until `stop`."""
        self._draining = True

    async def settled(self) -> None:
        """Return when nothing is live, queued or on its way to the disk."""
        while len(self.staffing.leases) or self._arrivals or self._flight or not self._batch.empty or self._doubtful:
            if self._main is None or self._main.done():
                return
            await self.watchers.next_commit()

    @property
    def failure(self) -> BaseException | None:
        """Why the engine ended by itself, if it did."""
        return self._failure

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                helpers = [
                    group.create_task(self._watch_inbox(), name="podium-inbox"),
                    group.create_task(self._look_at_leases(), name="podium-leases"),
                    group.create_task(self._load_due(), name="podium-timers"),
                    group.create_task(self._write_snapshots(), name="podium-snapshots"),
                ]
                try:
                    await self._conduct()
                finally:
                    for helper in helpers:
                        helper.cancel()
        except BaseExceptionGroup as group_error:
            self._failure = group_error.exceptions[0]
            _log.error("the engine ended", error=str(self._failure), exc_info=self._failure)
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            reason = self._failure if isinstance(self._failure, PodiumError) else None
            self._give_up(reason or EngineStoppedError("the engine has stopped"))

    def _give_up(self, error: PodiumError) -> None:
        """Answer everybody who still waits."""
        self._closing = True
        self._room.set()
        for arrival in [*self._known.values(), *self._doubtful]:
            _answer(arrival, error)
        self._known.clear()
        self.watchers.close(error)

    async def _take_over(self) -> None:
        now_us = self._clock.now_us()
        rows = await self._store.take(self._ids.token(), ALL_SHARDS, now_us)
        self._fences = {shard: row.fence for shard, row in rows.items()}
        self._positions.update({shard: row.position for shard, row in rows.items()})
        self._committed = dict(self._positions)
        for row in await self._store.active(ALL_SHARDS):
            await self._load(row.id)
        if self._settings.agents_end_with_process:
            self.staffing.lose_inherited()

    # --- doors -------------------------------------------------------------------------------------------------

    async def submit(
        self,
        workflow: Workflow,
        given: bytes = b"null",
        *,
        tenant: str = DEFAULT_TENANT,
        submission_id: str | None = None,
        bindings: dict[str, str] | None = None,
        priority: int | None = None,
        timeout_seconds: float | None = None,
    ) -> str:
        """Start an execution and return its id once that is committed. The same `submission_id` starts it only once.

        `given` is the input, JSON. Raises ConflictError when the submission's id was used for something else, or the
        workflow's `max_concurrent_executions` is reached.
        """
        definition, encoded = self.definitions.compile(workflow)
        execution = execution_id_for(tenant, submission_id) if submission_id is not None else self._ids.uuid7()
        value, content = value_of(given)
        start = inp.Start(
            workflow.name, workflow.version, definition.digest, self._ids.seed(), value, bindings or {}, priority, timeout_seconds
        )
        if submission_id is not None and await self._is_submitted(execution, start):
            return execution
        blobs = [(definition.digest, encoded)]
        if content is not None and value.blob is not None:
            blobs.append((value.blob, content))
        arrival = Arrival(execution, "start", start, tenant, blobs)
        arrival.definition = definition
        await self._await(arrival)
        return execution

    async def _is_submitted(self, execution: str, start: inp.Start) -> bool:
        under_way = self._known.get((execution, "start"))
        if under_way is not None and isinstance(under_way.given, inp.Start):
            _same_submission(under_way.given, start)
            await self._joined(under_way)
            return True
        rows = await self._store.history(execution, limit=1)
        if not rows:
            return False
        payload = rows[0].payload
        if rows[0].payload_blob:
            payload = await self._store.get(rows[0].tenant, rows[0].payload_blob)
        known = decode_input(payload)
        if isinstance(known, inp.Start):
            _same_submission(known, start)
        return True

    async def command(self, execution: str, given: inp.Input, input_id: str | None = None) -> list[ev.Event]:
        """Give an execution an input and return the events it caused, once committed.

        Raises ExecutionNotFoundError for an unknown execution. An `input_id` makes a repetition harmless.
        """
        kind = given.__struct_config__.tag
        return await self._await(Arrival(execution, input_id or f"{kind}:{self._ids.token()}", given))

    async def state_of(self, execution: str) -> State:
        """Return an execution's state as committed, folded from the store. Raises ExecutionNotFoundError."""
        found = await restore(self._store, self.definitions, execution)
        if found is None:
            raise ExecutionNotFoundError(f"there is no execution {execution}")
        return found[1]

    async def finished(self, execution: str) -> ExecutionStatus:
        """Wait for an execution's end and return its final status. Raises ExecutionNotFoundError."""
        with self.watchers.watch(execution) as watch:
            row = await self._store.execution(execution)
            if row is None:
                raise ExecutionNotFoundError(f"there is no execution {execution}")
            status = ExecutionStatus(row.status)
            while status not in FINAL_EXECUTION:
                news = await watch.next()
                status = news.status if news is not None else ExecutionStatus((await self._row_status(execution)) or status)
            return status

    async def _row_status(self, execution: str) -> str:
        row = await self._store.execution(execution)
        return row.status if row is not None else ""

    def watch(self, execution: str) -> Watch:
        """Return a watch of an execution's committed events, a context manager."""
        return self.watchers.watch(execution)

    def look_into_inbox(self) -> None:
        """Somebody has written to the inbox: look now instead of at the next poll."""
        self._inbox_wake.set()

    async def _await(self, arrival: Arrival) -> list[ev.Event]:
        if self._closing or self._draining or self._main is None:
            raise EngineStoppedError("the engine is stopping and takes nothing new")
        while len(self._arrivals) >= self._settings.max_arrivals:
            self._room.clear()
            await self._room.wait()
            if self._closing:
                raise EngineStoppedError("the engine is stopping and takes nothing new")
        return await self._joined(arrival, new=True)

    async def _joined(self, arrival: Arrival, new: bool = False) -> list[ev.Event]:
        if arrival.waiter is None:
            arrival.waiter = self._loop.create_future()
        if new:
            self._queue(arrival)
        return await asyncio.shield(arrival.waiter)

    def receive(self, message: msg.FromAgent) -> bool:
        """Take what an agent says, from any thread. False when the queue is full: it must be said again."""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.receive, message)
            return True
        try:
            arrival = self.staffing.hear(message, self._clock.now_us())
        except InvalidInputError as error:
            _log.warning("a message was dropped", error=str(error), agent=message.agent)
            return True
        if isinstance(message, msg.Registration):
            self._wake.set()
        if arrival is None or arrival.key in self._known:
            return True
        if len(self._arrivals) >= self._settings.max_arrivals:
            return False
        if self.staffing.leases.get(arrival.attempt) is not None:
            self._queue(arrival)
        else:
            self._doubt(arrival)
        return True

    def _queue(self, arrival: Arrival) -> None:
        self._known[arrival.key] = arrival
        self._arrivals.append(arrival)
        self._wake.set()

    def _arrive_again(self, arrival: Arrival) -> None:
        """An input of the engine's own making."""
        if arrival.key not in self._known:
            self._queue(arrival)

    # --- what may be recorded already --------------------------------------------------------------------------

    def _doubt(self, arrival: Arrival) -> None:
        """Ask the log first: the attempt isn't live, so this may be a repetition."""
        self._known[arrival.key] = arrival
        self._doubtful.append(arrival)
        if len(self._doubtful) == 1:
            self._spawn(self._resolve_doubts(), "podium-doubts")

    async def _resolve_doubts(self) -> None:
        while self._doubtful:
            asked = list(self._doubtful)
            recorded = await self._retrying(lambda asked=asked: self._store.recorded([a.key for a in asked]))
            for arrival in asked:
                if arrival.key in recorded:
                    self._known.pop(arrival.key, None)
                    self._confirm(arrival, accepted=True)
                else:
                    self._queue(arrival)
            del self._doubtful[: len(asked)]

    async def _retrying(self, ask: Any) -> Any:
        """Ask the store until it answers."""
        while True:
            try:
                return await ask()
            except StoreUnavailableError as error:
                _log.warning("the store doesn't answer", error=str(error))
                await asyncio.sleep(self._settings.unavailable_pause_seconds)

    # --- the loop ----------------------------------------------------------------------------------------------

    async def _conduct(self) -> None:
        while True:
            now_us = self._clock.now_us()
            if self._flight is not None and self._flight.done():
                await self._land()
            if not self._closing:
                self._fire_timers(now_us)
                self._decide_arrivals(now_us)
                self._place(now_us)
            if self._flight is None and not self._batch.empty and now_us >= self._blocked_until_us:
                self._launch(now_us)
            elif self._closing and self._flight is None:
                return
            self._set_alarm(now_us)
            await self._wake.wait()
            self._wake.clear()

    def _fire_timers(self, now_us: int) -> None:
        for state in self.residency.due(now_us):
            self._arrive_again(Arrival(state.id, f"tick:{state.sequence + 1}", inp.Tick()))

    def _decide_arrivals(self, now_us: int) -> None:
        arrivals, batch, limit = self._arrivals, self._batch, self._settings.max_batch
        while arrivals and len(batch) < limit:
            arrival = arrivals.popleft()
            state = self._state_for(arrival)
            if state is not None:
                self._decide(arrival, state, now_us)
        if not self._room.is_set() and len(arrivals) < self._settings.max_arrivals:
            self._room.set()

    def _state_for(self, arrival: Arrival) -> State | None:
        """Return the state that an arrival is for; None when it must be loaded first or can't be."""
        execution = arrival.execution
        residency = self.residency
        state = residency.states.get(execution)
        if state is not None:
            return state
        if execution in residency.loading:
            residency.loading[execution].append(arrival)
        elif execution in residency.quarantined:
            self._reject(arrival, CorruptHistoryError(residency.quarantined[execution]))
        elif arrival.definition is not None:
            state = State(execution, arrival.tenant, arrival.definition)
            residency.states[execution] = state
            state.loaded.update(arrival.blobs)
            return state
        elif arrival.renewable:
            self._known.pop(arrival.key, None)
        else:
            residency.loading[execution] = [arrival]
            self._spawn(self._load_for(execution), f"podium-load-{execution}")
        return None

    def _decide(self, arrival: Arrival, state: State, now_us: int) -> None:
        given, before = arrival.given, state.sequence
        if isinstance(given, inp.Start) and before:
            self._repeated(arrival)
            return
        if isinstance(given, inp.Succeeded) and arrival.blobs and given.task.partition("[")[0] in state.definition.hot:
            state.loaded.update(arrival.blobs)
        decision = step(state, given, now_us)
        self._batch.add(arrival, state, before, decision, now_us)
        self.staffing.follow(state, given, decision.events)
        self.residency.schedule(state)
        self._count(state, given, decision.events)

    def _count(self, state: State, given: inp.Input, events: list[ev.Event]) -> None:
        """Move the counter of concurrent executions, where the workflow limits them."""
        workflow = state.definition.workflow
        limit = workflow.config.max_concurrent_executions
        if limit is None:
            return
        key = f"workflow:{workflow.name}"
        if isinstance(given, inp.Start) or any(isinstance(e, ev.ExecutionRetried) for e in events):
            self._batch.counters.append(CounterChange(state.tenant, key, 1, limit))
        if any(isinstance(e, _ENDS) for e in events):
            self._batch.counters.append(CounterChange(state.tenant, key, -1))

    def _place(self, now_us: int) -> None:
        room = self._settings.max_batch - len(self._batch)
        if self._draining or room <= 0:
            return
        for arrival in self.staffing.grants(self._fences[0], room):
            state = self.residency.states.get(arrival.execution)
            if state is not None:
                self._decide(arrival, state, now_us)

    def _set_alarm(self, now_us: int) -> None:
        """See to it that the loop wakes for the next timer, or when the store may be tried again."""
        due = self.residency.next_due_us()
        if self._blocked_until_us > now_us:
            due = min(due or self._blocked_until_us, self._blocked_until_us)
        if due is None or (self._alarm is not None and not self._alarm.cancelled() and self._alarm_us == due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_us = due
        self._alarm = self._loop.call_later(max(due - now_us, 0) / 1_000_000, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake.set()

    # --- to the store and back ---------------------------------------------------------------------------------

    def _launch(self, now_us: int) -> None:
        self._flying, self._batch = self._batch, Batch(self._positions)
        append = self._flying.sealed(self._fences, now_us)
        self._flight = self._spawn(self._store.append(append), "podium-append", watched=True)
        self._flight.add_done_callback(lambda _: self._wake.set())

    async def _land(self) -> None:
        flight, landed = self._flight, self._flying
        if flight is None or landed is None:
            return
        self._flight = self._flying = None
        error = flight.exception()
        if error is None:
            for row in landed.rows:
                self._committed[row.shard] = row.position
            self._release(landed)
        elif isinstance(error, FenceLostError):
            raise error
        elif isinstance(error, SequenceConflictError | DuplicateInputError | LimitReachedError | StoreUnavailableError):
            _log.warning("an append failed", error=str(error))
            self._redo(landed, error)
        else:
            raise error

    def _release(self, landed: Batch) -> None:
        """Let out what was waiting for the commit: commands, answers, confirmations, news; put out what has ended."""
        known = self._known
        for decided in landed.decided:
            arrival = decided.arrival
            known.pop(arrival.key, None)
            for command in decided.commands:
                self._give(command, decided.state)
            if arrival.waiter is not None and not arrival.waiter.done():
                arrival.waiter.set_result(decided.events)
            if arrival.agent:
                self._confirm_decided(decided)
        now_us = self._clock.now_us()
        for execution, (state, _) in landed.touched.items():
            self._after_commit(execution, state, landed, now_us)
        self.watchers.committed(landed)

    def _after_commit(self, execution: str, state: State, landed: Batch, now_us: int) -> None:
        if state.final:
            if execution not in self._batch.touched:
                self.residency.drop(execution)
                self.staffing.placement.withdraw_all(execution)
                self._tail.pop(execution, None)
                self._snapshots_due.pop(execution, None)
            return
        self.residency.note_rest(state, now_us)
        tail, last = self._tail.get(execution, (0, 0))
        tail += landed.bytes_of.get(execution, 0)
        self._tail[execution] = (tail, last)
        if tail > max(last, self._settings.snapshot_bytes) and execution not in self._snapshots_due:
            self._snapshots_due[execution] = None
            self._snapshot_wake.set()

    def _redo(self, landed: Batch, error: PodiumError) -> None:
        """Discard what the failed append and the batch behind it decided, keep their inputs, decide again."""
        discarded = [*landed.decided, *self._batch.decided]
        touched = {**landed.touched, **self._batch.touched}
        self._batch = Batch(self._positions)
        self._batch.drained += [*landed.drained] if not landed.decided else []
        self._positions.update(self._committed)
        for execution in touched:
            self.residency.drop(execution)
            self.staffing.placement.forget(execution)
        if isinstance(error, StoreUnavailableError):
            pause_us = seconds_to_us(self._settings.unavailable_pause_seconds)
            self._blocked_until_us = self._clock.now_us() + pause_us
        kept = [d.arrival for d in discarded if self._keeps(d.arrival, error)]
        self._arrivals.extendleft(reversed(kept))
        for execution in touched:
            if execution not in self.residency.loading and not any(a.execution == execution and a.definition for a in kept):
                self.residency.loading[execution] = []
                self._spawn(self._load_for(execution), f"podium-load-{execution}")
        self._wake.set()

    def _keeps(self, arrival: Arrival, error: PodiumError) -> bool:
        """Whether a discarded input is decided again; who waits for one that isn't is told why."""
        if arrival.renewable:
            self._known.pop(arrival.key, None)
            return False
        if isinstance(error, DuplicateInputError) and arrival.key in error.inputs:
            self._repeated(arrival)
            return False
        refused = isinstance(error, StoreUnavailableError) and arrival.waiter is not None and not arrival.inbox_id
        full = isinstance(error, LimitReachedError) and self._is_over_the_limit(arrival)
        if refused or full:
            self._reject(arrival, ConflictError(str(error)) if full else error)
            return False
        return True

    @staticmethod
    def _is_over_the_limit(arrival: Arrival) -> bool:
        definition = arrival.definition
        limited = definition is not None and definition.workflow.config.max_concurrent_executions is not None
        return limited or isinstance(arrival.given, inp.Retry)

    def _repeated(self, arrival: Arrival) -> None:
        """The input is recorded already: drop it, and let whoever sent it know that it counts."""
        self._known.pop(arrival.key, None)
        if arrival.inbox_id:
            self._batch.drained.append(arrival.inbox_id)
        if arrival.waiter is not None and not arrival.waiter.done():
            arrival.waiter.set_result([])
        self._confirm(arrival, accepted=True)

    def _reject(self, arrival: Arrival, error: PodiumError) -> None:
        self._known.pop(arrival.key, None)
        if arrival.inbox_id:
            self._batch.drained.append(arrival.inbox_id)
        _answer(arrival, error)

    # --- commands ----------------------------------------------------------------------------------------------

    def _give(self, command: Command, state: State) -> None:
        match command:
            case Assign(task, number, agent):
                self._assign(state, task, number, agent)
            case Stop(attempt, agent, reason, force):
                self._carrier.send(agent, msg.Cancel(attempt, reason, force))
            case _:
                assert_never(command)

    def _assign(self, state: State, path: str, number: int, agent: str) -> None:
        task = state.tasks[path]
        self.staffing.begin_lease(state, task, number, self._clock.now_us())
        try:
            self._carrier.send(agent, assignment_for(state, task, number, agent, self.staffing.lease_seconds(agent)))
        except BlobMissing:
            self._spawn(self._assign_loaded(state, path, number, agent), "podium-assign")
        except (ExpressionError, TypeError, ValueError) as error:
            self._fail_assignment(state, path, number, error)

    async def _assign_loaded(self, state: State, path: str, number: int, agent: str) -> None:
        """Assign a task whose arguments hold large values: load them, build the message, let them go again."""
        task = state.tasks[path]
        before = set(state.loaded)
        try:
            while True:
                try:
                    message = assignment_for(state, task, number, agent, self.staffing.lease_seconds(agent))
                    break
                except BlobMissing as missing:
                    await self._retrying(lambda m=missing: load_texts(self._store, state, m.digests))
            self._carrier.send(agent, message)
        except (ExpressionError, TypeError, ValueError, KeyError, CorruptHistoryError) as error:
            self._fail_assignment(state, path, number, error)
        finally:
            for digest in set(state.loaded) - before:
                del state.loaded[digest]

    def _fail_assignment(self, state: State, path: str, number: int, error: Exception) -> None:
        info = msg.ErrorInfo("ArgumentError", f"its arguments can't be made: {error}", retryable=False)
        attempt = state.attempt_id(path, number)
        self._arrive_again(Arrival(state.id, f"failed:{attempt}", inp.Failed(path, number, info)))

    def _confirm_decided(self, decided: Decided) -> None:
        given, arrival = decided.arrival.given, decided.arrival
        if isinstance(given, inp.Refused):
            self.staffing.refused(arrival.agent, given.reason)
        elif isinstance(given, inp.Succeeded | inp.Failed):
            self._confirm(arrival, accepted=not isinstance(decided.events[0], ev.InputIgnored))

    def _confirm(self, arrival: Arrival, accepted: bool) -> None:
        if arrival.agent and isinstance(arrival.given, inp.Succeeded | inp.Failed):
            self._carrier.send(arrival.agent, msg.Confirmation(arrival.attempt, accepted))

    # --- loading and looking -----------------------------------------------------------------------------------

    async def _load_for(self, execution: str) -> None:
        """Load an execution and let the inputs that wait for it go on."""
        error: PodiumError | None = None
        try:
            waiting = self.residency.loading[execution]
            first = waiting[0].given if waiting else None
            if not await self._retrying(lambda: self._load(execution)):
                if isinstance(first, inp.Start):
                    definition = await self._retrying(lambda: self.definitions.get(waiting[0].tenant, first.definition))
                    waiting[0].definition = definition
                    if first.input.blob is not None:
                        waiting[0].blobs = ((first.input.blob, await self._store.get(waiting[0].tenant, first.input.blob)),)
                elif execution not in self.residency.quarantined:
                    error = ExecutionNotFoundError(f"there is no execution {execution}")
        except (PodiumError, KeyError) as problem:
            error = problem if isinstance(problem, PodiumError) else CorruptHistoryError(f"a blob is missing: {problem}")
        waiting = self.residency.loading.pop(execution)
        if error is None:
            self._arrivals.extendleft(reversed(waiting))
        else:
            for arrival in waiting:
                self._reject(arrival, error)
        self._wake.set()

    async def _load(self, execution: str) -> bool:
        """Bring an execution into memory; False if there is none, it has ended or it can't be read."""
        if execution in self.residency.states:
            return True
        try:
            found = await restore(self._store, self.definitions, execution)
        except (CorruptHistoryError, KeyError) as error:
            self.residency.quarantined[execution] = f"execution {execution} is set aside: {error}"
            _log.error("an execution is set aside", execution=execution, error=str(error))
            return False
        if found is None:
            return False
        state = found[1]
        self.residency.add(state)
        self.staffing.adopt(state, self._clock.now_us())
        self.residency.note_rest(state, self._clock.now_us())
        return True

    async def _watch_inbox(self) -> None:
        """Read what others wrote to the inbox: at a wake-up, else at each poll if anything has changed."""
        woken = True
        while True:
            try:
                if woken or await self._store.changed():
                    await self._read_inbox()
            except StoreUnavailableError as error:
                _log.warning("the inbox can't be read", error=str(error))
            try:
                async with asyncio.timeout(self._settings.inbox_poll_seconds):
                    await self._inbox_wake.wait()
                self._inbox_wake.clear()
                woken = True
            except TimeoutError:
                woken = False

    async def _read_inbox(self) -> None:
        while rows := await self._store.inbox(ALL_SHARDS, self._inbox_after, 500):
            for row in rows:
                self._inbox_after = row.id
                try:
                    arrival = posted(row, decode_input(row.payload))
                except CorruptHistoryError as error:
                    _log.error("an input from the inbox can't be read", execution=row.execution, error=str(error))
                    self._batch.drained.append(row.id)
                    continue
                if arrival.key not in self._known:
                    self._queue(arrival)
            self._wake.set()

    async def _look_at_leases(self) -> None:
        """End leases, and put idle executions out of memory."""
        while True:
            await asyncio.sleep(self._settings.lease_check_seconds)
            now_us = self._clock.now_us()
            self.staffing.expire(now_us)
            for execution in self.residency.overdue_rest(now_us):
                if execution not in self._batch.touched and not (self._flying and execution in self._flying.touched):
                    self.residency.drop(execution)
                    self._tail.pop(execution, None)

    async def _load_due(self) -> None:
        """Load the executions whose timers are due within the horizon."""
        while True:
            until_us = self._clock.now_us() + HORIZON_US
            for row in await self._retrying(lambda until=until_us: self._store.due(ALL_SHARDS, until, 10_000)):
                if row.id not in self.residency.states and row.id not in self.residency.loading:
                    self.residency.loading[row.id] = []
                    await self._load_for(row.id)
            await asyncio.sleep(self._settings.timer_poll_seconds)

    async def _write_snapshots(self) -> None:
        while True:
            await self._snapshot_wake.wait()
            self._snapshot_wake.clear()
            while self._snapshots_due:
                execution = next(iter(self._snapshots_due))
                try:
                    size = await take_snapshot(self._store, self.definitions, execution, self._offload)
                    if execution in self._tail:
                        self._tail[execution] = (0, size)
                except (StoreUnavailableError, CorruptHistoryError) as error:
                    _log.warning("no snapshot", execution=execution, error=str(error))
                self._snapshots_due.pop(execution, None)

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str, watched: bool = False) -> asyncio.Task[Any]:
        """Start a task that the engine owns. A `watched` one's failure is looked at by who started it."""
        if watched or self._group is None:
            return self._loop.create_task(work, name=name)
        return self._group.create_task(work, name=name)


def _answer(arrival: Arrival, error: PodiumError) -> None:
    if arrival.waiter is not None and not arrival.waiter.done():
        arrival.waiter.set_exception(error)
        arrival.waiter.exception()  # whoever has gone away doesn't miss it


def _same_submission(known: inp.Start, again: inp.Start) -> None:
    if (known.definition, known.input) != (again.definition, again.input):
        raise ConflictError("this submission id was used before, with another workflow or another input")

