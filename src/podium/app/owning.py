"""The engine of this process, with all that comes and goes with it: agents, read models, webhooks, the reconciler.

A file has one owner, whoever has its lock; on a shared store this process is one of the replicas. One that may not own
never has an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from podium.agents.crew import Crew
from podium.app.carrier import Carriers
from podium.app.stores import Opened
from podium.clock import Clock, SlewedClock, SystemClock, WallClock
from podium.engine.recovery import Definitions
from podium.engine.runtime import Engine, EngineSettings
from podium.exceptions import NotTheOwnerError
from podium.ids import IdSource
from podium.scheduling.placement import Placement
from podium.settings import Settings
from podium.store.owners import Owners
from podium.store.protocol import Replica
from podium.telemetry.logs import get_logger
from podium.workflow.model import CircuitBreaker

if TYPE_CHECKING:
    from podium.agents.local import LocalAgents
    from podium.engine.ownership import Ownership, SharedStore
    from podium.engine.readmodels import ReadModels
    from podium.engine.reconciling import Reconciler
    from podium.engine.state import State
    from podium.schedules.timekeeper import Timekeeper
    from podium.scheduling.resources import Vector
    from podium.webhooks.webhooks import Webhooks

FILE_POLL_SECONDS = 0.25
SHARED_POLL_SECONDS = 5.0  # between looks into the inbox, where others ring when they put something into it
OUTLIVING_POLL_SECONDS = 0.2
_log = get_logger("podium")


class Part(Struct, frozen=True):
    """What part a process plays, should it own executions."""

    works: bool = True  # False: it starts no task
    elsewhere: bool = False  # agents come over a bus
    may_own: bool = True
    placement: Callable[[Vector], Placement] = lambda pool: Placement(pool=pool)
    bus: str = ""  # that the replicas have in common; one without must be alone
    incarnation: str = ""
    agents_are_shared: bool = False  # those of this process work for all replicas


class Owning:
    """Whether this process owns executions, and what it has for that."""

    def __init__(
        self,
        settings: Settings,
        opened: Opened,
        owners: Owners,
        crew: Crew,
        carriers: Carriers,
        clock: Clock,
        ids: IdSource,
        part: Part,
        *,
        answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
    ) -> None:
        """`answer` is asked what other processes ask this one."""
        self.engine: Engine | None = None
        self.agents: LocalAgents | None = None
        self.read_models: ReadModels | None = None
        self.reconciler: Reconciler | None = None
        self.webhooks: Webhooks | None = None
        self.timekeeper: Timekeeper | None = None  # fires schedules
        self.ownership: Ownership | None = None  # its place among the replicas that share the store
        self.logs = opened.logs
        self.definitions = Definitions(opened.store)
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {}  # what else the owner's socket can be asked
        self.before_store_closes: list[Callable[[], Awaitable[None]]] = []  # for who reads the log to its end
        self.kept_out: NotTheOwnerError | None = None  # why it could not join the replicas
        self.closed = False
        self._settings = settings
        self._store = opened.store
        self._lock = opened.lock
        self._shared = opened.shared
        self._owners = owners
        self._crew = crew
        self._carrier = carriers
        self._clock = clock
        self._ids = ids
        self._part = part
        self._answer = answer
        self._taking = asyncio.Lock()

    @property
    def failure(self) -> BaseException | None:
        """Why the engine ended by itself, if it did."""
        failure = self.engine.failure if self.engine is not None else None
        return failure or (self.ownership.failure if self.ownership is not None else None)

    async def try_to_own(self) -> bool:
        """Take the lock if it is free, and start the engine; True if this process is the owner then.

        On PostgreSQL: join the replicas.
        """
        async with self._taking:
            if self.engine is not None:
                return True
            if self.closed or not self._part.may_own:
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
            if self._shared is None or not self._part.may_own or self.closed:
                return False
            cluster = await self._shared.cluster()
            live = [replica for replica in cluster.replicas if cluster.live(replica)]
            renewed = any(seen.get(replica.id, replica.lease_until_us) != replica.lease_until_us for replica in live)
            if renewed or any(replica.bus for replica in live):
                return False
            seen = {replica.id: replica.lease_until_us for replica in live}
            await asyncio.sleep(OUTLIVING_POLL_SECONDS)
        return True

    async def _join(self, store: SharedStore) -> bool:
        """Become one of the replicas that share the store; False where those that are there don't let it in."""
        from podium.engine.ownership import Ownership
        from podium.store.replicas import replica_here, why_kept_out

        cluster = await store.cluster()
        if not self._part.bus and any(cluster.live(replica) for replica in cluster.replicas):
            self.kept_out = NotTheOwnerError(why_kept_out(cluster, self._part.bus))
            return False
        clock = SlewedClock(self._clock)
        engine = await self._start(clock)
        ownership = Ownership(
            store, engine, replica_here(self._part.bus, self._part.incarnation), ids=self._ids, clock=clock
        )
        ownership.joined_as.append(self._answer_as)
        try:
            await ownership.start()
        except BaseException as error:
            self.engine = None
            await engine.stop()
            if not isinstance(error, NotTheOwnerError):
                raise
            self.kept_out = NotTheOwnerError(why_kept_out(await store.cluster(), self._part.bus))
            return False
        self.ownership = ownership
        if not self._part.bus:
            await ownership.settled()  # alone: everything is its own at once
        return True

    async def _answer_as(self, replica: Replica) -> None:
        await self._owners.answer(replica.id, self._answer)

    def _adopted(self, state: State) -> None:
        """The engine has taken an execution in: see to it that its agents are here."""
        self._crew.staff_soon(state.id, state.definition.workflow, state.bindings)

    def runs(self, execution: str) -> Engine | None:
        """Return the engine, if it is here that this execution is run."""
        return self.engine if self.engine is not None and self.engine.owns(execution) else None

    async def _start(self, clock: Clock) -> Engine:
        from podium.agents.local import LocalAgents
        from podium.agents.renewal import INTERVAL_SECONDS, ThreadRenewer
        from podium.agents.secrets import Secrets
        from podium.agents.shared import SharedAgents
        from podium.scheduling.resources import vector_of_amounts

        self._own_logs()
        lease, carrier = self._settings.lease_seconds, self._carrier
        renewer = ThreadRenewer(lease / 3) if lease / 3 < INTERVAL_SECONDS else None  # None: that of the process
        engine = Engine(
            self._store,
            carrier,
            clock=clock,
            ids=self._ids,
            settings=self._engine_settings(),
            placement=self._part.placement(vector_of_amounts(self._settings.capacity)),
            adopted=self._adopted if self._part.works else None,
        )
        if self._part.elsewhere:  # of agents elsewhere nothing can be heard before there is a link
            engine.staffing.reachable = lambda: carrier.elsewhere is not None
        have_agents = SharedAgents if self._part.agents_are_shared else LocalAgents
        self.agents = carrier.agents = have_agents(
            {}, engine, self.logs, clock=self._clock, ids=self._ids, renewer=renewer,
            secrets=Secrets(self._settings.secrets_folder),
        )  # fmt: skip
        self._crew.lead(self.agents)
        self.definitions = engine.definitions
        await engine.start()
        self.engine = engine
        await self._keep_read_models(engine)
        await self._reconcile(engine, clock)
        if self._part.works:
            self._keep_schedules(engine)
        return engine

    def _keep_schedules(self, engine: Engine) -> None:
        """Fire schedules from now on."""
        from podium.schedules.timekeeper import Timekeeper

        timekeeper = self.timekeeper = Timekeeper(self._store, self.wall_us, engine.look_into_inbox)
        engine.moved.append(timekeeper.moved)
        self.before_store_closes.append(timekeeper.stop)
        timekeeper.start(engine.owned)

    def wall_us(self) -> int:
        """Return the time that schedules go by: that of a store which is shared, else this machine's. It may jump."""
        if self.ownership is not None:
            return self.ownership.store_us
        return WallClock().now_us() if isinstance(self._clock, SystemClock) else self._clock.now_us()

    async def _reconcile(self, engine: Engine, clock: Clock) -> None:
        """Look, from now on, for what should not be."""
        from podium.engine.reconciling import reconciler_of

        reconciler = self.reconciler = reconciler_of(
            engine, self._store, clock, models=self.read_models, ownership=lambda: self.ownership,
            seconds=self._settings.reconcile_seconds,
        )  # fmt: skip

        async def answer(asked: dict[str, Any]) -> dict[str, Any]:
            return {**await reconciler.answer(asked), "shards": sorted(engine.owned)}

        self.before_store_closes.append(reconciler.stop)
        self.answers["reconcile"] = answer
        await reconciler.start()

    async def _keep_read_models(self, engine: Engine) -> None:
        from podium.engine.readmodels import ReadModels

        models = self.read_models = ReadModels(self._store)
        engine.landed.append(models.landed)
        engine.moved.append(models.moved)
        self.answers["rebuild"] = models.answer_rebuild
        if self._settings.webhooks:
            self._tell_webhooks(models)
        self.before_store_closes.append(models.stop)
        await models.start(engine.owned)

    def _tell_webhooks(self, models: ReadModels) -> None:
        from podium.webhooks.webhooks import Webhooks

        webhooks = self.webhooks = Webhooks(self._store, self._settings, self._clock)
        models.add(webhooks.reader)
        self.answers["retry_webhook"] = webhooks.answer_retry
        self.before_store_closes.append(webhooks.finish)
        webhooks.start()

    def _engine_settings(self) -> EngineSettings:
        settings, shared = self._settings, self._shared is not None
        return EngineSettings(
            lease_seconds=settings.lease_seconds,
            shared=shared,
            inbox_poll_seconds=SHARED_POLL_SECONDS if shared else FILE_POLL_SECONDS,
            lease_check_seconds=min(1.0, settings.lease_seconds / 4, settings.foreign_lease_seconds / 4),
            starts_tasks=self._part.works,
            foreign_lease_seconds=settings.foreign_lease_seconds,
            max_executions=settings.max_concurrent_workflows,
            circuit_breaker=_circuit_breaker(settings),
            allocation_timeout_seconds=settings.agent_allocation_timeout_seconds,
            checkpoint_seconds=settings.checkpoint_interval_minutes * 60,
        )

    def _own_logs(self) -> None:
        """Write attempts' logs from now on; a guest only reads them."""
        from podium.store.logs import SqliteLogs

        if not (self._settings.in_memory or self._settings.on_postgres):
            self.logs.close()
            self.logs = SqliteLogs(self._settings.logs_path)

    # --- the end -----------------------------------------------------------------------------------------------

    async def hand_over(self, drain_seconds: float) -> None:
        """Give this replica's shards to the others, and let the agents that work for all finish what they have."""
        if self.ownership is not None and self.ownership.others:
            await self.ownership.stop()
        if self.agents is not None and self._part.agents_are_shared:
            await self._crew.dismiss()
            await self.agents.drain(drain_seconds)

    async def stop(self, drain_seconds: float) -> None:
        """Let live attempts finish within the time, then stop the engine and the agents."""
        engine, agents = self.engine, self.agents
        if self.timekeeper is not None:
            await self.timekeeper.stop()
        await self._crew.dismiss()
        if engine is not None:
            engine.drain()
        if agents is not None:
            await agents.drain(drain_seconds)
        if engine is not None:
            try:
                async with asyncio.timeout(max(drain_seconds, 1.0)):
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

    def let_go(self) -> None:
        """Let another process own the file: the store is closed."""
        if self._lock is not None:
            self._lock.release()


def _circuit_breaker(settings: Settings) -> CircuitBreaker | None:
    """Return what holds for agents elsewhere at which tasks fail in a row; None: nothing."""
    threshold = settings.circuit_breaker_failure_threshold
    return CircuitBreaker(threshold, settings.circuit_breaker_timeout_seconds) if threshold else None
