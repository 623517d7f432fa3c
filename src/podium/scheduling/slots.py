"""Agents as placement sees them: their slots and resources, what they are, and which tasks may go there."""

from __future__ import annotations

from podium.fleet.breaker import Circuit
from podium.scheduling.ready import ANY_TYPE, ReadyTask
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

    def fits(self, ready: ReadyTask) -> bool:
        """Whether a task of its kind may go to it now, if it has a slot."""
        if (ready.capabilities or ready.version) and not self.suits(ready):
            return False
        if self.circuit is not None and not self.circuit.admits(ready.circuit):
            return False
        return not ready.needs or not self.capacity.lacking(ready.needs)

    def suits(self, ready: ReadyTask) -> bool:
        """Whether it has the capabilities and the version that a task asks for."""
        if ready.capabilities and not ready.capabilities <= self.capabilities:
            return False
        return not ready.version or satisfies(self.version, ready.version)
