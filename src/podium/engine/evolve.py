"""`evolve`: what each event changes in an execution's state. In place, O(1) an event and an edge, no decision here.

It reads nothing but the state and the event, so that folding a history always gives the same state. The four events
that open or end the whole (started, run started, retried, cancelled) look at every task, once each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from podium.clock import seconds_to_us
from podium.engine import events as ev
from podium.engine.grown import grow, regrown
from podium.engine.state import Attempt, FanOut, State, TaskState, unfinished_instances
from podium.engine.transitions import AttemptStatus, check_attempt_move
from podium.exceptions import IllegalTransitionError
from podium.workflow.model import ExecutionStatus, FailureAction, ParentClose, TaskStatus

ATTEMPT_ENDS = {
    "error": AttemptStatus.FAILED,
    "timeout": AttemptStatus.TIMED_OUT,
    "crash": AttemptStatus.CRASHED,
    "lost": AttemptStatus.LOST,
    "interrupted": AttemptStatus.LOST,
    "cancelled": AttemptStatus.CANCELLED,
}
_BEGUN = frozenset({TaskStatus.READY, TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.WAITING})
TIMEOUT_SLACK_US = 500_000  # the agent's own report of a time-out, which says more, may come first


def evolve(state: State, event: ev.Event, now_us: int) -> None:
    """Apply one event. Raises IllegalTransitionError for one that doesn't fit: a bug, never an input's fault."""
    _EVOLVE[type(event)](state, event, now_us)
    state.sequence += 1
    state.updated_us = now_us


# --- the execution -----------------------------------------------------------------------------------------------


def _started(state: State, event: ev.ExecutionStarted, now_us: int) -> None:
    state.seed = event.seed
    state.input = event.input
    state.bindings = event.bindings
    state.priority = event.priority
    state.preferred_agent = event.preferred_agent
    state.schedule = event.schedule
    state.origin = event.parent
    if event.parent is not None:
        state.awaiters[event.parent.execution, event.parent.task] = event.parent.number
    state.created_us = now_us
    state.run_started_us = event.begins_us or now_us
    state.timeout_us = None if event.deadline_us is None else event.deadline_us - (event.begins_us or now_us)
    _set_deadline(state, event.deadline_us)
    if event.begins_us is not None:
        state.begins_us = event.begins_us
        state.add_timer(event.begins_us, "begin")
    _add_tasks(state)


def _add_tasks(state: State) -> None:
    for compiled in state.definition.tasks.values():
        task = TaskState(compiled.id, compiled)
        task.number = state.attempts_before
        state.add_task(task)
        if compiled.stands_in_for is None:
            state.unfinished += 1
            if task.unmet == 0:
                state.eligible[task.path] = None
    state.total = len(state.tasks)


def _run_completed(state: State, event: ev.RunCompleted, now_us: int) -> None:
    state.next_run = event
    _set_deadline(state, None)  # the run has kept it
    state.add_timer(event.begins_us, "run")


def _run_started(state: State, event: ev.RunStarted, now_us: int) -> None:
    if state.next_run is None:
        raise IllegalTransitionError(f"run {event.run} can't begin: run {state.run} doesn't say so")
    state.run, state.run_started_us = event.run, now_us
    state.input, state.next_run = state.next_run.input, None
    state.definition = regrown(state.definition, ())
    state.forget_run()
    _set_deadline(state, event.deadline_us)
    _add_tasks(state)


def _due(state: State, event: ev.ExecutionDue, now_us: int) -> None:
    state.begins_us = None


def _pausing(state: State, event: ev.ExecutionPausing, now_us: int) -> None:
    state.move(ExecutionStatus.PAUSING)
    state.reason = event.reason


def _paused(state: State, event: ev.ExecutionPaused, now_us: int) -> None:
    state.move(ExecutionStatus.PAUSED)


def _resumed(state: State, event: ev.ExecutionResumed, now_us: int) -> None:
    state.move(ExecutionStatus.RUNNING)
    state.reason = ""


def _failing(state: State, event: ev.ExecutionFailing, now_us: int) -> None:
    state.move(ExecutionStatus.FAILING)
    state.next_run = None
    state.error = event.error
    state.reason = event.task
    state.fatal = None


def _failed(state: State, event: ev.ExecutionFailed, now_us: int) -> None:
    state.move(ExecutionStatus.FAILED)
    state.finished_us = now_us


def _cancelling(state: State, event: ev.ExecutionCancelling, now_us: int) -> None:
    state.move(ExecutionStatus.CANCELLING)
    state.next_run = None
    state.reason = event.reason


def _cancelled(state: State, event: ev.ExecutionCancelled, now_us: int) -> None:
    state.move(ExecutionStatus.CANCELLED)
    state.finished_us = now_us
    for task in state.tasks.values():
        if not task.final:
            state.move_task(task, TaskStatus.CANCELLED)
            state.wait_for(task, None)
            task.finished_us = now_us
    state.eligible.clear()
    state.fans.clear()


def _completed(state: State, event: ev.ExecutionCompleted, now_us: int) -> None:
    state.move(ExecutionStatus.COMPLETED)
    state.partial = event.partial
    state.signals.clear()
    state.finished_us = now_us


def _retried(state: State, event: ev.ExecutionRetried, now_us: int) -> None:
    state.move(ExecutionStatus.RUNNING)
    state.finished_us = None
    state.error = state.fatal = state.begins_us = None
    state.reason = ""
    state.awaiters.clear()  # who waited was told of the former end
    anew = set(event.tasks)
    again = [t for t in state.tasks.values() if t.parent is None and t.path not in anew and opens_again(state, t)]
    for path in event.tasks:
        _begin_anew(state, state.tasks[path])
    for task in again:
        _reopen(state, task)
    for task in again:
        if task.fan is not None and state.awaited(task):
            state.move_task(task, TaskStatus.RUNNING)
    for task in state.tasks.values():
        if task.parent is not None and not task.parent.final:
            _reopen_instance(state, task)
    _count_again(state)
    _set_timers_again(state, event.deadline_us, now_us)


def opens_again(state: State, task: TaskState) -> bool:
    """Whether a retry starts an ended task anew: cancelled, or failed with nothing that stands for its result.

    A fallback that had its turn waits for its primary again.
    """
    match task.status:
        case TaskStatus.CANCELLED:
            return True
        case TaskStatus.FAILED:
            last = state.result_of(task)
            if not last.final or last.status is TaskStatus.COMPLETED:
                return False  # its fallback is under way, or stands for it
            return (
                last.status is not TaskStatus.FAILED or last.compiled.spec.on_failure.action != FailureAction.CONTINUE
            )
        case TaskStatus.SKIPPED if task.compiled.stands_in_for is not None:
            primary = state.tasks[task.compiled.stands_in_for]
            return primary.substitute == task.path and opens_again(state, primary)
        case _:
            return False


def _begin_anew(state: State, task: TaskState) -> None:
    """Forget all that came of a task but which attempts it had; its effects have other idempotency keys from now on."""
    if task.compiled.spec.signal and (task.status is TaskStatus.COMPLETED or (task.fan and task.fan.completed)):
        task.heard = state.sequence + 1
    if task.status is not TaskStatus.PENDING:
        state.move_task(task, TaskStatus.PENDING)
    state.drop_instances(task)
    state.wait_for(task, None)
    task.generation += 1
    task.child = ""
    task.failures = task.crashes = task.interruptions = 0
    task.result = task.error = task.checkpoint = task.substitute = None
    task.saved, task.reason = (0, 0), ""
    task.ready_us = task.started_us = task.finished_us = task.deadline_us = task.due_us = 0


def _reopen(state: State, task: TaskState) -> None:
    state.move_task(task, TaskStatus.PENDING)
    task.failures = task.crashes = task.interruptions = 0
    task.child = ""
    task.error, task.substitute, task.reason = None, None, ""
    task.finished_us = task.deadline_us = 0


def _reopen_instance(state: State, task: TaskState) -> None:
    """Let an instance of an open fan-out start anew, if it ended without a result and that isn't put up with."""
    failed = task.status is TaskStatus.FAILED and task.compiled.spec.on_failure.action != FailureAction.CONTINUE
    if failed or task.status is TaskStatus.CANCELLED:
        _reopen(state, task)


def _count_again(state: State) -> None:
    """Make the work lists and the counters that depend on which tasks have ended, after some were opened again."""
    state.unfinished = 0
    state.partial = False
    state.eligible.clear()
    state.fans.clear()
    for task in state.tasks.values():
        if task.parent is None:
            _count_top_level(state, task)
        else:
            _count_instance(state, _fan(task.parent), task)


def _count_top_level(state: State, task: TaskState) -> None:
    task.unmet = sum(not state.settled(state.tasks[d]) for d in task.compiled.spec.dependencies)
    if task.fan is not None:
        task.fan.done = task.fan.completed = task.fan.failed = 0
        if task.status is TaskStatus.RUNNING:
            state.fans[task.path] = None
    if state.settled(task):
        state.partial = state.partial or (task.status is TaskStatus.FAILED and not state.succeeded(task))
    elif _not_needed(state, task):
        state.unfinished += 1
        state.eligible[task.path] = None
    elif state.awaited(task):
        state.unfinished += 1
        if task.unmet == 0 and task.status is TaskStatus.PENDING:
            state.eligible[task.path] = None


def _count_instance(state: State, fan: FanOut, task: TaskState) -> None:
    fan.done += task.final
    fan.completed += task.status is TaskStatus.COMPLETED
    fan.failed += task.status is TaskStatus.FAILED
    parent = task.parent
    if parent is None:
        return
    if task.status is TaskStatus.FAILED and parent.status is TaskStatus.COMPLETED and parent.result is None:
        state.partial = True
    if task.status is TaskStatus.PENDING and parent.status is TaskStatus.RUNNING:
        state.eligible[task.path] = None


def _set_timers_again(state: State, deadline_us: int | None, now_us: int) -> None:
    """Set the timers that an execution's end has made void; deadlines begin anew."""
    state.clear_timers()
    _set_deadline(state, deadline_us)
    for task in state.tasks.values():
        task.deadline_us = 0
        if task.status in _BEGUN:
            _set_task_deadline(state, task, now_us)
        if task.status is TaskStatus.RETRYING:
            state.add_timer(task.due_us, "retry", task.path)
        elif task.wait is not None:
            _wait_anew(state, task, task.wait, now_us)


def _wait_anew(state: State, task: TaskState, wait: ev.TaskWaiting, now_us: int) -> None:
    """Let a wait that an execution's end has left over go on: a time stays what it is, patience begins anew."""
    later_us = now_us - task.ready_us
    anew = msgspec.structs.replace(
        wait,
        timeout_us=wait.timeout_us and wait.timeout_us + later_us,
        escalates_us=wait.escalates_us and wait.escalates_us + later_us,
    )
    task.ready_us = now_us
    state.wait_for(task, anew)
    state.add_wait_timers(anew)


def _set_deadline(state: State, deadline_us: int | None) -> None:
    state.deadline_us = deadline_us
    if deadline_us is not None:
        state.add_timer(deadline_us, "execution")


def _signal_received(state: State, event: ev.SignalReceived, now_us: int) -> None:
    if event.kept:
        state.signals.setdefault(event.name, {})[state.sequence + 1] = event.value


def _status_published(state: State, event: ev.StatusPublished, now_us: int) -> None:
    state.published = event


def _end_awaited(state: State, event: ev.EndAwaited, now_us: int) -> None:
    state.awaiters[event.execution, event.task] = event.asked


def _nothing(state: State, event: ev.Event, now_us: int) -> None:
    """Recorded, and nothing follows from it."""


# --- tasks -------------------------------------------------------------------------------------------------------


def _ready(state: State, event: ev.TasksReady, now_us: int) -> None:
    for path in event.tasks:
        task = state.tasks[path]
        state.eligible.pop(path, None)
        state.move_task(task, TaskStatus.READY)
        _begin(state, task, now_us)


def _begin(state: State, task: TaskState, now_us: int) -> None:
    task.ready_us = now_us
    _set_task_deadline(state, task, now_us)


def _set_task_deadline(state: State, task: TaskState, now_us: int) -> None:
    """Set a task's deadline, once; of a fan-out it is the whole's, its instances have none of their own."""
    deadline = task.compiled.spec.deadline
    if deadline is not None and not task.deadline_us and task.parent is None:
        task.deadline_us = now_us + seconds_to_us(deadline)
        state.add_timer(task.deadline_us, "task", task.path)


def _fan_out_opened(state: State, event: ev.FanOutOpened, now_us: int) -> None:
    task = state.tasks[event.task]
    state.eligible.pop(event.task, None)
    if task.fan is None:
        task.fan = FanOut(event.count, task.compiled.window)
        task.started_us = now_us
        state.total += event.count
    state.move_task(task, TaskStatus.RUNNING)
    state.fans[event.task] = None
    _begin(state, task, now_us)
    for instance in unfinished_instances(state, task):  # of a fallback that has its turn again after a retry
        if instance.wait is None:
            state.eligible[instance.path] = None


def _instances_ready(state: State, event: ev.InstancesReady, now_us: int) -> None:
    parent = state.tasks[event.task]
    for index in range(event.first, event.stop):
        task = TaskState(f"{event.task}[{index}]", parent.compiled, index, parent)
        task.number, task.generation = parent.number, parent.generation
        state.add_task(task)
        if task.compiled.child is None:
            state.move_task(task, TaskStatus.READY)
            task.ready_us = now_us
        else:  # it waits for its child once that has begun
            state.eligible[task.path] = None
    fan = _fan(parent)
    fan.begun = event.stop
    if fan.begun == fan.count or state.definition.max_parallel is None:
        state.fans.pop(event.task, None)  # the end of an instance brings it back


def _fan_out_completed(state: State, event: ev.FanOutCompleted, now_us: int) -> None:
    task = state.tasks[event.task]
    state.fans.pop(event.task, None)
    state.items.pop(event.task, None)
    if event.failed:
        state.partial = True
    _end(state, task, TaskStatus.COMPLETED, now_us)


def _waiting(state: State, event: ev.TaskWaiting, now_us: int) -> None:
    task = state.tasks[event.task]
    state.eligible.pop(event.task, None)
    state.move_task(task, TaskStatus.WAITING)
    task.started_us = now_us
    task.agent = ""
    state.wait_for(task, event)
    state.add_wait_timers(event)
    _begin(state, task, now_us)


def _child_started(state: State, event: ev.ChildStarted, now_us: int) -> None:
    task = state.tasks[event.task]
    task.number = event.number
    task.child = event.execution
    if task.compiled.spec.parent_close is not ParentClose.ABANDON:
        state.children[event.execution] = (task.path, event.number)


def _child_ended(state: State, event: ev.ChildEnded, now_us: int) -> None:
    task = state.tasks[event.task]
    if event.status != ev.LATE:
        state.children.pop(event.execution, None)
    if task.child != event.execution:
        return
    task.child = ""
    if task.wait is None:
        return
    state.wait_for(task, None)
    if event.status not in (ExecutionStatus.COMPLETED, ev.LEFT):
        task.failures += 1
        task.error = event.error


def _child_due(state: State, event: ev.ChildDue, now_us: int) -> None:
    state.move_task(state.tasks[event.task], TaskStatus.PENDING)
    state.eligible[event.task] = None


def _signal_taken(state: State, event: ev.SignalTaken, now_us: int) -> None:
    kept = state.signals.get(event.name, {})
    kept.pop(event.sequence, None)  # in older histories a task that ran again took what had been kept before
    if not kept:
        state.signals.pop(event.name, None)


def _escalated(state: State, event: ev.TaskEscalated, now_us: int) -> None:
    task = state.tasks[event.task]
    wait = task.wait
    if wait is None:
        raise IllegalTransitionError(f"task {task.path} waits for nobody, it can't be escalated")
    task.reason = f"escalated from {wait.name or 'nobody'} to {event.to}"
    state.wait_for(task, msgspec.structs.replace(wait, name=event.to, escalates_us=0, escalates_to=""))


def _task_completed(state: State, event: ev.TaskCompleted, now_us: int) -> None:
    task = state.tasks[event.task]
    if event.number:
        _end_attempt(state, task, event.number, AttemptStatus.SUCCEEDED)
    else:
        _end_without_attempt(state, task, event)
    task.result = event.result
    task.checkpoint = task.error = None
    _end(state, task, TaskStatus.COMPLETED, now_us)


def _graph_grown(state: State, event: ev.GraphGrown, now_us: int) -> None:
    grow(state, event)


def _task_failed(state: State, event: ev.TaskFailed, now_us: int) -> None:
    task = state.tasks[event.task]
    state.eligible.pop(event.task, None)
    state.fans.pop(event.task, None)
    state.items.pop(event.task, None)
    task.error = event.error
    action = task.compiled.spec.on_failure.action
    if task.parent is None:
        if action in (FailureAction.FAIL, FailureAction.ASK):
            state.fatal = (task.path, event.error)
        elif action == FailureAction.CONTINUE:
            state.partial = True
    _end(state, task, TaskStatus.FAILED, now_us)


def _task_parked(state: State, event: ev.TaskParked, now_us: int) -> None:
    task = state.tasks[event.task]
    state.eligible.pop(event.task, None)
    if task.status is not TaskStatus.WAITING:  # as it was for the child that has failed
        state.move_task(task, TaskStatus.WAITING)
    state.wait_for(task, ev.TaskWaiting(event.task, "decision"))
    task.error = event.error
    task.ready_us = now_us
    if task.parent is not None and not task.parent.final:
        state.fans[task.parent.path] = None  # there is room for another instance


def _task_retried(state: State, event: ev.TaskRetried, now_us: int) -> None:
    task = state.tasks[event.task]
    state.wait_for(task, None)
    state.move_task(task, TaskStatus.PENDING)
    task.failures = task.crashes = task.interruptions = 0
    task.error = None
    state.eligible[event.task] = None


def _task_skipped(state: State, event: ev.TaskSkipped, now_us: int) -> None:
    task = state.tasks[event.task]
    if not event.by:
        state.eligible.pop(event.task, None)
        task.reason = event.reason
        _end(state, task, TaskStatus.SKIPPED, now_us)
        return
    _end_by_hand(state, task, "skipped", event.by, event.reason)
    task.error = task.checkpoint = None
    _end(state, task, TaskStatus.SKIPPED, now_us)
    if state.fatal is not None:  # its primary's failure, which is put up with: that is what the person said
        state.fatal, state.partial = None, True


def _end_without_attempt(state: State, task: TaskState, event: ev.TaskCompleted) -> None:
    """Keep who has ended a task that no attempt has: a person in an agent's place, or what it waited for outside."""
    answered = task.wait is not None and task.wait.awaits == "person" and not event.reason
    task.agent = event.by
    if event.by:
        _end_by_hand(state, task, "answered" if answered else "completed", event.by, event.reason)


def _end_by_hand(state: State, task: TaskState, how: str, by: str, reason: str) -> None:
    """Keep who has ended a task, and let nobody look at it any more."""
    for waiting in (state.eligible, state.fans, state.items):
        waiting.pop(task.path, None)
    task.reason = f"{how} by {by}{f': {reason}' if reason else ''}"


def _task_cancelled(state: State, event: ev.TaskCancelled, now_us: int) -> None:
    task = state.tasks[event.task]
    state.eligible.pop(event.task, None)
    _end(state, task, TaskStatus.CANCELLED, now_us)


def _fallback_started(state: State, event: ev.FallbackStarted, now_us: int) -> None:
    state.eligible.pop(event.task, None)
    state.tasks[event.task].substitute = event.fallback
    state.unfinished += 1
    fallback = state.tasks[event.fallback]
    if fallback.unmet == 0:
        state.eligible[fallback.path] = None


def _retry_scheduled(state: State, event: ev.RetryScheduled, now_us: int) -> None:
    task = state.tasks[event.task]
    state.move_task(task, TaskStatus.RETRYING)
    task.due_us = event.due_us
    state.add_timer(event.due_us, "retry", task.path)


def _end(state: State, task: TaskState, status: TaskStatus, now_us: int) -> None:
    state.move_task(task, status)
    if task.wait is not None:
        state.wait_for(task, None)
    if task.compiled.spec.signal in state.signals:
        _forget_signals(state, task.compiled.spec.signal)
    task.finished_us = now_us
    parent = task.parent
    if parent is None:
        _settle(state, task)
        return
    fan = _fan(parent)
    fan.done += 1
    if status is TaskStatus.COMPLETED:
        fan.completed += 1
    elif status is TaskStatus.FAILED:
        fan.failed += 1
        parent.error = parent.error or task.error
    if not parent.final:
        state.fans[parent.path] = None


def _forget_signals(state: State, name: str) -> None:
    """Drop what is kept of a signal once nobody is left who could take it; a task that runs again wants a new one."""
    if state.definition.continuation is not None:
        return  # the next run may take them
    listeners = (state.tasks.get(path) for path in state.definition.listeners.get(name, ()))
    if all(task is None or task.final for task in listeners):
        del state.signals[name]


def _settle(state: State, task: TaskState) -> None:
    """Let those who wait for a task know that it has ended; a failed one with a fallback hasn't, until that has."""
    if task.compiled.fallback is not None:
        if task.status is TaskStatus.FAILED:
            state.eligible[task.path] = None  # `advance` starts the fallback; until then it isn't settled
            return
        state.unfinished += 1
        state.eligible[task.compiled.fallback] = None  # `advance` skips it: nobody needs it
    state.unfinished -= 1
    _tell_dependents(state, task)
    primary = state.tasks[task.compiled.stands_in_for] if task.compiled.stands_in_for else None
    while primary is not None and primary.substitute == task.path:
        if task.status is TaskStatus.SKIPPED and primary.error is not None:
            state.fatal = (primary.path, primary.error)
        state.unfinished -= 1
        _tell_dependents(state, primary)
        task = primary
        primary = state.tasks[task.compiled.stands_in_for] if task.compiled.stands_in_for else None


def _tell_dependents(state: State, task: TaskState) -> None:
    for dependent_id in task.compiled.dependents:
        dependent = state.tasks[dependent_id]
        dependent.unmet -= 1
        if dependent.unmet == 0 and not dependent.final and state.awaited(dependent):
            state.eligible[dependent_id] = None


def _not_needed(state: State, task: TaskState) -> bool:
    """Whether a fallback has nothing to stand in for: its primary has ended otherwise than by a failure."""
    primary = state.tasks[task.compiled.stands_in_for] if task.compiled.stands_in_for else None
    return primary is not None and primary.final and primary.status is not TaskStatus.FAILED


# --- attempts ----------------------------------------------------------------------------------------------------


def _granted(state: State, event: ev.AttemptGranted, now_us: int) -> None:
    task = state.tasks[event.task]
    if not task.live:
        state.move_task(task, TaskStatus.RUNNING)
    task.number = event.number
    task.agent = event.agent
    task.started_us = task.started_us or now_us
    if task.live is None:
        task.live = {}
    task.live[event.number] = Attempt(event.number, event.agent, event.incarnation, now_us)
    state.live += 1
    timeout = task.compiled.spec.timeout
    if timeout is not None:
        state.add_timer(now_us + seconds_to_us(timeout) + TIMEOUT_SLACK_US, "attempt", task.path, event.number)


def _returned(state: State, event: ev.AttemptReturned, now_us: int) -> None:
    task = state.tasks[event.task]
    _end_attempt(state, task, event.number, AttemptStatus.RETURNED)
    if not task.live and not task.final:
        state.move_task(task, TaskStatus.READY)


def _attempt_failed(state: State, event: ev.AttemptFailed, now_us: int) -> None:
    task = state.tasks[event.task]
    _end_attempt(state, task, event.number, ATTEMPT_ENDS[event.how])
    if task.final:
        return  # another attempt was first
    task.error = event.error
    if event.how in ("crash", "lost"):
        task.crashes += 1
    elif event.how == "interrupted":
        task.interruptions += 1
    elif event.how != "cancelled":
        task.failures += 1


def _checkpoint_saved(state: State, event: ev.CheckpointSaved, now_us: int) -> None:
    task = state.tasks[event.task]
    task.checkpoint = event.checkpoint
    task.saved = (event.number, event.nth)


def _end_attempt(state: State, task: TaskState, number: int, status: AttemptStatus) -> None:
    live = task.live
    if live is None or number not in live:
        raise IllegalTransitionError(f"attempt {number} of {task.path} isn't live, it can't be {status}")
    check_attempt_move(state.attempt_id(task.path, number), AttemptStatus.GRANTED, status)
    del live[number]
    state.live -= 1
    if not live:
        task.live = None


def _fan(task: TaskState) -> FanOut:
    if task.fan is None:
        raise IllegalTransitionError(f"task {task.path} has no instances")
    return task.fan


_EVOLVE: dict[type, Callable[[State, Any, int], None]] = {
    ev.ExecutionStarted: _started,
    ev.ExecutionPausing: _pausing,
    ev.ExecutionPaused: _paused,
    ev.ExecutionResumed: _resumed,
    ev.ExecutionFailing: _failing,
    ev.ExecutionFailed: _failed,
    ev.ExecutionCancelling: _cancelling,
    ev.ExecutionCancelled: _cancelled,
    ev.ExecutionCompleted: _completed,
    ev.RunCompleted: _run_completed,
    ev.RunStarted: _run_started,
    ev.ExecutionRetried: _retried,
    ev.ExecutionDue: _due,
    ev.SignalReceived: _signal_received,
    ev.EndAwaited: _end_awaited,
    ev.StatusPublished: _status_published,
    ev.InputIgnored: _nothing,
    ev.TasksReady: _ready,
    ev.FanOutOpened: _fan_out_opened,
    ev.InstancesReady: _instances_ready,
    ev.FanOutCompleted: _fan_out_completed,
    ev.RetryScheduled: _retry_scheduled,
    ev.TaskWaiting: _waiting,
    ev.ChildStarted: _child_started,
    ev.ChildEnded: _child_ended,
    ev.ChildDue: _child_due,
    ev.SignalTaken: _signal_taken,
    ev.TaskEscalated: _escalated,
    ev.TaskCompleted: _task_completed,
    ev.GraphGrown: _graph_grown,
    ev.TaskFailed: _task_failed,
    ev.TaskParked: _task_parked,
    ev.TaskRetried: _task_retried,
    ev.TaskSkipped: _task_skipped,
    ev.TaskCancelled: _task_cancelled,
    ev.FallbackStarted: _fallback_started,
    ev.AttemptGranted: _granted,
    ev.AttemptReturned: _returned,
    ev.AttemptFailed: _attempt_failed,
    ev.CheckpointSaved: _checkpoint_saved,
}
