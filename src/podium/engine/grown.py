"""A definition that an execution has grown: the workflow's tasks and those that results have added, for it alone.

What the workflow had is shared with other executions until something is added to it; then the execution has a copy.
Nothing is judged here: `engine/growing.py` has seen to it that what is added fits.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy

import msgspec

from podium.engine.definition import CompiledTask, Definition
from podium.engine.events import GraphGrown
from podium.engine.state import State, TaskState
from podium.workflow.model import Task, TaskStatus


class GrownDefinition(Definition):
    """A definition with additions; unlike any other it changes, with the state that it belongs to."""

    def __init__(self, ungrown: Definition) -> None:
        self.ungrown = ungrown
        self.workflow = ungrown.workflow
        self.digest = ungrown.digest
        self.output = ungrown.output
        self.publish = ungrown.publish
        self.continuation = ungrown.continuation
        self.max_parallel = ungrown.max_parallel
        self.circuit = ungrown.circuit
        self.listeners = dict(ungrown.listeners)
        self.secrets = ungrown.secrets
        self.agent_types = ungrown.agent_types
        self.tasks = dict(ungrown.tasks)
        self.added: dict[str, str] = {}  # tasks that were added, and by which task or instance
        self.said: dict[str, Task] = {}  # those as they were added; others may have put something before them since
        self.depths: dict[str, int] = {}  # of those: how many growths led to them
        self.edges = sum(len(task.dependencies) for task in ungrown.workflow.tasks)
        self.growths: list[GraphGrown] = []
        self._hot = set(ungrown.hot)
        self._own: set[str] = set()  # tasks that aren't shared with other executions
        self.hot = self._hot

    def add(self, event: GraphGrown) -> None:
        """Add what an event says."""
        self.growths.append(event)
        depth = self.depths.get(event.task.partition("[")[0], 0) + 1
        for task in event.tasks:
            self.tasks[task.id] = CompiledTask(task, self.workflow)
            if task.signal:
                self.listeners[task.signal] = (*self.listeners.get(task.signal, ()), task.id)
            self._own.add(task.id)
            self.added[task.id] = event.task
            self.said[task.id] = task
            self.depths[task.id] = depth
        for task in event.tasks:
            self._add_edges(task.id, task.dependencies)
            fallback = self.tasks[task.id].fallback
            if fallback:
                self.tasks[fallback].stands_in_for = task.id
        for name, more in event.dependencies.items():
            compiled = self._owned(name)
            compiled.spec = msgspec.structs.replace(compiled.spec, dependencies=(*compiled.spec.dependencies, *more))
            if compiled.takes_all:
                compiled.reads |= frozenset(more)
            self._add_edges(name, more)
        touched = (*(task.id for task in event.tasks), *event.dependencies)
        self._hot |= self.with_fallbacks(read for name in touched for read in self.tasks[name].reads)

    def _add_edges(self, task: str, dependencies: Iterable[str]) -> None:
        for dependency in dependencies:
            compiled = self._owned(dependency)
            if not isinstance(compiled.dependents, list):
                compiled.dependents = list(compiled.dependents)
            compiled.dependents.append(task)
            self.edges += 1

    def _owned(self, task_id: str) -> CompiledTask:
        """Return a task that may be changed."""
        if task_id not in self._own:
            self._own.add(task_id)
            self.tasks[task_id] = copy(self.tasks[task_id])
        return self.tasks[task_id]


def regrown(definition: Definition, growths: Iterable[GraphGrown]) -> Definition:
    """Return a definition of its own with these growths, and no others: a grown one stands for what it grew from."""
    ungrown = definition.ungrown if isinstance(definition, GrownDefinition) else definition
    grown: GrownDefinition | None = None
    for event in growths:
        grown = grown or GrownDefinition(ungrown)
        grown.add(event)
    return grown or ungrown


def grow(state: State, event: GraphGrown) -> None:
    """Add an event's tasks and dependencies to a state; for `evolve` only."""
    definition = state.definition
    if not isinstance(definition, GrownDefinition):
        definition = state.definition = GrownDefinition(definition)
    definition.add(event)
    touched = {*event.dependencies, *(name for task in event.tasks for name in task.dependencies)}
    touched.update(name for more in event.dependencies.values() for name in more)
    for name in touched:
        if name in state.tasks:
            state.tasks[name].compiled = definition.tasks[name]
    for spec in event.tasks:
        task = TaskState(spec.id, definition.tasks[spec.id])
        task.number = state.attempts_before
        state.add_task(task)
    state.total += len(event.tasks)
    for spec in event.tasks:
        _begin_to_wait(state, state.tasks[spec.id])
    for name, more in event.dependencies.items():
        _wait_for_more(state, state.tasks[name], more)


def _begin_to_wait(state: State, task: TaskState) -> None:
    task.unmet = _unmet(state, task.compiled.spec.dependencies)
    if task.compiled.stands_in_for is None:
        state.unfinished += 1
        if task.unmet == 0:
            state.eligible[task.path] = None


def _wait_for_more(state: State, task: TaskState, more: Iterable[str]) -> None:
    task.unmet += _unmet(state, more)
    if task.unmet and task.status is TaskStatus.PENDING and state.awaited(task):
        state.eligible.pop(task.path, None)


def _unmet(state: State, dependencies: Iterable[str]) -> int:
    return sum(not state.settled(state.tasks[name]) for name in dependencies)
