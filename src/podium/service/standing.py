"""How this process stands among replicas and agents: whether it decides about the fleet, whether others hear for it,
and who lives here or elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from podium.app import Podium
from podium.engine.runtime import Engine


class Standing:
    """What a process with an engine can say of itself."""

    def __init__(self, podium: Podium, engine: Engine) -> None:
        self._podium = podium
        self._engine = engine

    @property
    def replica(self) -> str:
        """The name of this replica; `single` where it shares its store with nobody."""
        ownership = self._podium.ownership
        return ownership.replica.name if ownership is not None else "single"

    def leads(self) -> bool:
        """Whether this replica decides about the fleet now; one that stood still must first renew its lease."""
        return self._engine.leads and self.reaches()

    def reaches(self) -> bool:
        """Whether this replica's lease holds, or it needs none: else what it hears is better heard by others."""
        ownership = self._podium.ownership
        return ownership is None or ownership.lease_seconds > 0

    def held_as(self, agent: str) -> str:
        """Return the incarnation under which an agent holds attempts, of whatever replica's executions."""
        staffing = self._engine.staffing
        return staffing.held_as(agent) or staffing.placement.held_as(agent)

    def lives_here(self, agent: str) -> bool:
        """Whether an id is that of an agent of this process, or kept for the orchestrator's own."""
        local = self._podium.agents
        return agent.startswith("podium_") or (local is not None and agent in local.hosts)

    def lives_elsewhere(self, agent_type: str, known: Callable[[str], bool]) -> bool:
        """Whether an agent type needs no code here: some agent that is `known` on the bus registered as it."""
        placed = self._engine.staffing.placement.agents.values()
        return any(one.type == agent_type and known(one.id) for one in placed)
