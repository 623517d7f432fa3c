"""`AgentRegistry` of document 003: the fleet's registry with a clock, a loop that looks after health, and a bus.

Registries on one bus know each other's agents. All rules are in `podium.fleet`; here are only time, tasks and messages.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from podium.bus.message import Message, MessageType
from podium.clock import Clock, SystemClock, seconds_to_us
from podium.exceptions import AgentNotFoundError, InvalidInputError, PodiumError, RegistryError
from podium.fleet.descriptor import SLA, AgentDescriptor
from podium.fleet.discovery import Query
from podium.fleet.member import AVAILABLE, AgentInfo
from podium.fleet.registry import AuditEntry, Change, ChangeKind, FleetLimits, FleetRegistry, Known
from podium.fleet.sharing import TOPIC, FleetSharing
from podium.fleet.states import AgentState
from podium.ids import IdSource
from podium.settings import Settings, load_settings
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics

STALL_SECONDS = 1.0  # by which the loop may be late before agents' silence is excused
_log = get_logger("podium.registry")


class AgentRegistry:
    """Knows agents, how well they are and what they can do (document 003).

    Made with a `MessageBus` that is initialized, or None for a registry of this process alone. Times and the number of
    agents are those of `settings` (HEARTBEAT_INTERVAL_SECONDS, HEALTH_CHECK_INTERVAL_SECONDS,
    DEREGISTRATION_TIMEOUT_SECONDS, MAX_CONCURRENT_AGENTS). Use it between `initialize` and `shutdown`, or as an async
    context manager; all methods belong to the event loop of `initialize`, and raise RegistryError outside of that time.
    """

    def __init__(
        self,
        message_bus: Any = None,
        *,
        settings: Settings | None = None,
        metrics: Metrics | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
    ) -> None:
        if message_bus is not None and not (hasattr(message_bus, "publish") and hasattr(message_bus, "subscribe")):
            raise InvalidInputError("AgentRegistry takes a MessageBus, or None")
        settings = settings or load_settings()
        self._bus = message_bus
        self._clock = clock or SystemClock()
        self._me = (ids or IdSource(self._clock)).uuid7()
        self._interval_seconds = settings.health_check_interval_seconds
        self._fleet = FleetRegistry(limits_of(settings))
        self._sharing = FleetSharing(self._fleet, self._me)
        self._metrics = metrics or Metrics()
        self._latency = self._metrics.histogram("registry_discovery_latency_ms")
        self._unwatch: list[Callable[[], None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._messages: Any = None
        self._open = False

    # --- its life ----------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Begin to look after health and, with a bus, to share agents with other registries. Twice changes nothing."""
        if self._open:
            return
        if self._bus is not None:
            self._messages = await self._bus.subscribe([TOPIC]).opened()
        self._open = True
        self._unwatch = [
            self._metrics.watch("registry_agents_total", self._by_status),
            self._metrics.watch("registry_agent_health", self._health_by_agent),
        ]
        if self._messages is not None:
            self._begin(self._listen(self._messages), "agent registry: others")
            await self._say(self._sharing.ask())
        self._begin(self._look_after(self._clock.now_us()), "agent registry: health")

    async def shutdown(self) -> None:
        """Stop. What is registered stays known to the other registries until it is silent for too long. Safe twice."""
        self._open = False
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        messages, self._messages = self._messages, None
        if messages is not None:
            await messages.aclose()
        for end in self._unwatch:
            end()
        self._unwatch = []

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    # --- agents ------------------------------------------------------------------------------------------------

    async def register(self, descriptor: AgentDescriptor) -> None:
        """Register an agent, or tell something else of one. Heartbeats must follow.

        Raises RegistrationConflictError (409) if another key has the name or a later incarnation has taken the place,
        RegistryError if there are MAX_CONCURRENT_AGENTS already.
        """
        self._check_open()
        self._fleet.register(descriptor, self._clock.now_us())
        await self._say(self._sharing.joined(descriptor))

    async def deregister(self, agent_id: str) -> None:
        """Take an agent out. Raises AgentNotFoundError."""
        self._check_open()
        descriptor = self._fleet.descriptor(agent_id)
        if descriptor is None or not self._fleet.deregister(agent_id):
            raise AgentNotFoundError(f"no agent {agent_id[:128]!r} is registered")
        await self._say(self._sharing.gone(agent_id, self._clock.now_us(), descriptor.incarnation))

    async def heartbeat(self, agent_id: str, metrics: Mapping[str, float] | None = None, incarnation: str = "") -> None:
        """Say that an agent lives, and what it measured: `cpu_usage`, `memory_usage`, `error_rate` (0 to 1),
        `response_time_ms`, and numbers of its own.

        Raises AgentNotFoundError when it must register (again), RegistryError when a later incarnation has its place.
        """
        self._check_open()
        said = metrics or {}
        match self._fleet.heartbeat(agent_id, said, self._clock.now_us(), incarnation):
            case Known.UNKNOWN:
                raise AgentNotFoundError(f"no agent {agent_id[:128]!r} is registered; register it (again)")
            case Known.FENCED:
                raise RegistryError(f"agent {agent_id} was started again since; this incarnation must stop")
            case Known.KNOWN:
                await self._say(self._sharing.beat(agent_id, said, incarnation))

    async def discover(
        self,
        capabilities: Sequence[str] = (),
        *,
        min_health_score: float = 0.0,
        location_preference: str = "",
        version: str = "",
        service_types: Sequence[str] = (),
        tags: Sequence[str] = (),
        agent_type: str = "",
        location: str = "",
        sla: SLA | None = None,
        max_results: int | None = None,
    ) -> list[AgentDescriptor]:
        """Return the agents that have all of these capabilities, service types and tags, the best first.

        Those of the preferred location (or tagged so) come first, then the healthier, then the less loaded. `version`
        is a constraint such as `>=2,<3` or `^2.1`. Unhealthy and draining agents are never among them. Raises
        InvalidInputError for what can't be asked.
        """
        self._check_open()
        query = Query(
            capabilities=_words(capabilities),
            service_types=_words(service_types),
            tags=_words(tags),
            agent_type=agent_type,
            location=location,
            version=version,
            min_health_score=min_health_score,
            sla=sla,
            location_preference=location_preference,
            max_results=max_results,
        )
        begin = time.perf_counter()
        found = self._fleet.discover(query, self._clock.now_us())
        self._latency.observe((time.perf_counter() - begin) * 1_000)
        return list(found)

    async def get(self, agent_id: str) -> AgentInfo:
        """Return how an agent stands: state, health, load, metrics, SLA. Raises AgentNotFoundError."""
        self._check_open()
        return self._fleet.get(agent_id, self._clock.now_us())

    async def agents(self) -> list[AgentInfo]:
        """Return how all agents stand, by id."""
        self._check_open()
        return self._fleet.infos(self._clock.now_us())

    async def audit(self) -> list[AuditEntry]:
        """Return the latest registrations that were refused here, the oldest first."""
        self._check_open()
        return self._fleet.audit()

    async def get_metrics(self) -> dict[str, Any]:
        """Return `total_agents`, `unique_capabilities`, agents by state, and what discovery was asked."""
        self._check_open()
        return {**self._fleet.get_metrics(), "registries": 1 + len(self._sharing.peers)}

    # --- inside ------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise RegistryError("the registry isn't running: await initialize() first, and nothing after shutdown()")

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_note_end)
        self._tasks.append(task)

    async def _look_after(self, looked_us: int) -> None:
        """Mark and forget silent agents, and be present to other registries."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            now_us = self._clock.now_us()
            late_us = now_us - looked_us - seconds_to_us(self._interval_seconds)
            if late_us > seconds_to_us(STALL_SECONDS):
                # This process stood still: what arrived meanwhile is still to be read, so nobody was silent.
                self._fleet.excuse(late_us)
            looked_us = now_us
            for change in self._fleet.check(now_us):
                _tell(change)
            if self._bus is not None:
                await self._say(self._sharing.present(now_us))

    async def _listen(self, messages: Any) -> None:
        """Take what other registries say."""
        async for message in messages:
            try:
                answers = self._sharing.hear(message.payload, self._clock.now_us())
            except InvalidInputError as error:
                _log.warning("a message was passed over", topic=TOPIC, sender=message.sender_id, reason=str(error))
                continue
            for answer in answers:
                await self._say(answer)

    async def _say(self, payload: dict[str, Any]) -> None:
        """Say something to the other registries. Nothing is lost with it for good: a gap is found and asked for."""
        if self._bus is None:
            return
        message = Message(sender_id=self._me, message_type=MessageType.EVENT, payload=payload, topic=TOPIC)
        try:
            await self._bus.publish(message)
        except PodiumError as error:  # no connection, no room, too large
            _log.warning("other registries could not be told", kind=payload.get("kind"), reason=str(error))

    def _by_status(self) -> dict[str, float]:
        found: Counter[str] = Counter()
        for state, number in self._fleet.counts().items():
            found[status_of(state)] += number
        return {status: float(number) for status, number in found.items()}

    def _health_by_agent(self) -> dict[str, float]:
        return {info.agent_id: info.health for info in self._fleet.infos(self._clock.now_us())}


def limits_of(settings: Settings) -> FleetLimits:
    """Return the registry's limits of these settings."""
    return FleetLimits(
        heartbeat_seconds=settings.heartbeat_interval_seconds,
        unhealthy_seconds=settings.unhealthy_seconds,
        lost_seconds=settings.deregistration_timeout_seconds,
        max_agents=settings.max_concurrent_agents,
    )


def status_of(state: AgentState) -> str:
    """Return the `status` label of `registry_agents_total`: ACTIVE for all that can be given work."""
    return "ACTIVE" if state in AVAILABLE else state.name


def _words(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise InvalidInputError(f"a list of names is expected, not the text {given[:40]!r}")
    return tuple(given)


def _note_end(task: asyncio.Task[None]) -> None:
    """Say when a task of a registry ends otherwise than by its shutdown."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a task of the registry has ended", task=task.get_name(), reason=repr(error))


def _tell(change: Change) -> None:
    say = _log.info if change.kind is ChangeKind.RECOVERED else _log.warning
    say(f"agent {change.kind}", agent=change.descriptor.agent_id, reason=change.reason)
