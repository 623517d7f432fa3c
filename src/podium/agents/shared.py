"""The agents of an orchestrator's process that work for all replicas: they are reached over the bus, as agents
elsewhere are, and are part of everybody's fleet.

To whoever has them here they are like `LocalAgents`; what their owner adds for itself alone stays in the process.
"""

from __future__ import annotations

import asyncio
from typing import Any

from podium.agents.attempt import StuckAttempt
from podium.agents.local import LocalAgents
from podium.agents.sdk import AgentDefinition
from podium.agents.serving import ServedAgents
from podium.exceptions import TransportClosedError


class SharedAgents(LocalAgents):
    """`researcher-4fe1a2b3-1` and so on, by the incarnation of the connection that they are on.

    Whoever has one waits until there is a connection: `board` them once the bus is there.
    """

    def __init__(self, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more)
        self._served: ServedAgents | None = None
        self._there = asyncio.Event()

    async def board(self, served: ServedAgents) -> None:
        """Have agents on this connection from now on. Raises TransportUnavailableError."""
        await served.open()
        self._served = served
        self._there.set()

    async def _have(self, definition: AgentDefinition, number: int) -> str:
        await self._there.wait()
        if self._served is None:
            raise TransportClosedError("the agents of this process have left")
        agent_id = self._served.id_for(definition, number)
        await self._served.serve(definition, agent_id)
        return agent_id

    @property
    def stuck(self) -> tuple[StuckAttempt, ...]:
        """The attempts of all agents that hold a slot though their end was reported."""
        served = self._served.hosts.values() if self._served is not None else ()
        return (*super().stuck, *(stuck for host in tuple(served) for stuck in host.stuck))

    async def leave(self, grace_seconds: float) -> None:
        """Have those that work for all finish within the grace, hand back the rest and leave, while they are heard."""
        self._leaving = True
        served, self._served = self._served, None
        self._there.set()  # whoever waits for one waits in vain
        if served is not None:
            await served.stop(grace_seconds)

    async def drain(self, grace_seconds: float = 10.0) -> None:
        """Have all agents finish within the grace, hand back the rest and leave."""
        await self.leave(grace_seconds)
        await super().drain(grace_seconds)

    async def stop(self) -> None:
        """Have all agents hand back what runs and leave. Safe to call twice, and while they drain."""
        await self.leave(0.0)
        await super().stop()
