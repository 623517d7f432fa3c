"""What a workflow makes of given agents and resources: which task would go to which agent when, and how long all takes.

The plan of a workflow supposes agents without number; this is its schedule on so many of a size. Durations are foreseen
as the plan foresees them. An agent whose cores are given does as many tasks at once as they have room for, a core for
each that doesn't say; any other one does one at a time. It foretells; the engine places by what really happens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Any

from msgspec import Struct

from podium.exceptions import InvalidInputError
from podium.scheduling.listing import Jobs, Listing, best_listing
from podium.scheduling.resources import NOTHING, Capacity, Vector, vector_of, vector_of_amounts
from podium.workflow.model import Task, Workflow
from podium.workflow.plan import UNIT_SECONDS, Estimates, ExecutionPlan, known_durations, parallelism_limits, plan

MAX_AGENTS = 10_000
MAX_JOBS = 1_000_000  # instances that are scheduled at most
_AT_ONCE = "tasks"  # what there is one of on an agent that does one task at a time
ONE_CORE = 1.0  # what a task takes of an agent's cores that doesn't say how many it needs
_SAME = 1e-6
_SHORT = {"cpu_cores": "cpu", "memory_mb": "memory", "disk_mb": "disk", "gpu_count": "gpu", _AT_ONCE: "agents"}


class Slot(Struct, frozen=True):
    """One task, or one instance of it, on one agent; seconds since the beginning, agents from 0."""

    task: str
    instance: int | None
    agent: int
    start: float
    end: float

    @property
    def path(self) -> str:
        """The task as an execution names it: `crawl`, or `crawl[3]`."""
        return self.task if self.instance is None else f"{self.task}[{self.instance}]"


class Schedule(Struct, frozen=True):
    """Who does what when. `agents` is how many there are, or how many are needed at once where any number is."""

    workflow_id: str
    slots: tuple[Slot, ...]  # by start, then agent
    makespan_seconds: float
    lower_bound_seconds: float  # no schedule can be shorter: the critical path, or the work by what does it
    work_seconds: float
    agents: int
    capacity: dict[str, float]  # of each agent, by resource
    utilisation: dict[str, float]  # the share in use of all that agents have; `agents` where they do one task at a time
    chain: tuple[str, ...]  # what held the end up: each began when the one before it ended
    estimates: Estimates

    def rows(self) -> tuple[list[str], list[int]]:
        """Return rows in which no two slots meet, the first of each agent with its name, and the row of each slot."""
        free: list[list[tuple[float, int]]] = [[] for _ in range(self.agents)]
        used = [0] * self.agents
        places = []
        for slot in self.slots:
            lanes = free[slot.agent]
            if lanes and lanes[0][0] <= slot.start + _SAME:
                lane = heappop(lanes)[1]
            else:
                lane, used[slot.agent] = used[slot.agent], used[slot.agent] + 1
            heappush(lanes, (slot.end, lane))
            places.append((slot.agent, lane))
        firsts: list[int] = []
        names: list[str] = []
        for agent, lanes_used in enumerate(used):
            firsts.append(len(names))
            names += [f"agent {agent + 1}", *[""] * (max(lanes_used, 1) - 1)]
        return names, [firsts[agent] + lane for agent, lane in places]

    def to_dict(self) -> dict[str, Any]:
        """Return the schedule as JSON-like values, as `podium plan --json` prints it."""
        return {
            "makespan_seconds": self.makespan_seconds,
            "lower_bound_seconds": self.lower_bound_seconds,
            "agents": self.agents,
            "capacity": self.capacity,
            "utilisation": self.utilisation,
            "held_up_by": list(self.chain),
            "tasks": [
                {
                    "task": slot.path,
                    "agent": f"agent-{slot.agent + 1}",
                    "start_seconds": round(slot.start, 6),
                    "end_seconds": round(slot.end, 6),
                }
                for slot in self.slots
            ],
        }


def schedule(
    workflow: Workflow,
    agents: int | None = None,
    capacity: Mapping[str, float] | None = None,
    durations: Mapping[str, float] | None = None,
) -> Schedule:
    """Return a schedule of a workflow on so many agents (None: any number), each of this capacity.

    `capacity` has amounts by the settings' names (`cpu`, `memory_mb`, …); what it doesn't name isn't limited, but for
    devices, which must be offered. Instances whose number only the run will tell count as one, and fallbacks aren't
    needed. Raises WorkflowInvalidError for what can't be planned, InvalidInputError for a task that needs more than an
    agent has.
    """
    if agents is not None and not 1 <= agents <= MAX_AGENTS:
        raise InvalidInputError(f"a schedule has 1 to {MAX_AGENTS:,} agents, not {agents:,}")
    foreseen = plan(workflow, durations)
    known = known_durations(workflow) if durations is None else durations
    each = {task_id: float(known.get(task_id, UNIT_SECONDS)) for task_id in foreseen.durations}
    listed = _Listed(workflow, foreseen, each, agents, vector_of_amounts(capacity or {}))
    slots = listed.slots(best_listing(listed.jobs))
    makespan = max((slot.end for slot in slots), default=0.0)
    count = agents if agents is not None else 1 + max((slot.agent for slot in slots), default=-1)
    return Schedule(
        workflow_id=workflow.id,
        slots=slots,
        makespan_seconds=makespan,
        lower_bound_seconds=min(listed.lower_bound(foreseen, agents), makespan),
        work_seconds=foreseen.work_seconds,
        agents=count,
        capacity=listed.capacity,
        utilisation=listed.utilisation(makespan, count),
        chain=_chain(slots, foreseen),
        estimates=foreseen.estimates,
    )


class _Listed:
    """A workflow's instances as jobs. A fan-out ends with a job of its own that takes nothing, so that what waits for
    all of its instances waits for one job.
    """

    def __init__(
        self, workflow: Workflow, foreseen: ExecutionPlan, each: Mapping[str, float], agents: int | None, size: Vector
    ) -> None:
        """`each` are the seconds of one instance, `size` is what an agent has."""
        self.capacity = dict(size)
        self._cores = size.get("cpu_cores", 0.0)
        self._offers = dict(size) if self._cores else {**size, _AT_ONCE: 1.0}
        self._names: list[tuple[str, int | None] | None] = []  # None: the end of a fan-out
        self._takes: list[float] = []
        self._before: list[tuple[int, ...]] = []
        self._needs: list[Vector] = []
        self._shared: dict[str, float] = {}
        if limits := parallelism_limits(workflow):
            self._shared["limit"] = float(max(min(limits), 1))
        last: dict[str, int] = {}
        fallbacks = frozenset(foreseen.fallbacks)
        for task in _in_order(foreseen):
            if task.id not in fallbacks:
                waits = tuple(last[needed] for needed in task.dependencies if needed in last)
                self._add(task, foreseen, each[task.id], waits)
                last[task.id] = len(self._takes) - 1
        machines = agents if agents is not None else max(len(self._takes), 1)
        self.jobs = Jobs(self._takes, self._before, self._needs, self._offers, machines, self._shared)

    def _add(self, task: Task, foreseen: ExecutionPlan, seconds: float, waits: tuple[int, ...]) -> None:
        """Add a task's instances, and what comes when all of them have ended."""
        needs = self._needs_of(task)
        if task.id not in foreseen.instances:
            self._add_one((task.id, None), seconds, waits, needs)
            return
        count = foreseen.instances[task.id]
        if len(self._takes) + (count or 1) > MAX_JOBS:
            raise InvalidInputError(f"more than {MAX_JOBS:,} instances aren't scheduled")
        if task.max_parallel is not None:
            limit = f"task {task.id}"
            self._shared[limit] = float(max(task.max_parallel, 1))
            needs = {**needs, limit: 1.0}
        first = len(self._takes)
        for instance in range(1 if count is None else count):
            self._add_one((task.id, None if count is None else instance), seconds, waits, needs)
        self._add_one(None, 0.0, tuple(range(first, len(self._takes))) or waits, NOTHING)

    def _add_one(
        self, name: tuple[str, int | None] | None, seconds: float, waits: tuple[int, ...], needs: Vector
    ) -> None:
        self._names.append(name)
        self._takes.append(seconds)
        self._before.append(waits)
        self._needs.append(needs)

    def _needs_of(self, task: Task) -> Vector:
        """Return what a task needs of an agent and of the workflow's own limits. Raises InvalidInputError."""
        needs = dict(vector_of(task.resources))
        if self._cores and not needs.get("cpu_cores"):
            needs["cpu_cores"] = min(ONE_CORE, self._cores)
        lacking = Capacity(self.capacity, devices_only_if_offered=bool(self.capacity)).never_fits(needs)
        for name, amount in lacking.items():
            raise InvalidInputError(
                f"the task '{task.id}' needs {needs[name]:g} {name}, and an agent has {needs[name] - amount:g}"
            )
        return {**needs, _AT_ONCE: 1.0, "limit": 1.0}

    def slots(self, found: Listing) -> tuple[Slot, ...]:
        """Return the schedule by start, then agent."""
        slots = [
            Slot(*name, agent, start, start + takes)
            for name, agent, start, takes in zip(self._names, found.machines, found.starts, self._takes, strict=True)
            if name is not None
        ]
        return tuple(sorted(slots, key=lambda slot: (slot.start, slot.end > slot.start, slot.agent)))

    def _work(self) -> dict[str, float]:
        """Return the work that is done with each resource: amounts by seconds."""
        work: dict[str, list[float]] = {name: [] for name in (*self._offers, *self._shared)}
        for takes, needs in zip(self._takes, self._needs, strict=True):
            for name, amount in needs.items():
                if name in work:
                    work[name].append(takes * amount)
        return {name: math.fsum(each) for name, each in work.items()}

    def lower_bound(self, foreseen: ExecutionPlan, agents: int | None) -> float:
        """Return the longest of: the critical path, and the work with each resource by what there is of it."""
        work = self._work()
        there = {**self._shared, **({name: amount * agents for name, amount in self._offers.items()} if agents else {})}
        return max([foreseen.estimated_duration, *(work[name] / amount for name, amount in there.items() if amount)])

    def utilisation(self, makespan: float, agents: int) -> dict[str, float]:
        """Return which share of what all agents have is in use from the start to the end, by its short name."""
        work, seconds = self._work(), makespan * agents
        return {
            _SHORT.get(name, name.removeprefix("custom.")): work[name] / (amount * seconds) if amount * seconds else 0.0
            for name, amount in self._offers.items()
        }


def _in_order(foreseen: ExecutionPlan) -> list[Task]:
    return [task for stage in foreseen.stages for task in stage.tasks]


def _chain(slots: tuple[Slot, ...], foreseen: ExecutionPlan) -> tuple[str, ...]:
    """Return what held the end up, back from what ends last: a dependency, else who had the agent, else whoever ended.

    What takes no time holds nothing up, and could only lead round in a circle.
    """
    if not slots:
        return ()
    ended: dict[int, list[Slot]] = {}
    for slot in slots:
        if slot.end > slot.start:
            ended.setdefault(round(slot.end / _SAME), []).append(slot)
    needs = {task.id: frozenset(task.dependencies) for task in _in_order(foreseen)}
    found = [max(slots, key=lambda slot: slot.end)]
    while True:
        last = found[-1]
        at = round(last.start / _SAME)
        causes = [slot for near in (at, at - 1, at + 1) for slot in ended.get(near, ()) if slot.start < last.start]
        if not causes:
            return tuple(slot.path for slot in reversed(found))
        found.append(min(causes, key=lambda slot: (slot.task not in needs[last.task], slot.agent != last.agent)))
