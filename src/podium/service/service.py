"""The orchestrator with its bus, from start to stop: what `podium up` runs, and the API's `Orchestrator`.

Order is what matters here. The store's lock comes first, then the bus, then those who listen; at the stop, who listens
goes first and the store last. Nothing in here decides about work.

Where replicas share the store, one of them leads: what is everybody's to know or to be answered once, it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Self

from podium.agents.sdk import AgentDefinition
from podium.agents.serving import ServedAgents
from podium.agents.shared import SharedAgents
from podium.app import Podium
from podium.bus.dead_letters import DeadLetters
from podium.bus.names import is_inbox
from podium.bus.nats_auth import Authority, authority_folder
from podium.bus.nats_server import EmbeddedNats
from podium.bus.opening import transport_for
from podium.bus.transport import Delivery, Happening, Promises, Transport
from podium.clock import Clock, SystemClock
from podium.engine.counting import EngineCounting, MeasuredPlacement
from podium.engine.ownership import SharedStore
from podium.engine.projections import Projection
from podium.exceptions import MessageBusError, PodiumError, SettingsError
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.admission import LinkSettings
from podium.fleet.audience import Audience
from podium.fleet.connections import connection_name
from podium.fleet.identity import identified_by
from podium.fleet.link import FleetLink
from podium.fleet.presence import Presence
from podium.fleet.registry import FleetLimits, FleetRegistry
from podium.ids import IdSource
from podium.service.announcing import Announcer, events_stream
from podium.service.awaiting import awaiting_agent
from podium.service.door import Door
from podium.service.listening import SystemEvents
from podium.service.moves import Moves
from podium.service.opening import Opening
from podium.service.reporting import Reporting
from podium.service.subjects import SubjectsDoor
from podium.service.submissions import AWAITING
from podium.service.submitting import SubmissionLimits, Submitting
from podium.service.telling import SetAside, Teller
from podium.service.watching import SystemAccess, Watching
from podium.settings import Settings, address_of, bus_url, refuse_strangers, shown_url
from podium.telemetry.logs import get_logger
from podium.telemetry.looplag import LoopLag
from podium.telemetry.metrics import Metrics
from podium.workflow.model import Workflow

STOP_EVENT_SECONDS = 2.0
# After so long without an acknowledgement a result comes again; of several replicas perhaps to another one, since
# one that stands still has taken what it will not record.
REDELIVER_SECONDS = 30.0
REDELIVER_SHARED_SECONDS = 10.0
_log = get_logger("podium.service")


class Service:
    """One orchestrator that agents and clients elsewhere reach. Use `async with Service(settings)`."""

    def __init__(
        self,
        settings: Settings,
        *,
        agents: Iterable[str] = (),
        definitions: Iterable[AgentDefinition] = (),
        url: str | None = None,
        transport: Transport | None = None,
        doors: Iterable[Callable[[Service], Door]] = (),
        alone: bool = False,
        most_here: int | None = None,
        events: SystemEvents | None = None,
        clock: Clock | None = None,
        store: Callable[[], SharedStore] | None = None,
    ) -> None:
        """`agents` are specs of agents that live in this process, `definitions` such agents as objects, `most_here` is
        how many tasks they hold at once; `url` is the bus (None: as the settings say, else an embedded NATS server);
        `transport` one that is at hand, to be started and stopped here. `doors` make further ways in, opened once it
        hears the bus, such as `http_door`. `alone`: nobody else is on the bus, so an agent type without code, that
        nobody registered as, is a mistake. `events` hears the system events that are told, here. `store` opens one
        that is at hand and that replicas share, in place of the settings' database.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.podium: Podium
        self.transport: Transport
        self.link: FleetLink
        self.submitting: Submitting
        self.nats: EmbeddedNats | None = None
        self.promises: Promises | None = None
        self._agents = tuple(agents)
        self._definitions = tuple(definitions)
        self.alone = alone
        self._most_here = most_here
        self._events = events or SystemEvents()
        self._url = bus_url(settings) if url is None else url
        self._given = transport
        self._makers = tuple(doors)
        self._clock = clock or SystemClock()
        self._ids = IdSource(self._clock)
        self._incarnation = self._ids.token()
        self._opening = Opening(settings, self._url, alone, self._incarnation, self._clock, store)
        self.started_us = self._clock.now_us()
        self._authority: Authority | None = None
        self._access: SystemAccess | None = None  # to the events of a server of our own
        self._watching: Watching | None = None
        self._door: SubjectsDoor
        self._doors: list[Door] = []
        self._projection: Projection
        self._moves: Moves | None = None
        self._teller: Teller
        self._reporting: Reporting
        self._lag = LoopLag(self.metrics)
        self._tasks: list[asyncio.Task[None]] = []
        self._undo: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._ready = False
        self._drain_seconds = settings.drain_seconds

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    # --- the start ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything, or nothing. Raises NotTheOwnerError, TransportUnavailableError, SettingsError."""
        try:
            await self._start()
        except BaseException:
            await self.stop(0.0)
            raise

    async def _start(self) -> None:
        if self._opening.agents_are_shared:  # shards come at once: they are for a replica that can be reached
            self.transport = await self._carrier()
            self._undo = [self.transport.stop]
            await self.transport.start()
            self.podium = await self._opened()
            self._undo.append(self._close_podium)
        else:
            self.podium = await self._opened()
            self._undo = [self._close_podium]
            self.transport = self._given or await self._carrier()
            self._undo = [self._stop_nats, self.transport.stop, self._close_podium]
            await self.transport.start()
        if not self.alone:
            await self.transport.declare(events_stream(self.settings.event_retention_hours))
        self._make_parts()
        await self._join_engine()
        # Undone from the end: hear nothing more, let the store go, say what waits, and only then the bus.
        self._undo = [self._stop_nats, self.transport.stop, self.link.stop, self._close_podium, self.link.deafen]
        await self.link.start()
        if self._watching is not None:
            self._undo.append(self._watching.stop)
            await self._watching.start()
        await self._door.start()
        self._count()
        await self._open_doors()
        self._tell_started()
        if isinstance(self.podium.agents, SharedAgents):
            await self._have_agents(self.podium.agents)
        self._ready = True

    async def _opened(self) -> Podium:
        return await self._opening.podium(
            agents=self._agents,
            definitions=self._definitions,
            placement=lambda pool: MeasuredPlacement(self.metrics, self._clock, pool=pool, most_here=self._most_here),
        )

    @property
    def replica(self) -> str:
        """The name of this replica; `single` where it shares its store with nobody."""
        ownership = self.podium.ownership
        return ownership.replica.name if ownership is not None else "single"

    def _tell_started(self) -> None:
        self._teller.tell(
            wire.SystemEventType.ORCHESTRATOR_STARTED,
            {"incarnation": self._incarnation, "replica": self.replica, "agentTypes": []},
        )

    async def _have_agents(self, agents: SharedAgents) -> None:
        """Have the agents that were given here on a connection of their own, since they work for all replicas."""
        connect = partial(transport_for, self.url, self.settings, name=connection_name(self._incarnation))
        await agents.board(ServedAgents(connect, incarnation=self._incarnation))
        await self.podium.hire()

    async def _carrier(self) -> Transport:
        """Return the transport that the settings name; where they name none, one to a server of our own."""
        url, settings = self._url, self.settings
        if not url:
            address = address_of(settings.nats, "nats")
            if address is None:
                raise SettingsError("there is no bus: `nats` is empty, and no other one is named (--bus)")
            if settings.nats_authentication:
                self._authority = Authority.open(authority_folder(settings.data), self._clock.now_us())
            refuse_strangers("nats", address, settings.nats_authentication, "nats_authentication")
            self._access = SystemAccess(self._authority)
            self.nats = EmbeddedNats(
                settings.nats_folder,
                host=address.host,
                port=address.port,
                max_payload=settings.max_message_bytes,
                extra_config=self._access.server_config,
            )
            self._undo = [self._close_podium, self._stop_nats]
            await self.nats.start()
            url = self.nats.url
            if self._authority is not None:
                self._begin(self._authority.keep_current(self.nats.reload), "podium-authority")
            settings = self._access.bus(settings, self._clock.now_us())
        known_sync = self.nats.sync_seconds if self.nats is not None else None
        return transport_for(url, settings, self._happened, sync_seconds=known_sync)

    def _make_parts(self) -> None:
        settings, engine = self.settings, self._engine
        self._teller = Teller(self.transport, self._clock, self._message_id, self._events)
        set_aside = SetAside(DeadLetters(self.transport, self._clock, self.metrics))
        registry = FleetRegistry(
            FleetLimits(
                heartbeat_seconds=settings.heartbeat_interval_seconds,
                unhealthy_seconds=settings.unhealthy_seconds,
                lost_seconds=settings.deregistration_timeout_seconds,
                max_agents=settings.max_concurrent_agents,
            )
        )
        presence = self._presence_in(registry)
        may_answer = is_inbox if self._authority is not None else _anywhere
        self.link = FleetLink(
            self.transport,
            registry,
            engine,
            clock=self._clock,
            incarnation=self._incarnation,
            settings=LinkSettings(
                heartbeat_seconds=settings.heartbeat_interval_seconds,
                check_seconds=settings.health_check_interval_seconds,
                lease_seconds=settings.lease_seconds,
                foreign_lease_seconds=settings.foreign_lease_seconds,
                redeliver_seconds=REDELIVER_SECONDS if self.podium.ownership is None else REDELIVER_SHARED_SECONDS,
            ),
            tell=self._teller.tell,
            set_aside=set_aside,
            suspend=engine.suspend,
            doubt=engine.doubt_deliveries,
            held_as=self._held_as,
            identify=identified_by(self._authority, registry, self._clock) if self._authority is not None else None,
            may_answer=may_answer,
            presence=presence,
            taken=self._lives_here,
            audience=Audience(self._leads, engine.owns, self._reaches, alone=self.podium.ownership is None),
            logs=self.podium.logs,
            metrics=self.metrics,
        )
        self._reporting = Reporting(self)
        self.submitting = Submitting(
            self.podium, SubmissionLimits(settings.max_queued_tasks, settings.max_task_seconds)
        )
        self._door = SubjectsDoor(
            self.podium,
            self.transport,
            status=self._reporting.status,
            message_id=self._message_id,
            malformed=self._malformed(set_aside),
            may_answer=may_answer,
            clock=self._clock,
            submitting=self.submitting,
            leads=self._leads,
            health_seconds=settings.health_check_interval_seconds,
            metrics=self.metrics,
        )
        self._begin(self._teller.run(), "podium-teller")
        self._begin(set_aside.run(), "podium-set-aside")

    def _presence_in(self, registry: FleetRegistry) -> Presence | None:
        """Have followed whose connection ends, where the bus is NATS."""
        if self.transport.name != "nats":
            return None
        settings, engine = self.settings, self._engine
        presence = Presence(
            registry,
            engine,
            self._clock,
            grace_seconds=min(settings.disconnect_grace_seconds, settings.lease_seconds),
            keyed=self._authority is not None,
            suspend=engine.suspend,
            give_up=engine.give_up,
            reachable=lambda: self.transport.connected,
        )
        if self._access is None:
            self._watching = Watching(presence, self.transport, None, "*")
        else:
            as_system = self._access.events(settings, self._clock.now_us())
            system = transport_for(self.url, as_system, self._system_happened, name="podium-events")
            self._watching = Watching(presence, self.transport, system, self._access.account)
        return presence

    async def _join_engine(self) -> None:
        """From here on the engine speaks to agents elsewhere, and what it commits is announced."""
        engine, podium = self._engine, self.podium
        podium.link_to(self.link)
        engine.unusable = self.link.unusable
        engine.staffing.reachable = lambda: self.transport.connected
        announcer = Announcer(
            self.transport, podium.store, self._workflow_of, self._message_id, self._reporting.agents_for, self._events
        )
        self._projection = Projection(podium.store, "announcer", announcer.take)
        engine.landed.append(self._projection.landed)
        self._moves = Moves(engine, podium.ownership, self.link, self._projection, announcer, self.metrics)
        engine.moved.append(self._moves.moved)
        await self._projection.start(engine.owned)
        podium.before_store_closes.append(self._finish_announcing)
        podium.answers["fleet"] = self._reporting.answer_fleet
        podium.answers["audit"] = self._reporting.answer_audit
        podium.answers["promises"] = self._reporting.answer_promises
        podium.expect(self._lives_elsewhere)
        assert podium.agents is not None
        if not self._opening.agents_are_shared:
            podium.agents.arrived.append(self._arrived)
            await podium.hire()
        await podium.agents.add(awaiting_agent(AWAITING, podium.result), f"{AWAITING}-1", f"{msg.REMOTE}{AWAITING}")

    async def _open_doors(self) -> None:
        for make in self._makers:
            door = make(self)
            self._undo.append(door.stop)
            await door.start()
            self._doors.append(door)

    def _count(self) -> None:
        """Have everything measured that the metrics name."""
        metrics, reporting = self.metrics, self._reporting
        EngineCounting(self._engine, metrics, self._clock).begin()
        self._lag.start()
        if self._moves is not None:
            self._moves.count()
        metrics.watch("message_bus_connections", lambda: float(self.transport.connected))
        metrics.watch("registry_agents_total", reporting.agents_by_status)
        metrics.watch("registry_agent_health", reporting.health_by_agent)
        metrics.watch("podium_projection_lag", self._reading_lag)
        if (webhooks := self.podium.webhooks) is not None:
            metrics.watch("podium_webhooks_pending", lambda: webhooks.pending)
            metrics.watch("podium_webhook_tries_total", webhooks.outcomes)
        if (reconciler := self.podium.reconciler) is not None:
            metrics.watch("podium_reconciler_finds_total", reconciler.counted)
        metrics.watch("podium_bus_lost_messages_total", lambda: {"agents": float(self.link.lost)})

        async def look_at_lag() -> None:
            metrics.gauge("consumer_lag", "results").set(await self.link.lag())

        metrics.refresh_with(look_at_lag)

    # --- what it is asked --------------------------------------------------------------------------------------

    @property
    def addresses(self) -> dict[str, str]:
        """Where it can be reached: `http`, `metrics` and, if it is our own, `nats`; else `bus`."""
        found = {name: str(address) for door in self._doors for name, address in door.addresses.items()}
        if self.nats is not None:
            found["nats"] = self.nats.url.removeprefix("nats://")
        return found

    @property
    def url(self) -> str:
        """The bus."""
        return self.nats.url if self.nats is not None else self._url

    @property
    def shown_bus(self) -> str:
        """The bus as it may be shown."""
        return shown_url(self.url) if self._given is None else self.transport.name

    @property
    def announcements_waiting(self) -> int:
        """How many committed rows wait to be announced."""
        return self._projection.lag

    def _reading_lag(self) -> dict[str, float]:
        models = self.podium.read_models
        return {self._projection.name: float(self._projection.lag), **(models.lag() if models is not None else {})}

    def _lives_here(self, agent: str) -> bool:
        """Whether an id is that of an agent of this process, or kept for the orchestrator's own."""
        local = self.podium.agents
        return agent.startswith("podium_") or (local is not None and agent in local.hosts)

    @property
    def announcements_failure(self) -> BaseException | None:
        """Why nothing is announced any more, if that is so."""
        return self._projection.failure

    def now_us(self) -> int:
        """Return the time by this service's clock."""
        return self._clock.now_us()

    @property
    def ready(self) -> bool:
        """Whether it takes work."""
        return self._ready

    @property
    def reporting(self) -> Reporting:
        """What it says of itself."""
        return self._reporting

    async def ended(self) -> None:
        """Return when something essential has ended by itself: the engine, or a part of the link."""
        while self.failure is None:  # noqa: ASYNC110 - it may be any of many tasks, and need not be told at once
            await asyncio.sleep(0.5)

    @property
    def failure(self) -> BaseException | None:
        """Why something essential ended by itself, if it did."""
        return self.podium.failure or self.link.failure or self._projection.failure

    # --- the stop ----------------------------------------------------------------------------------------------

    async def stop(self, drain_seconds: float | None = None, *, agents: bool = False) -> None:
        """Stop: take nothing new, let what runs here finish, tell everybody, let go. Safe twice.

        Agents elsewhere go on with what they have, and the next orchestrator hears of it; with `agents` they are told
        to finish, hand back the rest, and stop.
        """
        seconds = self.settings.drain_seconds if drain_seconds is None else drain_seconds
        if self._ready:
            self._ready = False
            self._teller.tell(
                wire.SystemEventType.ORCHESTRATOR_STOPPING, {"incarnation": self._incarnation, "replica": self.replica}
            )
            await self._door.stop()
            await self.podium.hand_over(seconds)
            if agents:
                await self._stop_agents(seconds)
            try:
                async with asyncio.timeout(STOP_EVENT_SECONDS):
                    await self._teller.settled()
            except TimeoutError:
                _log.warning("the bus doesn't take that we stop")
        self._drain_seconds = seconds
        while self._undo:
            undo = self._undo.pop()
            try:
                await undo()
            except (PodiumError, OSError) as error:
                _log.warning("a part did not stop in good order", error=str(error))
        if self._moves is not None:
            await self._moves.stop()
        await self._lag.stop()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop_agents(self, seconds: float) -> None:
        self.link.drain_agents(seconds)
        try:
            async with asyncio.timeout(seconds + 1.0):
                while len(self.link.registry):  # noqa: ASYNC110 - agents leave one by one
                    await asyncio.sleep(0.02)
        except TimeoutError:
            _log.warning("agents have not left in time", left=len(self.link.registry))

    async def _stop_nats(self) -> None:
        if self.nats is not None:
            await self.nats.stop()

    async def _close_podium(self) -> None:
        await self.podium.close(self._drain_seconds)

    async def _finish_announcing(self) -> None:
        """Tell what was committed last, if the bus takes it; what it doesn't take is told at the next start."""
        try:
            async with asyncio.timeout(STOP_EVENT_SECONDS):
                await self._projection.caught_up()
        except TimeoutError:
            _log.warning("not everything could be announced; the next start goes on with it")
        await self._projection.stop()

    # --- inside ------------------------------------------------------------------------------------------------

    @property
    def _engine(self) -> Any:
        assert self.podium.engine is not None
        return self.podium.engine

    def _leads(self) -> bool:
        """Whether this replica decides about the fleet now; one that stood still must first renew its lease."""
        return bool(self._engine.leads) and self._reaches()

    def _reaches(self) -> bool:
        """Whether this replica's lease holds, or it needs none: else what it hears is better heard by others."""
        ownership = self.podium.ownership
        return ownership is None or ownership.lease_seconds > 0

    def _held_as(self, agent: str) -> str:
        """Return the incarnation under which an agent holds attempts, of whatever replica's executions."""
        staffing = self._engine.staffing
        return str(staffing.held_as(agent) or staffing.placement.held_as(agent))

    def _lives_elsewhere(self, agent_type: str) -> bool:
        """Whether an agent type needs no code here: some agent on the bus registered as it."""
        placed = self._engine.staffing.placement.agents.values()
        return any(one.type == agent_type and self.link.knows(one.id) for one in placed)

    def _arrived(self, agent_id: str, definition: AgentDefinition) -> None:
        """An agent of this process is here now: that is an event like that of any other one."""
        self._teller.tell(
            wire.SystemEventType.AGENT_REGISTERED,
            {
                "agentId": agent_id,
                "agentType": definition.type,
                "capabilities": list(definition.all_capabilities),
                "version": definition.version,
                "restarted": False,
            },
        )

    def _message_id(self) -> str:
        return self.link.message_id()

    async def _workflow_of(self, tenant: str, digest: str) -> Workflow:
        workflow: Workflow = (await self._engine.definitions.get(tenant, digest)).workflow
        return workflow

    def _malformed(self, set_aside: SetAside) -> Callable[[Delivery, Exception], None]:
        def told(delivery: Delivery, error: Exception) -> None:
            kind = delivery.subject.rpartition(".")[2]
            self.metrics.counter("podium_malformed_messages_total", kind).inc()
            self._teller.tell(
                wire.SystemEventType.SYSTEM_ERROR,
                {"error": "MALFORMED_MESSAGE", "subject": delivery.subject, "message": str(error)[:1_000]},
            )
            set_aside(str(error), delivery)

        return told

    def _system_happened(self, what: Happening, details: str) -> None:
        if self._watching is not None:
            self._watching.happened(what)

    def _happened(self, what: Happening, details: str) -> None:
        if self._access is None:
            self._system_happened(what, details)
        match what:
            case Happening.DISCONNECTED:
                _log.warning("the bus is gone; it is tried again", details=details)
            case Happening.RECONNECTED:
                _log.warning("the bus is there again", details=details)
                self.metrics.counter("podium_bus_reconnects_total").inc()
                self._engine.doubt_deliveries()
                self._teller.tell(wire.SystemEventType.ORCHESTRATOR_STARTED, {"incarnation": self._incarnation})
                if not self._leads():
                    self._begin(self.link.ask_again(), "podium-link-asks-again")
            case Happening.AMNESIA:
                _log.warning("the bus has forgotten; what is missing is said again", details=details)
                self._engine.doubt_deliveries()
            case Happening.SLOW_CONSUMER | Happening.ERROR:
                _log.warning("the bus", happening=str(what), details=details)
            case _:
                pass

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(_say_failure)
        self._tasks.append(task)


def _anywhere(reply: str) -> bool:
    return True


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), MessageBusError):
        _log.error("a part of the service ended", part=task.get_name(), exc_info=task.exception())
