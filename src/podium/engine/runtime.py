"""The engine: the owner of a store's executions, of all or of some. What it is made of, its life, and its doors.

It takes inputs, has them decided, writes them in batches, and only then lets anything out. State runs ahead of the disk
by one batch: while one append is under way, the next is decided. A failed append discards both batches' decisions,
keeps their inputs, loads what they touched again and decides anew. Doors, agents and watchers see committed facts only.
All methods belong to the loop's thread, except `receive`.

It owns all shards from its start, or, where replicas share the store, those that `acquire` brings and `release` takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from podium.clock import Clock, SystemClock
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival, Batch
from podium.engine.moving import Moved
from podium.engine.parts import Parts
from podium.engine.recovery import Offload, in_thread, restore
from podium.engine.settings import EngineSettings
from podium.engine.shards import ALL_SHARDS, EVERY_SHARD
from podium.engine.state import State
from podium.engine.sweeping import sweep_daily
from podium.engine.values import Value
from podium.engine.watching import Watch
from podium.engine.whereabouts import recorded_or_posted
from podium.exceptions import EngineStoppedError, ExecutionNotFoundError, InvalidInputError, PodiumError
from podium.fleet import messages as msg
from podium.ids import IdSource
from podium.scheduling.placement import Placement
from podium.store.protocol import DEFAULT_TENANT, InboxRow, ShardRow, Store
from podium.telemetry.logs import get_logger
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, Workflow

__all__ = ["Engine", "EngineSettings"]
_log = get_logger("podium.engine")


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
        self._clock = clock or SystemClock()
        self._ids = ids or IdSource(self._clock)
        self._settings = settings or EngineSettings()
        # Told of what an agent said and can't be recorded: the agent, the attempt, why.
        self.unusable: Callable[[str, str, str], None] = lambda agent, attempt, why: None
        self.landed: list[Callable[[Batch], None]] = []  # called with each batch once it is committed
        self.moved: list[Moved] = []  # called once shards have come or gone
        parts = self._parts = Parts(
            store, carrier, self._clock, self._ids, self._settings, placement or Placement(), offload,
            adopted=adopted, spawn=self._spawn, runs=lambda: self._runs, landed=self.landed, moved=self.moved,
            unusable=lambda agent, attempt, why: self.unusable(agent, attempt, why),
        )  # fmt: skip
        self.definitions = parts.definitions
        self.residency = parts.residency
        self.watchers = parts.watchers
        self.admission = parts.admission
        self.placing = parts.placing
        self.staffing = parts.staffing
        self.inside = parts.inside
        self._shards = parts.shards
        self._batches = parts.batches
        self._intake = parts.intake
        self._brakes = parts.brakes
        self._loader = parts.loader
        self._receiving = parts.receiving
        self._starting = parts.starting
        self._moving = parts.moving
        self._group: asyncio.TaskGroup | None = None
        self._spawned: set[asyncio.Task[Any]] = set()
        self._main: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    # --- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin: with all shards, whatever is active in them loaded; with none where replicas share the store."""
        self._receiving.open()
        token = self._parts.writing.token = self._ids.token()
        if self._settings.shared:
            self._parts.leadership.follow()
        else:
            taken = await self._store.take(token, ALL_SHARDS, self._clock.now_us())
            self._shards.add(taken)
            self._parts.look_back.begin(taken)
            await self._moving.bring_in(ALL_SHARDS)
        self._store.listen(self._told_of)
        self._main = asyncio.create_task(self._run(), name="podium-engine")
        self._brakes.opened = True

    async def stop(self) -> None:
        """Decide nothing more, finish the append under way, let go. Safe twice."""
        self._brakes.close()
        if self._main is not None:
            await asyncio.wait({self._main})

    async def turned(self) -> None:
        """Return when what is known now has been decided on, and what can be given to agents is."""
        await self._parts.conductor.turned()

    def drain(self) -> None:
        """Start nothing more; what agents still say is recorded until `stop`."""
        self._brakes.draining = True

    async def settled(self) -> None:
        """Return when no attempt of this process is live and nothing is on its way to the disk.

        What agents elsewhere do goes on without this process, and the next owner hears of it.
        """
        while self.staffing.live_here or not self._intake.quiet or not self._batches.empty:
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
            "podium-snapshots": self._parts.snapshots.write(),
            "podium-checkpoints": self._parts.snapshots.look_at_the_clock(),
            "podium-admission": self._parts.waiting_room.let_in(),
            "podium-leases": self._look_at_leases(),
            "podium-sweep": sweep_daily(self._store, self._clock, lambda: self._shards.leads),
        }
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                helpers = [group.create_task(work, name=name) for name, work in works.items()]
                try:
                    await self._parts.conductor.conduct()
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
        self._brakes.close()
        self._parts.conductor.end()
        error = (
            self._failure if isinstance(self._failure, PodiumError) else EngineStoppedError("the engine has stopped")
        )
        self._brakes.stands()
        self._intake.close(error)
        self.watchers.close(error)

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that the engine owns: its failure is the engine's."""
        task = asyncio.create_task(work, name=name) if self._group is None else self._group.create_task(work, name=name)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        return task

    async def _look_at_leases(self) -> None:
        """End leases, put idle executions out of memory, and see which tasks wait in vain."""
        while True:
            await asyncio.sleep(self._settings.lease_check_seconds)
            now_us = self._clock.now_us()
            held = self.staffing.placement.held()
            self.staffing.expire(now_us)
            if self.staffing.has_to_say or self.staffing.placement.held() < held:  # a slot is free
                self._intake.wake.set()
            for execution in self.residency.overdue_rest(now_us):
                if not self._batches.touch(execution):
                    self._put_out(execution)
            self._parts.granting.give_up_waiting(now_us)

    def _put_out(self, execution: str) -> None:
        """Put an execution out of memory that has nothing to do."""
        ended, snapshots = self.residency.states[execution].final, self._parts.snapshots
        self.residency.drop(execution)
        if ended:
            snapshots.forget(execution)
        else:
            snapshots.leave(execution)

    @property
    def _runs(self) -> bool:
        return self._main is not None and not self._main.done() and not self._brakes.closing

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
        self._brakes.check_open()
        return await self._starting.submit(
            workflow,
            given,
            tenant=tenant,
            submission_id=submission_id,
            execution=execution,
            bindings=bindings,
            priority=priority,
            timeout_seconds=timeout_seconds,
            **more,
        )

    async def command(
        self,
        execution: str,
        given: inp.Input,
        input_id: str | None = None,
        blobs: Iterable[tuple[str, bytes]] = (),
    ) -> list[ev.Event]:
        """Give an execution an input and return the events it caused, once committed.

        Raises ExecutionNotFoundError for an unknown execution. An `input_id` makes a repetition harmless: of one that
        is recorded already, no events are returned. `blobs` are large values that it holds, by hash.
        """
        self._brakes.check_open()
        if input_id is not None and await self._store.recorded([(execution, input_id)]):
            return []
        self._shards.check_ours(execution)
        kind = given.__struct_config__.tag
        input_id = input_id or f"{kind}:{self._ids.token()}"
        given_with = tuple(blobs) or await self._large_value(execution, given)
        return await self._intake.decided(Arrival(execution, input_id, given, blobs=given_with))

    async def _large_value(self, execution: str, given: inp.Input) -> tuple[tuple[str, bytes], ...]:
        """Return an input's large value, since conditions may read it; whoever gives it has put it into the store."""
        value = getattr(given, "value", None)
        if not isinstance(value, Value) or value.blob is None:
            return ()
        row = await recorded_or_posted(self._store, execution, partial(self._store.execution, execution))
        if row is None:
            raise ExecutionNotFoundError(f"there is no execution {execution}")
        try:
            return ((value.blob, await self._store.get(row.tenant, value.blob)),)
        except KeyError as error:
            raise InvalidInputError(f"the value {value.blob} isn't in the store") from error

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
                self._shards.check_ours(execution)
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
        return self._starting.new_id()

    def _told_of(self, what: str) -> None:
        if what == "inbox":
            self.look_into_inbox()

    def look_into_inbox(self) -> None:
        """Somebody has written to the inbox: look now instead of at the next poll."""
        self._loader.inbox_wake.set()

    # --- agents ------------------------------------------------------------------------------------------------

    def receive(self, message: msg.FromAgent) -> bool:
        """Take what an agent says, from any thread. False when the queue is full: it must be said again."""
        return self._receiving.receive(message)

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

    # --- shards that come and go -------------------------------------------------------------------------------

    @property
    def owned(self) -> frozenset[int]:
        """The shards that this process owns, the placement shard among them if it leads."""
        if not self._settings.shared:
            return frozenset(EVERY_SHARD) if self._shards.fences else frozenset()
        return frozenset(self._shards.fences)

    @property
    def leads(self) -> bool:
        """Whether this process places tasks, for all replicas."""
        return self._shards.leads

    def owns(self, execution: str) -> bool:
        """Whether an execution is this process' to decide."""
        return self._shards.owns(execution)

    def taken_away(self, rows: Iterable[ShardRow]) -> list[int]:
        """Return those of our shards that others have taken, as these rows of the store say."""
        return self._shards.taken_away(rows)

    async def acquire(self, rows: Mapping[int, ShardRow]) -> None:
        """Own these shards from now on, as the store gave them, with whatever is active in them."""
        await self._moving.acquire(rows)

    async def release(self, shards: Iterable[int]) -> dict[int, int]:
        """Decide nothing more for these shards, once what is decided is committed; return their fences."""
        return await self._moving.release(shards)
