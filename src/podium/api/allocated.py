"""`ResourceAllocation` of document 002: what an attempt holds of its agent, by an execution's state. Pure.

Nothing is allocated here: placement does that, and the grant in the history says so. This only reads it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from podium.clock import SECOND, seconds_to_us
from podium.engine.evolve import TIMEOUT_SLACK_US
from podium.engine.state import Attempt, State, TaskState
from podium.workflow.model import ResourceRequirements


class ResourceAllocation(Struct, frozen=True, kw_only=True):
    """What one attempt holds of an agent. It is given back when the attempt ends.

    `allocation_id` is the attempt's id. At `expires_at` the orchestrator that runs ends the attempt, whatever its agent
    says: half a second after its time-out, of which the agent's own report may come first, or at the deadline of its
    task or execution if that is earlier. Without any of these there is none: the attempt's lease alone says whether
    somebody still works on it.
    """

    allocation_id: str
    task_id: str
    resources: ResourceRequirements
    agent_id: str
    allocated_at: datetime
    expires_at: datetime | None = None


def allocations_in(state: State) -> list[ResourceAllocation]:
    """Return what the live attempts of an execution hold, the longest held first."""
    held = [(task, attempt) for task in state.tasks.values() for attempt in (task.live or {}).values()]
    held.sort(key=lambda one: (one[1].granted_us, one[0].path, one[1].number))
    return [_allocation(state, task, attempt) for task, attempt in held]


def _allocation(state: State, task: TaskState, attempt: Attempt) -> ResourceAllocation:
    expires_us = _expires_us(state, task, attempt)
    return ResourceAllocation(
        allocation_id=state.attempt_id(task.path, attempt.number),
        task_id=task.path,
        resources=task.compiled.spec.resources,
        agent_id=attempt.agent,
        allocated_at=_time(attempt.granted_us),
        expires_at=None if expires_us is None else _time(expires_us),
    )


def _expires_us(state: State, task: TaskState, attempt: Attempt) -> int | None:
    """Return the first of the times at which the engine ends the attempt: by its time-out and by the deadlines."""
    timeout = task.compiled.spec.timeout
    whole = task if task.parent is None else task.parent
    ends = (
        None if timeout is None else attempt.granted_us + seconds_to_us(timeout) + TIMEOUT_SLACK_US,
        whole.deadline_us or None,
        state.deadline_us,
    )
    return min((end_us for end_us in ends if end_us is not None), default=None)


def _time(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / SECOND, UTC)
