"""`advance`: what follows from the facts so far, without any input: tasks now ready, skipped, done; the execution's
end.

It looks only at the work lists that `evolve` keeps, and is called again until it returns nothing.
"""

from __future__ import annotations

from collections import Counter

from podium.engine import children, continuing
from podium.engine import events as ev
from podium.engine.asking import finally_failed
from podium.engine.outside import Taken, begin
from podium.engine.scope import items_of, scope_for
from podium.engine.state import DECIDING, State, TaskState, unfinished_instances
from podium.exceptions import ExpressionError
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import ExecutionStatus, FailureAction, RunIf, TaskStatus


def advance(state: State, now_us: int) -> list[ev.Event]:
    """Return the next events that the state itself implies; an empty list when it is quiet."""
    match state.status:
        case ExecutionStatus.CANCELLING:
            return [] if state.live or state.children else [ev.ExecutionCancelled()]
        case ExecutionStatus.FAILING:
            return [] if state.live or state.children else [ev.ExecutionFailed()]
        case status if status not in DECIDING:
            return []
    if state.fatal is not None:
        task, error = state.fatal
        return [ev.ExecutionFailing(error, task)]
    events = _look_at_eligible(state, now_us) if state.eligible and state.begins_us is None else []
    if not events and state.fans:
        events = _look_at_fans(state)
    return events or _look_at_the_whole(state, now_us)


def _look_at_the_whole(state: State, now_us: int) -> list[ev.Event]:
    if state.unfinished == 0 and state.status is not ExecutionStatus.PAUSED:
        if state.live:
            return []  # an attempt of a task that has ended; its slot is still held
        if state.next_run is None and not state.children:  # those of tasks that have ended were told to end, too
            return [continuing.what_follows(state, now_us) or ev.ExecutionCompleted(state.partial)]
    if state.status is ExecutionStatus.PAUSING and state.live == 0:
        return [ev.ExecutionPaused()]
    return []


def _look_at_eligible(state: State, now_us: int) -> list[ev.Event]:
    events: list[ev.Event] = []
    taken: Taken = set()
    ready: list[str] = []
    starting: Counter[str] = Counter()
    limit = state.definition.max_parallel
    room = len(state.eligible) if limit is None else limit - state.in_flight

    def has_room() -> bool:
        return len(ready) < room

    for path in state.eligible.to_look_at(has_room):
        task = state.tasks[path]
        event = _what_becomes_of(state, task)
        if event is not None:
            events.append(event)
            if isinstance(event, ev.TaskSkipped | ev.TaskFailed):  # a fallback whose instances a retry opened again
                events += [ev.TaskCancelled(i.path) for i in unfinished_instances(state, task)]
        elif task.compiled.child is not None:
            if children.fits_its_fan(task, starting):
                events += children.begin(state, task, now_us)
        elif task.compiled.outside is not None:
            events += begin(state, task, now_us, taken)
        elif not has_room():
            state.eligible.wants_room(path)
        elif _fits_its_fan(task, ready):
            ready.append(path)
    if ready:
        events.append(ev.TasksReady(tuple(ready)))
    return events


def _what_becomes_of(state: State, task: TaskState) -> ev.Event | None:
    """Return what happens to an eligible task other than becoming ready; None if it becomes ready."""
    compiled = task.compiled
    if task.parent is not None:
        return None
    if task.status is TaskStatus.FAILED:
        return ev.FallbackStarted(task.path, compiled.fallback or "")
    if compiled.stands_in_for is not None and state.tasks[compiled.stands_in_for].substitute != task.path:
        return ev.TaskSkipped(task.path, f"not needed: {compiled.stands_in_for} didn't fail")
    if compiled.undoes is not None:
        return ev.TaskSkipped(task.path, f"it compensates {compiled.undoes}, and isn't called for")
    reason = _unsuccessful_dependency(state, task)
    if reason:
        return ev.TaskSkipped(task.path, reason)
    try:
        condition = compiled.condition
        if condition is not None and not condition.evaluate(scope_for(state, condition.references)):
            return ev.TaskSkipped(task.path, f"its condition is false: {compiled.spec.when}")
        if compiled.items is not None:
            # One that is opened again, after a person's retry, keeps its instances.
            return ev.FanOutOpened(task.path, task.fan.count if task.fan else len(items_of(state, task)))
    except (ExpressionError, TypeError, RecursionError) as error:
        return finally_failed(task, ErrorInfo("ExpressionError", str(error), retryable=False))
    return None


def _unsuccessful_dependency(state: State, task: TaskState) -> str:
    if task.compiled.spec.run_if == RunIf.ALL_DONE:
        return ""
    for dependency in task.compiled.spec.dependencies:
        other = state.tasks[dependency]
        if not state.succeeded(other):
            status = state.result_of(other).status
            return f"its dependency {dependency} {'failed' if status is TaskStatus.FAILED else f'was {status}'}"
    return ""


def _fits_its_fan(task: TaskState, ready: list[str]) -> bool:
    """Whether an instance that starts again has room in its fan-out's window."""
    if task.parent is None or task.parent.fan is None:
        return True
    return task.parent.fan.in_flight + len(ready) < task.parent.fan.window


def _look_at_fans(state: State) -> list[ev.Event]:
    events: list[ev.Event] = []
    limit = state.definition.max_parallel
    room = None if limit is None else limit - state.in_flight
    for path in state.fans:
        task = state.tasks[path]
        fan = task.fan
        if fan is None or task.final:
            continue
        if fan.failed and task.compiled.spec.on_failure.action != FailureAction.CONTINUE:
            events.append(ev.TaskFailed(path, _instance_error(task)))
            events += [ev.TaskCancelled(i.path) for i in unfinished_instances(state, task) if not i.live]
        elif fan.done == fan.count:
            events.append(ev.FanOutCompleted(path, fan.failed))
        elif task.compiled.child is not None:
            events += children.next_instances(state, task)
        else:
            stop = min(fan.count, fan.begun + fan.window - fan.in_flight)
            if room is not None:
                stop = min(stop, fan.begun + room)
                room -= max(stop - fan.begun, 0)
            if stop > fan.begun:
                events.append(ev.InstancesReady(path, fan.begun, stop))
    return events


def _instance_error(task: TaskState) -> ErrorInfo:
    error = task.error or ErrorInfo("Error", "an instance failed")
    return ErrorInfo(error.type, f"an instance failed: {error.message}", error.traceback, retryable=False)
