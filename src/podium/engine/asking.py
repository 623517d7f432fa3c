"""What a person is asked when a task has finally failed and its `on_failure` is `ask`: is it tried again, done without,
or has it failed? Pure.

Until somebody says so the task waits, and the execution goes on with whatever doesn't need it.
"""

from __future__ import annotations

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.continuing import why_passed
from podium.engine.state import DECIDING, State, TaskState
from podium.engine.steering import SOMEBODY, why_unknown
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import FailureAction

DECISION = "decision"  # what such a task waits for
RETRY, SKIP, FAIL = "retry", "skip", "fail"
_SHOWN = 5
DECISIONS = (RETRY, SKIP, FAIL)  # what can be decided; a skip is an input of its own


def finally_failed(task: TaskState, error: ErrorInfo) -> ev.TaskFailed | ev.TaskParked:
    """Return what a failure after which there is no further attempt means for its task."""
    if task.compiled.spec.on_failure.action == FailureAction.ASK:
        return ev.TaskParked(task.path, error)
    return ev.TaskFailed(task.path, error)


def asks(task: TaskState) -> bool:
    """Whether a task waits for a person's decision."""
    return task.wait is not None and task.wait.awaits == DECISION


def asking(state: State) -> list[str]:
    """Return the tasks that wait for a person's decision, in the order of their names: a snapshot keeps no other."""
    return sorted(state.waiting.get((DECISION, ""), ()))


def resolve(state: State, given: inp.Resolve, now_us: int) -> list[ev.Event]:
    """Return what a person's decision about a parked task causes."""
    refusal = why_passed(state, given.run) or why_not_resolved(state, given.task)
    if refusal:
        return [ev.InputIgnored(refusal)]
    by, task = given.by or SOMEBODY, state.tasks[given.task]
    match given.decision:
        case "retry":
            return [ev.TaskRetried(task.path, by, given.reason)]
        case "fail":
            error = task.error or ErrorInfo("Error", "it failed", retryable=False)
            return [ev.TaskFailed(task.path, error, by, given.reason)]
        case unknown:
            return [ev.InputIgnored(f"nothing can be decided as {unknown[:100]!r}; say {RETRY}, {SKIP} or {FAIL}")]


def why_not_resolved(state: State, path: str) -> str:
    """Return why there is nothing to be decided of a task; empty if there is."""
    if state.status not in DECIDING:
        return f"the execution is {state.status}; nothing is asked any more"
    task = state.tasks.get(path)
    if task is None:
        return why_unknown(state, path)
    if asks(task):
        return ""
    asked = ", ".join(asking(state)[:_SHOWN]) or "none"
    return f"task {path} is {task.status}, it asks nothing; tasks that do: {asked}"


def error_text(task: TaskState) -> str:
    """Return by what a parked task has failed."""
    return f"{task.error.type}: {task.error.message}" if task.error is not None else ""


def why_it_asks(state: State, task: TaskState) -> str:
    """Return one sentence about a parked task."""
    error = f"it failed ({error_text(task)})"
    if state.status not in DECIDING:
        return f"{error}, and a person was asked; the execution is {state.status}, it waits in vain"
    return (
        f"{error}; a person is asked: `podium answer {state.id} {task.path} {RETRY}`, `{SKIP}` or `{FAIL}`, "
        f"or `podium complete`"
    )
