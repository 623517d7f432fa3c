"""The graph of a workflow's dependencies: orders, stages, paths, cycles. It knows ids and edges, not what tasks do.

Plain Python, iterative, linear but for the heap that keeps the order stable: 100,000 tasks with 500,000 edges are built
and ordered in half a second. A graph library was measured: feeding it takes as long as all of this, and its import too.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Any

from msgspec import Struct

from podium.exceptions import MissingExtraError, WorkflowInvalidError
from podium.workflow.model import Workflow

_SHOWN_OF_A_CYCLE = 10


class Timing(Struct, frozen=True):
    """When each task can and must run if nothing but dependencies holds it back; seconds, lists in definition order."""

    durations: list[float]
    earliest_start: list[float]
    latest_start: list[float]
    critical_path: list[str]
    seconds: float  # of the critical path


class DependencyGraph:
    """Tasks and what each depends on. Wherever the edges leave a choice, the order of definition decides."""

    def __init__(self, ids: Sequence[str], dependencies: Mapping[str, Iterable[str]]) -> None:
        """Take ids in order of definition and what each depends on; WorkflowInvalidError for an id that isn't there."""
        self.ids = tuple(ids)
        self._index = {task_id: at for at, task_id in enumerate(self.ids)}
        if len(self._index) != len(self.ids):
            raise WorkflowInvalidError(f"the task id '{_first_repeated(self.ids)}' is used twice")
        self._before: list[list[int]] = []
        self._after: list[list[int]] = [[] for _ in self.ids]
        self.edge_count = 0
        for at, task_id in enumerate(self.ids):
            before = self._indices(task_id, dependencies.get(task_id, ()))
            self._before.append(before)
            self.edge_count += len(before)
            for dependency in before:
                self._after[dependency].append(at)

    @classmethod
    def of(cls, workflow: Workflow) -> DependencyGraph:
        """Return the graph of a workflow; WorkflowInvalidError for repeated ids and unknown dependencies."""
        return cls([task.id for task in workflow.tasks], {task.id: task.dependencies for task in workflow.tasks})

    def __len__(self) -> int:
        return len(self.ids)

    def dependencies(self, task_id: str) -> tuple[str, ...]:
        """Return what a task waits for, itself; KeyError for an unknown id."""
        return self._names(self._before[self._index[task_id]])

    def dependents(self, task_id: str) -> tuple[str, ...]:
        """Return what waits for a task, itself; KeyError for an unknown id."""
        return self._names(self._after[self._index[task_id]])

    def ancestors(self, task_id: str) -> frozenset[str]:
        """Return all that must end before a task starts; KeyError for an unknown id."""
        return self._reached(task_id, self._before)

    def descendants(self, task_id: str) -> frozenset[str]:
        """Return all that a task holds up; KeyError for an unknown id."""
        return self._reached(task_id, self._after)

    # --- orders ----------------------------------------------------------------------------------------------------

    def topological_order(self) -> list[str]:
        """Return the ids so that each comes after its dependencies; WorkflowInvalidError names the cycle."""
        return [self.ids[at] for at in self._acyclic]

    def stages(self) -> list[list[str]]:
        """Return the ids by how many tasks the longest way to them has: each stage needs only those before it."""
        stages: list[list[str]] = [[] for _ in range(self.depth)]
        for at, level in enumerate(self._levels):
            stages[level].append(self.ids[at])
        return stages

    @property
    def depth(self) -> int:
        """The number of stages."""
        return 1 + max(self._levels, default=-1)

    def cycle(self) -> list[str] | None:
        """Return one cycle as a path, its first id again at the end (each needs the one before it), or None."""
        order = self._order
        if len(order) == len(self.ids):
            return None
        left = set(range(len(self.ids))).difference(order)
        # Each of these waits for another of them, so going back from any must come round.
        at = min(left)
        seen: dict[int, int] = {}
        path: list[int] = []
        while at not in seen:
            seen[at] = len(path)
            path.append(at)
            at = next(before for before in self._before[at] if before in left)
        loop = path[seen[at] :][::-1]
        start = loop.index(min(loop))
        return [self.ids[node] for node in (*loop[start:], *loop[:start], loop[start])]

    # --- paths -----------------------------------------------------------------------------------------------------

    def parallel_paths(self) -> list[list[str]]:
        """Return the graph cut into runs of tasks without a fork or join between: what can go on side by side."""
        paths = []
        for at in self._acyclic:
            before = self._before[at]
            if len(before) == 1 and len(self._after[before[0]]) == 1:
                continue  # goes on a run that began before
            path = [at]
            while len(after := self._after[path[-1]]) == 1 and len(self._before[after[0]]) == 1:
                path.append(after[0])
            paths.append([self.ids[node] for node in path])
        return paths

    def critical_path(self, durations: Mapping[str, float] | None = None) -> list[str]:
        """Return the path that takes longest; a task without a duration takes one second."""
        return self.timing(durations).critical_path

    def slack(self, durations: Mapping[str, float] | None = None) -> dict[str, float]:
        """Return by how many seconds each task can be late without making the whole later."""
        return self.slack_of(self.timing(durations))

    def slack_of(self, timing: Timing) -> dict[str, float]:
        """Return the same from times that are known already."""
        late = zip(timing.latest_start, timing.earliest_start, strict=True)
        # To the microsecond: the sums forwards and back differ in their last digits.
        spare = [max(0.0, round(latest - earliest, 6)) for latest, earliest in late]
        return dict(zip(self.ids, spare, strict=True))

    def timing(self, durations: Mapping[str, float] | None = None) -> Timing:
        """Return the critical-path method's times (Kelley and Walker, 1959): a pass forwards and one back."""
        given = durations or {}
        takes = [float(given.get(task_id, 1.0)) for task_id in self.ids]
        start = [0.0] * len(takes)
        cause = [-1] * len(takes)  # the dependency that a task waits for last
        for at in self._acyclic:
            for before in self._before[at]:
                end = start[before] + takes[before]
                if end > start[at] or cause[at] < 0:
                    start[at], cause[at] = end, before
        ends = [begin + length for begin, length in zip(start, takes, strict=True)]
        seconds = max(ends, default=0.0)
        latest = [seconds - length for length in takes]
        for at in reversed(self._acyclic):
            for before in self._before[at]:
                latest[before] = min(latest[before], latest[at] - takes[before])
        path: list[int] = []
        if ends:
            at = ends.index(seconds)
            while at >= 0:
                path.append(at)
                at = cause[at]
        return Timing(takes, start, latest, [self.ids[at] for at in reversed(path)], seconds)

    def to_networkx(self) -> Any:
        """Return a `networkx.DiGraph` with an edge from each dependency to what needs it."""
        try:
            networkx = importlib.import_module("networkx")
        except ImportError as error:
            raise MissingExtraError(
                "to_networkx() needs networkx, which isn't installed: pip install networkx"
            ) from error
        graph = networkx.DiGraph()
        graph.add_nodes_from(self.ids)
        graph.add_edges_from(
            (self.ids[before], self.ids[at]) for at, all_ in enumerate(self._before) for before in all_
        )
        return graph

    # --- inside ----------------------------------------------------------------------------------------------------

    @cached_property
    def _walk(self) -> tuple[list[int], list[int]]:
        """The order of what is on no cycle and behind none, and each one's stage (Kahn, 1962, with a heap)."""
        waits = [len(before) for before in self._before]
        levels = [0] * len(waits)
        ready = [at for at, count in enumerate(waits) if not count]
        heapify(ready)
        order = []
        while ready:
            at = heappop(ready)
            order.append(at)
            level = levels[at] + 1
            for after in self._after[at]:
                if levels[after] < level:
                    levels[after] = level
                waits[after] -= 1
                if not waits[after]:
                    heappush(ready, after)
        return order, levels

    @property
    def _order(self) -> list[int]:
        return self._walk[0]

    @property
    def _acyclic(self) -> list[int]:
        """The order of all; WorkflowInvalidError when there is a cycle."""
        cycle = self.cycle() if len(self._order) != len(self.ids) else None
        if cycle is not None:
            raise WorkflowInvalidError(f"the tasks depend on each other in a circle: {shown_cycle(cycle)}")
        return self._order

    @property
    def _levels(self) -> list[int]:
        return self._walk[1] if self._acyclic else []

    def _indices(self, task_id: str, dependencies: Iterable[str]) -> list[int]:
        try:
            return list(dict.fromkeys([self._index[dependency] for dependency in dependencies]))
        except KeyError as unknown:
            raise WorkflowInvalidError(
                f"the task '{task_id}' depends on '{unknown.args[0]}', which isn't there"
            ) from None

    def _names(self, indices: list[int]) -> tuple[str, ...]:
        return tuple(self.ids[at] for at in indices)

    def _reached(self, task_id: str, edges: list[list[int]]) -> frozenset[str]:
        reached: set[int] = set()
        left = [*edges[self._index[task_id]]]
        while left:
            at = left.pop()
            if at not in reached:
                reached.add(at)
                left.extend(edges[at])
        return frozenset(self.ids[at] for at in reached)


def shown_cycle(cycle: Sequence[str]) -> str:
    """Return a cycle as a text, a long one cut in its middle."""
    if len(cycle) <= _SHOWN_OF_A_CYCLE:
        return " -> ".join(cycle)
    ends = _SHOWN_OF_A_CYCLE // 2
    left_out = len(cycle) - 2 * ends
    return " -> ".join((*cycle[:ends], f"… {left_out} more …", *cycle[-ends:]))


def _first_repeated(ids: Sequence[str]) -> str:
    seen: set[str] = set()
    for task_id in ids:
        if task_id in seen:
            break
        seen.add(task_id)
    return task_id
