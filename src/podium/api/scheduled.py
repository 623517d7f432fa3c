"""A task of document 002 that somebody schedules and somebody else fetches, as the workflow that it becomes. Pure.

There is no second engine for it: it is a workflow of one task, whose agent type is one that only what fetches tasks
has. What was scheduled is kept beside, so that whoever fetches it gets it as it was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from podium.engine.admission import SINGLE_TASK
from podium.exceptions import InvalidInputError
from podium.service.submissions import AWAITING, RESULTS, TASK
from podium.workflow.model import (
    Constraint,
    FailureAction,
    ResourceRequirements,
    RunIf,
    Task,
    TaskStatus,
    Workflow,
)

FETCHED = "podium_fetched"  # begins the agent types of what is fetched
_SCHEDULED = "scheduled"  # in the workflow's metadata: the task as it was given


def fetched_type(agent_type: str) -> str:
    """Return the agent type under which tasks for this type wait to be fetched."""
    return f"{FETCHED}_{agent_type}" if agent_type else FETCHED


def workflow_of(task: Task, constraints: Sequence[Constraint], dependencies: Sequence[str]) -> Workflow:
    """Return the workflow of a task; `dependencies` are the executions that it waits for.

    Raises InvalidInputError for what only a task among others can have.
    """
    for told, what in (
        (task.for_each is not None or task.parallel, "fans out"),
        (task.when is not None, "has a condition"),
        (task.run_if is not RunIf.ALL_SUCCEEDED, "runs whatever its dependencies come to"),
        (task.on_failure.action is FailureAction.FALLBACK, "has a fallback"),
    ):
        if told:
            raise InvalidInputError(f"the task '{task.id}' {what}; that needs a workflow around it")
    main = msgspec.structs.replace(
        task,
        id=TASK,
        agent="",
        agent_type=fetched_type(task.agent_type),
        function=TASK,
        payload=None,
        resources=_counted_everywhere(task.resources),
        dependencies=(RESULTS,) if dependencies else (),
        status=TaskStatus.PENDING,
        result=None,
    )
    tasks: tuple[Task, ...] = (main,)
    if dependencies:
        waiting = Task(
            id=RESULTS,
            agent_type=AWAITING,
            function="ended",
            for_each=list(dependencies),
            payload={"execution": "${item}"},
        )
        tasks = (waiting, main)
    return Workflow(
        name=task.name,
        tasks=tasks,
        output=f"${{tasks.{TASK}.result}}",
        constraints=tuple(constraints),
        metadata={SINGLE_TASK: True, _SCHEDULED: msgspec.to_builtins(task)},
    )


def task_in(workflow: Workflow, arguments: Mapping[str, Any]) -> Task:
    """Return the task that was scheduled, as it is handed out: running, with its arguments as its payload."""
    task = msgspec.convert(workflow.metadata[_SCHEDULED], Task)
    return msgspec.structs.replace(task, payload=dict(arguments), status=TaskStatus.RUNNING)


def _counted_everywhere(resources: ResourceRequirements) -> ResourceRequirements:
    """Return what counts against the process' own capacity; which devices it has, whoever fetches knows best."""
    return msgspec.structs.replace(resources, gpu_count=None, custom_resources={})
