"""Single tasks and registrations of document 000 as the Python API takes them: objects, keywords or mappings.

Whatever the form, they become the message that a client would say on the bus, and are checked as that one is.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from podium.exceptions import InvalidInputError, PayloadTooLargeError
from podium.fleet import wire
from podium.fleet.descriptor import AgentDescriptor
from podium.service.submissions import TASK
from podium.workflow.model import ExecutionStatus, TaskResult, TaskStatus, WorkflowResult

M = TypeVar("M", bound=wire.NatsMessage)

_ENDS = {
    ExecutionStatus.COMPLETED: TaskStatus.COMPLETED,
    ExecutionStatus.FAILED: TaskStatus.FAILED,
    ExecutionStatus.CANCELLED: TaskStatus.CANCELLED,
}


def submission_message(
    task: wire.AgentTask | Mapping[str, Any] | None,
    fields: Mapping[str, Any],
    preferred_agent_id: str | None,
    max_bytes: int,
) -> wire.TaskSubmissionMessage:
    """Return the submission of a task: an AgentTask, a mapping, or its fields. Raises InvalidInputError."""
    if task is not None and fields:
        raise InvalidInputError(f"give a task or its fields ({', '.join(sorted(fields))}), not both")
    given = task if isinstance(task, wire.AgentTask) else _named(fields if task is None else task, wire.AgentTask)
    said = {"task": given, "preferredAgentId": preferred_agent_id}
    return _as_said(said, wire.TaskSubmissionMessage, "task", max_bytes)


def registration_message(
    given: wire.AgentRegistration | AgentDescriptor | Mapping[str, Any], max_bytes: int
) -> wire.AgentRegistrationMessage:
    """Return the registration of an agent elsewhere. Raises InvalidInputError."""
    if isinstance(given, AgentDescriptor):
        given = _of_descriptor(given)
    elif not isinstance(given, wire.AgentRegistration):
        given = _named(given, wire.AgentRegistration)
    return _as_said({"registration": given}, wire.AgentRegistrationMessage, "registration", max_bytes)


def task_result(task_id: str, ended: WorkflowResult) -> TaskResult:
    """Return how a submitted task ended, of the execution that it was."""
    task = ended.tasks.get(TASK)
    return TaskResult(
        task_id=task_id,
        status=_ENDS[ended.status],
        result=ended.result,
        error=ended.error
        or (task.error if task is not None and ended.status is not ExecutionStatus.COMPLETED else None),
        attempts=task.attempts if task is not None else 0,
        duration_seconds=ended.duration_seconds,
    )


def _named(given: Mapping[str, Any], kind: type[Struct]) -> dict[str, Any]:
    """Return a mapping with the wire's names; names may be written as in Python too."""
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"{kind.__name__}: expected one, or a mapping of its fields, not {given!r:.60}")
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    known = {**names, **{name: name for name in names.values()}}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
            raise InvalidInputError(f"{kind.__name__} has no {str(name)[:60]!r}; {hint}")
        found[known[name]] = value
    return found


def _as_said(said: dict[str, Any], kind: type[M], what: str, max_bytes: int) -> M:
    try:
        data = wire.encoded(said)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the {what} can't be written as JSON: {error}") from error
    if len(data) > max_bytes:
        raise PayloadTooLargeError(f"the {what} has {len(data):,} bytes; at most {max_bytes:,} are taken")
    return wire.decoded(data, kind)


def _of_descriptor(given: AgentDescriptor) -> wire.AgentRegistration:
    offered, schemas = given.resources, given.schemas_text
    return wire.AgentRegistration(
        agent_id=given.agent_id,
        agent_type=given.agent_type,
        capabilities=tuple(given.capabilities),
        version=given.version,
        max_concurrent_tasks=given.slots,
        task_types=tuple(given.functions),
        incarnation=given.incarnation,
        location=given.location,
        tags=tuple(given.tags),
        service_types=tuple(given.service_types),
        endpoint=given.endpoint,
        resources=wire.Resources(offered.cpu_cores, offered.memory_mb, offered.disk_mb, offered.gpu_count or 0),
        metadata=dict(given.metadata),
        key=given.key,
        schemas=msgspec.json.decode(schemas, type=dict[str, wire.FunctionSchemas]) if schemas else {},
    )
