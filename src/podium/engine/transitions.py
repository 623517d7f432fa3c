"""The state machines of the engine, one table each; `docs/state-machines.md` draws them. A move that isn't here raises.

Nothing else in Podium decides which state may follow which.
"""

from __future__ import annotations

from enum import StrEnum

from podium.exceptions import IllegalTransitionError
from podium.workflow.model import ExecutionStatus as E
from podium.workflow.model import TaskStatus as T


class AttemptStatus(StrEnum):
    """Where an attempt stands. It is live while granted; every other state is final."""

    GRANTED = "granted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    LOST = "lost"
    RETURNED = "returned"
    CANCELLED = "cancelled"


EXECUTION_MOVES: dict[E, frozenset[E]] = {
    E.RUNNING: frozenset({E.PAUSING, E.FAILING, E.CANCELLING, E.COMPLETED}),
    E.PAUSING: frozenset({E.PAUSED, E.RUNNING, E.FAILING, E.CANCELLING, E.COMPLETED}),
    E.PAUSED: frozenset({E.RUNNING, E.FAILING, E.CANCELLING}),
    E.FAILING: frozenset({E.FAILED, E.CANCELLING}),
    E.CANCELLING: frozenset({E.CANCELLED}),
    E.COMPLETED: frozenset({E.RUNNING}),  # a person's retry from one of its tasks on, nothing else
    E.FAILED: frozenset({E.RUNNING}),  # a person's retry, or decision about a task
    E.CANCELLED: frozenset({E.RUNNING}),  # the same
}

TASK_MOVES: dict[T, frozenset[T]] = {
    T.PENDING: frozenset({T.READY, T.RUNNING, T.WAITING, T.COMPLETED, T.SKIPPED, T.FAILED, T.CANCELLED}),
    T.READY: frozenset({T.PENDING, T.RUNNING, T.COMPLETED, T.SKIPPED, T.FAILED, T.CANCELLED}),
    T.RUNNING: frozenset({T.PENDING, T.READY, T.RETRYING, T.WAITING, T.COMPLETED, T.SKIPPED, T.FAILED, T.CANCELLED}),
    T.RETRYING: frozenset({T.PENDING, T.READY, T.COMPLETED, T.SKIPPED, T.FAILED, T.CANCELLED}),
    T.WAITING: frozenset({T.PENDING, T.RETRYING, T.COMPLETED, T.SKIPPED, T.FAILED, T.CANCELLED}),
    T.COMPLETED: frozenset({T.PENDING}),  # a person's retry from it, or from a task before it
    T.FAILED: frozenset({T.PENDING}),  # a person's retry
    T.SKIPPED: frozenset({T.PENDING}),  # the same
    T.CANCELLED: frozenset({T.PENDING}),  # the same
}

_ENDS = frozenset(s for s in AttemptStatus if s is not AttemptStatus.GRANTED)
ATTEMPT_MOVES: dict[AttemptStatus, frozenset[AttemptStatus]] = {
    AttemptStatus.GRANTED: _ENDS,
    **dict.fromkeys(_ENDS, frozenset[AttemptStatus]()),
}


def check_execution_move(before: E, after: E) -> None:
    """Raise IllegalTransitionError unless an execution may go from one state to the other."""
    if after not in EXECUTION_MOVES[before]:
        raise IllegalTransitionError(f"an execution can't go from {before} to {after}")


def check_task_move(task: str, before: T, after: T) -> None:
    """Raise IllegalTransitionError unless a task may go from one state to the other."""
    if after not in TASK_MOVES[before]:
        raise IllegalTransitionError(f"task {task} can't go from {before} to {after}")


def check_attempt_move(attempt: str, before: AttemptStatus, after: AttemptStatus) -> None:
    """Raise IllegalTransitionError unless an attempt may go from one state to the other."""
    if after not in ATTEMPT_MOVES[before]:
        raise IllegalTransitionError(f"attempt {attempt} can't go from {before} to {after}")
