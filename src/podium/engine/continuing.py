"""`continue_as_new`: how an execution whose tasks have all ended goes on as another run, with all of them to do again.
Pure.

The run's end says in one fact that there is another one and with which input; a timer begins it. So each run begins
once whatever dies in between, and one in which no agent had anything to do, of which an engine could make thousands in
a second, can't keep it busy: the next one begins a second after it.
"""

from __future__ import annotations

from typing import Any, Final

from podium.clock import SECOND
from podium.engine import events as ev
from podium.engine.scope import BlobMissing, encoded, scope_for
from podium.engine.state import State
from podium.engine.values import Value, value_of
from podium.exceptions import ExpressionError, InvalidInputError
from podium.fleet.messages import ErrorInfo
from podium.workflow.inputs import check_input
from podium.workflow.nesting import check_nesting

BREATH_US: Final = SECOND  # from the begin of a run in which no agent had an attempt to that of the next, at least
MAX_NEXT_INPUT: Final = 1 << 20  # bytes of JSON that a template may make: it is rendered and hashed between two inputs
_TOO_LARGE: Final = f"the next run's input is too large: at most {MAX_NEXT_INPUT:,} bytes of JSON are taken"
CONTINUE_ERROR: Final = "ContinueError"  # of an execution whose next run can't be made
MAX_WHY: Final = 4_000  # characters


def what_follows(state: State, now_us: int) -> ev.RunCompleted | ev.ExecutionFailing | None:
    """Return that another run follows on the one that has ended well, or that its input can't be made; None: neither.

    The text of a large input is left among the state's loaded values, for whoever commits it.
    """
    continuation = state.definition.continuation
    if continuation is None:
        return None
    try:
        condition = continuation.condition
        if condition is not None and not condition.evaluate(scope_for(state, condition.references)):
            return None
        given = _next_input(state)
    except (ExpressionError, InvalidInputError, BlobMissing, TypeError, ValueError, RecursionError) as error:
        why = f"it can't continue as a new run: {error}"[:MAX_WHY]
        return ev.ExecutionFailing(ErrorInfo(CONTINUE_ERROR, why, retryable=False))
    begins_us = now_us if _has_worked(state) else max(now_us, state.run_started_us + BREATH_US)
    return ev.RunCompleted(state.run, given, begins_us)


def begin(state: State, now_us: int) -> list[ev.Event]:
    """Return that the next run begins; each has the first one's time, a child's no more than its parent's."""
    ends = [] if state.timeout_us is None else [now_us + state.timeout_us]
    if state.origin is not None and state.origin.deadline_us is not None:
        ends.append(state.origin.deadline_us)
    deadline_us = min(ends, default=None)
    return [ev.RunStarted(state.run + 1, deadline_us)]


def why_passed(state: State, run: int) -> str:
    """Return that a person speaks of another run than the present one; empty if not. 0: of whichever it is."""
    return "" if run in (0, state.run) else f"run {run} was meant; it is run {state.run} now"


def why_not_yet(state: State) -> str:
    """Return in a few words what the next run waits for; empty if it begins at once."""
    if state.next_run is None or state.next_run.begins_us <= state.updated_us:
        return ""
    least = f"the next run begins at least {BREATH_US // SECOND} s after such a run"
    return f"no agent had an attempt in run {state.run}, and {least}"


def _next_input(state: State) -> Value:
    """Return the next run's input as its template gives it, or the same again. Raises InvalidInputError and others."""
    continuation = state.definition.continuation
    if continuation is None or continuation.input is None:
        return state.input
    given = continuation.input.render(scope_for(state, continuation.input.references))
    _check_size(given)
    text = encoded(given)
    if len(text) > MAX_NEXT_INPUT:
        raise InvalidInputError(_TOO_LARGE)
    check_nesting(text, "the input")
    check_input(state.definition.workflow, given)
    value, content = value_of(text)
    if content is not None and value.blob is not None:
        state.loaded[value.blob] = content
    return value


def _check_size(given: Any) -> None:
    """Raise InvalidInputError for what is certainly too large, having looked at little more than the bound allows.

    A template may name a large result many times over: encoded first, it would be as many times as large.
    """
    size, parts = 0, [given]
    while parts:
        part = parts.pop()
        size += len(part) + 2 if isinstance(part, str | list | tuple | dict) else 1
        if size > MAX_NEXT_INPUT:
            raise InvalidInputError(_TOO_LARGE)
        if isinstance(part, dict):
            parts += part
            parts += part.values()
        elif isinstance(part, list | tuple):
            parts += part


def _has_worked(state: State) -> bool:
    """Whether an agent had an attempt in this run; what children did in theirs cost this one nothing."""
    return any(task.agent and task.compiled.child is None and state.attempts_of(task) for task in state.tasks.values())
