"""The composition root: the only place that constructs adapters. One `Podium` is one process' view of one store.

On a file it is the store's owner if the lock is free: then it runs the engine and the agents of this process; on
PostgreSQL it is one of the replicas that share the executions. Otherwise it is a guest: it reads committed state,
writes inputs to the inbox and awaits the log; a guest that follows a run takes over when nobody else is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from podium.agents.crew import Crew
from podium.agents.explaining import Explaining
from podium.clock import Clock, SlewedClock, SystemClock
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.admission import counts
from podium.engine.explain import Explanation
from podium.engine.following import Follower
from podium.engine.intake import check_same_start
from podium.engine.posting import Posting, given_in
from podium.engine.recovery import Definitions
from podium.engine.runtime import Engine, EngineSettings
from podium.engine.values import value_of
from podium.engine.whereabouts import START, recorded_or_posted, row_of_start, waiting_starts
from podium.exceptions import (
    ConflictError,
    EngineStoppedError,
    ExecutionNotFoundError,
    InvalidInputError,
    NotTheOwnerError,
    PayloadTooLargeError,
    PodiumError,
    ShardMovedError,
    StoreError,
    StoreUnavailableError,
)
from podium.ids import IdSource, execution_id_for
from podium.scheduling.placement import Placement
from podium.settings import Settings
from podium.store.memory import MemoryStore
from podium.store.owners import FileOwner, NoOwners, Owners
from podium.store.protocol import Blob, ExecutionRow, Replica, Store
from podium.telemetry.logs import get_logger
from podium.workflow.inputs import check_input
from podium.workflow.model import FINAL_EXECUTION, CircuitBreaker, ExecutionStatus, Workflow, WorkflowResult
from podium.workflow.validation import validate

if TYPE_CHECKING:
    from podium.agents.local import LocalAgents
    from podium.agents.sdk import AgentDefinition
    from podium.engine.ownership import Ownership, SharedStore
    from podium.engine.readmodels import ReadModels
    from podium.engine.reconciling import Reconciler
    from podium.engine.state import State
    from podium.fleet.messages import Carrier, ToAgent
    from podium.scheduling.resources import Vector
    from podium.store.logs import AttemptLogs
    from podium.store.ownership import FileLock
    from podium.webhooks.webhooks import Webhooks

VALID_KEPT = 64  # workflows that needn't be validated again
GUEST_POLL_SECONDS = 0.1
FILE_POLL_SECONDS = 0.25
SHARED_POLL_SECONDS = 5.0  # between looks into the inbox, where others ring when they put something into it
GUEST_POLL_LATER_SECONDS = 1.0  # of what takes long
MAX_INPUT = 64 << 20  # bytes of JSON
_log = get_logger("podium")


class _Carrier:
    """Hands messages to the agents of this process, which are made after the engine, and to those elsewhere."""

    def __init__(self) -> None:
        self.agents: LocalAgents | None = None
        self.elsewhere: Carrier | None = None

    def send(self, agent: str, message: ToAgent) -> None:
        if self.elsewhere is not None and (self.agents is None or agent not in self.agents.hosts):
            self.elsewhere.send(agent, message)
        elif self.agents is not None:
            self.agents.send(agent, message)


class Podium:
    """A store with, in its owner's process, the engine and agents. Use `async with Podium.open(settings)`."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        logs: AttemptLogs,
        *,
        lock: FileLock | None = None,
        owners: Owners | None = None,
        agents: Iterable[str] = (),
        definitions: Iterable[AgentDefinition] = (),
        clock: Clock | None = None,
        ids: IdSource | None = None,
        works: bool = True,
        elsewhere: bool = False,
        may_own: bool = True,
        placement: Callable[[Vector], Placement] = lambda pool: Placement(pool=pool),
        shared: SharedStore | None = None,
        bus: str = "",
        incarnation: str = "",
        agents_are_shared: bool = False,
        sets_deadlines: bool = False,
    ) -> None:
        self.settings = settings
        self._sets_deadlines = sets_deadlines
        self._shared = shared
        self._bus = bus
        self._incarnation = incarnation
        self._agents_are_shared = agents_are_shared
        self._placement = placement
        self._may_own = may_own
        self.store = store
        self.logs = logs
        self._lock = lock
        self._owners = owners or (FileOwner(lock, settings.database) if lock is not None else NoOwners())
        self._elsewhere = elsewhere
        self._crew = Crew(agents, definitions, settings.agents, elsewhere=elsewhere)
        self._carrier = _Carrier()
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {}  # what else the owner's socket can be asked
        self.before_store_closes: list[Callable[[], Awaitable[None]]] = []  # for who reads the log to its end
        self._clock = clock or SystemClock()
        self._ids = ids or IdSource(self._clock)
        self.ownership: Ownership | None = None  # its place among the replicas that share the store
        self._works = works
        self._definitions = Definitions(store)
        self._valid: dict[int, tuple[Workflow, Workflow]] = {}  # as given and as validated, by the object's id
        self._taking = asyncio.Lock()
        self.engine: Engine | None = None
        self.agents: LocalAgents | None = None
        self.read_models: ReadModels | None = None
        self.reconciler: Reconciler | None = None
        self.webhooks: Webhooks | None = None
        self._explaining = Explaining(
            self._owners, self._crew, self._clock,
            engine=lambda: self.engine, agents=lambda: self.agents, follower=self.follower,
        )  # fmt: skip
        self._posting = Posting(store, settings.tenant, self._clock)
        self._kept_out: NotTheOwnerError | None = None  # why it could not join the replicas
        self._closed = False

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        agents: Iterable[str] = (),
        definitions: Iterable[AgentDefinition] = (),
        own: bool = True,
        must_own: bool = False,
        works: bool = True,
        elsewhere: bool = False,
        may_own: bool = True,
        placement: Callable[[Vector], Placement] = lambda pool: Placement(pool=pool),
        bus: str = "",
        incarnation: str = "",
        agents_are_shared: bool = False,
        store: SharedStore | None = None,
        sets_deadlines: bool = False,
    ) -> Self:
        """Open the store, as its owner if that is wanted and possible.

        `agents` are binding specs (`module:Name`), `definitions` agents that are at hand as objects. One that doesn't
        work decides inputs, should it become the owner, but starts no task. `elsewhere`: agents come over a bus, and a
        type without code here is no mistake. One that may not own never becomes the owner. Raises NotTheOwnerError if
        `must_own` and another process has the lock, or the replicas that are there are on another bus.

        Replicas that share a database have a `bus` in common; one that has none must be alone. With `agents_are_shared`
        the agents of this process, which have its `incarnation`, work for all of them. `store` is one that is at hand
        and shared, in place of the settings' database. One that `sets_deadlines` gives the settings' to executions
        that name none.
        """
        options: dict[str, Any] = {
            "agents": tuple(agents), "definitions": tuple(definitions), "works": works, "elsewhere": elsewhere,
            "may_own": may_own, "placement": placement, "bus": bus, "incarnation": incarnation,
            "agents_are_shared": agents_are_shared,
            "sets_deadlines": sets_deadlines,
        }  # fmt: skip
        if store is not None:
            from podium.store.logs import MemoryLogs

            podium = cls(settings, store, MemoryLogs(), shared=store, **options)
        elif settings.on_postgres:
            podium = await cls._on_postgres(settings, **options)
        else:
            make = cls._in_memory if settings.in_memory else cls._on_disk
            podium = make(settings, **options)
        try:
            if own:
                await podium.try_to_own()
            if must_own and not podium.owner:
                raise podium._kept_out or NotTheOwnerError(
                    f"another process owns {settings.shown_database}: {await podium.who_runs() or 'nobody now'}"
                )
        except BaseException:
            await podium.close(0)
            raise
        return podium

    @classmethod
    def _in_memory(cls, settings: Settings, **options: Any) -> Self:
        from podium.store.logs import MemoryLogs

        return cls(settings, MemoryStore(), MemoryLogs(), **options)

    @classmethod
    def _on_disk(cls, settings: Settings, **options: Any) -> Self:
        from podium.store.logs import SqliteLogs
        from podium.store.ownership import FileLock
        from podium.store.sqlite import SqliteStore

        path = Path(settings.database)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailableError(f"the folder {path.parent} can't be made: {error.strerror}") from error
        store = SqliteStore.open(path, synchronous=settings.synchronous)
        return cls(settings, store, SqliteLogs(settings.logs_path, read_only=True), lock=FileLock(path), **options)

    @classmethod
    async def _on_postgres(cls, settings: Settings, **options: Any) -> Self:
        from podium.store.postgres import PostgresStore
        from podium.store.postgres.logs import PostgresLogs
        from podium.store.postgres.owners import ReplicaOwners

        store = await PostgresStore.open(settings.database)
        return cls(
            settings,
            store,
            PostgresLogs(settings.database),
            owners=ReplicaOwners.at(settings.database, store),
            shared=store,
            **options,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def owner(self) -> bool:
        """Whether this process runs the store's executions."""
        return self.engine is not None

    async def who_runs(self, execution: str | None = None) -> str:
        """Return in words which process runs this execution, or (None) any of the store; empty when none does."""
        found = await self._owners.named(execution)
        return found or ("this process" if self.owner else "")

    @property
    def failure(self) -> BaseException | None:
        """Why this process' engine ended by itself, if it did."""
        failure = self.engine.failure if self.engine is not None else None
        return failure or (self.ownership.failure if self.ownership is not None else None)

    @property
    def live_attempts(self) -> int:
        """How many attempts agents of this process work on."""
        return len(self.engine.staffing.leases) if self.engine is not None else 0

    @property
    def queued(self) -> int:
        """How many ready tasks wait for an agent."""
        return self.engine.staffing.placement.queued() if self.engine is not None else 0

    def link_to(self, carrier: Carrier | None) -> None:
        """From now on, what the engine says to agents that aren't in this process goes there."""
        self._carrier.elsewhere = carrier

    def expect(self, lives_elsewhere: Callable[[str], bool]) -> None:
        """From now on, agent types of which this is true need no code here."""
        self._crew.lives_elsewhere = lives_elsewhere

    async def hire(self, more: Iterable[AgentDefinition] = ()) -> None:
        """Have an agent of each kind that was given, before a workflow wants it, and one more of each of `more`.

        Raises AgentBindingError, AgentError when an agent's own `start` fails.
        """
        await self._crew.hire(more)

    async def try_to_own(self) -> bool:
        """Take the lock if it is free, and start the engine; True if this process is the owner then.

        On PostgreSQL: join the replicas.
        """
        async with self._taking:
            if self.engine is not None:
                return True
            if self._closed or not self._may_own:
                return False
            if self._shared is not None:
                return await self._join(self._shared)
            if self._lock is not None and not self._lock.try_acquire():
                return False
            try:
                await self._start(self._clock)
                await self._owners.answer("", self._answer)
            except BaseException:
                if self._lock is not None:
                    self._lock.release()
                raise
            return True

    async def try_to_outlive(self) -> bool:
        """As `try_to_own`; a replica without a bus that doesn't renew its lease any more is waited out: it may have
        been killed a moment ago.
        """
        seen: dict[str, int] = {}
        while not await self.try_to_own():
            if self._shared is None or not self._may_own or self._closed:
                return False
            cluster = await self._shared.cluster()
            live = [replica for replica in cluster.replicas if cluster.live(replica)]
            renewed = any(seen.get(replica.id, replica.lease_until_us) != replica.lease_until_us for replica in live)
            if renewed or any(replica.bus for replica in live):
                return False
            seen = {replica.id: replica.lease_until_us for replica in live}
            await asyncio.sleep(2 * GUEST_POLL_SECONDS)
        return True

    async def _join(self, store: SharedStore) -> bool:
        """Become one of the replicas that share the store; False where those that are there don't let it in."""
        from podium.engine.ownership import Ownership
        from podium.store.replicas import replica_here, why_kept_out

        cluster = await store.cluster()
        if not self._bus and any(cluster.live(replica) for replica in cluster.replicas):
            self._kept_out = NotTheOwnerError(why_kept_out(cluster, self._bus))
            return False
        clock = SlewedClock(self._clock)
        engine = await self._start(clock)
        ownership = Ownership(store, engine, replica_here(self._bus, self._incarnation), ids=self._ids, clock=clock)
        ownership.joined_as.append(self._answer_as)
        try:
            await ownership.start()
        except BaseException as error:
            self.engine = None
            await engine.stop()
            if not isinstance(error, NotTheOwnerError):
                raise
            self._kept_out = NotTheOwnerError(why_kept_out(await store.cluster(), self._bus))
            return False
        self.ownership = ownership
        if not self._bus:
            await ownership.settled()  # alone: everything is its own at once
        return True

    async def _answer_as(self, replica: Replica) -> None:
        await self._owners.answer(replica.id, self._answer)

    def _adopted(self, state: State) -> None:
        """The engine has taken an execution in: see to it that its agents are here."""
        self._crew.staff_soon(state.id, state.definition.workflow, state.bindings)

    def _runs(self, execution: str) -> Engine | None:
        """Return the engine, if it is here that this execution is run."""
        return self.engine if self.engine is not None and self.engine.owns(execution) else None

    async def _start(self, clock: Clock) -> Engine:
        from podium.agents.local import LocalAgents
        from podium.agents.renewal import INTERVAL_SECONDS, ThreadRenewer
        from podium.agents.shared import SharedAgents
        from podium.scheduling.resources import vector_of_amounts

        self._own_logs()
        lease, carrier = self.settings.lease_seconds, self._carrier
        renewer = ThreadRenewer(lease / 3) if lease / 3 < INTERVAL_SECONDS else None  # None: that of the process
        engine = Engine(
            self.store,
            carrier,
            clock=clock,
            ids=self._ids,
            settings=self._engine_settings(),
            placement=self._placement(vector_of_amounts(self.settings.capacity)),
            adopted=self._adopted if self._works else None,
        )
        if self._elsewhere:  # of agents elsewhere nothing can be heard before there is a link
            engine.staffing.reachable = lambda: carrier.elsewhere is not None
        have_agents = SharedAgents if self._agents_are_shared else LocalAgents
        self.agents = carrier.agents = have_agents(
            {}, engine, self.logs, clock=self._clock, ids=self._ids, renewer=renewer
        )
        self._crew.lead(self.agents)
        self._definitions = engine.definitions
        await engine.start()
        self.engine = engine
        await self._keep_read_models(engine)
        await self._reconcile(engine, clock)
        return engine

    async def _reconcile(self, engine: Engine, clock: Clock) -> None:
        """Look, from now on, for what should not be."""
        from podium.engine.reconciling import reconciler_of

        reconciler = self.reconciler = reconciler_of(
            engine, self.store, clock, models=self.read_models, ownership=lambda: self.ownership,
            seconds=self.settings.reconcile_seconds,
        )  # fmt: skip

        async def answer(asked: dict[str, Any]) -> dict[str, Any]:
            return {**await reconciler.answer(asked), "shards": sorted(engine.owned)}

        self.before_store_closes.append(reconciler.stop)
        self.answers["reconcile"] = answer
        await reconciler.start()

    async def _keep_read_models(self, engine: Engine) -> None:
        from podium.engine.readmodels import ReadModels

        models = self.read_models = ReadModels(self.store)
        engine.landed.append(models.landed)
        engine.moved.append(models.moved)
        self.answers["rebuild"] = models.answer_rebuild
        if self.settings.webhooks:
            self._tell_webhooks(models)
        self.before_store_closes.append(models.stop)
        await models.start(engine.owned)

    def _tell_webhooks(self, models: ReadModels) -> None:
        from podium.webhooks.webhooks import Webhooks

        webhooks = self.webhooks = Webhooks(self.store, self.settings, self._clock)
        models.add(webhooks.reader)
        self.answers["retry_webhook"] = webhooks.answer_retry
        self.before_store_closes.append(webhooks.finish)
        webhooks.start()

    def _engine_settings(self) -> EngineSettings:
        settings, shared = self.settings, self._shared is not None
        return EngineSettings(
            lease_seconds=settings.lease_seconds,
            shared=shared,
            inbox_poll_seconds=SHARED_POLL_SECONDS if shared else FILE_POLL_SECONDS,
            lease_check_seconds=min(1.0, settings.lease_seconds / 4, settings.foreign_lease_seconds / 4),
            starts_tasks=self._works,
            foreign_lease_seconds=settings.foreign_lease_seconds,
            max_executions=settings.max_concurrent_workflows,
            circuit_breaker=circuit_breaker(settings),
            allocation_timeout_seconds=settings.agent_allocation_timeout_seconds,
            checkpoint_seconds=settings.checkpoint_interval_minutes * 60,
        )

    def _own_logs(self) -> None:
        """Write attempts' logs from now on; a guest only reads them."""
        from podium.store.logs import SqliteLogs

        if not (self.settings.in_memory or self.settings.on_postgres):
            self.logs.close()
            self.logs = SqliteLogs(self.settings.logs_path)

    # --- executions --------------------------------------------------------------------------------------------

    async def submit(
        self,
        workflow: Workflow,
        given: Any = None,
        *,
        submission_id: str | None = None,
        priority: int | None = None,
        timeout_seconds: float | None = None,
        **more: Any,
    ) -> str:
        """Start an execution and return its id; it is on disk when this returns.

        `more` are further fields of the start: preferred_agent, submission, notify.

        Raises WorkflowInvalidError, InvalidInputError or AgentBindingError before anything is recorded, ConflictError
        when a limit is reached or the `submission_id` stands for something else.
        """
        workflow = self._validated(workflow)
        check_input(workflow, given)
        encoded = _encoded(given)
        timeout_seconds = self._deadline(workflow) if timeout_seconds is None else timeout_seconds
        bindings = await self._crew.staff(workflow)
        more |= {"bindings": bindings, "priority": priority, "timeout_seconds": timeout_seconds}
        tenant, engine = self.settings.tenant, self.engine
        if submission_id is not None:
            execution = execution_id_for(tenant, submission_id)
        else:
            execution = engine.new_execution_id() if engine is not None else self._ids.uuid7()
        if engine is not None:
            try:
                return await engine.submit(
                    workflow, encoded, tenant=tenant, submission_id=submission_id, execution=execution, **more
                )
            except ShardMovedError:
                _log.debug("a submission goes to the replica that has its shard", execution=execution)
        await self._post_start(execution, workflow, encoded, **more)
        return execution

    def _deadline(self, workflow: Workflow) -> float | None:
        """Return the deadline of an execution that names none; single tasks have none but their attempts' time."""
        hours = self.settings.workflow_timeout_hours
        wanted = self._sets_deadlines and hours and workflow.config.timeout is None and counts(workflow)
        return hours * 3_600 if wanted else None

    def _validated(self, workflow: Workflow) -> Workflow:
        """Return the workflow as validated; one object is looked at once, since it never changes."""
        known = self._valid.get(id(workflow))
        if known is not None and known[0] is workflow:
            return known[1]
        valid = validate(workflow)
        while len(self._valid) >= VALID_KEPT:
            self._valid.pop(next(iter(self._valid)))
        self._valid[id(workflow)] = (workflow, valid)
        return valid

    async def _post_start(self, execution: str, workflow: Workflow, encoded: bytes, **more: Any) -> None:
        """Have the owner start an execution. Raises ConflictError where its id stands for another start."""
        definition, stored = self._definitions.compile(workflow)
        tenant, now_us = self.settings.tenant, self._clock.now_us()
        value, content = value_of(encoded)
        blobs = [Blob(tenant, definition.digest, stored)]
        if content is not None and value.blob is not None:
            blobs.append(Blob(tenant, value.blob, content))
        await self.store.put(blobs, now_us)
        start = inp.Start(workflow.name, workflow.version, definition.digest, self._ids.seed(), value, **more)
        await self._post(execution, START, start)
        first = await self.store.history(execution, limit=1)
        for row in first:  # somebody else's start may have been there before
            check_same_start(await given_in(self.store, row), start)

    async def command(self, execution: str, given: inp.Input) -> list[ev.Event]:
        """Give an execution an input and return what it caused, once that is on disk.

        Raises ConflictError, with the reason, when the execution ignored it.
        """
        if self.engine is None:
            await self.try_to_own()
        input_id = f"{given.__struct_config__.tag}:{self._ids.token()}"
        try:
            engine = self._runs(execution)
            events = None if engine is None else await engine.command(execution, given, input_id)
        except ShardMovedError:
            events = None
        if events is None:
            events = await self._post(execution, input_id, given)
        if events and isinstance(events[0], ev.InputIgnored):
            raise ConflictError(events[0].reason)
        return events

    async def _post(self, execution: str, input_id: str, given: inp.Input) -> list[ev.Event]:
        """Write an input to the inbox, wake the owner, await the log. Takes over if the owner is gone meanwhile."""
        posted = await self._posting.write(execution, input_id, given)
        waking = asyncio.create_task(self.wake_owner(), name="podium-wake")  # not waited for: it may get no answer
        try:
            return await self._posting.recorded(posted, self._take_over_posted)
        finally:
            waking.cancel()
            await asyncio.wait({waking})

    async def _take_over_posted(self) -> None:
        """Should nobody run the executions any more, run them here, beginning with what is in the inbox."""
        if await self.try_to_own() and self.engine is not None:
            self.engine.look_into_inbox()

    async def find(self, beginning: str) -> ExecutionRow:
        """Return the execution whose id begins so. Raises ExecutionNotFoundError, also if several do."""
        begun = partial(self.store.executions, self.settings.tenant, prefix=beginning, limit=3)
        rows = await begun() or await self.waiting(3, beginning) or await begun()  # it may begin between two looks
        exact = [row for row in rows if row.id == beginning]
        if exact or len(rows) == 1:
            return (exact or rows)[0]
        if not rows:
            raise ExecutionNotFoundError(f"there is no execution {beginning}")
        raise ExecutionNotFoundError(f"several executions begin with {beginning}: {', '.join(r.id for r in rows)} …")

    async def waiting(self, limit: int, prefix: str = "") -> list[ExecutionRow]:
        """Return executions that haven't begun, since as many are at work as may be; the oldest first.

        Their rows are what they would be at the beginning, with the sequence 0; the store has none of them yet.
        """
        found: list[ExecutionRow] = []
        async for row, start in waiting_starts(self.store, self.settings.tenant):
            if row.execution.startswith(prefix):
                found.append(row_of_start(row, start, await self._definitions.get(row.tenant, start.definition)))
            if len(found) == limit:
                break
        return found

    async def workflow_of(self, row: ExecutionRow) -> Workflow:
        """Return the definition that an execution runs, without its history."""
        return (await self._definitions.get(row.tenant, row.definition)).workflow

    async def follower(self, execution: str) -> Follower:
        """Return the execution's committed state, to be brought up to date as often as one likes."""
        return await Follower.of(self.store, self._definitions, execution)

    async def finished(self, execution: str) -> ExecutionStatus:
        """Wait for an execution's end. A guest takes over if the owner goes away before."""
        pause = GUEST_POLL_SECONDS
        while True:
            if (engine := self._runs(execution)) is not None:
                try:
                    return await engine.finished(execution)
                except EngineStoppedError:
                    if self._closed or engine.failure is not None:
                        raise
                except ShardMovedError:
                    pause = GUEST_POLL_SECONDS
            row = await recorded_or_posted(self.store, execution, partial(self.store.execution, execution))
            if row is None:
                raise ExecutionNotFoundError(f"there is no execution {execution}")
            if isinstance(row, ExecutionRow) and ExecutionStatus(row.status) in FINAL_EXECUTION:
                return ExecutionStatus(row.status)
            await self.try_to_own()
            await asyncio.sleep(pause)
            pause = min(pause * 1.1, GUEST_POLL_LATER_SECONDS)

    async def result(self, execution: str) -> WorkflowResult:
        """Wait for an execution's end and return its result."""
        await self.finished(execution)
        return await (await self.follower(execution)).result()

    async def run(self, workflow: Workflow, given: Any = None, **options: Any) -> WorkflowResult:
        """Submit and wait for the result."""
        return await self.result(await self.submit(workflow, given, **options))

    # --- explaining --------------------------------------------------------------------------------------------

    async def explain(self, execution: str) -> tuple[str, list[Explanation]]:
        """Return a sentence about the execution and why each unfinished task waits; another owner is asked."""
        return await self._explaining.explain(execution)

    async def activity(self, execution: str) -> dict[str, dict[str, Any]]:
        """Return what live attempts report by task: agent, fraction (0 to 1) and message. Empty without an owner."""
        return await self._explaining.activity(execution)

    async def wake_owner(self) -> None:
        """Tell the owner that there is something in the inbox. Without an answer it looks by itself soon.

        Replicas on PostgreSQL are woken by the store, as soon as it is written.
        """
        if self.settings.on_postgres:
            return
        try:
            await self._owners.ask({"op": "wake"})
        except StoreError as error:
            _log.debug("the owner can't be woken", error=str(error))

    async def ask_owner(self, asked: dict[str, Any], execution: str | None = None) -> dict[str, Any] | None:
        """Ask the process that runs this execution; without one the process that gives tasks to agents, and so knows
        the fleet. None if there is none. Raises StoreError.

        This process is asked too, if it is that one.
        """
        if self.engine is not None and (self.engine.leads if execution is None else self.engine.owns(execution)):
            answer: dict[str, Any] = msgspec.to_builtins(await self._answer(asked))
            return answer
        return await self._owners.ask(asked, execution)

    async def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer another process that asks."""
        try:
            match asked:
                case {"op": "wake"}:
                    if self.engine is not None:
                        self.engine.look_into_inbox()
                    return {}
                case {"op": str(op)} if op in self.answers:
                    return dict(await self.answers[op](asked))
                case _:
                    return await self._explaining.answer(asked) or {"error": "unknown request"}
        except PodiumError as error:
            return {"error": str(error)}

    # --- the end -----------------------------------------------------------------------------------------------

    async def hand_over(self, drain_seconds: float) -> None:
        """Give this replica's shards to the others, if there are any, and let the agents of this process that work for
        all finish what they have. To be called while the bus is still heard, before `close`.
        """
        if self.ownership is not None and self.ownership.others:
            await self.ownership.stop()
        if self.agents is not None and self._agents_are_shared:
            await self._crew.dismiss()
            await self.agents.drain(drain_seconds)

    async def close(self, drain_seconds: float | None = None) -> None:
        """Stop: live attempts may finish within the time, what doesn't is handed back. Safe twice.

        The executions are not paused; the next owner goes on with them.
        """
        if self._closed:
            return
        self._closed = True
        seconds = self.settings.drain_seconds if drain_seconds is None else drain_seconds
        engine, agents = self.engine, self.agents
        if self._shared is None:
            await self._owners.close()
        await self._crew.dismiss()
        if engine is not None:
            engine.drain()
        if agents is not None:
            await agents.drain(seconds)
        if engine is not None:
            try:
                async with asyncio.timeout(max(seconds, 1.0)):
                    await engine.settled()
            except TimeoutError:
                _log.warning("attempts were still live at the stop; they are made good at the next start")
            if self.ownership is not None:
                await self.ownership.stop()
            await engine.stop()
        if agents is not None:
            await agents.stop()
        for finish in self.before_store_closes:
            await finish()
        await self._posting.close()
        await self._owners.close()
        self.logs.close()
        await self.store.close()
        if self._lock is not None:
            self._lock.release()


def circuit_breaker(settings: Settings) -> CircuitBreaker | None:
    """Return what holds for agents elsewhere at which tasks fail in a row; None: nothing."""
    threshold = settings.circuit_breaker_failure_threshold
    return CircuitBreaker(threshold, settings.circuit_breaker_timeout_seconds) if threshold else None


def _encoded(given: Any) -> bytes:
    try:
        encoded = msgspec.json.encode(given)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the input can't be written as JSON: {error}") from error
    if len(encoded) > MAX_INPUT:
        raise PayloadTooLargeError(f"the input has {len(encoded)} bytes; at most {MAX_INPUT} are taken")
    return encoded
