"""Between document 000's JSON and the engine's own messages: pure, in both directions.

What an agent may not say, or says wrongly, is an InvalidInputError here, so that the link answers it and goes on.
"""

from __future__ import annotations

from typing import Any, assert_never

import msgspec
from msgspec import UNSET, Raw

from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.workflow.model import ResourceRequirements

PRIORITIES = {"LOW": 25, "NORMAL": 50, "HIGH": 75, "CRITICAL": 100}
MAX_REASON = 1_000


def registration_of(given: wire.AgentRegistration, incarnation: str, slots_limit: int = 100_000) -> msg.Registration:
    """Return what placement must know of an agent that registers."""
    offered = given.resources
    return msg.Registration(
        agent=given.agent_id,
        type=given.agent_type,
        incarnation=incarnation,
        capabilities=given.capabilities,
        functions=given.task_types,
        slots=min(given.max_concurrent_tasks, slots_limit),
        resources=ResourceRequirements(
            cpu_cores=offered.cpu_cores,
            memory_mb=offered.memory_mb,
            disk_mb=offered.disk_mb,
            gpu_count=offered.gpu_count or None,
        ),
        version=given.version,
        renews=given.renews,
    )


def wire_registration(given: msg.Registration, **more: Any) -> wire.AgentRegistration:
    """Return the registration of one of Podium's own agents as it goes on the wire."""
    return wire.AgentRegistration(
        agent_id=given.agent,
        agent_type=given.type,
        capabilities=given.capabilities,
        version=given.version,
        max_concurrent_tasks=given.slots,
        task_types=given.functions,
        incarnation=given.incarnation,
        resources=wire.Resources(
            given.resources.cpu_cores,
            given.resources.memory_mb,
            given.resources.disk_mb,
            given.resources.gpu_count or 0,
        ),
        protocol=wire.PROTOCOL,
        renews=given.renews,
        **more,
    )


def result_from(agent: str, given: wire.TaskResult) -> msg.Succeeded | msg.Failed:
    """Return an agent's result as the engine takes it. Raises InvalidInputError where its parts contradict."""
    if given.agent_id and given.agent_id != agent:
        raise InvalidInputError(f"agent {agent} can't report the result of agent {given.agent_id[:128]!r}")
    status = given.status or ("COMPLETED" if given.error is None else "FAILED")
    if status == "COMPLETED":
        if given.error is not None:
            raise InvalidInputError("a result that is COMPLETED has no error")
        return msg.Succeeded(agent, given.task_id, given.result)
    return msg.Failed(
        agent,
        given.task_id,
        _error_of(given.error, status),
        timed_out=status == "TIMED_OUT",
        cancelled=status == "CANCELLED",
    )


def _error_of(given: wire.TaskError | str | None, status: str) -> msg.ErrorInfo:
    match given:
        case wire.TaskError():
            return msg.ErrorInfo(given.type, given.message, given.traceback, given.retryable)
        case str():
            return msg.ErrorInfo("TaskError", given)
        case None:
            return msg.ErrorInfo("TaskError", f"the agent says {status} and no more")
        case _:
            assert_never(given)


def wire_result(given: msg.Succeeded | msg.Failed) -> wire.TaskResult:
    """Return a result as document 000 writes it."""
    if isinstance(given, msg.Succeeded):
        return wire.TaskResult(task_id=given.attempt, status="COMPLETED", result=given.value, agent_id=given.agent)
    error = wire.TaskError(given.error.message, given.error.type, given.error.retryable, given.error.traceback)
    status: Any = "TIMED_OUT" if given.timed_out else "CANCELLED" if given.cancelled else "FAILED"
    return wire.TaskResult(task_id=given.attempt, status=status, error=error, agent_id=given.agent)


def said_in(agent: str, given: wire.AgentStatus, saved: int) -> list[msg.FromAgent]:
    """Return what a status message of an agent says of its task; `saved` numbers its checkpoint."""
    if given.agent_id and given.agent_id != agent:
        raise InvalidInputError(f"agent {agent} can't speak for agent {given.agent_id[:128]!r}")
    task, said = given.task_id, list[msg.FromAgent]()
    if not task:
        if given.state == wire.AgentState.DRAINING:
            said.append(msg.Leaving(agent))
        return said
    if given.refused:
        return [msg.Refused(agent, task, (given.message or "the agent won't")[:MAX_REASON])]
    said.append(msg.Accepted(agent, task))
    if given.progress is not None:
        said.append(msg.Progress(agent, task, given.progress, given.message[:MAX_REASON]))
    if given.checkpoint is not UNSET and given.checkpoint is not None:
        said.append(msg.Saved(agent, task, saved, Raw(msgspec.json.encode(given.checkpoint))))
    return said


def wire_task(given: msg.Assignment) -> wire.AgentTask:
    """Return an assignment as a task of document 000."""
    return wire.AgentTask(
        task_id=given.attempt,
        task_type=given.function,
        payload=given.arguments,
        timeout_ms=None if given.timeout_seconds is None else given.timeout_seconds * 1_000,
        execution_id=given.execution,
        task_name=given.task,
        attempt=given.number,
        idempotency_key=given.idempotency_key,
        lease_ms=round(given.lease_seconds * 1_000),
        checkpoint=None if bytes(given.checkpoint) == b"null" else given.checkpoint,
        secrets=tuple(_wire_place(place) for place in given.secrets if place.path[0] == "input"),
    )


def _wire_place(place: msg.SecretPlace) -> wire.SecretPlace:
    parts = (
        part if isinstance(part, str) else wire.SecretReference(part.name, part.env, part.file) for part in place.parts
    )
    return wire.SecretPlace(place.path[1:], tuple(parts))


def notice_of(given: msg.Cancel | msg.Confirmation | msg.Drain) -> dict[str, Any]:
    """Return the fields of the notice that says this."""
    match given:
        case msg.Confirmation():
            reason = "" if given.accepted else "it came too late, or is known already"
            return {
                "notice": wire.Notice.RESULT_CONFIRMED,
                "task_id": given.attempt,
                "accepted": given.accepted,
                "reason": reason,
            }
        case msg.Cancel():
            return {
                "notice": wire.Notice.TASK_CANCELLED,
                "task_id": given.attempt,
                "reason": given.reason,
                "force": given.force,
            }
        case msg.Drain():
            return {"notice": wire.Notice.DRAIN, "grace_ms": round(given.grace_seconds * 1_000)}
        case _:
            assert_never(given)


def priority_of(given: int | str | None) -> int | None:
    """Return a priority from 0 to 100 (larger is sooner) by number or name. Raises InvalidInputError."""
    if given is None:
        return None
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= 3:
        given = int(given)
    if isinstance(given, str):
        found = PRIORITIES.get(given.strip().upper())
        if found is None:
            raise InvalidInputError(f"priority {given[:40]!r} is none of {', '.join(PRIORITIES)}, and no number")
        return found
    if isinstance(given, bool) or not 0 <= given <= 100:
        raise InvalidInputError(f"priority {given} isn't a number from 0 to 100")
    return given
