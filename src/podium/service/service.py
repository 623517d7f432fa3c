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
from podium.agents.secrets import Secrets
from podium.agents.serving import ServedAgents
from podium.agents.shared import SharedAgents
from podium.app import Podium
from podium.bus.dead_letters import DeadLetters
from podium.bus.nats_server import EmbeddedNats
from podium.bus.opening import transport_for
from podium.bus.transport import Happening, Promises, Transport
from podium.clock import Clock, SystemClock
from podium.engine.counting import EngineCounting, MeasuredPlacement
from podium.engine.ownership import SharedStore
from podium.engine.projections import Projection
from podium.engine.runtime import Engine
from podium.exceptions import MessageBusError, PodiumError
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.connections import connection_name
from podium.fleet.link import FleetLink
from podium.ids import IdSource
from podium.service.announcing import STOP_EVENT_SECONDS, Announcer, events_stream, finish_announcing
from podium.service.awaiting import awaiting_agent
from podium.service.connecting import BusAtHand
from podium.service.door import Door
from podium.service.linking import dismiss_agents, linked_to
from podium.service.listening import SystemEvents
from podium.service.measuring import measure
from podium.service.moves import Moves
from podium.service.opening import Opening
from podium.service.reporting import Reporting
from podium.service.standing import Standing
from podium.service.subjects import SubjectsDoor
from podium.service.submissions import AWAITING
from podium.service.submitting import SubmissionLimits, Submitting
from podium.service.telling import Malformed, SetAside, Teller
from podium.service.watching import Watching
from podium.settings import Settings, bus_url
from podium.telemetry.logs import get_logger
from podium.telemetry.looplag import LoopLag
from podium.telemetry.metrics import Metrics
from podium.workflow.model import Workflow

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
        self.promises: Promises | None = None
        self._agents = tuple(agents)
        self._definitions = tuple(definitions)
        self.alone = alone
        self._most_here = most_here
        self._events = events or SystemEvents()
        url = bus_url(settings) if url is None else url
        self._makers = tuple(doors)
        self._clock = clock or SystemClock()
        self._ids = IdSource(self._clock)
        self._incarnation = self._ids.token()
        self._bus = BusAtHand(settings, url, transport, self._clock, happened=self._happened, begin=self._begin)
        self._opening = Opening(settings, url, alone, self._incarnation, self._clock, store)
        self.started_us = self._clock.now_us()
        self._watching: Watching | None = None
        self._standing: Standing
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
            self._undo = [self._bus.stop_server]
            self.transport = await self._bus.transport()
            self._undo.append(self.transport.stop)
            await self.transport.start()
            self.podium = await self._opened()
            self._undo.append(self._close_podium)
        else:
            self.podium = await self._opened()
            self._undo = [self._close_podium, self._bus.stop_server]
            self.transport = await self._bus.transport()
            self._undo = [self._bus.stop_server, self.transport.stop, self._close_podium]
            await self.transport.start()
        if not self.alone:
            await self.transport.declare(events_stream(self.settings.event_retention_hours))
        self._make_parts()
        await self._join_engine()
        # Undone from the end: hear nothing more, let the store go, say what waits, and only then the bus.
        self._undo = [
            self._bus.stop_server, self.transport.stop, self.link.stop, self._close_podium, self.link.deafen
        ]  # fmt: skip
        await self.link.start()
        if self._watching is not None:
            self._undo.append(self._watching.stop)
            await self._watching.start()
        await self._door.start()
        EngineCounting(self._engine, self.metrics, self._clock).begin()
        self._lag.start()
        if self._moves is not None:
            self._moves.count()
        measure(self.metrics, self.podium, self.transport, self.link, self._reporting, self._projection)
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
        return self._standing.replica

    def _tell_started(self) -> None:
        self._teller.tell(
            wire.SystemEventType.ORCHESTRATOR_STARTED,
            {"incarnation": self._incarnation, "replica": self.replica, "agentTypes": []},
        )

    async def _have_agents(self, agents: SharedAgents) -> None:
        """Have the agents that were given here on a connection of their own, since they work for all replicas."""
        connect = partial(transport_for, self.url, self.settings, name=connection_name(self._incarnation))
        secrets = Secrets(self.settings.secrets_folder)
        await agents.board(ServedAgents(connect, incarnation=self._incarnation, secrets=secrets))
        await self.podium.hire()

    def _make_parts(self) -> None:
        settings, engine = self.settings, self._engine
        standing = self._standing = Standing(self.podium, engine)
        self._teller = Teller(self.transport, self._clock, self._message_id, self._events)
        set_aside = SetAside(DeadLetters(self.transport, self._clock, self.metrics))
        linked = linked_to(
            self.transport, self.podium, engine, standing, self._bus, settings, self.metrics, self._clock,
            incarnation=self._incarnation, tell=self._teller.tell, set_aside=set_aside, happened=self._system_happened,
        )  # fmt: skip
        self.link, self._watching = linked.link, linked.watching
        self._reporting = Reporting(self)
        self.submitting = Submitting(
            self.podium, SubmissionLimits(settings.max_queued_tasks, settings.max_task_seconds)
        )
        self._door = SubjectsDoor(
            self.podium,
            self.transport,
            status=self._reporting.status,
            message_id=self._message_id,
            malformed=Malformed(self._teller, set_aside, self.metrics),
            may_answer=self._bus.may_answer,
            clock=self._clock,
            submitting=self.submitting,
            leads=standing.leads,
            health_seconds=settings.health_check_interval_seconds,
            metrics=self.metrics,
        )
        self._begin(self._teller.run(), "podium-teller")
        self._begin(set_aside.run(), "podium-set-aside")

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
        podium.before_store_closes.append(partial(finish_announcing, self._projection))
        podium.answers["fleet"] = self._reporting.answer_fleet
        podium.answers["schemas"] = self._reporting.answer_schemas
        podium.answers["audit"] = self._reporting.answer_audit
        podium.answers["promises"] = self._reporting.answer_promises
        podium.expect(partial(self._standing.lives_elsewhere, known=self.link.knows))
        assert podium.agents is not None
        if not self._opening.agents_are_shared:
            podium.agents.arrived.append(self._teller.arrived)
            await podium.hire()
        await podium.agents.add(awaiting_agent(AWAITING, podium.result), f"{AWAITING}-1", f"{msg.REMOTE}{AWAITING}")

    async def _open_doors(self) -> None:
        for make in self._makers:
            door = make(self)
            self._undo.append(door.stop)
            await door.start()
            self._doors.append(door)

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
        return self._bus.url

    @property
    def nats(self) -> EmbeddedNats | None:
        """The server of our own, if the bus is one."""
        return self._bus.nats

    @property
    def shown_bus(self) -> str:
        """The bus as it may be shown."""
        return self._bus.shown_as(self.transport)

    @property
    def announcements_waiting(self) -> int:
        """How many committed rows wait to be announced."""
        return self._projection.lag

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
                await dismiss_agents(self.link, seconds)
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

    async def _close_podium(self) -> None:
        await self.podium.close(self._drain_seconds)

    # --- inside ------------------------------------------------------------------------------------------------

    @property
    def _engine(self) -> Engine:
        assert self.podium.engine is not None
        return self.podium.engine

    def _message_id(self) -> str:
        return self.link.message_id()

    async def _workflow_of(self, tenant: str, digest: str) -> Workflow:
        workflow: Workflow = (await self._engine.definitions.get(tenant, digest)).workflow
        return workflow

    def _system_happened(self, what: Happening, details: str) -> None:
        if self._watching is not None:
            self._watching.happened(what)

    def _happened(self, what: Happening, details: str) -> None:
        if self._bus.access is None:
            self._system_happened(what, details)
        match what:
            case Happening.DISCONNECTED:
                _log.warning("the bus is gone; it is tried again", details=details)
            case Happening.RECONNECTED:
                _log.warning("the bus is there again", details=details)
                self.metrics.counter("podium_bus_reconnects_total").inc()
                self._engine.doubt_deliveries()
                self._teller.tell(wire.SystemEventType.ORCHESTRATOR_STARTED, {"incarnation": self._incarnation})
                if not self._standing.leads():
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


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), MessageBusError):
        _log.error("a part of the service ended", part=task.get_name(), exc_info=task.exception())
