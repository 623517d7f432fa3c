"""Which boxes the picture of a plan has: one a task, or one for tasks that are alike where there are too many to see.

What is alike is in one stage, for the same role, and differs in a number at the end of its name; so a sky mosaic of
1,312 tasks is eight boxes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from itertools import pairwise

from msgspec import Struct

from podium.exceptions import InvalidInputError
from podium.workflow.drawing.svg import seconds_of
from podium.workflow.graph import DependencyGraph
from podium.workflow.model import Task, Workflow
from podium.workflow.plan import Estimates, ExecutionPlan

MOST_SINGLE, MOST_ABREAST = 60, 24  # tasks, in all and in a stage, of which each is a box of its own
MOST_BOXES = 2_000
_TOLD = 12  # ids in the tip of a box of many
_NUMBER = re.compile(r"(?:\s*\([^()]*\))?(?:[\W_]*(?:id)?[\W_]*[0-9]+)*$", re.IGNORECASE)


class Box(Struct, frozen=True):
    """One box: what stands in it, and what is told of it where the pointer rests."""

    name: str
    below: str
    tip: str
    stage: int  # from 0
    tasks: int
    many: bool
    critical: bool
    spare: bool


class Picture(Struct, frozen=True):
    """The boxes, and the edges between them by their places: that count, that others imply, that are critical."""

    boxes: list[Box]
    edges: list[tuple[int, int]]
    implied: list[tuple[int, int]]
    critical: frozenset[tuple[int, int]]
    grouped: bool


def picture_of(workflow: Workflow, plan: ExecutionPlan) -> Picture:
    """Return what to draw. Raises InvalidInputError for a graph of which no picture would show anything."""
    groups = _groups(workflow, plan)
    several_roles = len({task.agent or task.agent_type for task in workflow.tasks}) > 1
    boxes = [_box(tasks, stage, workflow, plan, several_roles) for stage, tasks in groups]
    box_of = {task.id: at for at, (_, tasks) in enumerate(groups) for task in tasks}
    needs: dict[str, list[str]] = {str(at): [] for at in range(len(boxes))}
    for at, (_, tasks) in enumerate(groups):
        needs[str(at)] = [str(earlier) for earlier in sorted({box_of[d] for task in tasks for d in task.dependencies})]
    graph = DependencyGraph(list(needs), needs)
    counting = {(int(one), int(other)) for one, other in graph.transitive_reduction().edges}
    path = [box_of[task_id] for task_id in plan.critical_path]
    critical = frozenset(pairwise(path))
    every = [(int(one), int(other)) for one, other in graph.edges]
    return Picture(
        boxes=boxes,
        edges=[edge for edge in every if edge in counting or edge in critical],
        implied=[edge for edge in every if edge not in counting and edge not in critical],
        critical=critical,
        grouped=len(boxes) < plan.task_count,
    )


def _groups(workflow: Workflow, plan: ExecutionPlan) -> list[tuple[int, list[Task]]]:
    """Return the tasks of each box with its stage, by the finest of three ways that isn't too fine."""
    ways: list[Callable[[Task], Hashable]] = [
        lambda task: (workflow.agent_type_of(task), _stem(task.function or task.name)),
        lambda task: workflow.agent_type_of(task),
    ]
    widest = max((len(stage.tasks) for stage in plan.stages), default=0)
    if plan.task_count <= MOST_SINGLE and widest <= MOST_ABREAST:
        ways.insert(0, lambda task: task.id)
    for way in ways:
        groups: dict[Hashable, tuple[int, list[Task]]] = {}
        for stage in plan.stages:
            for task in stage.tasks:
                at = stage.stage_number - 1
                groups.setdefault((at, way(task)), (at, []))[1].append(task)
        if len(groups) <= MOST_BOXES:
            return list(groups.values())
    raise InvalidInputError(
        f"the graph of '{workflow.name}' has {plan.depth:,} stages; a picture with more than {MOST_BOXES:,} boxes "
        "would show nothing"
    )


def _stem(name: str) -> str:
    return _NUMBER.sub("", name) or name


def _box(tasks: list[Task], stage: int, workflow: Workflow, plan: ExecutionPlan, several_roles: bool) -> Box:
    first = tasks[0]
    instances = plan.instances.get(first.id, 1) if len(tasks) == 1 else len(tasks)
    one = len(tasks) == 1
    spare = one and first.id in plan.fallbacks
    on_path = frozenset(plan.critical_path)
    critical = [task.id for task in tasks if task.id in on_path]
    below = [] if one and first.id not in plan.instances else ["×?" if instances is None else f"×{instances:,}"]
    if spare:
        primary = next(task.id for task in workflow.tasks if task.on_failure.task == first.id)
        below.append(f"if {primary} fails")
    elif plan.estimates is not Estimates.UNIT:
        below.append(_times([plan.durations[task.id] for task in tasks]))
    if several_roles:
        below.append(first.agent or first.agent_type or str(first.type))
    name = first.name if one else _stem(first.function or first.name)
    ids = [task.id for task in tasks[:_TOLD]]
    more = f" and {len(tasks) - _TOLD:,} more" if len(tasks) > _TOLD else ""
    lines = [", ".join(ids) + more, f"stage {stage + 1}"]
    if not spare:
        lines.append(_times([plan.durations[task.id] for task in tasks]))
        slack = min(plan.slack_seconds.get(task.id, 0.0) for task in tasks)
        lines.append(f"critical: {', '.join(critical[:_TOLD])}" if critical else f"slack {seconds_of(slack)}")
    return Box(
        name=name,
        below=" · ".join(below),
        tip="\n".join(lines),
        stage=stage,
        tasks=len(tasks),
        many=bool(not one or first.id in plan.instances),
        critical=bool(critical),
        spare=spare,
    )


def _times(seconds: list[float]) -> str:
    low, high = seconds_of(min(seconds)), seconds_of(max(seconds))
    return low if low == high else f"{low} – {high}"
