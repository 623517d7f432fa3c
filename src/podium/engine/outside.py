"""Tasks that no agent does: what they wait for outside, when it has come, and what that makes of them. Pure.

A task of the type `wait` waits for a signal, a time or another execution's end, one of the type `human` for a person.
Each of them begins with a `TaskWaiting`, which says all that has to be known of it, and ends with one of the facts that
end any task. Signals that come before a task waits for them are kept, each for one task.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from podium.clock import seconds_to_us
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.continuing import why_passed
from podium.engine.scope import decoded, scope_for, text_of
from podium.engine.state import DECIDING, State, TaskState
from podium.engine.values import INLINE_LIMIT, NULL, Value
from podium.exceptions import ExpressionError
from podium.fleet.messages import ErrorInfo
from podium.workflow.expressions import Template
from podium.workflow.forms import form_problems
from podium.workflow.model import ExecutionStatus, TaskStatus, TaskType
from podium.workflow.outside_rules import MAX_SECONDS
from podium.workflow.units import format_duration, parse_duration

MOST_KEPT = 1_000  # signals of one name that no task has taken yet
MOST_AWAITING = 10_000  # tasks of other executions that wait for one's end
MAX_NAME = 200  # characters of who is asked, and of an execution's id
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Taken = set[tuple[str, int]]  # kept signals that other tasks take in the same breath


# --- beginning to wait -------------------------------------------------------------------------------------------


def begin(state: State, task: TaskState, now_us: int, taken: Taken) -> list[ev.Event]:
    """Return how an eligible task begins to wait, or that it can't; a signal that is kept ends the wait at once."""
    try:
        waiting = _wait_of(state, task, now_us)
    except (ExpressionError, TypeError, ValueError, RecursionError) as error:
        kind = "ExpressionError" if isinstance(error, ExpressionError) else "WaitError"
        return [ev.TaskFailed(task.path, ErrorInfo(kind, str(error), retryable=False))]
    if waiting.awaits == "signal":
        kept = state.signals.get(waiting.name, {})
        accepts = _accepting(state, task) if kept else None
        heard = task.heard if task.parent is None else task.parent.heard
        for sequence, value in kept.items():
            if sequence <= heard or (waiting.name, sequence) in taken:
                continue
            if accepts is not None and accepts(value):
                taken.add((waiting.name, sequence))
                took = ev.SignalTaken(task.path, waiting.name, sequence)
                return [waiting, took, ev.TaskCompleted(task.path, 0, value)]
    return [waiting]


def _wait_of(state: State, task: TaskState, now_us: int) -> ev.TaskWaiting:
    spec, outside = task.compiled.spec, task.compiled.outside
    assert outside is not None
    timeout_us = 0 if spec.timeout is None else now_us + seconds_to_us(spec.timeout)
    if spec.signal:
        return ev.TaskWaiting(task.path, "signal", spec.signal, timeout_us=timeout_us)
    if outside.wait_for is not None:
        due_us = now_us + seconds_to_us(_seconds(_rendered(state, task, outside.wait_for)))
        return ev.TaskWaiting(task.path, "time", due_us=due_us, timeout_us=timeout_us)
    if outside.until is not None:
        due_us = _moment(_rendered(state, task, outside.until))
        return ev.TaskWaiting(task.path, "time", due_us=due_us, timeout_us=timeout_us)
    if outside.execution is not None:
        other = _name(_rendered(state, task, outside.execution), "an execution's id")
        if other == state.id:
            raise ValueError("it would wait for the end of its own execution")
        return ev.TaskWaiting(task.path, "execution", other, timeout_us=timeout_us)
    asked = "" if outside.assignee is None else _name(_rendered(state, task, outside.assignee), "an assignee")
    waiting = ev.TaskWaiting(task.path, "person", asked, timeout_us=timeout_us)
    if spec.escalation is None or outside.escalates_to is None:
        return waiting
    return msgspec.structs.replace(
        waiting,
        escalates_us=now_us + seconds_to_us(spec.escalation.after),
        escalates_to=_name(_rendered(state, task, outside.escalates_to), "who it escalates to"),
    )


def _rendered(state: State, task: TaskState, template: Template) -> Any:
    return template.render(scope_for(state, template.references, task))


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME or not value.isprintable():
        raise ValueError(f"{what} is a text of at most {MAX_NAME} characters, not {str(value)[:MAX_NAME]!r}")
    return value


def _seconds(value: Any) -> float:
    """Return a duration in seconds: a value may say no longer one than the workflow itself."""
    seconds = parse_duration(value)
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"it would wait for {seconds:g} seconds; at most ten years are allowed")
    return seconds


def _moment(value: Any) -> int:
    """Return a time with its zone, as ISO 8601 writes it, in microseconds since the epoch."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{str(value)[:MAX_NAME]!r} is no time; write it so: 2026-03-01T09:30:00Z") from None
    if found.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; end it with Z or with an offset such as +02:00")
    return max((found - _EPOCH) // timedelta(microseconds=1), 0)


# --- signals -----------------------------------------------------------------------------------------------------


def hear(state: State, given: inp.Signal) -> list[ev.Event]:
    """Return what a signal does: it ends the wait of one task, or is kept for one to come, or is recorded only."""
    name, value = given.name, given.value
    listeners = state.definition.listeners.get(name, ())
    received = ev.SignalReceived(name, value)
    if not listeners or state.status not in DECIDING:
        return [received]
    if value.blob is not None and any(_looks(state, task) for task in listeners):
        text = f"its value has {value.size:,} bytes; one that a condition (`accept`) looks at may have {INLINE_LIMIT:,}"
        return [ev.InputIgnored(text)]
    waiting = [state.tasks[path] for path in state.waiting.get(("signal", name), ())]
    for task in sorted(waiting, key=lambda task: (task.ready_us, task.path)):
        if _accepting(state, task)(value):
            return [received, ev.TaskCompleted(task.path, 0, value)]
    coming = any(state.tasks[task].status is TaskStatus.PENDING for task in listeners if task in state.tasks)
    if not coming and state.definition.continuation is None:
        return [received]
    if len(state.signals.get(name, ())) >= MOST_KEPT:
        return [ev.InputIgnored(f"{MOST_KEPT:,} signals of this name are kept already that no task has taken yet")]
    return [ev.SignalReceived(name, value, kept=True)]


def _looks(state: State, task: str) -> bool:
    compiled = state.definition.tasks[task]
    return compiled.outside is not None and compiled.outside.accept is not None


def _accepting(state: State, task: TaskState) -> Callable[[Value], bool]:
    """Return whether a task's condition is true of a signal; one of which it can't be evaluated is passed over.

    What else the condition reads is decoded once, however many signals are held against it.
    """
    accept = task.compiled.outside.accept if task.compiled.outside is not None else None
    if accept is None:
        return lambda value: True
    condition = accept
    try:
        scope = scope_for(state, accept.references)
    except ExpressionError:
        return lambda value: False

    def accepts(value: Value) -> bool:
        try:
            told = {"name": task.compiled.spec.signal, "value": decoded(text_of(state, value))}
            return bool(condition.evaluate({**scope, "signal": told}))
        except (ExpressionError, TypeError, RecursionError):
            return False

    return accepts


# --- people ------------------------------------------------------------------------------------------------------


def answer(state: State, given: inp.Answer) -> list[ev.Event]:
    """Return what a person's answer does: the first one that fits the form ends the wait."""
    refusal = why_passed(state, given.run) or _why_no_answer(state, given)
    if refusal:
        return [ev.InputIgnored(refusal)]
    return [ev.TaskCompleted(given.task, 0, given.value, given.by)]


def _why_no_answer(state: State, given: inp.Answer) -> str:
    task = state.tasks.get(given.task)
    if task is not None and task.status is TaskStatus.COMPLETED and task.compiled.spec.type is TaskType.HUMAN:
        who = f" by {task.agent}" if task.agent else ""
        return f"{task.path} was answered already{who}, at {in_words(task.finished_us)}"
    if state.status not in DECIDING:
        return f"the execution is {state.status}; nobody is asked any more"
    if task is None:
        people = [path for (awaits, _), paths in state.waiting.items() if awaits == "person" for path in paths]
        asking = ", ".join(sorted(people))  # in the order of their names: a snapshot keeps no other
        return f"there is no task {given.task[:MAX_NAME]}; asked is: {asking or 'nothing at the moment'}"
    if task.wait is None or task.wait.awaits != "person":
        return _not_asked(task)
    form = task.compiled.spec.form
    if form is not None and given.value.blob is None:  # a larger one was checked at the door
        try:
            problems = form_problems(form, decoded(bytes(given.value.json)))
        except ExpressionError as error:
            problems = [str(error)]
        if problems:
            return f"the answer doesn't fit the form: {'; '.join(problems)}"
    return ""


def _not_asked(task: TaskState) -> str:
    if task.compiled.spec.needs_agent:
        return f"{task.path} asks nobody: an agent does it"
    return f"{task.path} is {task.status}; it asks nobody now"


# --- other executions --------------------------------------------------------------------------------------------


def await_end(state: State, given: inp.Await) -> list[ev.Event]:
    """Return what becomes of another execution's wish to be told of this one's end; `letters` answers it."""
    if given.tenant != state.tenant:
        return [ev.InputIgnored("another tenant's execution waits for nothing here")]
    if state.final:
        return [ev.InputIgnored(f"the execution is {state.status} already; who asks is told so")]
    if len(state.awaiters) >= MOST_AWAITING:
        return [ev.InputIgnored(f"{MOST_AWAITING:,} tasks wait for this execution's end already")]
    return [ev.EndAwaited(given.execution, given.task, given.asked)]


def ended(state: State, given: inp.Ended) -> list[ev.Event]:
    """Return what the end of an execution does to the task that waits for it."""
    task = state.tasks.get(given.task)
    wait = task.wait if task is not None else None
    if wait is None or wait.awaits != "execution" or wait.name != given.execution or state.status not in DECIDING:
        return [ev.InputIgnored("the task doesn't wait for that execution's end any more", given.task)]
    if given.status == ExecutionStatus.COMPLETED:
        return [ev.TaskCompleted(given.task, 0, given.value or NULL)]
    why = f": {given.error.type}: {given.error.message}" if given.error is not None else ""
    text = f"execution {given.execution} is {given.status}{why}"
    return [ev.TaskFailed(given.task, ErrorInfo("ExecutionFailed", text, retryable=False))]


# --- time --------------------------------------------------------------------------------------------------------


def time_has_come(task: TaskState, kind: str) -> list[ev.Event]:
    """Return what one of a wait's timers does."""
    wait = task.wait
    if wait is None:
        return []
    match kind:
        case "due":
            return [ev.TaskCompleted(task.path, 0, NULL)]
        case "escalation":
            return [ev.TaskEscalated(task.path, wait.escalates_to)]
        case _:
            text = f"{waited_for(wait)} didn't come within its timeout of {task.compiled.spec.timeout or 0:g} s"
            return [ev.TaskFailed(task.path, ErrorInfo("TimeoutError", text, retryable=False))]


# --- in words ----------------------------------------------------------------------------------------------------


def waited_for(wait: ev.TaskWaiting) -> str:
    """Return in words what a task waits for."""
    match wait.awaits:
        case "signal":
            return f"the signal {wait.name}"
        case "time":
            return in_words(wait.due_us)
        case "execution":
            return f"the end of execution {wait.name}"
        case "person":
            return f"{wait.name}'s answer" if wait.name else "somebody's answer"
        case "decision":
            return "somebody's decision"
        case _:
            return wait.name or wait.awaits


def why_it_waits(state: State, task: TaskState, now_us: int) -> str:
    """Return one sentence about a waiting task."""
    wait = task.wait
    if wait is None:
        return ""
    text = f"waiting for {waited_for(wait)}, since {in_words(task.ready_us)}"
    if task.child in state.children and state.status not in DECIDING:
        return f"{text}; the execution is {state.status}, and its child was told to end"
    if state.status not in DECIDING:
        return f"{text}; the execution is {state.status}, it waits in vain"
    if wait.awaits == "time":
        return f"{text}; {_in(wait.due_us, now_us)} from now"
    if task.reason:
        text += f"; {task.reason}"
    if wait.escalates_us:
        text += f"; {wait.escalates_to} is asked in {_in(wait.escalates_us, now_us)}"
    if wait.timeout_us:
        text += f"; it fails in {_in(wait.timeout_us, now_us)}"
    match wait.awaits:
        case "signal":
            return f"{text}: `podium signal {state.id} {wait.name}`"
        case "execution" if task.child:
            return f"{text}, its child: `podium explain {wait.name}`"
        case "person":
            return f"{text}: `podium answer {state.id} {task.path}`"
        case _:
            return text


def in_words(at_us: int) -> str:
    """Return a time as `2026-03-01T09:30:00Z`."""
    try:
        return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="seconds").replace("+00:00", "Z")
    except OverflowError:
        return "the end of time"


def _in(due_us: int, now_us: int) -> str:
    seconds = max(due_us - now_us, 0) / 1e6
    return format_duration(round(seconds, 1) if seconds < 60 else round(seconds))
