"""A task that waits for an agent, as placement has it, and what it gets: a slot. Values only."""

from __future__ import annotations

from msgspec import Struct

from podium.scheduling.resources import NOTHING, Vector
from podium.workflow.model import CircuitBreaker

ANY_TYPE = "*"


class ReadyTask:
    """A task that waits for an agent."""

    __slots__ = (
        "agent_type",
        "attempt",
        "capabilities",
        "circuit",
        "execution",
        "function",
        "needs",
        "number",
        "passed_by",
        "preferred",
        "priority",
        "queue",
        "queued",
        "ready_us",
        "task",
    )  # fmt: skip

    def __init__(
        self,
        execution: str,
        task: str,
        number: int,
        attempt: str,
        agent_type: str,
        priority: int,
        ready_us: int,
        needs: Vector = NOTHING,
        capabilities: frozenset[str] = frozenset(),
        function: str = "",
        preferred: str = "",
        circuit: CircuitBreaker | None = None,
    ) -> None:
        self.execution = execution
        self.task = task
        self.number = number  # of the attempt to come
        self.attempt = attempt
        self.agent_type = agent_type
        self.queue = agent_type if agent_type != ANY_TYPE else f"{ANY_TYPE}:{function}"
        self.priority = priority
        self.ready_us = ready_us
        self.needs = needs
        self.capabilities = capabilities
        self.function = function
        self.preferred = preferred  # an agent's id, if one is
        self.circuit = circuit  # its workflow's own policy for agents at which tasks fail in a row
        self.passed_by = 0
        self.queued = True


class Slot(Struct, frozen=True, gc=False):
    """A grant: this attempt of this task goes to this agent."""

    execution: str
    task: str
    number: int
    attempt: str
    agent: str
    incarnation: str
