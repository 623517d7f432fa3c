"""What differs between two versions of a workflow, and which changes a running execution could take.

An execution keeps the definition that it was started with. A change is called compatible if an execution of the first
version, wherever it stands, could go on by the second: everything that may have happened means the same in both. It
governs only what is to come (a time-out, a priority), or adds what nothing that may have run depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from podium.workflow.model import AgentGroup, InputParameter, Task, Workflow


class Change(StrEnum):
    """What happened to something between two versions."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Difference(Struct, frozen=True):
    """One difference. `why` is empty for a compatible one, else a sentence; values are plain, None is none."""

    change: Change
    kind: str  # workflow, input, agent, task, edge
    name: str  # of the input, role or task; "a -> b" of an edge; empty for the workflow
    field: str = ""  # empty where the whole was added or removed
    before: Any = None
    after: Any = None
    why: str = ""

    @property
    def compatible(self) -> bool:
        """Whether a running execution could take it."""
        return not self.why


def differences(before: Workflow, after: Workflow) -> tuple[Difference, ...]:
    """Return every difference in meaning from one valid version to the next; if their content hashes are equal, at most
    one of when the clock starts them.

    The order is that of a file: the workflow's fields, inputs, agents, then tasks with their edges.
    """
    return (
        *_of_fields("workflow", "", before, after, WORKFLOW_FIELDS),
        *_of_inputs(before, after),
        *_of_agents(before, after),
        *_of_tasks(before, after),
    )


# --- which field means what ------------------------------------------------------------------------------------------
# To each field why a running execution can't take another value; an empty text where it can.

_SENT_OTHERWISE: Final = "an attempt may be under way, and its results are of the former kind"
_WAITS_OTHERWISE: Final = "the task may wait already, for the former"
_MAY_HAVE_RUN: Final = "the task may have run by the former one"

WORKFLOW_FIELDS: Final[Mapping[str, str]] = {
    "name": "it is another workflow: executions are found by its name",
    "version": "",
    "orchestration_pattern": "it is recorded with the execution",
    "output": "",
    "publish": "",
    "config": "",
    "coordination": "it is recorded with the execution",
    "fault_tolerance": "",
    "metadata": "",
    "constraints": "",
    "scheduled_at": "",
    "schedule": "",
    "secrets": "",
    "continue_as_new": "",
}
TASK_FIELDS: Final[Mapping[str, str]] = {
    "name": "",
    "type": "",
    "agent_type": _SENT_OTHERWISE,
    "agent": _SENT_OTHERWISE,
    "function": _SENT_OTHERWISE,
    "payload": _MAY_HAVE_RUN,
    "resources": "",
    "priority": "",
    "timeout": "",
    "deadline": "",
    "estimated_duration": "",
    "retries": "",
    "retry": "",
    "when": "the task may have run, or been skipped, by the former condition",
    "for_each": "its instances may be there already",
    "parallel": "its instances may be there already",
    "max_parallel": "",
    "grows": "",
    "run_if": "the task may have run, or been skipped, by the former rule",
    "on_failure": "its failure may have had its effect already",
    "rate_limit": "",
    "concurrency": "",
    "signal": _WAITS_OTHERWISE,
    "accept": _WAITS_OTHERWISE,
    "wait_for": _WAITS_OTHERWISE,
    "until": _WAITS_OTHERWISE,
    "execution": _WAITS_OTHERWISE,
    "form": "a person may be answering the former form",
    "assignee": "somebody may have been asked already",
    "workflow": "it may have been started as the former one",
    "parent_close": "",
    "escalation": "somebody may have been asked already",
    "idempotent": "",
    "cache": "",
    "compensation": "",
}
AGENT_FIELDS: Final[Mapping[str, str]] = {
    "type": _SENT_OTHERWISE,
    "count": "",
    "capabilities": "",
    "resources": "",
    "version": "",
    "rate_limit": "",
    "concurrency": "",
    "env": _MAY_HAVE_RUN,
}
INPUT_FIELDS: Final[Mapping[str, str]] = {
    "type": "an execution may have been started with a value of the former type",
    "required": "",
    "default": "tasks that have run may have read the former default",
    "description": "",
    "enum": "an execution may have been started with a value that isn't one of them",
    "minimum": "an execution may have been started with a value beyond it",
    "maximum": "an execution may have been started with a value beyond it",
    "pattern": "an execution may have been started with a text that doesn't fit it",
}
WRITTEN: Final[Mapping[str, str]] = {"payload": "input", "wait_for": "for"}
"""Fields that a file calls otherwise than the model."""


def _of_fields(kind: str, name: str, before: Struct, after: Struct, fields: Mapping[str, str]) -> Iterator[Difference]:
    for field, why in fields.items():
        for path, old, new in _changes(field, getattr(before, field), getattr(after, field)):
            head, dot, rest = path.partition(".")
            written = f"{WRITTEN.get(head, head)}{dot}{rest}"
            yield Difference(Change.CHANGED, kind, name, written, _plain(old), _plain(new), why)


def _changes(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Give what differs in a value; of two blocks, field by field."""
    if isinstance(old, Struct) and type(old) is type(new):
        for name in old.__struct_fields__:
            yield from _changes(f"{path}.{name}", getattr(old, name), getattr(new, name))
    elif _plain(old) != _plain(new) or _kinds(old) != _kinds(new):
        yield path, old, new


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _kinds(value: Any) -> bytes:
    """Return what tells 1 from 1.0 and from true, as the content hash does."""
    return msgspec.json.encode(value, order="sorted")


# --- inputs and agents -----------------------------------------------------------------------------------------------


def _of_inputs(before: Workflow, after: Workflow) -> Iterator[Difference]:
    old, new = ({parameter.name: parameter for parameter in one.inputs} for one in (before, after))
    for name in _all_of(old, new):
        if name not in new:
            yield Difference(Change.REMOVED, "input", name, before=_shown(old[name]))
        elif name not in old:
            why = "an execution may have been started without it" if new[name].required else ""
            yield Difference(Change.ADDED, "input", name, after=_shown(new[name]), why=why)
        else:
            for found in _of_fields("input", name, old[name], new[name], INPUT_FIELDS):
                narrower = found.field == "required" and found.after
                why = "an execution may have been started without it" if narrower else found.why
                yield msgspec.structs.replace(found, why=why)


def _of_agents(before: Workflow, after: Workflow) -> Iterator[Difference]:
    for role in _all_of(before.agents, after.agents):
        old, new = before.agents.get(role), after.agents.get(role)
        if new is None:
            yield Difference(Change.REMOVED, "agent", role, before=_shown(old))
        elif old is None:
            yield Difference(Change.ADDED, "agent", role, after=_shown(new))
        else:
            spread = [task.id for task in before.tasks if task.parallel and task.agent == role]
            for found in _of_fields("agent", role, old, new, AGENT_FIELDS):
                counted = found.field == "count" and spread
                why = f"task {spread[0]} may have its instances, one for each agent" if counted else found.why
                yield msgspec.structs.replace(found, why=why)


def _all_of(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys((*old, *new)))


def _shown(block: InputParameter | AgentGroup | Task | None) -> Any:
    plain = _plain(block)
    return {WRITTEN.get(name, name): value for name, value in plain.items()}


# --- tasks and edges -------------------------------------------------------------------------------------------------


def _of_tasks(before: Workflow, after: Workflow) -> Iterator[Difference]:
    old, new = ({task.id: task for task in one.tasks} for one in (before, after))
    for id in _all_of(old, new):
        if id not in new:
            yield Difference(Change.REMOVED, "task", id, before=_shown(old[id]), why="it may run, or have run")
        elif id not in old:
            yield Difference(Change.ADDED, "task", id, after=_shown(new[id]))
        else:
            yield from _of_fields("task", id, old[id], new[id], TASK_FIELDS)
        yield from _of_edges(id, old.get(id), new.get(id))


def _of_edges(id: str, old: Task | None, new: Task | None) -> Iterator[Difference]:
    """Give the edges to a task that came or went. Those of a task that came or went itself go with it."""
    had = dict.fromkeys(old.dependencies if old is not None else ())
    has = dict.fromkeys(new.dependencies if new is not None else ())
    for other in had:
        if other not in has:
            gets_results = new is not None and new.payload is None
            why = f"without an input, {id} gets the result of each task before it" if gets_results else ""
            yield Difference(Change.REMOVED, "edge", f"{other} -> {id}", why=why)
    for other in has:
        if other not in had:
            why = f"{id} may have run without it" if old is not None else ""
            yield Difference(Change.ADDED, "edge", f"{other} -> {id}", why=why)
