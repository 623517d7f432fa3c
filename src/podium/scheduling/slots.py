"""Agents as placement sees them: their slots, what holds these, and which of several is chosen first.

An attempt's hold is kept until the attempt has ended, whatever becomes of its agent meanwhile: it counts while the
incarnation that it was given to is registered.
"""

from __future__ import annotations

from typing import Protocol

from podium.fleet.breaker import Circuit
from podium.scheduling.ready import ANY_TYPE, Bound, ReadyTask
from podium.scheduling.resources import NOTHING, Capacity, Vector
from podium.workflow.versions import satisfies


class Together:
    """Agents that may hold only so many attempts at once among all of them: those of one process."""

    __slots__ = ("agents", "held", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self.agents: dict[str, Agent] = {}

    @property
    def full(self) -> bool:
        """Whether none of them can be given something."""
        return self.held >= self.most


class Agent:
    """An agent as placement sees it: slots, resources, what it holds."""

    __slots__ = (
        "capabilities", "capacity", "circuit", "full", "functions", "held", "id", "incarnation", "leaving", "offers",
        "slots", "together", "type", "version",
    )  # fmt: skip

    def __init__(
        self, agent_id: str, agent_type: str, incarnation: str, slots: int, offered: Vector = NOTHING,
        capabilities: frozenset[str] = frozenset(), functions: frozenset[str] = frozenset(),
        together: Together | None = None, version: str = "",
    ) -> None:  # fmt: skip
        self.together = together
        self.version = version
        self.id = agent_id
        self.type = agent_type
        self.incarnation = incarnation
        self.slots = slots
        self.capacity = Capacity(offered)
        self.capabilities = capabilities
        self.functions = functions  # empty: it answers to any
        self.held = 0
        self.full = False  # it refused; until it is heard of again it gets nothing
        self.leaving = False
        self.circuit: Circuit | None = None  # of one at which tasks have failed in a row
        self.offers: set[tuple[str, float]] = set()  # the lists, by type, and ranks under which it stands there

    @property
    def open(self) -> bool:
        """Whether it can be given something."""
        if self.held >= self.slots or self.full or self.leaving:
            return False
        if self.circuit is not None and not self.circuit.admits(None):
            return False
        return self.together is None or not self.together.full

    @property
    def load(self) -> float:
        """The share of its slots that is taken."""
        return self.held / self.slots

    def serves(self, ready: ReadyTask) -> bool:
        """Whether a task is of its kind: its type, or any type and a function that it answers to."""
        if ready.agent_type == ANY_TYPE:
            return not self.functions or ready.function in self.functions
        return ready.agent_type == self.type

    def suits(self, ready: ReadyTask) -> bool:
        """Whether it has the capabilities and the version that a task asks for."""
        if ready.capabilities and not ready.capabilities <= self.capabilities:
            return False
        return not ready.version or satisfies(self.version, ready.version)


class AgentChoice(Protocol):
    """Ranks agents for a task: the smallest rank that fits gets it."""

    def rank(self, agent: Agent) -> float:
        """Return the agent's rank now."""
        ...


class LeastLoaded:
    """The agent with the smallest share of its slots taken."""

    def rank(self, agent: Agent) -> float:
        """Return the share of slots taken."""
        return agent.load


class Hold:
    """A slot that an attempt holds. `counted_by` is the agent that counts it, None while that isn't registered."""

    __slots__ = ("agent", "bounds", "counted_by", "execution", "incarnation", "needs")

    def __init__(
        self, agent: str, incarnation: str, execution: str, needs: Vector, bounds: tuple[Bound, ...] = ()
    ) -> None:
        self.bounds = bounds
        self.agent = agent
        self.incarnation = incarnation
        self.execution = execution
        self.needs = needs
        self.counted_by: Agent | None = None

    def count(self, agent: Agent) -> None:
        """Count it against the agent's slots."""
        before, self.counted_by = self.counted_by, agent
        if before is not None and before.together is not None:  # the agent told something new of itself
            before.together.held -= 1
        agent.held += 1
        if agent.together is not None:
            agent.together.held += 1
        agent.capacity.take(self.needs)


_Entry = tuple[int, int, int, ReadyTask]
