"""The graph of a workflow's dependencies: orders, stages, paths, cycles. It knows ids and edges, not what tasks do.

Plain Python, iterative, linear but for the heap that keeps the order stable; where tasks are defined in an order in
which they can run, which is the rule, there is nothing to sort. A graph library was measured: feeding it takes as long
as all of this, and its import too. A graph never changes: one that grows is a new one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Any

from msgspec import Struct

from podium.exceptions import MissingExtraError, WorkflowInvalidError
from podium.workflow.model import Task, Workflow

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
        self._before = self._checked(dependencies)
        self.edge_count = sum(map(len, self._before))
        # Whether each task is defined after all that it depends on: then that is an order in which they can run.
        self._in_order = all(max(before) < at for at, before in enumerate(self._before) if before)

    @classmethod
    def of(cls, workflow: Workflow) -> DependencyGraph:
        """Return the graph of a workflow; WorkflowInvalidError for repeated ids and unknown dependencies."""
        return cls.of_tasks(workflow.tasks)

    @classmethod
    def of_tasks(cls, tasks: Iterable[Task]) -> DependencyGraph:
        """Return the graph of tasks; WorkflowInvalidError for repeated ids and dependencies that aren't among them."""
        listed = list(tasks)
        return cls([task.id for task in listed], {task.id: task.dependencies for task in listed})

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._index

    @property
    def edges(self) -> list[tuple[str, str]]:
        """Each dependency with what needs it, by the order of definition of the latter."""
        ids = self.ids
        return [(ids[before], ids[at]) for at, all_ in enumerate(self._before) for before in all_]

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
        return [[self.ids[at] for at in stage] for stage in self.stage_places()]

    def stage_places(self) -> list[list[int]]:
        """Return the same by the tasks' places in the order of definition."""
        stages: list[list[int]] = [[] for _ in range(self.depth)]
        for at, level in enumerate(self._levels):
            stages[level].append(at)
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
        order, start, ends = self._acyclic, [0.0] * len(takes), [0.0] * len(takes)
        end_of = ends.__getitem__
        for at in order:
            if before := self._before[at]:
                start[at] = begin = max(map(end_of, before))
                ends[at] = begin + takes[at]
            else:
                ends[at] = takes[at]
        seconds = max(ends, default=0.0)
        latest_end = [seconds] * len(takes)
        for at in reversed(order):
            if before := self._before[at]:
                latest = latest_end[at] - takes[at]
                for earlier in before:
                    if latest < latest_end[earlier]:
                        latest_end[earlier] = latest
        latest_start = [end - length for end, length in zip(latest_end, takes, strict=True)]
        return Timing(takes, start, latest_start, self._longest_path(start, ends), seconds)

    def _longest_path(self, start: list[float], ends: list[float]) -> list[str]:
        """Return the path that ends last, from its end back over what each waited for last."""
        if not ends:
            return []
        path = [ends.index(max(ends))]
        while before := self._before[path[-1]]:
            begin = start[path[-1]]
            path.append(min(earlier for earlier in before if ends[earlier] == begin))
        return [self.ids[at] for at in reversed(path)]

    # --- other graphs ----------------------------------------------------------------------------------------------

    def extended(
        self,
        tasks: Mapping[str, Iterable[str]] | None = None,
        dependencies: Mapping[str, Iterable[str]] | None = None,
    ) -> DependencyGraph:
        """Return a copy with more tasks (each with what it depends on) and more dependencies of any task.

        WorkflowInvalidError, and no copy, for a cycle, which it names, an id that is there already and one that isn't.
        """
        added, more = dict(tasks or {}), dict(dependencies or {})
        for task_id in more:
            if task_id not in self and task_id not in added:
                raise WorkflowInvalidError(f"the task '{task_id}', which shall get dependencies, isn't there")
        needs = {
            task_id: (*(self.ids[before] for before in self._before[at]), *more.get(task_id, ()))
            for at, task_id in enumerate(self.ids)
        }
        needs.update({task_id: (*before, *more.get(task_id, ())) for task_id, before in added.items()})
        grown = DependencyGraph((*self.ids, *added), needs)
        grown.topological_order()
        return grown

    def transitive_reduction(self) -> DependencyGraph:
        """Return the graph without the edges that others imply (Aho, Garey and Ullman, 1972): the same order, drawn
        with the fewest lines.

        A set of ancestors is a number with a bit for each task, kept only while something still needs it.
        """
        order = self._acyclic
        place = [0] * len(order)
        for number, at in enumerate(order):
            place[at] = number
        uses = [0] * len(order)
        for before in self._before:
            for earlier in before:
                uses[earlier] += 1
        reach: dict[int, int] = {}  # the task itself and all that it waits for
        kept: dict[str, list[str]] = {}
        for at in order:
            reached, needed = 0, []
            for earlier in sorted(self._before[at], key=place.__getitem__, reverse=True):
                if not reached >> place[earlier] & 1:
                    reached |= reach[earlier]
                    needed.append(earlier)
                uses[earlier] -= 1
                if not uses[earlier]:
                    del reach[earlier]
            if uses[at]:
                reach[at] = reached | 1 << place[at]
            kept[self.ids[at]] = [self.ids[earlier] for earlier in self._before[at] if earlier in needed]
        return DependencyGraph(self.ids, kept)

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
        graph.add_edges_from(self.edges)
        return graph

    # --- inside ----------------------------------------------------------------------------------------------------

    @cached_property
    def _after(self) -> list[list[int]]:
        after: list[list[int]] = [[] for _ in self.ids]
        for at, before in enumerate(self._before):
            for earlier in before:
                after[earlier].append(at)
        return after

    @cached_property
    def _walk(self) -> tuple[list[int], list[int]]:
        """The order of what is on no cycle and behind none, and each one's stage (Kahn, 1962, with a heap)."""
        if self._in_order:
            return list(range(len(self.ids))), self._levels_in_order()
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

    def _levels_in_order(self) -> list[int]:
        levels: list[int] = []
        level_of = levels.__getitem__
        for before in self._before:
            levels.append(max(map(level_of, before)) + 1 if before else 0)
        return levels

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

    def _checked(self, dependencies: Mapping[str, Iterable[str]]) -> list[tuple[int, ...]]:
        """Return what each task depends on, by index and each once."""
        index_of = self._index.__getitem__
        found: list[tuple[int, ...]] = []
        try:
            for task_id in self.ids:
                before = tuple(map(index_of, dependencies.get(task_id, ())))
                twice = len(before) > 1 and len(set(before)) < len(before)
                found.append(tuple(dict.fromkeys(before)) if twice else before)
        except KeyError as unknown:
            raise WorkflowInvalidError(
                f"the task '{self.ids[len(found)]}' depends on '{unknown.args[0]}', which isn't there"
            ) from None
        return found

    def _names(self, indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.ids[at] for at in indices)

    def _reached(self, task_id: str, edges: Sequence[Sequence[int]]) -> frozenset[str]:
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
