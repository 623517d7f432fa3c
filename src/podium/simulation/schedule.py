"""What a simulated run came to: which attempt was where and when, how busy the agents were, how good that can be.

Pure. Times are seconds since the start of the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from heapq import heappop, heappush
from typing import Any, Final

from msgspec import Struct

from podium.clock import SECOND
from podium.scheduling.resources import vector_of
from podium.simulation.crew import Crew
from podium.workflow.graph import DependencyGraph
from podium.workflow.model import ExecutionStatus, Workflow

_SHORT: Final = {"cpu_cores": "cpu", "memory_mb": "memory", "disk_mb": "disk", "gpu_count": "gpu"}


class Ran(Struct, frozen=True):
    """One attempt: where it was, and from when to when."""

    task: str  # with the instance: `research[2]`
    attempt: int
    agent: str
    start_seconds: float
    end_seconds: float
    outcome: str  # succeeded, timed out, cancelled

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end_seconds - self.start_seconds


class SimulatedRun(Struct, frozen=True):
    """A workflow's run on virtual time."""

    workflow: Workflow
    crew: Crew
    status: ExecutionStatus
    ran: tuple[Ran, ...]  # in the order of their starts
    durations: Mapping[str, float]  # of one instance, by task id, as they were supposed
    guessed: int  # tasks of which nobody says how long they take
    error: str = ""
    skipped: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether the execution came to its end without failing."""
        return self.status is ExecutionStatus.COMPLETED

    @property
    def left_out(self) -> tuple[str, ...]:
        """Tasks that are child workflows: each takes what it is expected to, and nothing inside it is an attempt."""
        return tuple(task.id for task in self.workflow.tasks if task.workflow is not None)

    @property
    def makespan_seconds(self) -> float:
        """From the start of the run to the end of its last attempt."""
        return max((ran.end_seconds for ran in self.ran), default=0.0)

    @property
    def work_seconds(self) -> float:
        """What all attempts took together."""
        return math.fsum(ran.seconds for ran in self.ran)

    @property
    def critical_path(self) -> tuple[str, ...]:
        """The tasks that would take longest with agents without number."""
        return tuple(self._timing.critical_path) if self.ran else ()

    @property
    def critical_path_seconds(self) -> float:
        """How long they would take."""
        return _rounded(self._timing.seconds) if self.ran else 0.0

    @property
    def lower_bound_seconds(self) -> float:
        """No schedule of what was run is shorter: the critical path, or the most used resource used without a gap."""
        spent, offered = self._spent(), self._offered()
        return _rounded(max([self.critical_path_seconds, *(spent[name] / total for name, total in offered.items())]))

    def utilisation(self) -> dict[str, float]:
        """Return which share of the agents' resources was in use, from the start to the end, by short name.

        Of agents that do one task at a time `agents` is the share of the time in which they did one.
        """
        spent, offered, makespan = self._spent(), self._offered(), self.makespan_seconds
        if not makespan:
            return {_SHORT.get(name, name): 0.0 for name in offered}
        return {_SHORT.get(name, name): spent[name] / (total * makespan) for name, total in offered.items()}

    @property
    def chain(self) -> tuple[Ran, ...]:
        """What held the end up, in order: each began when the one before it ended.

        Of several that ended then it is a dependency, else the one before at the same agent, else any.
        """
        ends: dict[int, list[Ran]] = {}
        for ran in self.ran:
            ends.setdefault(_microseconds(ran.end_seconds), []).append(ran)
        needs = {task.id: frozenset(task.dependencies) for task in self.workflow.tasks}
        at = max(self.ran, key=lambda ran: ran.end_seconds, default=None)
        chain: dict[Ran, None] = {}
        while at is not None:
            chain[at] = None
            before = [ran for ran in ends.get(_microseconds(at.start_seconds), ()) if ran not in chain]
            at = min(before, key=partial(_distance, at, needs[task_of(at.task)]), default=None)
        return tuple(reversed(chain))

    def lanes(self) -> tuple[list[str], list[int]]:
        """Return rows in which no two attempts meet, each by its agent's name, and the row of each attempt."""
        free: dict[str, list[tuple[int, int]]] = {agent.id: [] for agent in self.crew.agents}
        used: dict[str, int] = dict.fromkeys(free, 0)
        places = []
        for ran in self.ran:
            lanes, start = free[ran.agent], _microseconds(ran.start_seconds)
            if lanes and lanes[0][0] <= start:
                lane = heappop(lanes)[1]
            else:
                lane, used[ran.agent] = used[ran.agent], used[ran.agent] + 1
            heappush(lanes, (_microseconds(ran.end_seconds), lane))
            places.append((ran.agent, lane))
        first: dict[str, int] = {}
        rows: list[str] = []
        for agent, lanes_used in used.items():
            first[agent] = len(rows)
            rows += [agent, *[""] * (max(lanes_used, 1) - 1)]
        return rows, [first[agent] + lane for agent, lane in places]

    def to_dict(self) -> dict[str, Any]:
        """Return the run as JSON-like values, as `podium run --simulate --json` prints it."""
        return {
            "workflow": self.workflow.name,
            "status": str(self.status),
            "error": self.error or None,
            "makespan_seconds": _rounded(self.makespan_seconds),
            "lower_bound_seconds": self.lower_bound_seconds,
            "critical_path_seconds": self.critical_path_seconds,
            "critical_path": list(self.critical_path),
            "work_seconds": _rounded(self.work_seconds),
            "held_up_by": [ran.task for ran in self.chain],
            "agents": len(self.crew.agents),
            "capacity": dict(self.crew.capacity),
            "utilisation": {name: round(share, 4) for name, share in self.utilisation().items()},
            "guessed": self.guessed,
            "skipped": list(self.skipped),
            "left_out": list(self.left_out),
            "tasks": [
                {
                    "task": ran.task,
                    "attempt": ran.attempt,
                    "agent": ran.agent,
                    "start_seconds": _rounded(ran.start_seconds),
                    "end_seconds": _rounded(ran.end_seconds),
                    "outcome": ran.outcome,
                }
                for ran in self.ran
            ],
        }

    # --- inside ----------------------------------------------------------------------------------------------------

    @property
    def _timing(self) -> Any:
        ran = {task_of(ran.task) for ran in self.ran if ran.outcome == "succeeded"}
        takes = {task.id: self.durations[task.id] if task.id in ran else 0.0 for task in self.workflow.tasks}
        return DependencyGraph.of(self.workflow).timing(takes)

    def _spent(self) -> dict[str, float]:
        """Return resource-seconds in use, by the resource's full name; `agents` are agents' seconds."""
        needs = {task.id: vector_of(task.resources) for task in self.crew.workflow.tasks}
        spent = dict.fromkeys(self._offered(), 0.0)
        for ran in self.ran:
            for name, amount in needs[task_of(ran.task)].items():
                if name in spent:
                    spent[name] += amount * ran.seconds
            if "agents" in spent:
                spent["agents"] += ran.seconds
        return spent

    def _offered(self) -> dict[str, float]:
        """Return what all agents have together of what each of them has a limit of."""
        vectors = [vector_of(agent.resources) for agent in self.crew.agents]
        names = [name for name in vectors[0] if all(name in vector for vector in vectors)] if vectors else []
        offered = {name: sum(vector[name] for vector in vectors) for name in names}
        if not any(agent.resources.cpu_cores for agent in self.crew.agents):
            offered["agents"] = float(len(vectors))
        return offered


def task_of(path: str) -> str:
    """Return the task that an instance is one of; of a task, itself."""
    return path.partition("[")[0]


def _distance(later: Ran, needs: frozenset[str], earlier: Ran) -> int:
    """Return how far an attempt is from being the cause that a later one began when it ended."""
    if task_of(earlier.task) in needs or earlier.task == later.task:
        return 0
    return 1 if earlier.agent == later.agent else 2


def _microseconds(seconds: float) -> int:
    return round(seconds * SECOND)


def _rounded(seconds: float) -> float:
    return round(seconds, 6)
