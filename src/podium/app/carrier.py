"""How messages for agents leave the engine: to those of this process, made after it, or to those elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podium.agents.local import LocalAgents
    from podium.fleet.messages import Carrier, ToAgent


class Carriers:
    """Hands each message to who has its agent."""

    def __init__(self) -> None:
        self.agents: LocalAgents | None = None
        self.elsewhere: Carrier | None = None

    def send(self, agent: str, message: ToAgent) -> None:
        """Hand it over; of an agent that is nowhere it is lost, as the engine is prepared for."""
        if self.elsewhere is not None and (self.agents is None or agent not in self.agents.hosts):
            self.elsewhere.send(agent, message)
        elif self.agents is not None:
            self.agents.send(agent, message)
