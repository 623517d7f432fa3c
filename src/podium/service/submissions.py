"""A single task that a client submits over the bus, as the workflow that it becomes. Pure.

There is no second engine for single tasks: one is a workflow of one task, or of two where it has to wait for tasks that
were submitted before it. Its id outside is the client's own, or the execution's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from msgspec import Struct

from podium.engine.admission import SINGLE_TASK
from podium.exceptions import InvalidInputError
from podium.fleet import wire
from podium.fleet.translation import priority_of
from podium.ids import execution_id_for
from podium.scheduling.placement import ANY_TYPE
from podium.workflow.model import AgentGroup, RetryPolicy, Task, Workflow, WorkflowConfig

WORKFLOWS_KEPT = 64  # as many as the application needn't validate again
TASK = "task"
RESULTS = "dependencyResults"  # the task that awaits the others, and the argument that its results become
AWAITING = "podium_await"  # the agent type that awaits executions: the orchestrator's own
_OWN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_EXECUTION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Submission(Struct, frozen=True):
    """A submitted task, checked: the workflow, its input, and what the start records beside."""

    workflow: Workflow
    given: dict[str, Any] | None
    submission_id: str | None  # the client's own id; None: the execution's is the task's
    priority: int | None
    preferred_agent: str
    notify: str


def submission_of(said: wire.TaskSubmissionMessage, tenant: str, max_task_seconds: float) -> Submission:
    """Return a submission ready to be started. Raises InvalidInputError, naming the field, for what can't be."""
    task = said.task
    if not task.task_type.strip():
        raise InvalidInputError("task.taskType is missing: the function that an agent shall do")
    if task.task_id and not _OWN_ID.fullmatch(task.task_id):
        raise InvalidInputError("task.taskId must be 1 to 128 letters, digits, '_' and '-'")
    if task.payload is not None and not isinstance(task.payload, dict):
        raise InvalidInputError("task.payload must be a JSON object: the arguments by name")
    if task.payload and task.dependencies and RESULTS in task.payload:
        raise InvalidInputError(f"task.payload can't have {RESULTS}: the results of its dependencies get that name")
    dependencies = tuple(execution_of(tenant, dependency) for dependency in task.dependencies)
    if dependencies and task.task_id and execution_of(tenant, task.task_id) in dependencies:
        raise InvalidInputError("task.dependencies: a task can't wait for itself")
    return Submission(
        workflow=_workflow(task, dependencies, _seconds(task, max_task_seconds)),
        given=task.payload,
        submission_id=task.task_id or None,
        priority=priority_of(task.priority),
        preferred_agent=said.preferred_agent_id or "",
        notify=_checked_notify(said.notify_subject),
    )


def execution_of(tenant: str, task_id: str) -> str:
    """Return the execution that a task's id outside stands for."""
    return task_id if _EXECUTION_ID.fullmatch(task_id) else execution_id_for(tenant, task_id)


def _seconds(task: wire.AgentTask, most: float) -> float:
    seconds = most if task.timeout_ms is None else task.timeout_ms / 1_000
    if seconds > most:
        raise InvalidInputError(
            f"task.timeoutMs is {task.timeout_ms:g}; at most {most * 1_000:g} is allowed here (max_task_seconds)"
        )
    return seconds


def _workflow(task: wire.AgentTask, dependencies: tuple[str, ...], seconds: float) -> Workflow:
    """Return the workflow; submissions that differ in their payload, ids and priority only share one.

    Of the usual ones it is the same object each time, so that it is checked and compiled once.
    """
    capabilities = tuple(dict.fromkeys(task.required_capabilities))
    make = _made if dependencies else _made_once
    return make(task.task_type, task.agent_type or ANY_TYPE, capabilities, task.retries, seconds, dependencies)


def _made(
    function: str, agent_type: str, capabilities: tuple[str, ...], retries: int, seconds: float,
    dependencies: tuple[str, ...],
) -> Workflow:  # fmt: skip
    group = AgentGroup("agent", agent_type, capabilities=capabilities)
    main = Task(
        id=TASK,
        agent="agent",
        function=function,
        timeout=seconds,
        retry=RetryPolicy(max_attempts=retries + 1) if retries else None,
        dependencies=(RESULTS,) if dependencies else (),
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
        name=function,
        tasks=tasks,
        agents={"agent": group},
        output=f"${{tasks.{TASK}.result}}",
        config=WorkflowConfig(),
        metadata={SINGLE_TASK: True},
    )


_made_once = lru_cache(maxsize=WORKFLOWS_KEPT)(_made)


def _checked_notify(subject: str | None) -> str:
    """Return where the end is to be told: an inbox, or a client's own subject; never one of Podium's."""
    if not subject:
        return ""
    words = subject.split(".")
    if len(words) < 2 or any(not word or word in "*>" or not word.isprintable() or " " in word for word in words):
        raise InvalidInputError("notifySubject must be words with dots, without wildcards")
    if words[0].startswith("$") or words[0] in ("mcp", "podium"):
        raise InvalidInputError("notifySubject must be an inbox or a subject of your own, not one of the system's")
    return subject
