"""From a trace to a workflow of Podium: ids that the language allows, what each task needs, what it took.

A task's `input` holds its command and the names of its files as they were recorded; the sizes of files and the machines
are in the workflow's metadata. A trace doesn't say who does a task: all are a `worker`'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from podium.workflow.model import ResourceRequirements, Task, Workflow
from podium.workflow.validation import MAX_NAME, MAX_TEXT, validate
from podium.workflow.wfformat.trace import Trace, TraceTask

AGENT_TYPE: Final = "worker"
_NOT_IN_AN_ID: Final = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
_FUNCTION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,99}", re.ASCII)
_NOTHING: Final = Task(id="nothing").resources  # what is left out is known by its identity
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def workflow_of(trace: Trace, *, commands: bool = True) -> Workflow:
    """Return the workflow that a trace is, with the tasks' programs and arguments or without.

    Raises WorkflowInvalidError for what Podium can't hold.
    """
    ids = task_ids(trace)
    tasks = tuple(
        _task(task if commands else msgspec.structs.replace(task, program="", arguments=()), ids[at], ids)
        for at, task in enumerate(trace.tasks)
    )
    return validate(Workflow(name=_title(trace.name) or "workflow", tasks=tasks, metadata=_metadata(trace)))


def task_ids(trace: Trace) -> list[str]:
    """Return an id for each task: the trace's own where the language allows it, each of them once."""
    ids: list[str] = []
    taken = {task.id for task in trace.tasks}
    used: set[str] = set()
    for task in trace.tasks:
        wanted = _NOT_IN_AN_ID.sub("_", task.id)[:MAX_NAME]
        wanted = wanted if wanted[:1] not in ("", ".", "-") else f"_{wanted}"[:MAX_NAME]
        found, number = wanted, 1
        # What has its own id keeps it: another one's that became the same gives way.
        while found in used or (found in taken and found != task.id):
            number += 1
            found = f"{wanted[: MAX_NAME - 8]}_{number}"
        used.add(found)
        ids.append(found)
    return ids


def _task(task: TraceTask, task_id: str, ids: Sequence[str]) -> Task:
    name = _title(task.name) or task_id
    return Task(
        id=task_id,
        name=name,
        agent_type=AGENT_TYPE,
        function=_function(task, task_id),
        payload=_arguments(task, task_id, name),
        resources=_resources(task),
        priority=task.priority,
        estimated_duration=task.runtime_seconds,
        dependencies=tuple(ids[parent] for parent in task.parents),
    )


def _resources(task: TraceTask) -> ResourceRequirements:
    """Return what a task needs, so that what isn't said isn't written either."""
    said = {"cpu_cores": task.cores, "memory_mb": task.memory_mb}
    needs = {name: amount for name, amount in said.items() if amount}
    return ResourceRequirements(**needs) if needs else _NOTHING  # type: ignore[arg-type]


def _function(task: TraceTask, task_id: str) -> str:
    """Return the program's name as the function, where it is one and not a script; else the task's, if that differs."""
    for name in (task.program, task.name):
        if name != task_id and _FUNCTION.fullmatch(name):
            return name
    return ""


def _arguments(task: TraceTask, task_id: str, name: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if task_id != task.id != name:
        arguments["trace_id"] = _literal(task.id)
    if task.program:
        arguments["program"] = _literal(task.program)
    for key, texts in (("arguments", task.arguments), ("input_files", task.inputs), ("output_files", task.outputs)):
        if texts:
            arguments[key] = [_literal(text) for text in texts]
    return arguments


def _literal(text: str) -> str:
    """Return a text that stands for itself where `${…}` would be an expression."""
    return text.replace("${", "$${")


def _metadata(trace: Trace) -> dict[str, Any]:
    about: dict[str, Any] = {"schema": trace.schema}
    if trace.executed_at:
        about["executed_at"] = trace.executed_at
    if trace.makespan_seconds is not None:
        about["makespan_seconds"] = trace.makespan_seconds
    if trace.machines:
        about["machines"] = msgspec.to_builtins(trace.machines)
    if trace.files:
        about["files"] = {file.name: file.size_bytes for file in trace.files}
    described = {"description": trace.description[:MAX_TEXT]} if trace.description.strip() else {}
    return {**described, "wfformat": about}


def _title(text: str) -> str:
    """Return a name as people read it, in one line that isn't too long."""
    return _CONTROL.sub(" ", text).strip()[:MAX_NAME]
