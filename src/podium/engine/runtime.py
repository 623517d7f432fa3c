"""The engine's shell: takes inputs, has them decided, writes them in batches, and only then lets anything out.

State runs ahead of the disk by one batch: while one append is under way, the next is decided. A failed append discards
both batches' decisions, keeps their inputs, loads what they touched again and decides anew. Doors, agents and
watchers see committed facts only. All methods belong to the loop's thread, except `receive`.

It owns all shards from its start, or, where replicas share the store, those that `acquire` brings and `release` takes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from msgspec import Struct

from podium.clock import Clock, SystemClock, seconds_to_us
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.admission import Admission, counts, waiting_room
from podium.engine.allocation import Allocations
from podium.engine.arrivals import Arrival, Batch, Decided
from podium.engine.changes import Exports, Freed, decode_changes
from podium.engine.circuits import Circuits
from podium.engine.codec import encode_input
from podium.engine.decide import NO_SUCH_ATTEMPT
from podium.engine.definition import Definition
from podium.engine.dispatch import Dispatcher
from podium.engine.forwarding import Forwarding
from podium.engine.inside import Inside
from podium.engine.intake import Intake, check_same_start
from podium.engine.leading import Leading, Pending
from podium.engine.leases import Leases
from podium.engine.loading import Loader
from podium.engine.placing import Placing
from podium.engine.posting import given_in
from podium.engine.recovery import Definitions, Offload, Restored, in_thread, restore
from podium.engine.residency import Residency
from podium.engine.shards import ALL_SHARDS, EVERY_SHARD, OwnedShards
from podium.engine.snapshots import Snapshots
from podium.engine.staffing import FOREIGN_LEASE_SECONDS, Staffing
from podium.engine.state import State
from podium.engine.step import step
from podium.engine.sweeping import sweep_daily
from podium.engine.values import value_of
from podium.engine.waiting import WaitingRoom
from podium.engine.watching import Watch, Watchers
from podium.engine.whereabouts import START, recorded_or_posted
from podium.exceptions import (
    ConflictError,
    CorruptHistoryError,
    DuplicateInputError,
    EngineStoppedError,
    ExecutionNotFoundError,
    FenceLostError,
    InvalidInputError,
    LimitReachedError,
    PodiumError,
    SequenceConflictError,
    ShardMovedError,
    StoreUnavailableError,
)
from podium.fleet import messages as msg
from podium.ids import PLACEMENT_SHARD, IdSource, execution_id_for, shard_of
from podium.scheduling.placement import Placement
from podium.store.protocol import DEFAULT_TENANT, Blob, CounterChange, InboxRow, LogRow, ShardRow, Store
from podium.telemetry.logs import get_logger
from podium.workflow.model import FINAL_EXECUTION, CircuitBreaker, ExecutionStatus, Workflow

EARLY_ALARM_US = 1_000
_DONE_AGAIN = (SequenceConflictError, DuplicateInputError, LimitReachedError, StoreUnavailableError)
_ENDS = (ev.ExecutionCompleted, ev.ExecutionFailed, ev.ExecutionCancelled)
_log = get_logger("podium.engine")


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
    snapshot_bytes: int = 8 << 20  # of history since the last one; folding so much takes some tenths of a second
    agents_end_with_process: bool = True  # in-process agents: what they held is lost at a take-over
    starts_tasks: bool = True  # False: inputs are decided, nothing is given to agents
    foreign_lease_seconds: float = FOREIGN_LEASE_SECONDS  # of agents that don't renew
    shared: bool = False  # other replicas own shards of this store too
    max_executions: int = 0  # at work at once, in all replicas together; 0: any number
    circuit_breaker: CircuitBreaker | None = None  # of agents elsewhere
    allocation_timeout_seconds: float = 0.0  # of tasks that no registered agent could ever take; 0: for ever
    checkpoint_seconds: float = 0.0  # between snapshots of an execution that goes on; 0: by the size alone


class Engine:
    """The owner of a store's shards, of all or of some."""

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
        adopted: Callable[[State], None] | None = None,
    ) -> None:
        """`adopted` is told of each execution that others started, so that its agents can be had."""
        self._store = store
        self._adopted = adopted
        self._clock = clock or SystemClock()
        self._ids = ids or IdSource(self._clock)
        self._settings = settings or EngineSettings()
        self.definitions = Definitions(store)
        self.residency = Residency(seconds_to_us(self._settings.idle_seconds))
        self.watchers = Watchers()
        self._intake = Intake(store, self._settings.max_arrivals, self._settings.unavailable_pause_seconds, self._spawn)
        self._intake.repeated = self._repeated
        leases = Leases(self._settings.lease_seconds)
        placement = placement or Placement()
        circuits = Circuits(placement, self._clock.now_us, self._settings.circuit_breaker)
        self.placing = Placing(placement, leases.length_us, circuits)
        self._allocations = Allocations(placement, self._settings.allocation_timeout_seconds)
        self.staffing = Staffing(self.placing, leases, self._intake.put_once, self._settings.foreign_lease_seconds)
        self._exports = Exports()
        # Told of what an agent said and can't be recorded: the agent, the attempt, why.
        self.unusable: Callable[[str, str, str], None] = lambda agent, attempt, why: None
        self.landed: list[Callable[[Batch], None]] = []  # called with each batch once it is committed
        # Called once shards have come or gone: with those that came, and those that went.
        self.moved: list[Callable[[frozenset[int], frozenset[int]], None]] = []
        self._dispatcher = Dispatcher(
            store, carrier, self.staffing, self._clock,
            arrive=self._intake.put_once, spawn=self._spawn, retrying=self._intake.retrying,
        )  # fmt: skip
        self._shards = OwnedShards()
        self._loader = Loader(
            store, self.definitions, self.residency, self.staffing, self._intake, self._clock, self._shards,
            spawn=self._spawn, adopted=adopted, reject=self._reject, placed=self._placed, leads=lambda: self._leads,
            restored=self._restored,
        )  # fmt: skip
        self._forwarding = Forwarding(
            store, self._clock, self._ids,
            spawn=self._spawn, retrying=self._intake.retrying, done=self._forwarded, reject=self._reject,
        )  # fmt: skip
        self.admission = Admission(self._settings.max_executions)
        self._waiting_room = WaitingRoom(
            store, self.definitions, self.admission, self._intake, self._shards,
            spawn=self._spawn, move=self._have_wait, reject=self._reject,
        )  # fmt: skip
        self._loader.waiting_room = self._waiting_room
        self._leading = Leading(store, self.definitions, self.placing)
        self._snapshots = Snapshots(
            store, self.definitions, offload, self._settings.snapshot_bytes, self._clock,
            self._settings.checkpoint_seconds,
        )  # fmt: skip
        self.inside = Inside(
            self._shards, self.residency, self._intake, self._loader, self.staffing, self.admission,
            batches=lambda: (self._batch, self._flying), runs=lambda: self._runs,
        )  # fmt: skip
        self._leads = not self._settings.shared
        self._told = 0  # rows of changes for the replica that places
        self._token = ""
        self._quieting = asyncio.Lock()
        self._held_back = False  # nothing is decided while shards come and go
        self._calm = asyncio.Event()
        self._batch = Batch(self._shards.positions)
        self._flying: Batch | None = None
        self._flight: asyncio.Task[None] | None = None
        self._blocked_until_us = 0  # the store was unavailable; it is tried again then
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_us = 0
        self._group: asyncio.TaskGroup | None = None
        self._spawned: set[asyncio.Task[Any]] = set()
        self._main: asyncio.Task[None] | None = None
        self._thread = 0
        self._draining = not self._settings.starts_tasks
        self._closing = False
        self._failure: BaseException | None = None

    # --- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin: with all shards, whatever is active in them loaded; with none where replicas share the store."""
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._token = self._ids.token()
        if self._settings.shared:
            self.staffing.desk = self._exports
        else:
            self._shards.add(await self._store.take(self._token, ALL_SHARDS, self._clock.now_us()))
            await self._loader.load_active(ALL_SHARDS)
            await self._waiting_room.open()
            if self._settings.agents_end_with_process:
                self.staffing.lose_inherited()
        self._store.listen(self._told_of)
        self._main = asyncio.create_task(self._run(), name="podium-engine")

    async def stop(self) -> None:
        """Decide nothing more, finish the append under way, let go. Safe twice."""
        self._closing = True
        self._intake.wake.set()
        if self._main is not None:
            await asyncio.wait({self._main})

    def drain(self) -> None:
        """Start nothing more; what agents still say is recorded until `stop`."""
        self._draining = True

    async def settled(self) -> None:
        """Return when no attempt of this process is live and nothing is on its way to the disk.

        What agents elsewhere do goes on without this process, and the next owner hears of it.
        """
        while self.staffing.live_here or not self._intake.quiet or self._flight or not self._batch.empty:
            if self._main is None or self._main.done():
                return
            await self.watchers.next_commit()

    @property
    def failure(self) -> BaseException | None:
        """Why the engine ended by itself, if it did."""
        return self._failure

    async def _run(self) -> None:
        pauses = self._settings
        works = {
            "podium-inbox": self._loader.watch_inbox(pauses.inbox_poll_seconds),
            "podium-timers": self._loader.load_due(pauses.timer_poll_seconds),
            "podium-snapshots": self._snapshots.write(),
            "podium-checkpoints": self._snapshots.look_at_the_clock(),
            "podium-admission": self._waiting_room.let_in(),
            "podium-leases": self._look_at_leases(),
            "podium-sweep": sweep_daily(self._store, self._clock, lambda: self._leads),
        }
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                helpers = [group.create_task(work, name=name) for name, work in works.items()]
                try:
                    await self._conduct()
                finally:
                    for helper in [*helpers, *self._spawned]:
                        helper.cancel()
        except BaseExceptionGroup as group_error:
            self._failure = group_error.exceptions[0]
            _log.error("the engine ended", error=str(self._failure), exc_info=self._failure)
        finally:
            self._give_up()

    def _give_up(self) -> None:
        """Answer everybody who still waits."""
        self._closing = True
        if self._alarm is not None:
            self._alarm.cancel()
        error = (
            self._failure if isinstance(self._failure, PodiumError) else EngineStoppedError("the engine has stopped")
        )
        self._calm.set()
        self._intake.close(error)
        self.watchers.close(error)

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that the engine owns: its failure is the engine's."""
        task = (
            self._loop.create_task(work, name=name) if self._group is None else self._group.create_task(work, name=name)
        )
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        return task

    # --- doors -------------------------------------------------------------------------------------------------

    async def submit(
        self,
        workflow: Workflow,
        given: bytes = b"null",
        *,
        tenant: str = DEFAULT_TENANT,
        submission_id: str | None = None,
        execution: str | None = None,
        bindings: dict[str, str] | None = None,
        priority: int | None = None,
        timeout_seconds: float | None = None,
        **more: Any,
    ) -> str:
        """Start an execution and return its id once that is committed. The same `submission_id` starts it only once.

        `given` is the input, JSON; `execution` is its id, if it has one already and no `submission_id`; `more` are
        further fields of the start: preferred_agent, submission, notify. Raises ConflictError when the submission's id
        was used for something else, or the workflow's `max_concurrent_executions` is reached; ShardMovedError when it
        is another replica's to start.
        """
        self._check_open()
        definition, encoded = self.definitions.compile(workflow)
        if submission_id is not None:
            execution = execution_id_for(tenant, submission_id)
        execution = execution or self.new_execution_id()
        self._check_ours(execution)
        value, content = value_of(given)
        start = inp.Start(
            workflow.name,
            workflow.version,
            definition.digest,
            self._ids.seed(),
            value,
            bindings or {},
            priority,
            timeout_seconds,
            **more,
        )
        if submission_id is not None and await self._is_submitted(execution, start):
            return execution
        blobs = [(definition.digest, encoded)]
        if content is not None and value.blob is not None:
            blobs.append((value.blob, content))
        if counts(workflow):
            if self.admission.full:
                await self._wait_for_room(execution, start, tenant, definition, blobs)
                return execution
            self.admission.take(execution)
        arrival = Arrival(execution, START, start, tenant, blobs)
        arrival.definition = definition
        if not await self._intake.decided(arrival):
            await self._is_submitted(execution, start)  # somebody else's start counts: is it the same?
        return execution

    async def _wait_for_room(
        self, execution: str, start: inp.Start, tenant: str, definition: Definition, blobs: list[tuple[str, bytes]]
    ) -> None:
        """Have a start wait on the disk until fewer executions are at work."""
        limit = definition.workflow.config.max_concurrent_executions
        if limit is not None and await self._store.counter(tenant, f"workflow:{definition.workflow.name}") >= limit:
            raise ConflictError(f"{definition.workflow.name} has {limit} executions already, as many as it may have")
        now_us, shard = self._clock.now_us(), waiting_room(shard_of(execution))
        await self._store.put([Blob(tenant, digest, content) for digest, content in blobs], now_us)
        row = InboxRow(execution, START, tenant, shard, "start", encode_input(start), now_us)
        await self._waiting_room.enter(row)
        known = await recorded_or_posted(self._store, execution, partial(self._first_row, execution))
        if known is not None:  # somebody else's may have been there before
            check_same_start(await given_in(self._store, known), start)

    async def _is_submitted(self, execution: str, start: inp.Start) -> bool:
        row = await self._first_row(execution)
        under_way = self._intake.known.get((execution, START))
        if under_way is not None:
            check_same_start(under_way.given, start)
            await self._intake.joined(under_way)
            return True
        if row is None:
            return False
        check_same_start(await given_in(self._store, row), start)
        return True

    async def _first_row(self, execution: str) -> LogRow | None:
        return next(iter(await self._store.history(execution, limit=1)), None)

    async def command(self, execution: str, given: inp.Input, input_id: str | None = None) -> list[ev.Event]:
        """Give an execution an input and return the events it caused, once committed.

        Raises ExecutionNotFoundError for an unknown execution. An `input_id` makes a repetition harmless: of one that
        is recorded already, no events are returned.
        """
        self._check_open()
        if input_id is not None and await self._store.recorded([(execution, input_id)]):
            return []
        self._check_ours(execution)
        kind = given.__struct_config__.tag
        return await self._intake.decided(Arrival(execution, input_id or f"{kind}:{self._ids.token()}", given))

    async def state_of(self, execution: str) -> State:
        """Return an execution's state as committed, folded from the store. Raises ExecutionNotFoundError."""
        found = await restore(self._store, self.definitions, execution)
        if found is None:
            raise ExecutionNotFoundError(f"there is no execution {execution}")
        return found[1]

    async def finished(self, execution: str) -> ExecutionStatus:
        """Wait for an execution's end and return its final status.

        Raises ExecutionNotFoundError, ShardMovedError when it isn't this process' execution, or not any more.
        """
        with self.watchers.watch(execution) as watch:
            state = self.residency.states.get(execution)
            under_way = state is not None and not state.final  # then its end is news yet to come
            status = ExecutionStatus.RUNNING if under_way else await self._status_of(execution)
            while status not in FINAL_EXECUTION:
                self._check_ours(execution)
                news = await watch.next()
                status = news.status if news is not None else await self._status_of(execution)
            return status

    async def _status_of(self, execution: str) -> ExecutionStatus:
        row = await recorded_or_posted(self._store, execution, partial(self._store.execution, execution))
        if row is None:
            raise ExecutionNotFoundError(f"there is no execution {execution}")
        if isinstance(row, InboxRow):
            return ExecutionStatus.RUNNING  # its beginning is news yet to come
        return ExecutionStatus(row.status)

    def watch(self, execution: str) -> Watch:
        """Return a watch of an execution's committed events, a context manager."""
        return self.watchers.watch(execution)

    def new_execution_id(self) -> str:
        """Return an id for a new execution: of a shard that is ours, so that it needn't go elsewhere."""
        execution = self._ids.uuid7()
        while self._shards.ours and not self.owns(execution):
            execution = self._ids.uuid7()
        return execution

    @property
    def owned(self) -> frozenset[int]:
        """The shards that this process owns, the placement shard among them if it leads."""
        if not self._settings.shared:
            return frozenset(EVERY_SHARD) if self._shards.fences else frozenset()
        return frozenset(self._shards.fences)

    @property
    def leads(self) -> bool:
        """Whether this process places tasks, for all replicas."""
        return self._leads

    def owns(self, execution: str) -> bool:
        """Whether an execution is this process' to decide."""
        return self._shards.owns(execution)

    def taken_away(self, rows: Iterable[ShardRow]) -> list[int]:
        """Return those of our shards that others have taken, as these rows of the store say."""
        return [row.shard for row in rows if row.fence > self._shards.fences.get(row.shard, row.fence)]

    def _check_ours(self, execution: str) -> None:
        if not self.owns(execution):
            raise ShardMovedError(f"execution {execution} is another replica's to decide")

    def _told_of(self, what: str) -> None:
        if what == "inbox":
            self.look_into_inbox()

    def look_into_inbox(self) -> None:
        """Somebody has written to the inbox: look now instead of at the next poll."""
        self._loader.inbox_wake.set()

    def receive(self, message: msg.FromAgent) -> bool:
        """Take what an agent says, from any thread. False when the queue is full: it must be said again."""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.receive, message)
            return True
        if self._closing:
            return False
        try:
            arrival = self.staffing.hear(message, self._clock.now_us())
        except InvalidInputError as error:
            _log.warning("a message was dropped", error=str(error), agent=message.agent)
            self.unusable(message.agent, getattr(message, "attempt", ""), str(error))
            return True
        if arrival is None:
            if isinstance(message, msg.Freed) and not self._leads:  # who places may not have heard it
                self._forwarding.tell(Freed(message.attempt))
            self._intake.wake.set()  # a slot may be free, an agent new
            return True
        under_way = self._intake.known.get(arrival.key)
        if under_way is not None:
            under_way.spoken_by(arrival)
            return True
        if self._intake.full or len(self._forwarding) >= self._settings.max_arrivals:
            return False
        if not self.owns(arrival.execution):
            self._forward(arrival)
            return True
        if self.staffing.leases.get(arrival.attempt) is not None:
            self._intake.put(arrival)
        else:
            self._intake.doubt(arrival)
        return True

    def suspend(self, agent: str) -> None:
        """Give an agent nothing until it is heard of again."""
        self.staffing.suspend(agent)

    def give_up(self, agent: str, reason: str) -> None:
        """Take what an agent has from it, and give it nothing until it is heard of again."""
        self.staffing.give_up(agent, reason)
        self._intake.wake.set()

    def doubt_deliveries(self, agent: str | None = None) -> None:
        """The link to agents elsewhere (or to this one) was down: say again what they haven't said that they have."""
        self.staffing.doubt_deliveries(self._clock.now_us(), agent)
        self._intake.wake.set()

    @property
    def _runs(self) -> bool:
        return self._main is not None and not self._main.done() and not self._closing

    def _check_open(self) -> None:
        if self._closing or self._main is None:
            raise EngineStoppedError("the engine is stopping and takes nothing new")

    # --- the loop ----------------------------------------------------------------------------------------------

    async def _conduct(self) -> None:
        wake = self._intake.wake
        while True:
            now_us = self._clock.now_us()
            if self._flight is not None and self._flight.done():
                await self._land()
            if self._held_back and self._flight is None and self._batch.empty:
                self._calm.set()
            if not self._closing and not self._held_back:
                self._fire_timers(now_us)
                self._decide_arrivals(now_us)
                self._place(now_us)
                self._say_again()
            if self._flight is None and not self._batch.empty and now_us >= self._blocked_until_us:
                self._launch(now_us)
                continue  # what else has arrived is decided while that is written
            if self._closing and self._flight is None:
                return
            self._set_alarm(now_us)
            await wake.wait()
            wake.clear()

    def _fire_timers(self, now_us: int) -> None:
        for state in self.residency.due(now_us):
            self._intake.put_once(Arrival(state.id, f"tick:{state.sequence + 1}", inp.Tick()))

    def _decide_arrivals(self, now_us: int) -> None:
        intake, batch, limit = self._intake, self._batch, self._settings.max_batch
        while intake.queue and len(batch) < limit:
            arrival = intake.take()
            state = self._state_for(arrival)
            if state is not None:
                self._decide(arrival, state, now_us)

    def _state_for(self, arrival: Arrival) -> State | None:
        """Return the state that an arrival is for; None when it must be loaded first or can't be."""
        execution, residency = arrival.execution, self.residency
        state = residency.states.get(execution)
        if state is not None:
            return state
        if not self.owns(execution):
            self._forward(arrival)
            return None
        if execution in residency.loading:
            residency.loading[execution].append(arrival)
        elif execution in residency.quarantined:
            self._reject(arrival, CorruptHistoryError(residency.quarantined[execution]))
        elif arrival.definition is not None:
            state = residency.states[execution] = State(execution, arrival.tenant, arrival.definition)
            start_input = arrival.given.input.blob if isinstance(arrival.given, inp.Start) else None
            state.loaded.update((digest, text) for digest, text in arrival.blobs if digest == start_input)
            state.pinned.update(state.loaded)
            return state
        elif arrival.renewable:
            self._intake.known.pop(arrival.key, None)
        else:
            self._loader.load_for(execution, [arrival])
        return None

    def _decide(self, arrival: Arrival, state: State, now_us: int) -> None:
        given, before = arrival.given, state.sequence
        if isinstance(given, inp.Start) and before:
            self._repeated(arrival)
            return
        if isinstance(given, inp.Succeeded) and arrival.blobs and given.task.partition("[")[0] in state.definition.hot:
            _pin(state, arrival)
        decision = step(state, given, now_us)
        self._batch.add(arrival, state, before, decision, now_us)
        self.staffing.follow(state, given, decision.events)
        if self._leads and self._settings.shared:
            self._batch.guard(PLACEMENT_SHARD)  # nobody else is told of this
        elif not self._leads:
            changes = self._exports.take()
            if changes:
                self._batch.told.append((state.id, state.sequence, changes))
        self.residency.schedule(state)
        if isinstance(given, inp.Start) and arrival.inbox_id and self._adopted is not None:
            self._adopted(state)
        if state.definition.workflow.config.max_concurrent_executions is not None:
            self._count(state, given, decision.events)

    def _count(self, state: State, given: inp.Input, events: list[ev.Event]) -> None:
        """Move the counter of concurrent executions of a workflow that limits them."""
        workflow = state.definition.workflow
        key, limit = _limit_key(state), workflow.config.max_concurrent_executions
        if isinstance(given, inp.Start) or any(isinstance(e, ev.ExecutionRetried) for e in events):
            self._batch.counters.append(CounterChange(state.tenant, key, 1, limit))
        if any(isinstance(e, _ENDS) for e in events):
            self._batch.counters.append(CounterChange(state.tenant, key, -1))

    def _place(self, now_us: int) -> None:
        room = self._settings.max_batch - len(self._batch)
        if self._draining or room <= 0 or not self._leads:
            return
        shard = PLACEMENT_SHARD if self._settings.shared else 0
        for arrival in self.placing.grants(self._shards.fences[shard], room):
            state = self.residency.states.get(arrival.execution)
            if state is not None:
                self._decide(arrival, state, now_us)
            else:
                self._batch.guard(shard)
                self._batch.posted.append(_inbox_row(arrival, now_us))
                self.placing.posted(arrival)

    def _placed(self, row: InboxRow) -> None:
        """Another replica has told us, who place, what has changed."""
        try:
            self.placing.apply(decode_changes(row.payload))
        except CorruptHistoryError as error:
            _log.error("what another replica told can't be read", error=str(error))
        self._batch.drain(row.id, PLACEMENT_SHARD)
        self._intake.wake.set()

    def _have_wait(self, row: InboxRow) -> None:
        """A start that somebody else wrote has to wait for room."""
        self._batch.move(row, waiting_room(row.shard))
        self._intake.wake.set()

    def _say_again(self) -> None:
        """What was committed and perhaps never left follows from the history again."""
        for lease in self.staffing.reunited():
            state = self.residency.states.get(lease.execution)
            if state is not None:
                self._dispatcher.say_again(state, lease)

    def _set_alarm(self, now_us: int) -> None:
        """See to it that the loop wakes for the next timer, or when the store may be tried again."""
        if self._closing:
            return  # no timer fires any more; one that is due would wake the loop again and again
        due = None if self._held_back else self.residency.next_due_us()  # likewise
        if self._blocked_until_us > now_us:
            due = min(due or self._blocked_until_us, self._blocked_until_us)
        if due is None or (self._alarm is not None and self._alarm_us == due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        least_us = EARLY_ALARM_US if due == self._alarm_us and due > now_us else 0  # it rang, and a clock stands still
        self._alarm_us = due
        self._alarm = self._loop.call_later(max(due - now_us, least_us) / 1_000_000, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._intake.wake.set()

    async def _look_at_leases(self) -> None:
        """End leases, and put idle executions out of memory."""
        while True:
            await asyncio.sleep(self._settings.lease_check_seconds)
            now_us = self._clock.now_us()
            self.staffing.expire(now_us)
            if self.staffing.has_to_say:
                self._intake.wake.set()
            for execution in self.residency.overdue_rest(now_us):
                if execution not in self._batch.touched and not (self._flying and execution in self._flying.touched):
                    self.residency.drop(execution)
                    self._snapshots.leave(execution)
            self._give_up_waiting(now_us)

    def _give_up_waiting(self, now_us: int) -> None:
        """Fail the attempts of ready tasks that no registered agent could ever take, and that wait too long for one."""
        if self._draining or not self._leads:
            return
        for overdue in self._allocations.overdue(now_us):
            arrival = Arrival(overdue.execution, overdue.input_id, overdue.given)
            if self.owns(overdue.execution):
                self._intake.put_once(arrival)
            else:
                self._batch.guard(PLACEMENT_SHARD)
                self._batch.posted.append(_inbox_row(arrival, now_us))
                self._intake.wake.set()

    # --- to the store and back ---------------------------------------------------------------------------------

    def _launch(self, now_us: int) -> None:
        self._flying, self._batch = self._batch, Batch(self._shards.positions)
        self._told += 1
        append = self._flying.sealed(self._shards.fences, now_us, f"{self._token}:{self._told}")
        self._flight = self._loop.create_task(self._store.append(append), name="podium-append")
        self._flight.add_done_callback(self._flown)

    def _flown(self, flight: asyncio.Task[None]) -> None:
        """Wake the loop for what came of an append; should the loop end before it looks, a failure counts as seen."""
        if not flight.cancelled():
            flight.exception()
        self._intake.wake.set()

    async def _land(self) -> None:
        flight, landed = self._flight, self._flying
        if flight is None or landed is None:
            return
        error = flight.exception()
        if error is None:
            self._flight = self._flying = None
            self._release(landed)
        elif isinstance(error, _DONE_AGAIN) or (self._settings.shared and isinstance(error, FenceLostError)):
            _log.warning("an append failed", error=str(error))
            # until then the batch counts as flying: nothing of it leaves the memory
            known = await self._look_up_positions()
            self._flight = self._flying = None
            if known:
                self._redo(landed, error)
        else:
            self._flight = self._flying = None
            if isinstance(error, FenceLostError):
                _log.error("another owner has taken over")
            raise error

    def _release(self, landed: Batch) -> None:
        """Let out what was waiting for the commit: commands, answers, confirmations, news; put out what has ended."""
        for row in landed.rows:
            self._shards.committed[row.shard] = row.position
        self._loader.drained(landed.drained)
        for decided in landed.decided:
            for command in decided.commands:
                self._dispatcher.give(command, decided.state)
            self._intake.settle(decided.arrival, decided.events)
            if decided.arrival.agent:
                self._note_unknown(decided)  # before it is confirmed, and so forgotten
                self._dispatcher.answer(decided)
        now_us = self._clock.now_us()
        for execution, (state, _) in landed.touched.items():
            self.admission.note(state)
            if not state.final:
                self.residency.note_rest(state, now_us)
                self._snapshots.grown(execution, landed.bytes_of[execution])
            elif execution not in self._batch.touched:
                self.residency.drop(execution)
                self._snapshots.forget(execution)
        self._waiting_room.landed(landed)
        self.watchers.committed(landed)
        self.watchers.unsure(landed.refused)  # in the store their inputs were to be found until now
        for tell in self.landed:
            tell(landed)

    def _restored(self, found: Restored) -> None:
        """An execution was brought into memory."""
        self.admission.note(found.state)
        self._snapshots.found(found.state.id, found.tail_bytes, found.tail_since_us)

    def _note_unknown(self, decided: Decided) -> None:
        first, arrival = decided.events[0], decided.arrival
        if isinstance(first, ev.InputIgnored) and first.reason == NO_SUCH_ATTEMPT:
            self.unusable(arrival.agent, arrival.attempt, first.reason)

    async def _look_up_positions(self) -> bool:
        """Ask the store where the shards are: an append that was reported as failed may have been committed.

        False when it doesn't answer and the engine is to stop: what is decided is given up, the next owner decides
        again.
        """
        rows = None
        while rows is None:
            try:
                rows = await self._store.shards()
            except StoreUnavailableError as error:
                _log.warning("the store doesn't answer", error=str(error))
                if self._closing:
                    self._batch = Batch(self._shards.positions)
                    return False
                await asyncio.sleep(self._settings.unavailable_pause_seconds)
        lost = self._shards.moved(rows)
        if lost and not self._settings.shared:
            raise FenceLostError
        for row in rows:
            if row.shard in self._shards.fences:
                self._shards.committed[row.shard] = row.position
        if lost:
            _log.warning("another replica has taken shards of ours", shards=lost)
            self._disown(lost)
        return True

    def _redo(self, landed: Batch, error: PodiumError) -> None:
        """Discard what the failed append and the batch behind it decided, keep their inputs, decide again."""
        discarded = [*landed.decided, *self._batch.decided]
        touched = {**landed.touched, **self._batch.touched}
        before, self._batch = self._batch, Batch(self._shards.positions)
        for lost in (landed, before):
            self._batch.carry_over(lost, self._shards.fences)
        self._shards.positions.update(self._shards.committed)
        for execution in touched:
            self.residency.drop(execution)
            self.placing.withdraw_all(execution)  # its slots stay taken until it is read again
        if isinstance(error, StoreUnavailableError):
            self._blocked_until_us = self._clock.now_us() + seconds_to_us(self._settings.unavailable_pause_seconds)
        arrivals = [d.arrival for d in discarded]
        over = _over_limit(arrivals, touched, error)
        kept = [a for a in arrivals if self._keeps(a, error, over)]
        begun_anew = {a.execution for a in kept if a.definition is not None}
        self._intake.put_first([a for a in kept if a.execution in begun_anew])
        for execution in touched:
            if execution in begun_anew:
                self.placing.forget(execution)
            else:
                again = [a for a in kept if a.execution == execution]
                if self.owns(execution):
                    self._loader.load_for(execution, again)
                for arrival in () if self.owns(execution) else again:
                    self._forward(arrival)
        self._place_for_others([execution for execution in touched if not self.owns(execution)])
        self.watchers.unsure(touched)

    def _keeps(self, arrival: Arrival, error: PodiumError, over: Arrival | None) -> bool:
        """Whether a discarded input is decided again; who waits for one that isn't (`over` a limit) is told why."""
        if arrival.renewable:
            self._intake.known.pop(arrival.key, None)
            return False
        if isinstance(error, DuplicateInputError) and arrival.key in error.inputs:
            self._repeated(arrival)
            return False
        if isinstance(error, StoreUnavailableError) and arrival.waiter is not None:
            if arrival.inbox_id:  # another one has written it, and may count on it
                self._intake.disappoint(arrival, error)
                return True
            self._reject(arrival, error)
            return False
        if arrival is over and self._waiting_room.back(arrival):
            return False
        if arrival is over:
            self._reject(arrival, ConflictError(str(error)))
            return False
        if isinstance(error, SequenceConflictError) and arrival.execution in error.executions:
            arrival.definition = None  # it exists: load it instead of beginning it
        return True

    def _repeated(self, arrival: Arrival) -> None:
        """The input is recorded already: drop it, and let whoever sent it know that it counts."""
        self._drain(arrival)
        if isinstance(arrival.given, inp.Start):
            self._waiting_room.begun_before(arrival.execution, self.residency.states.get(arrival.execution))
        self._intake.settle(arrival, [])
        self._dispatcher.confirm(arrival, accepted=True)

    def _reject(self, arrival: Arrival, error: PodiumError) -> None:
        self._drain(arrival)
        if arrival.inbox_id:
            self._batch.refused.append(arrival.execution)
        self._intake.reject(arrival, error)
        self._intake.wake.set()
        if isinstance(arrival.given, inp.Start):
            self._waiting_room.gone(arrival.execution)
            self.watchers.unsure([arrival.execution])
        if arrival.agent:
            self.unusable(arrival.agent, arrival.attempt, str(error))

    def _drain(self, arrival: Arrival) -> None:
        """Take out of the inbox what needs no row, if it is ours to take."""
        if arrival.inbox_id and self.owns(arrival.execution):
            self._batch.drain(arrival.inbox_id, shard_of(arrival.execution))

    # --- shards that come and go -------------------------------------------------------------------------------

    async def acquire(self, rows: Mapping[int, ShardRow]) -> None:
        """Own these shards from now on, as the store gave them, with whatever is active in them."""
        async with self._quiet():
            self._shards.add(rows)
            self.admission.own(len(self._shards.ours))
        await self._loader.load_active([shard for shard in rows if shard != PLACEMENT_SHARD])
        await self._waiting_room.open()
        if self._settings.agents_end_with_process:
            self.staffing.lose_inherited()
        if PLACEMENT_SHARD in rows:
            await self._take_lead()
        self._loader.look_at_once()
        self._tell_moved(acquired=rows)

    async def release(self, shards: Iterable[int]) -> dict[int, int]:
        """Decide nothing more for these shards, once what is decided is committed; return their fences."""
        async with self._quiet():
            fences = {shard: self._shards.fences[shard] for shard in shards if shard in self._shards.fences}
            self._disown(fences)
        return fences

    def _disown(self, shards: Iterable[int]) -> None:
        """Put out of memory what other replicas own now."""
        gone = self._shards.remove(shards)
        if PLACEMENT_SHARD in gone:
            self._leads = False
            self.staffing.desk = self._exports
            self.placing.forget_all()
            self._allocations.forget()
        theirs = [execution for execution in self.residency.states if shard_of(execution) in gone]
        for execution in theirs:
            self.residency.drop(execution)
            self._snapshots.forget(execution)
        self.staffing.disown_shards(gone)  # of executions that aren't in memory just now, too
        self._place_for_others([execution for execution in self.residency.loading if shard_of(execution) in gone])
        self._loader.disown(gone)
        self._waiting_room.disown(gone)
        self.watchers.unsure([watched for watched in self.watchers.watched if shard_of(watched) in gone])
        self._tell_moved(released=gone)

    def _tell_moved(self, acquired: Iterable[int] = (), released: Iterable[int] = ()) -> None:
        for tell in self.moved:
            tell(frozenset(acquired), frozenset(released))

    @asynccontextmanager
    async def _quiet(self) -> AsyncIterator[None]:
        """Hold decisions back until everything decided is committed; what arrives meanwhile waits in the queue."""
        async with self._quieting:
            if self._main is None or self._main.done():
                raise EngineStoppedError("the engine has stopped")
            self._held_back = True
            try:
                await self._become_calm()
                yield
            finally:
                self._held_back = False
                self._intake.wake.set()

    async def _become_calm(self) -> None:
        while True:
            self._calm.clear()
            self._intake.wake.set()
            await self._calm.wait()
            self._check_open()
            if self._flight is None and self._batch.empty:  # else something was drained in the last moment
                return

    async def _take_lead(self) -> None:
        """Place for all from now on: with the queue and the slots as the store's executions have them."""
        pending = await self._intake.retrying(self._leading.pending)
        here = await self._intake.retrying(partial(self._leading.rebuild, self._is_here))
        while True:
            async with self._quiet():
                if PLACEMENT_SHARD not in self._shards.fences:  # taken from us meanwhile
                    self.placing.forget_all()
                    return
                gone = [execution for execution in here if not self._is_here(execution)]
                if not gone:
                    self._lead(pending)
                    return
            here = [execution for execution in here if execution not in gone]
            await self._read_for_placing(gone)

    def _lead(self, pending: Pending) -> None:
        self._leads = True
        self.staffing.desk = self.placing
        for state in self.residency.states.values():
            self.placing.adopt(state)
        for arrival in pending.grants:
            self.placing.posted(arrival)
        self._loader.settle(pending.told, PLACEMENT_SHARD)
        for inbox_id in pending.told:
            self._batch.drain(inbox_id, PLACEMENT_SHARD)

    def _is_here(self, execution: str) -> bool:
        return execution in self.residency.states

    def _place_for_others(self, executions: list[str]) -> None:
        """These were ours, and aren't any more: should we place, what they have ready and live is read."""
        if self._leads and executions:
            self._spawn(self._read_for_placing(executions), "podium-reads-others")

    def _read_for_placing(self, executions: list[str]) -> Coroutine[Any, Any, None]:
        for execution in executions:
            self.placing.await_reading(execution)
        return self._intake.retrying(partial(self._leading.read, self._is_here, executions))

    def _forward(self, arrival: Arrival) -> None:
        """An input of an execution that isn't ours goes to its owner."""
        self._waiting_room.gone(arrival.execution)
        if arrival.inbox_id or arrival.renewable:  # it lies there already, or follows from the history
            self._intake.reject(arrival, ShardMovedError(f"execution {arrival.execution} is another replica's now"))
            self._dispatcher.confirm(arrival, accepted=True)
        elif arrival.waiter is not None or not arrival.agent:
            self._intake.reject(arrival, ShardMovedError(f"execution {arrival.execution} is another replica's now"))
        else:
            self._intake.known[arrival.key] = arrival
            self._forwarding.put(arrival)

    def _forwarded(self, arrival: Arrival) -> None:
        self._intake.settle(arrival, [])
        self._dispatcher.confirm(arrival, accepted=True)


def _pin(state: State, arrival: Arrival) -> None:
    """Keep an arrival's large values at hand, since conditions read them."""
    for digest, content in arrival.blobs:
        state.loaded[digest] = content
        state.pinned.add(digest)


def _over_limit(arrivals: list[Arrival], touched: dict[str, tuple[State, int]], error: PodiumError) -> Arrival | None:
    """Return the arrival that passed a limit of concurrent executions: the last that counts towards the one named."""
    if not isinstance(error, LimitReachedError):
        return None
    for arrival in reversed(arrivals):
        state = touched[arrival.execution][0]
        counts = arrival.definition is not None or isinstance(arrival.given, inp.Start | inp.Retry)
        if counts and str(error).startswith(f"{_limit_key(state)} of tenant {state.tenant} "):
            return arrival
    return None


def _inbox_row(arrival: Arrival, now_us: int) -> InboxRow:
    """Return an input of placement's as it goes to the owner of its execution."""
    kind = str(arrival.given.__struct_config__.tag)
    shard, payload = shard_of(arrival.execution), encode_input(arrival.given)
    return InboxRow(arrival.execution, arrival.input_id, DEFAULT_TENANT, shard, kind, payload, now_us)


def _limit_key(state: State) -> str:
    return f"workflow:{state.definition.workflow.name}"
