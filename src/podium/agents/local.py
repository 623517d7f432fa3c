"""The agents of this process: makes them, carries the orchestrator's messages to them, sees them out.

This is the carrier without a wire: a direct call. A bus is another `Carrier`, and nothing else changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from podium.agents.attempt import StuckAttempt
from podium.agents.host import AgentHost, HostLimits
from podium.agents.outbox import Timers
from podium.agents.renewal import Renewer, process_renewer
from podium.agents.sdk import AgentDefinition
from podium.agents.secrets import Secrets
from podium.clock import Clock, SystemClock
from podium.exceptions import AgentBindingError
from podium.fleet.messages import LogSink, Receiver, ToAgent
from podium.ids import IdSource
from podium.workflow.model import ResourceRequirements

_UNSAID = ResourceRequirements()
logger = logging.getLogger(__name__)


class LocalAgents:
    """Agents of this process by type: `researcher-1`, `researcher-2` and so on; a Carrier for the orchestrator.

    `renewer` defaults to the thread that all agents of a process share; with `renews=False` nobody renews.
    """

    def __init__(
        self,
        bindings: Mapping[str, AgentDefinition],
        receiver: Receiver,
        logs: LogSink,
        *,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        timers: Timers | None = None,
        renewer: Renewer | None = None,
        renews: bool = True,
        limits: HostLimits = HostLimits(),
        secrets: Secrets | None = None,
    ) -> None:
        self._bindings = dict(bindings)
        self._receiver = receiver
        self._logs = logs
        self._clock = clock or SystemClock()
        self._ids = ids or IdSource(self._clock)
        self._timers = timers
        self._renewer = (renewer or process_renewer()) if renews else None
        self._limits = limits
        self._secrets = secrets or Secrets()
        self._hosts: dict[str, AgentHost] = {}
        self._counts: dict[str, int] = {}
        self._in_advance: dict[str, int] = {}  # agents by type that were here before a workflow said what they need
        self.arrived: list[Callable[[str, AgentDefinition], None]] = []  # who is told of each agent that is here now
        self._growing = asyncio.Lock()
        self._leaving = False

    def bind(self, bindings: Mapping[str, AgentDefinition]) -> None:
        """Add types; one that is bound already keeps its code, since its agents run it."""
        self._bindings = {**bindings, **self._bindings}

    async def ensure(
        self, type: str, count: int = 1, resources: ResourceRequirements = _UNSAID, capabilities: tuple[str, ...] = ()
    ) -> None:
        """Have at least so many agents of a type, started and registered; never fewer than before.

        `resources` and `capabilities` are each one's where its code says nothing; agents that are here keep theirs.
        Raises AgentBindingError for a type without code, AgentError when an agent's own `start` fails.
        """
        definition = self._definition(type)
        unlike = (definition.resources == _UNSAID and resources != _UNSAID) or (
            bool(capabilities) and not definition.all_capabilities
        )
        if unlike:  # those that came in advance have neither
            count += self._in_advance.get(type, 0)
        if definition.resources == _UNSAID:
            definition = msgspec.structs.replace(definition, resources=resources)
        if not definition.all_capabilities:
            definition = msgspec.structs.replace(definition, capabilities=capabilities)
        async with self._growing:
            while self._counts.get(type, 0) < count and not self._leaving:
                await self._grow(definition)

    async def hire(self, type: str, count: int | None = None) -> None:
        """Have at least so many agents of a type before a workflow says what they need, or one more (None)."""
        definition = self._definition(type)
        async with self._growing:
            wanted = self._counts.get(type, 0) + 1 if count is None else count
            while self._counts.get(type, 0) < wanted and not self._leaving:
                await self._grow(definition)
                self._in_advance[type] = self._in_advance.get(type, 0) + 1

    def _definition(self, type: str) -> AgentDefinition:
        definition = self._bindings.get(type)
        if definition is None:
            raise AgentBindingError(f"agent type {type!r} has no code behind it; bound are {_listed(self._bindings)}")
        return definition

    async def _grow(self, definition: AgentDefinition) -> None:
        number = self._counts.get(definition.type, 0) + 1
        agent_id = await self._have(definition, number)
        self._counts[definition.type] = number
        for tell in self.arrived:
            tell(agent_id, definition)

    async def _have(self, definition: AgentDefinition, number: int) -> str:
        """Have one more agent of a definition, started and registered; return its id."""
        agent_id = f"{definition.type}-{number}"
        host = AgentHost(
            definition,
            agent_id,
            self._ids.token(),
            self._receiver,
            self._clock,
            self._logs,
            timers=self._timers,
            renewer=self._renewer,
            limits=self._limits,
            secrets=self._secrets,
        )
        await host.start()
        self._hosts[agent_id] = host
        return agent_id

    async def add(self, definition: AgentDefinition, agent_id: str = "", incarnation: str = "") -> AgentHost:
        """Have one agent under an id and an incarnation of its own, started and registered."""
        agent_id = agent_id or f"{definition.type}-{self._ids.token()}"
        host = AgentHost(
            definition,
            agent_id,
            incarnation or self._ids.token(),
            self._receiver,
            self._clock,
            self._logs,
            timers=self._timers,
            renewer=self._renewer,
            limits=self._limits,
            secrets=self._secrets,
        )
        self._hosts[agent_id] = host
        await host.start()
        return host

    async def dismiss(self, agent_id: str) -> None:
        """Have one agent hand back what runs, leave, and be forgotten. Without effect for one that isn't here."""
        host = self._hosts.get(agent_id)
        if host is not None:
            await host.stop()
            self._hosts.pop(agent_id, None)

    def send(self, agent: str, message: ToAgent) -> None:
        """Give a message to an agent; one that isn't here loses it, and its lease ends."""
        host = self._hosts.get(agent)
        if host is None:
            logger.warning("a message to %s is lost: no such agent in this process", agent)
            return
        host.deliver(message)

    @property
    def hosts(self) -> Mapping[str, AgentHost]:
        """The agents by id."""
        return self._hosts

    @property
    def stuck(self) -> tuple[StuckAttempt, ...]:
        """The attempts of all agents that hold a slot though their end was reported."""
        return tuple(stuck for host in self._hosts.values() for stuck in host.stuck)

    async def drain(self, grace_seconds: float = 10.0) -> None:
        """Have all agents finish within the grace, hand back the rest and leave."""
        self._leaving = True
        async with self._growing:
            hosts = tuple(self._hosts.values())
        await asyncio.gather(*(host.drain(grace_seconds) for host in hosts))

    async def stop(self) -> None:
        """Have all agents hand back what runs and leave. Safe to call twice, and while they drain."""
        self._leaving = True
        async with self._growing:
            hosts = tuple(self._hosts.values())
        await asyncio.gather(*(host.stop() for host in hosts))


def _listed(types: Mapping[str, AgentDefinition]) -> str:
    return ", ".join(sorted(types)) or "none"
