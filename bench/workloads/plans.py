"""G1: the plan of a workflow: graph, stages, critical path, slack, peaks of resources; and its schedule on 16 agents.

Beside it what graph libraries take for less: NetworkX and rustworkx build the graph of the same lists and find its
longest path by durations, without anything else.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import networkx as nx
import rustworkx

from bench.figures import Figure, Setup, Workload
from podium.scheduling.planner import schedule
from podium.workflow.model import ResourceRequirements, Task, Workflow
from podium.workflow.plan import plan

SMALL = 1_000
SMALL_SECONDS, LARGE_SECONDS = 0.05, 5.0  # asked of the plan
EACH = 5  # dependencies a task, of the thousand before it
AGENTS = 16

Way = Callable[[Workflow], Any]


def made(tasks: int) -> Workflow:
    """Return a workflow of so many tasks, the same each time."""
    chance = random.Random(tasks)
    found = []
    for number in range(tasks):
        before = range(max(0, number - 1_000), number)
        found.append(
            Task(
                id=f"task_{number}",
                agent_type="noop",
                estimated_duration=round(chance.uniform(1, 100), 3),
                resources=ResourceRequirements(cpu_cores=1.0),
                dependencies=tuple(f"task_{needed}" for needed in chance.sample(before, min(EACH, len(before)))),
            )
        )
    return Workflow(name="planned", tasks=tuple(found))


def on_agents(workflow: Workflow) -> Any:
    """Return the schedule on so many agents."""
    return schedule(workflow, AGENTS)


def by_networkx(workflow: Workflow) -> Any:
    """Return the critical path by NetworkX; the last task's own time isn't part of its length, and changes no path."""
    takes = {task.id: task.estimated_duration for task in workflow.tasks}
    graph: Any = nx.DiGraph()
    graph.add_nodes_from(takes)
    graph.add_weighted_edges_from(
        (needed, task.id, takes[needed]) for task in workflow.tasks for needed in task.dependencies
    )
    return nx.dag_longest_path(graph)


def by_rustworkx(workflow: Workflow) -> Any:
    """Return the critical path by rustworkx."""
    places = {task.id: place for place, task in enumerate(workflow.tasks)}
    takes = [task.estimated_duration or 0.0 for task in workflow.tasks]
    graph: Any = rustworkx.PyDiGraph()
    graph.add_nodes_from(takes)
    graph.add_edges_from_no_data(
        [(places[needed], place) for place, task in enumerate(workflow.tasks) for needed in task.dependencies]
    )
    return rustworkx.dag_weighted_longest_path(graph, lambda source, _target, _edge: takes[source])


OURS: Mapping[str, Way] = {"plan": plan, f"schedule on {AGENTS} agents": on_agents}
LIBRARIES: Mapping[str, Way] = {"networkx, critical path": by_networkx, "rustworkx, critical path": by_rustworkx}
BESIDE = "rustworkx, critical path"


def measure(setup: Setup) -> list[Figure]:
    """Plan a small and a large workflow, and have each library find its critical path, in turns."""
    figures: list[Figure] = []
    for tasks, asked in ((SMALL, SMALL_SECONDS), (setup.size.planned, LARGE_SECONDS)):
        workflow = made(tasks)
        ways = {**OURS, **LIBRARIES}
        runs: dict[str, list[float]] = {name: [] for name in ways}
        for run in range(-1, setup.runs):
            for name, way in ways.items():
                seconds = _seconds(way, workflow)
                if run >= 0:
                    runs[name].append(seconds)
        size = f"{tasks:,} tasks, {sum(len(task.dependencies) for task in workflow.tasks):,} dependencies"
        figures += [
            Figure(
                workload="G1", name=f"{name}: {size}", unit="s", runs=tuple(runs[name]), better="less",
                asked=asked if name == "plan" else None, beside=f"{BESIDE}: {size}" if name != BESIDE else "",
                is_limit=name in LIBRARIES,
            )
            for name in ways
        ]  # fmt: skip
    return figures


def _seconds(way: Way, workflow: Workflow) -> float:
    began = time.perf_counter()
    way(workflow)
    return time.perf_counter() - began


WORKLOAD = Workload(name="G1", title="the plan of a workflow, before it runs", measure=measure)
