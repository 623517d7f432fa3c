"""Explanations: for each task that hasn't ended, what it waits for; for the execution, what stands in its way.

Pure over a committed state; what only the owner knows (queues, slots, leases) comes in through `Sources`. Nothing waits
without a reason that can be said here; a state without one would be a bug, and the simulator looks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from podium.engine import continuing
from podium.engine.admission import Admission
from podium.engine.asking import asking, asks, why_it_asks
from podium.engine.numbering import attempt_named
from podium.engine.outside import why_it_waits
from podium.engine.state import DECIDING, State, TaskState
from podium.scheduling.schedules import written
from podium.workflow.model import ExecutionStatus, TaskStatus
from podium.workflow.units import format_duration

NO_OWNER = "no process runs this execution at the moment; `podium resume {id}` goes on with it"
PAUSES = (ExecutionStatus.PAUSING, ExecutionStatus.PAUSED)
_SHOWN = 5


class Explanation(Struct, frozen=True):
    """Why one task is where it is."""

    task: str
    status: str
    because: str


class Sources(Struct, frozen=True):
    """What the owner knows beyond the log: why a ready task has no agent, how a live attempt does. None: no owner."""

    why_ready: Callable[[str, str], str] | None = None
    how_live: Callable[[str, int], str] | None = None  # by attempt id and the time


def headline(state: State, now_us: int, owned: bool = True) -> str:
    """Return one sentence about the whole execution."""
    done = state.counts[TaskStatus.COMPLETED] + state.counts[TaskStatus.SKIPPED]
    run = f", run {state.run}" if state.definition.continuation is not None else ""
    text = f"{state.status}{run}: {done} of {state.total} done"
    if state.counts[TaskStatus.FAILED]:
        text += f", {state.counts[TaskStatus.FAILED]} failed"
    if state.origin is not None:
        text = f"child of {state.origin.execution} ({state.origin.task}); {text}"
    if state.final:
        took = _lasting((state.finished_us or now_us) - state.created_us)
        ending = f"; {state.error.type}: {state.error.message}" if state.error else ""
        return f"{text} after {took}{ending}"
    if state.next_run is not None:
        why = continuing.why_not_yet(state)
        when = f"in {_lasting(state.next_run.begins_us - now_us)}: {why}" if why else "now"
        text += f"; run {state.run + 1} begins {when}"
    match state.status:
        case ExecutionStatus.RUNNING if asked := asking(state):
            more = f" and {len(asked) - _SHOWN} more" if len(asked) > _SHOWN else ""
            text += f"; a person is asked what becomes of {', '.join(asked[:_SHOWN])}{more}"
        case ExecutionStatus.RUNNING if state.children and not (state.unfinished or state.live):
            count = len(state.children)
            text += f"; {count} child workflow{'s' * (count > 1)} of its tasks, told to end with them,"
            text += f" ha{'ve' if count > 1 else 's'} to settle first"
        case ExecutionStatus.PAUSED:
            text += f"; paused{_reason(state)}: `podium resume {state.id}` lets it go on"
        case ExecutionStatus.PAUSING:
            text += f"; pausing{_reason(state)}: {_attempts(state)} settle first"
        case ExecutionStatus.FAILING if state.error:
            cause = f"{state.reason or 'it'} failed ({state.error.message})"
            text += f"; failing, since {cause}: {_attempts(state)} settle first"
        case ExecutionStatus.CANCELLING:
            text += f"; cancelling{_reason(state)}: {_attempts(state)} settle first"
        case _:
            pass
    return text if owned else f"{text}; {NO_OWNER.format(id=state.id)}"


def why_waiting(waited_us: int, admission: Admission | None = None, execution: str = "") -> str:
    """Return one sentence about an execution that hasn't begun; `admission` is its owner's."""
    text = f"waiting for room, for {_lasting(waited_us)}: as many executions are at work as may be at once"
    if admission is None:
        return f"{text} (max_concurrent_workflows)"
    if admission.is_put_off(execution):
        return f"waiting, for {_lasting(waited_us)}: its workflow has as many executions as it may have at once"
    text += f" ({admission.most} here; max_concurrent_workflows)"
    ahead = admission.ahead_of(execution)
    return f"{text}; {ahead} {'start is' if ahead == 1 else 'starts are'} before it" if ahead else text


def explain(state: State, now_us: int, sources: Sources | None = None) -> Iterator[Explanation]:
    """Yield an explanation for each task and instance that hasn't ended."""
    for task in state.tasks.values():
        if not task.final:
            yield Explanation(task.path, str(task.status), _because(state, task, now_us, sources))


def _because(state: State, task: TaskState, now_us: int, sources: Sources | None) -> str:
    match task.status:
        case TaskStatus.READY:
            return _why_ready(state, task, sources)
        case TaskStatus.WAITING:
            return why_it_asks(state, task) if asks(task) else why_it_waits(state, task, now_us)
        case TaskStatus.RUNNING if task.fan is not None:
            fan = task.fan
            failed = f", {fan.failed} failed" if fan.failed else ""
            ended = f"{fan.done} of {fan.count} instances have ended{failed}"
            limit = state.definition.max_parallel
            full = task.compiled.child is None and limit is not None and fan.begun < fan.count
            full = full and limit is not None and state.in_flight >= limit
            most = f"at most {limit} tasks of the execution" if full else f"at most {fan.window}"
            return f"{ended}, {fan.in_flight} are under way ({most})"
        case TaskStatus.RUNNING:
            return _how_it_runs(state, task, now_us, sources)
        case TaskStatus.RETRYING:
            error = (
                f"{attempt_named(state, task.number)} failed ({task.error.type}: {task.error.message})"
                if task.error
                else "it failed"
            )
            if state.status not in DECIDING:
                return f"{error}; the execution is {state.status}, it isn't tried again"
            return f"{error}; the next attempt is due in {_lasting(task.due_us - now_us)}"
        case _:
            return _why_pending(state, task)


def _why_ready(state: State, task: TaskState, sources: Sources | None) -> str:
    if state.status is not ExecutionStatus.RUNNING:
        return f"the execution is {state.status}; nothing starts"
    if sources is None or sources.why_ready is None:
        return "nobody gives it to an agent: no process runs the execution"
    return sources.why_ready(state.id, task.path) or "an agent is being chosen for it"


def _how_it_runs(state: State, task: TaskState, now_us: int, sources: Sources | None) -> str:
    parts = []
    for attempt in (task.live or {}).values():
        which = attempt_named(state, attempt.number)
        if sources is None:
            parts.append(f"{which} was with {attempt.agent} when the process that ran it ended")
            continue
        text = f"{which} is with {attempt.agent} for {_lasting(now_us - attempt.granted_us)}"
        if sources.how_live is not None:
            text += sources.how_live(state.attempt_id(task.path, attempt.number), now_us)
        parts.append(text)
    return "; ".join(parts)


def _why_pending(state: State, task: TaskState) -> str:
    primary = task.compiled.stands_in_for
    if primary is not None and state.tasks[primary].substitute != task.compiled.id:
        return f"it runs only if {primary} fails"
    waits = [d for d in task.compiled.spec.dependencies if not state.settled(state.tasks[d])]
    if waits:
        more = f" and {len(waits) - _SHOWN} more" if len(waits) > _SHOWN else ""
        return f"it waits for {', '.join(waits[:_SHOWN])}{more}"
    if state.status not in DECIDING or (task.compiled.child is not None and state.status in PAUSES):
        return f"the execution is {state.status}; nothing starts"
    if state.begins_us is not None:
        return f"the execution begins at {written(state.begins_us)}"
    limit = state.definition.max_parallel if task.compiled.spec.needs_agent else None
    if limit is not None and state.in_flight >= limit:
        return f"{state.in_flight} tasks are under way, at most {limit} may be (max_parallel)"
    if task.parent is not None and task.parent.fan is not None:
        return f"{task.parent.fan.in_flight} instances are under way, at most {task.parent.fan.window} may be"
    return "it is about to be looked at"


def _attempts(state: State) -> str:
    if state.children and state.status in (ExecutionStatus.FAILING, ExecutionStatus.CANCELLING):
        count = len(state.children)
        attempts = f"{state.live} live attempt{'s' * (state.live != 1)} and " if state.live else ""
        return f"{attempts}{count} child workflow{'s have' if count > 1 or state.live else ' has'} to"
    return "1 live attempt has to" if state.live == 1 else f"{state.live} live attempts have to"


def _lasting(for_us: int) -> str:
    """Return a length of time as people say it: to a tenth of a second, or in whole seconds when it is long."""
    seconds = max(for_us, 0) / 1e6
    return format_duration(round(seconds, 1) if seconds < 60 else round(seconds))


def _reason(state: State) -> str:
    return f" ({state.reason})" if state.reason else ""
