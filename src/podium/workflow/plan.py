"""What the planner foresees of a workflow: stages, the critical path, how much can go on side by side, what it needs.

A plan supposes agents without number; what a given fleet makes of it is the scheduler's to say. Nobody knows how long a
task takes before it has run, so a plan says where its numbers come from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from podium.exceptions import WorkflowInvalidError
from podium.workflow.graph import DependencyGraph
from podium.workflow.model import ConstraintType, FailureAction, ResourceRequirements, Task, Workflow
from podium.workflow.units import parse_duration

UNIT_SECONDS = 1.0  # what a task is taken to last when nothing is known of it


class Estimates(StrEnum):
    """Where a plan's durations come from."""

    GIVEN = "given"  # each task's is given
    PARTLY_GIVEN = "partly given"  # the others are taken to last one second
    UNIT = "unit"  # none is: every task is taken to last one second


class ExecutionStage(Struct, frozen=True):
    """Tasks that need nothing of each other, and all of whose dependencies are in earlier stages (document 002)."""

    stage_number: int  # from 1
    tasks: tuple[Task, ...]
    max_parallelism: int  # instances at once; one of unknown number counts as one
    estimated_duration: float  # seconds, of the longest


class ExecutionPlan(Struct, frozen=True):
    """How a workflow will run if dependencies alone hold it back (document 002). Durations are in seconds."""

    workflow_id: str
    stages: tuple[ExecutionStage, ...]
    critical_path: tuple[str, ...]
    estimated_duration: float  # of the critical path
    parallelism_factor: float  # work / critical path: how many agents it can keep busy on average
    resource_requirements: ResourceRequirements  # the peak of each resource, when all starts as early as it can
    task_count: int = 0
    edge_count: int = 0
    work_seconds: float = 0.0  # of all instances together
    durations: dict[str, float] = {}  # of a task with all its instances
    slack_seconds: dict[str, float] = {}
    instances: dict[str, int | None] = {}  # of each task that fans out; None where only the run will tell
    fallbacks: tuple[str, ...] = ()  # tasks that stand in for others, or undo them: no time is counted
    estimates: Estimates = Estimates.UNIT

    @property
    def depth(self) -> int:
        """The number of stages."""
        return len(self.stages)

    def to_networkx(self) -> Any:
        """Return a `networkx.DiGraph` of the tasks, each with its stage, duration, slack and whether it is critical."""
        graph = DependencyGraph.of_tasks(task for stage in self.stages for task in stage.tasks).to_networkx()
        critical = frozenset(self.critical_path)
        for stage in self.stages:
            for task in stage.tasks:
                graph.nodes[task.id].update(
                    stage=stage.stage_number,
                    duration=self.durations.get(task.id, 0.0),
                    slack=self.slack_seconds.get(task.id, 0.0),
                    critical=task.id in critical,
                )
        return graph

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-like values, as `podium plan --json` prints it."""
        return {
            "workflow_id": self.workflow_id,
            "tasks": self.task_count,
            "edges": self.edge_count,
            "depth": self.depth,
            "critical_path": list(self.critical_path),
            "critical_path_seconds": self.estimated_duration,
            "work_seconds": self.work_seconds,
            "parallelism_factor": self.parallelism_factor,
            "estimates": str(self.estimates),
            "stages": [_stage_as_dict(stage, self.instances) for stage in self.stages],
            "durations": self.durations,
            "slack_seconds": self.slack_seconds,
            "instances": {task: "dynamic" if count is None else count for task, count in self.instances.items()},
            "fallbacks": list(self.fallbacks),
            "resources": {
                name: amount for name, amount in msgspec.to_builtins(self.resource_requirements).items() if amount
            },
        }


def plan(workflow: Workflow, durations: Mapping[str, float] | None = None) -> ExecutionPlan:
    """Return the plan of a workflow; WorkflowInvalidError for a cycle or an unknown dependency, which it names.

    `durations` are the seconds of one instance by task id; without them each task's `estimated_duration` is taken, else
    what the workflow's `metadata["durations"]` says of it (seconds, or texts such as "5m").
    """
    graph = DependencyGraph.of(workflow)
    given = _checked(known_durations(workflow) if durations is None else durations, graph)
    spares = {task.on_failure.task for task in workflow.tasks if task.on_failure.action is FailureAction.FALLBACK}
    spares |= {task.compensation.task for task in workflow.tasks if task.compensation is not None}
    fallbacks = tuple(task.id for task in workflow.tasks if task.id in spares)
    fanned = [task for task in workflow.tasks if task.for_each is not None or task.parallel]
    instances = {task.id: _instances(task, workflow) for task in fanned}
    widths = {task.id: _width(task, instances[task.id]) for task in fanned}

    takes = {task_id: given.get(task_id, UNIT_SECONDS) for task_id in graph.ids}
    takes.update(dict.fromkeys(fallbacks, 0.0))
    work = dict(takes)
    for task_id, width in widths.items():
        count = _counted(instances[task_id])
        work[task_id] *= count
        takes[task_id] *= math.ceil(count / width)

    timing = graph.timing(takes)
    work_seconds = math.fsum(work.values())
    return ExecutionPlan(
        workflow_id=workflow.id,
        stages=_stages(workflow, graph, timing.durations, widths),
        critical_path=tuple(timing.critical_path),
        estimated_duration=timing.seconds,
        parallelism_factor=work_seconds / timing.seconds if timing.seconds else float(bool(workflow.tasks)),
        resource_requirements=_peak(workflow.tasks, timing.earliest_start, timing.durations, widths),
        task_count=len(graph),
        edge_count=graph.edge_count,
        work_seconds=work_seconds,
        durations=takes,
        slack_seconds=graph.slack_of(timing),
        instances=instances,
        fallbacks=fallbacks,
        estimates=_estimates(workflow, given),
    )


# --- durations and instances ---------------------------------------------------------------------------------------


def known_durations(workflow: Workflow) -> Mapping[str, float]:
    """Return the seconds that one instance of a task is expected to take, by id, of the tasks where somebody said so.

    Raises WorkflowInvalidError for `metadata.durations` that are none.
    """
    own = {task.id: task.wait_for for task in workflow.tasks if isinstance(task.wait_for, float)}
    own |= {task.id: task.estimated_duration for task in workflow.tasks if task.estimated_duration is not None}
    found = workflow.metadata.get("durations")
    if not isinstance(found, Mapping):
        return own
    try:
        return {**{str(task_id): parse_duration(value) for task_id, value in found.items()}, **own}
    except ValueError as error:
        raise WorkflowInvalidError(f"metadata.durations: {error}") from error


def _checked(given: Mapping[str, float], graph: DependencyGraph) -> dict[str, float]:
    """Return the durations of the tasks that are there; WorkflowInvalidError for one that is none."""
    found = {task_id: float(seconds) for task_id, seconds in given.items() if task_id in graph}
    for task_id, seconds in found.items():
        if not 0 <= seconds < math.inf:
            raise WorkflowInvalidError(
                f"the duration of the task '{task_id}' is {seconds}; expected zero or more seconds"
            )
    return found


def _estimates(workflow: Workflow, given: Mapping[str, float]) -> Estimates:
    if not given:
        return Estimates.UNIT
    return Estimates.GIVEN if len(given) == len(workflow.tasks) else Estimates.PARTLY_GIVEN


def _instances(task: Task, workflow: Workflow) -> int | None:
    """Return how many instances a task that fans out has; None where only the run will tell."""
    if isinstance(task.for_each, list):
        return len(task.for_each)
    if task.for_each is not None:
        return None
    group = workflow.agents.get(task.agent)
    return group.count if group is not None else None


def _counted(instances: int | None) -> int:
    return 1 if instances is None else instances


def _width(task: Task, instances: int | None) -> int:
    """Return how many instances of a task run at once."""
    count = _counted(instances)
    return max(1, count if task.max_parallel is None else min(count, task.max_parallel))


# --- stages and resources ------------------------------------------------------------------------------------------


def _stages(
    workflow: Workflow, graph: DependencyGraph, takes: list[float], widths: Mapping[str, int]
) -> tuple[ExecutionStage, ...]:
    tasks, limits = workflow.tasks, parallelism_limits(workflow)
    return tuple(
        ExecutionStage(
            stage_number=number,
            tasks=tuple([tasks[at] for at in places]),
            max_parallelism=min([sum([widths.get(tasks[at].id, 1) for at in places]), *limits]),
            estimated_duration=max([takes[at] for at in places]),
        )
        for number, places in enumerate(graph.stage_places(), 1)
    )


_OF_PARALLELISM = frozenset({ConstraintType.MAX_PARALLEL})


def parallelism_limits(workflow: Workflow) -> list[int]:
    """Return how many tasks the workflow lets run at once, by each of its limits."""
    limits = [constraint.value for constraint in workflow.constraints if constraint.type in _OF_PARALLELISM]
    return limits if workflow.config.max_parallel_tasks is None else [*limits, workflow.config.max_parallel_tasks]


def _stage_as_dict(stage: ExecutionStage, instances: Mapping[str, int | None]) -> dict[str, Any]:
    dynamic = [task.id for task in stage.tasks if instances.get(task.id, 1) is None]
    return {
        "stage_number": stage.stage_number,
        "tasks": [task.id for task in stage.tasks],
        "max_parallelism": stage.max_parallelism,
        "estimated_duration": stage.estimated_duration,
        **({"dynamic": dynamic} if dynamic else {}),
    }


_NOTHING = Task(id="").resources  # the default: one object for all tasks that say nothing
_NAMED = ("cpu_cores", "memory_mb", "disk_mb", "network_bandwidth_mbps", "gpu_count")
_SAME = 5e-7

_Use = tuple[float, float, float]  # from, to, how much


def _peak(
    tasks: tuple[Task, ...], starts: list[float], takes: list[float], widths: Mapping[str, int]
) -> ResourceRequirements:
    """Return the most of each resource that is in use at once when every task starts as early as it can."""
    uses: dict[str, list[_Use]] = {name: [] for name in _NAMED}
    of_named = tuple(uses.items())
    for task, start, seconds in zip(tasks, starts, takes, strict=True):
        resources = task.resources
        if resources is _NOTHING or seconds <= 0:
            continue
        width, end = widths.get(task.id, 1), start + seconds
        for name, listed in of_named:
            if amount := getattr(resources, name):
                listed.append((start, end, amount * width))
        for name, amount in resources.custom_resources.items():
            uses.setdefault(f".{name}", []).append((start, end, amount * width))  # a dot begins no field's name
    return _requirements({name: _most_at_once(listed) for name, listed in uses.items() if listed})


def _most_at_once(uses: list[_Use]) -> float:
    """Return the most that is in use at one time; what ends when something else begins has made room for it."""
    begins = sorted(uses)
    ends = sorted([(end, amount) for _, end, amount in uses])
    in_use = most = 0.0
    ended, next_end = 0, ends[0][0] - _SAME
    for start, _, amount in begins:
        while next_end <= start:
            in_use -= ends[ended][1]
            ended += 1
            next_end = ends[ended][0] - _SAME if ended < len(ends) else math.inf
        in_use += amount
        if in_use > most:
            most = in_use
    return most


def _requirements(peak: Mapping[str, float]) -> ResourceRequirements:
    network, gpus = peak.get("network_bandwidth_mbps"), peak.get("gpu_count")
    return ResourceRequirements(
        cpu_cores=round(peak.get("cpu_cores", 0.0), 6),
        memory_mb=round(peak.get("memory_mb", 0)),
        disk_mb=round(peak.get("disk_mb", 0)),
        network_bandwidth_mbps=None if network is None else round(network),
        gpu_count=None if gpus is None else round(gpus),
        custom_resources={name[1:]: round(amount) for name, amount in peak.items() if name.startswith(".")},
    )
