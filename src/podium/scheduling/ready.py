"""A task that waits for an agent, as placement has it, and what it gets: a slot. Values only."""

from __future__ import annotations

from msgspec import Struct

from podium.scheduling.resources import NOTHING, Vector
from podium.workflow.model import CircuitBreaker

ANY_TYPE = "*"


class Bound(Struct, frozen=True, array_like=True, gc=False):
    """How many attempts of a key, over all executions, may be at work at once; or, `per_us` given, begin within it."""

    key: str
    limit: int
    per_us: int = 0
    tenant: str = ""


class ReadyTask:
    """A task that waits for an agent."""

    __slots__ = (
        "agent_type",
        "attempt",
        "bounds",
        "capabilities",
        "circuit",
        "execution",
        "function",
        "kept_back",
        "lets_pass",
        "line",
        "needs",
        "number",
        "passed_by",
        "preferred",
        "priority",
        "queue",
        "queued",
        "ready_us",
        "task",
        "version",
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
        bounds: tuple[Bound, ...] = (),
        version: str = "",
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
        self.bounds = bounds
        self.version = version  # which versions of agents may have it; empty: any
        self.passed_by = 0
        self.queued = True
        self.kept_back = False  # by a limit, and so not in its queue
        self.lets_pass = False  # a limit let it out and it found no agent, so that others of its keys may go
        self.line: object = None  # of a limit, which keeps it back or has let it out


Entry = tuple[int, int, int, ReadyTask]  # as it is queued: by priority, age, arrival


class Slot(Struct, frozen=True, gc=False):
    """A grant: this attempt of this task goes to this agent."""

    execution: str
    task: str
    number: int
    attempt: str
    agent: str
    incarnation: str
