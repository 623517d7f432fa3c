"""Agents of a process that are reached over the bus: those of `podium agent`, which is nothing else, and those of an
orchestrator that shares its work with others. They join the fleet, work, and leave in good order when they are asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from podium.agents.connection import MakeTransport
from podium.agents.host import AgentHost, HostLimits
from podium.agents.renewal import Renewer, process_renewer
from podium.agents.sdk import AgentDefinition
from podium.agents.secrets import Secrets
from podium.agents.signatures import schemas_text
from podium.agents.wire import AgentLines, AgentWire
from podium.bus.names import check_agent_id
from podium.clock import Clock, SystemClock
from podium.exceptions import PodiumError, TransportClosedError
from podium.fleet import wire
from podium.ids import IdSource
from podium.telemetry.logs import get_logger

_log = get_logger("podium.agents")


class ServedAgents:
    """Agents of one process on one connection. `start` them, await their `ended`, `stop` them.

    Or `open` the connection, and `serve` one after the other.
    """

    def __init__(
        self,
        make: MakeTransport,
        *,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        renewer: Renewer | None = None,
        limits: HostLimits = HostLimits(),
        register_on_own_subject: bool = False,
        incarnation: str = "",
        secrets: Secrets | None = None,
    ) -> None:
        """`make` makes the transport; agents with credentials of their own register on subjects of their own.

        `incarnation` names this start of the process (default: made up). Where the transport's connection is named by
        it (`connection_name`), the orchestrator notices at once that the process has died.
        """
        self._clock = clock or SystemClock()
        self._ids = ids or IdSource(self._clock)
        self._renewer = renewer or process_renewer()
        self._limits = limits
        self._secrets = secrets or Secrets()
        self.incarnation = incarnation or self._ids.token()
        self.wire = AgentWire(
            make,
            self._clock,
            self.incarnation,
            refused=self._refused,
            drain=self._asked_to_drain,
            taken_in=self._taken_in,
            register_on_own_subject=register_on_own_subject,
        )
        self.hosts: dict[str, AgentHost] = {}
        self._schemas: dict[int, tuple[object, dict[str, wire.FunctionSchemas]]] = {}  # by functions, which are kept
        self.failure: PodiumError | None = None
        self._over = asyncio.Event()
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(
        self,
        definitions: Sequence[AgentDefinition],
        *,
        count: int = 1,
        names: Sequence[str] = (),
        concurrency: int | None = None,
        **more: Any,
    ) -> None:
        """Connect, and have `count` agents of each definition. `names` are their ids (default: made up).

        `more` are fields of their registrations. Raises TransportUnavailableError, AgentError when an agent's own
        `start` fails, InvalidInputError for a name that can't be one.
        """
        wanted = [definition for definition in definitions for _ in range(count)]
        ids = list(names) or [self.id_for(d, n % count + 1) for n, d in enumerate(wanted)]
        for agent in ids:
            check_agent_id(agent)
        await self.open()
        try:
            for definition, agent in zip(wanted, ids, strict=True):
                sized = replace(definition, slots=concurrency) if concurrency is not None else definition
                await self.serve(sized, agent, **more)
        except BaseException:
            await self.abandon()  # all of them or none: nobody would know of the others
            raise

    async def open(self) -> None:
        """Connect. Raises TransportUnavailableError."""
        await self.wire.open()

    async def serve(self, definition: AgentDefinition, agent: str, **more: Any) -> AgentHost:
        """Have one more agent, under this id; `more` are fields of its registration.

        Raises AgentError when its own `start` fails, TransportClosedError when they have been stopped.
        """
        if self._over.is_set():
            raise TransportClosedError("these agents have left")
        host = AgentHost(
            definition,
            agent,
            self.incarnation,
            self.wire,
            self._clock,
            AgentLines(self.wire, agent),
            renewer=self._renewer,
            limits=self._limits,
            secrets=self._secrets,
        )
        self.hosts[agent] = host
        await self.wire.attach(agent, host.deliver, schemas=self._schemas_of(definition), **more)
        await host.start()
        return host

    def _schemas_of(self, definition: AgentDefinition) -> dict[str, wire.FunctionSchemas]:
        """Return what is said of functions at the registration; of many agents of one code, worked out once."""
        functions = definition.functions
        known = self._schemas.get(id(functions))
        if known is None:
            text = schemas_text(definition)
            schemas = msgspec.json.decode(text, type=dict[str, wire.FunctionSchemas]) if text else {}
            known = self._schemas[id(functions)] = (functions, schemas)
        return known[1]

    def id_for(self, definition: AgentDefinition, number: int) -> str:
        """Return an id that no other process has: of the type, this start of the process, and a number."""
        return f"{definition.type[:96]}-{self.incarnation}-{number}"

    async def registered(self) -> None:
        """Return when the orchestrator has confirmed all of them; it may not be there yet."""
        for agent in self.hosts:
            await self.wire.registered(agent)

    async def ended(self) -> None:
        """Return when all agents have been asked to leave and have left, or may not be part of the fleet."""
        await self._over.wait()

    async def stop(self, grace_seconds: float = 10.0) -> None:
        """Take nothing new, finish within the grace, hand back the rest, leave. Safe twice."""
        await asyncio.gather(*(host.drain(grace_seconds) for host in self.hosts.values()))
        await self.wire.close()
        self._over.set()

    async def abandon(self) -> None:
        """End without a word to the orchestrator: not all of them could start, or others have their names."""
        for host in self.hosts.values():
            host.abandon()
        await self.wire.close()
        self._over.set()

    def _refused(self, agent: str, error: PodiumError) -> None:
        """The fleet has no place for this agent: its name is another's, or a later process has it."""
        host = self.hosts.pop(agent, None)
        if host is None:
            return
        self.failure = error
        _log.error("the orchestrator refuses this agent", agent=agent, reason=str(error))
        host.abandon()
        if not self.hosts:
            self._over.set()

    def _taken_in(self, agent: str) -> None:
        """The orchestrator has registered this agent, perhaps anew after something was lost: results are repeated."""
        host = self.hosts.get(agent)
        if host is not None:
            host.repeat_results()

    def _asked_to_drain(self, agent: str, grace_seconds: float) -> None:
        host = self.hosts.get(agent)
        if host is None:
            return
        leaving = asyncio.get_running_loop().create_task(self._drain(host, grace_seconds), name=f"{agent} leaves")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _drain(self, host: AgentHost, grace_seconds: float) -> None:
        await host.drain(grace_seconds)
        self.hosts.pop(host.agent_id, None)
        if not self.hosts:
            await self.wire.close()
            self._over.set()
