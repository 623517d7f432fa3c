"""A workflow made ready to run: look-ups by id, compiled conditions and arguments, who waits for whom.

Made once for each content hash and shared by all executions of it; it never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from podium.engine.bounds import compiled_bounds, key_templates
from podium.engine.events import GraphGrown
from podium.fleet.messages import SecretReference
from podium.scheduling.resources import vector_of
from podium.workflow.expressions import (
    Expression,
    Reference,
    Template,
    compile_condition,
    compile_template,
    without_secrets,
)
from podium.workflow.hashing import encode_workflow
from podium.workflow.model import ContinueAsNew, FailureAction, RetryPolicy, Task, Workflow

FAN_OUT_WINDOW = 1_000  # instances of one task in flight at once, where `max_parallel` says nothing
CHILD_WINDOW = 100  # of one that is a workflow: each of them is an execution of its own


class CompiledTask:
    """One task with what the engine asks of it again and again."""

    __slots__ = (
        "agent_type", "arguments", "bounds", "capabilities", "child", "condition", "constant_arguments", "dependents",
        "env", "fallback", "function", "id", "items", "needs", "outside", "policy", "priority", "reads", "secret_env",
        "secret_texts", "spec", "stands_in_for", "undoes", "version", "window",
    )  # fmt: skip

    def __init__(self, task: Task, workflow: Workflow) -> None:
        group = workflow.agents.get(task.agent)
        self.spec = task
        self.id = task.id
        self.agent_type = workflow.agent_type_of(task)
        self.capabilities = frozenset(group.capabilities) if group else frozenset[str]()
        self.version = group.version if group else ""
        self.bounds = compiled_bounds(task, workflow)
        self.function = task.function or task.id
        self.policy: RetryPolicy = task.retry_policy
        self.priority = task.priority
        self.needs = vector_of(task.resources)
        self.condition: Expression | None = compile_condition(task.when) if task.when is not None else None
        self.items: Template | None = None
        if task.for_each is not None:
            bare = isinstance(task.for_each, str) and "${" not in task.for_each
            self.items = compile_template(f"${{{task.for_each}}}" if bare else _stripped(task.for_each))
        elif task.parallel:
            count = group.count if group else 1
            self.items = compile_template([{"index": i, "count": count} for i in range(count)])
        payload, self.secret_texts = without_secrets(task.payload)
        self.arguments: Template | None = compile_template(payload) if payload is not None else None
        self.constant_arguments: bytes | None = None
        if self.arguments is not None and self.arguments.constant:
            self.constant_arguments = msgspec.json.encode(self.arguments.render({}))
        usual = FAN_OUT_WINDOW if task.workflow is None else CHILD_WINDOW
        self.window = min(task.max_parallel or usual, FAN_OUT_WINDOW)
        env, self.secret_env = without_secrets(group.env if group else {})
        self.env: tuple[tuple[str, str], ...] = tuple(compile_template(env).render({}).items()) if env else ()
        self.dependents: Sequence[str] = ()
        self.fallback = task.on_failure.task if task.on_failure.action == FailureAction.FALLBACK else None
        self.stands_in_for: str | None = None
        self.undoes: str | None = None  # the task that it compensates: it doesn't run by itself
        self.child = None if task.workflow is None else Child(task.workflow)
        self.outside = None if task.needs_agent or self.child is not None else Outside(task)
        read = [*(self.condition.references if self.condition else ())]
        read += [reference for key in key_templates(self.bounds) for reference in key.references]
        read += self.outside.references if self.outside else ()
        if self.child is not None and self.arguments is not None:  # when it is decided that it starts, it has its input
            read += self.arguments.references
        self.reads = _tasks_read(read, self.items)
        if self.takes_all:
            self.reads |= frozenset({"", *task.dependencies})

    @property
    def takes_all(self) -> bool:
        """Whether it is a child without `input`: it begins with its parent's, and with the results before it."""
        return self.child is not None and self.arguments is None

    @property
    def spare(self) -> bool:
        """Whether the task doesn't run in the course of things: it stands in for another one, or undoes it."""
        return self.stands_in_for is not None or self.undoes is not None


class Child:
    """The workflow that a task is, as it is stored."""

    __slots__ = ("digest", "encoded", "workflow")

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.encoded = encode_workflow(workflow)
        self.digest = sha256(self.encoded).hexdigest()


class Outside:
    """What a task that no agent does waits for, compiled; None where it doesn't say so."""

    __slots__ = ("accept", "assignee", "escalates_to", "execution", "until", "wait_for")

    def __init__(self, task: Task) -> None:
        self.accept = compile_condition(task.accept) if task.accept is not None else None
        self.wait_for = compile_template(task.wait_for) if task.wait_for is not None else None
        self.until = compile_template(task.until) if task.until is not None else None
        self.execution = compile_template(task.execution) if task.execution else None
        self.assignee = compile_template(task.assignee) if task.assignee else None
        self.escalates_to = compile_template(task.escalation.to) if task.escalation is not None else None

    @property
    def references(self) -> frozenset[Reference]:
        """What deciding reads for it."""
        parts = (self.accept, self.wait_for, self.until, self.execution, self.assignee, self.escalates_to)
        return frozenset(reference for part in parts if part is not None for reference in part.references)


class Continuation:
    """When an execution goes on as another run, and with which input, compiled; None where it doesn't say so."""

    __slots__ = ("condition", "input", "when")

    def __init__(self, renewal: ContinueAsNew) -> None:
        self.when = renewal.when or ""
        self.condition = compile_condition(renewal.when) if renewal.when is not None else None
        self.input = compile_template(renewal.input) if renewal.input is not None else None

    @property
    def references(self) -> frozenset[Reference]:
        """What deciding reads for it."""
        parts = (self.condition, self.input)
        return frozenset(reference for part in parts if part is not None for reference in part.references)


class Definition:
    """A compiled workflow under its content hash."""

    growths: Sequence[GraphGrown] = ()  # what an execution has added; see `engine/grown.py`

    def __init__(self, workflow: Workflow, digest: str) -> None:
        self.workflow = workflow
        self.digest = digest
        self.tasks = {task.id: CompiledTask(task, workflow) for task in workflow.tasks}
        waiting: dict[str, list[str]] = {}
        for task in workflow.tasks:
            for dependency in task.dependencies:
                waiting.setdefault(dependency, []).append(task.id)
        for task_id, dependents in waiting.items():
            self.tasks[task_id].dependents = tuple(dependents)
        for compiled in self.tasks.values():
            if compiled.fallback:
                self.tasks[compiled.fallback].stands_in_for = compiled.id
            undo = compiled.spec.compensation
            if undo is not None and undo.task is not None:
                self.tasks[undo.task].undoes = compiled.id
        self.secrets = {
            secret.name: SecretReference(secret.name, secret.env, secret.file) for secret in workflow.secrets
        }
        self.output = compile_template(workflow.output) if workflow.output is not None else None
        self.publish = compile_template(workflow.publish) if workflow.publish is not None else None
        renewal = workflow.continue_as_new
        self.continuation = None if renewal is None else Continuation(renewal)
        reads = [read for compiled in self.tasks.values() for read in compiled.reads]
        if self.continuation is not None:
            reads += _tasks_read(self.continuation.references, None)
        self.hot: Set[str] = self.with_fallbacks(reads)
        self.listeners: dict[str, tuple[str, ...]] = {}  # tasks by the signal that they wait for
        for task in workflow.tasks:
            if task.signal:
                self.listeners[task.signal] = (*self.listeners.get(task.signal, ()), task.id)
        self.max_parallel = _max_parallel(workflow)
        self.circuit = workflow.fault_tolerance.circuit_breaker if workflow.fault_tolerance is not None else None

    def with_fallbacks(self, reads: Iterable[str]) -> frozenset[str]:
        """Return what deciding reads: a task's result may be its fallback's."""
        found: set[str] = set()
        waiting = list(reads)
        while waiting:
            read = waiting.pop()
            fallback = self.tasks[read].fallback if read in self.tasks else None
            if fallback and fallback not in found:
                waiting.append(fallback)
            found.add(read)
        return frozenset(found)

    @cached_property
    def agent_types(self) -> frozenset[str]:
        """The types of agents that an execution has, for tasks that are added, too."""
        return frozenset(self.workflow.agent_counts())

    @property
    def last_tasks(self) -> list[str]:
        """The tasks whose results are the execution's: those that no other waits for, but what stands in or undoes."""
        return [c.id for c in self.tasks.values() if not c.spare and all(self.tasks[d].undoes for d in c.dependents)]


def _stripped(items: Any) -> Any:
    return items.strip() if isinstance(items, str) else items


def _max_parallel(workflow: Workflow) -> int | None:
    limits = [constraint.value for constraint in workflow.constraints]  # there is one type of them
    if workflow.config.max_parallel_tasks is not None:
        limits.append(workflow.config.max_parallel_tasks)
    return min(limits, default=None)


def _tasks_read(references: Iterable[Reference], items: Template | None) -> frozenset[str]:
    """Return the roots that deciding reads: ids of tasks, and `input` written as the empty id."""
    every: list[Any] = [*references, *(items.references if items else ())]
    return frozenset(str(r.path[0]) if r.root == "tasks" else "" for r in every if r.root in ("tasks", "input"))
