"""`decide`: the facts that one input makes true, judged on the state before it. Pure: time is an argument, chance a
seed.

It never changes the state; what follows from the facts is `advance`'s. An input that doesn't fit is a fact too
(`InputIgnored`), so that every recorded input leaves a trace.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zlib import crc32

from podium.clock import seconds_to_us
from podium.engine import children, continuing, outside, steering
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.asking import finally_failed, resolve
from podium.engine.growing import GrowthRefused, growth_of
from podium.engine.state import WAIT_TIMERS, State, TaskState, unfinished_instances
from podium.engine.values import INLINE_LIMIT
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import ExecutionStatus, TaskStatus
from podium.workflow.schedules.spec import micros

NO_SUCH_ATTEMPT = "no such attempt"
MAX_INTERRUPTIONS = 10  # attempts of one task that may die with their orchestrator
_CRASHES = frozenset({"crash", "lost"})
_OUTCOME_UNKNOWN = frozenset({"crash", "lost", "interrupted", "timeout"})
_REPORTED = frozenset({"error", "timeout", "crash", "cancelled"})  # how an agent may say that an attempt ended


def decide(state: State, given: inp.Input, now_us: int) -> list[ev.Event]:
    """Return the events that an input causes, at least one."""
    return _DECIDE[type(given)](state, given, now_us)


# --- commands ----------------------------------------------------------------------------------------------------


def _start(state: State, given: inp.Start, now_us: int) -> list[ev.Event]:
    if state.sequence:
        return _ignored("the execution has started already")
    config = state.definition.workflow.config
    timeout = given.timeout_seconds if given.timeout_seconds is not None else config.timeout
    begins_us = _later(state.definition.workflow.scheduled_at, now_us)
    return [
        ev.ExecutionStarted(
            workflow=given.workflow,
            version=given.version,
            definition=given.definition,
            seed=given.seed,
            input=given.input,
            bindings=given.bindings,
            priority=given.priority if given.priority is not None else config.priority,
            deadline_us=None if timeout is None else (begins_us or now_us) + seconds_to_us(timeout),
            preferred_agent=given.preferred_agent,
            schedule=given.schedule,
            begins_us=begins_us,
            parent=given.parent,
        )
    ]


def _later(moment: datetime | None, now_us: int) -> int | None:
    """Return a moment in microseconds since the epoch, if it is later than now."""
    moment_us = micros(moment) if moment is not None else 0
    return moment_us if moment_us > now_us else None


def _pause(state: State, given: inp.Pause, now_us: int) -> list[ev.Event]:
    if state.status is ExecutionStatus.RUNNING:
        return [ev.ExecutionPausing(given.reason)]
    return _ignored(f"the execution is {state.status}, only a running one can be paused")


def _resume(state: State, given: inp.Resume, now_us: int) -> list[ev.Event]:
    if state.status in (ExecutionStatus.PAUSED, ExecutionStatus.PAUSING):
        return [ev.ExecutionResumed()]
    return _ignored(f"the execution is {state.status}, only a paused one can be resumed")


def _cancel(state: State, given: inp.Cancel, now_us: int) -> list[ev.Event]:
    if state.final or (state.status is ExecutionStatus.CANCELLING and not given.force):
        return _ignored(f"the execution is {state.status} already")
    events: list[ev.Event] = []
    if state.status is not ExecutionStatus.CANCELLING:
        events.append(ev.ExecutionCancelling(given.reason, given.force))
    if given.force:
        events += _end_all_attempts(
            state, ErrorInfo("Cancelled", given.reason or "cancelled by force", retryable=False)
        )
        events += children.left_alone(state)
    return events


def _signal(state: State, given: inp.Signal, now_us: int) -> list[ev.Event]:
    if state.final:
        return _ignored(f"the execution is {state.status} already")
    return outside.hear(state, given)


def _answer(state: State, given: inp.Answer, now_us: int) -> list[ev.Event]:
    return outside.answer(state, given)


def _await(state: State, given: inp.Await, now_us: int) -> list[ev.Event]:
    return outside.await_end(state, given)


def _ended(state: State, given: inp.Ended, now_us: int) -> list[ev.Event]:
    task = state.tasks.get(given.task)
    if task is None or task.compiled.child is None:
        return outside.ended(state, given)
    if not children.waits_for(state, task, given.execution):
        return children.ended_later(state, given)
    events = children.ended(state, task, given)
    if len(events) == 1:
        events.append(_what_next(state, task, task.number, children.error_of(given), "error", now_us))
    return events


# --- attempts ----------------------------------------------------------------------------------------------------


def _grant(state: State, given: inp.Grant, now_us: int) -> list[ev.Event]:
    events: list[ev.Event] = []
    granted: set[str] = set()
    for grant in given.grants:
        task = state.tasks.get(grant.task)
        if _awaits(state, task, grant.number, given.run) and grant.task not in granted:
            granted.add(grant.task)
            events.append(ev.AttemptGranted(grant.task, grant.number, grant.agent, grant.incarnation))
        else:
            events.append(ev.InputIgnored("the task isn't ready any more", grant.task, grant.number))
    return events or _ignored("nothing was granted")


def _succeeded(state: State, given: inp.Succeeded, now_us: int) -> list[ev.Event]:
    task = _live_task(state, given.task, given.number)
    if task is None:
        return _late(state, given.task, given.number)
    if task.final:  # another attempt was first; this one's slot is free now
        error = ErrorInfo("Superseded", "another attempt was first", retryable=False)
        return [ev.AttemptFailed(given.task, given.number, error, "cancelled")]
    completed = ev.TaskCompleted(given.task, given.number, given.value)
    if given.growth is None:
        return [completed]
    try:
        return [*growth_of(state, task, given.number, given.growth), completed]
    except GrowthRefused as refusal:
        error = ErrorInfo("GrowthRefused", str(refusal), retryable=False)
        return _after_failure(state, task, given.number, error, "error", now_us)


def _failed(state: State, given: inp.Failed, now_us: int) -> list[ev.Event]:
    if given.how == inp.UNPLACED:
        return _unplaced(state, given, now_us)
    task = _live_task(state, given.task, given.number)
    if task is None:
        return _late(state, given.task, given.number)
    how = given.how if given.how in _REPORTED else "error"
    return _after_failure(state, task, given.number, given.error, how, now_us)


def _unplaced(state: State, given: inp.Failed, now_us: int) -> list[ev.Event]:
    """No agent was found for the next attempt of a ready task: it is granted to nobody and fails, in one go.

    So it counts like any failure, and a retry begins the wait anew.
    """
    task = state.tasks.get(given.task)
    if not _awaits(state, task, given.number, given.run):
        return _ignored("the task isn't ready any more")  # unnamed: a live attempt of that number keeps its slot
    assert task is not None
    return [
        ev.AttemptGranted(task.path, given.number, ""),
        ev.AttemptFailed(task.path, given.number, given.error),
        _what_next(state, task, given.number, given.error, "error", now_us),
    ]


def _awaits(state: State, task: TaskState | None, number: int, run: int) -> bool:
    """Whether a task is ready for an attempt of this number: one that never began may have that of the next run's."""
    if state.status is not ExecutionStatus.RUNNING or task is None or run not in (0, state.run):
        return False
    return task.status is TaskStatus.READY and number == task.number + 1


def _refused(state: State, given: inp.Refused, now_us: int) -> list[ev.Event]:
    task = _live_task(state, given.task, given.number)
    if task is None:
        return _late(state, given.task, given.number)
    returned = ev.AttemptReturned(given.task, given.number, given.reason)
    alone = len(task.live or ()) == 1 and not task.final
    if _gave_way(task) and alone:
        return [returned, ev.TaskCancelled(task.path)]
    if given.reason == inp.HANDED_BACK and alone and task.compiled.spec.idempotent is False:
        why = ErrorInfo("Interrupted", "its agent has left before it was done")
        failed = ev.AttemptFailed(task.path, given.number, why, "interrupted")
        if state.status is ExecutionStatus.CANCELLING:
            return [failed, ev.TaskCancelled(task.path)]
        return [failed, _what_next(state, task, given.number, why, "interrupted", now_us)]
    return [returned]


def _lost(state: State, given: inp.Lost, now_us: int) -> list[ev.Event]:
    task = _live_task(state, given.task, given.number)
    if task is None:
        return _late(state, given.task, given.number)
    if given.reason == "owner_died":
        error = ErrorInfo("Interrupted", "the process that ran it ended before its result was recorded")
        return _after_failure(state, task, given.number, error, "interrupted", now_us)
    if given.reason == "undelivered":
        error = ErrorInfo("Undelivered", "its agent never said that it has begun; the message may be lost")
        return _after_failure(state, task, given.number, error, "interrupted", now_us)
    return _after_failure(state, task, given.number, ErrorInfo("AgentLost", given.reason), "lost", now_us)


def _saved(state: State, given: inp.Saved, now_us: int) -> list[ev.Event]:
    task = _live_task(state, given.task, given.number)
    if task is None:
        return _late(state, given.task, given.number)
    if (given.number, given.nth) <= task.saved:
        return [ev.InputIgnored("a newer checkpoint is saved", given.task, given.number)]
    return [ev.CheckpointSaved(given.task, given.number, given.checkpoint, given.nth)]


def _published(state: State, given: inp.Published, now_us: int) -> list[ev.Event]:
    task = _live_task(state, given.task, given.number)
    if task is None:
        return _late(state, given.task, given.number)
    if given.value.blob is not None:
        text = f"a published value has at most {INLINE_LIMIT:,} bytes, this one {given.value.size:,}"
        return [ev.InputIgnored(text, given.task, given.number)]
    shown = state.published
    if shown is not None and (shown.task, shown.number) == (given.task, given.number) and given.nth <= shown.nth:
        return [ev.InputIgnored("a newer status is published", given.task, given.number)]
    return [ev.StatusPublished(given.task, given.number, given.value, given.nth)]


def _after_failure(
    state: State, task: TaskState, number: int, error: ErrorInfo, how: str, now_us: int
) -> list[ev.Event]:
    """Return what an attempt's end without a result means for its task."""
    stopped = state.status is ExecutionStatus.CANCELLING or _gave_way(task)
    if stopped:
        how = "cancelled" if how == "error" else how
    elif how == "cancelled" and not task.final:
        how = "error"  # nobody asked for it
    failed = ev.AttemptFailed(task.path, number, error, how)
    others = len(task.live or ()) - 1
    if others or task.final:
        return [failed]
    if stopped:
        return [failed, ev.TaskCancelled(task.path)]
    return [failed, _what_next(state, task, number, error, how, now_us)]


def _gave_way(task: TaskState) -> bool:
    """Whether an instance isn't wanted any more: its fan-out has ended without it."""
    return task.parent is not None and task.parent.final


def _what_next(state: State, task: TaskState, number: int, error: ErrorInfo, how: str, now_us: int) -> ev.Event:
    policy = task.compiled.policy
    if how in _OUTCOME_UNKNOWN and task.compiled.spec.idempotent is False:
        text = f"nobody knows whether it was done, and it isn't idempotent, so it isn't begun again: {error.message}"
        return finally_failed(task, ErrorInfo("OutcomeUnknown", text, error.traceback, retryable=False))
    if how in _CRASHES:
        crashes, limit = task.crashes + 1, state.definition.workflow.config.max_crashes
        if crashes >= limit:
            text = f"its worker died {crashes} times while it ran (limit: max_crashes {limit}); last: {error.message}"
            return finally_failed(task, ErrorInfo("CrashLoop", text, error.traceback, retryable=False))
        return ev.RetryScheduled(task.path, now_us + _delay_us(state, task, number, crashes))
    if how == "interrupted":
        if task.interruptions + 1 >= MAX_INTERRUPTIONS:
            text = f"it was interrupted {MAX_INTERRUPTIONS} times: its orchestrator died, or its agent never had it"
            return finally_failed(task, ErrorInfo("CrashLoop", text, retryable=False))
        return ev.RetryScheduled(task.path, now_us)
    failures = task.failures + 1
    if failures >= policy.max_attempts or not error.retryable or error.type in policy.non_retryable:
        return finally_failed(task, error)
    return ev.RetryScheduled(task.path, now_us + _delay_us(state, task, number, failures))


def _delay_us(state: State, task: TaskState, number: int, failures: int) -> int:
    """Return the pause before the next attempt: exponential, bounded, spread by a factor drawn from the seed."""
    policy = task.compiled.policy
    growth = policy.multiplier ** min(failures - 1, 64)
    delay = min(policy.initial_delay_seconds * growth, policy.max_delay_seconds)
    chance = crc32(f"{state.seed}:{task.path}:{number}".encode()) / 0xFFFF_FFFF
    return seconds_to_us(delay * (1 + policy.jitter * (2 * chance - 1)))


# --- time --------------------------------------------------------------------------------------------------------


def _tick(state: State, given: inp.Tick, now_us: int) -> list[ev.Event]:
    due = state.due_timers(now_us)
    if any(kind == "execution" for _, kind, _, _ in due):
        return _deadline(state)
    if any(kind == "run" for _, kind, _, _ in due):
        return continuing.begin(state, now_us)
    events: list[ev.Event] = [ev.ExecutionDue() for _, kind, _, _ in due if kind == "begin"]
    ended = {path for _, kind, path, _ in due if kind == "task"}  # fan-outs among them take their instances along
    seen: set[str] = set()
    for _, kind, path, number in due:
        if kind == "begin":
            continue
        task = state.tasks[path]
        if (
            path in seen
            or (path in ended and kind != "task")
            or (task.parent is not None and task.parent.path in ended)
        ):
            continue
        seen.add(path)
        events += _task_timer(state, task, kind, number, now_us)
    return events or _ignored("nothing was due")


def _task_timer(state: State, task: TaskState, kind: str, number: int, now_us: int) -> list[ev.Event]:
    if kind == "retry":
        return [ev.TasksReady((task.path,)) if task.compiled.child is None else ev.ChildDue(task.path)]
    if kind in WAIT_TIMERS and task.child:
        return _child_is_late(state, task, now_us)
    if kind in WAIT_TIMERS:
        return outside.time_has_come(task, kind)
    if kind == "attempt":
        error = ErrorInfo("TimeoutError", f"no result within the attempt's timeout of {task.compiled.spec.timeout:g} s")
        return _after_failure(state, task, number, error, "timeout", now_us)
    text = f"not done by the task's deadline of {task.compiled.spec.deadline:g} s"
    error = ErrorInfo("DeadlineExceeded", text, retryable=False)
    ends: list[ev.Event] = [ev.AttemptFailed(task.path, n, error, "timeout") for n in task.live or ()]
    for instance in unfinished_instances(state, task):
        ends += [ev.AttemptFailed(instance.path, n, error, "timeout") for n in instance.live or ()]
        ends.append(ev.TaskCancelled(instance.path))
    return [*ends, ev.TaskFailed(task.path, error)]


def _child_is_late(state: State, task: TaskState, now_us: int) -> list[ev.Event]:
    """Return what it means that a child hasn't ended within its task's timeout: the same as for any attempt."""
    text = f"the end of its child {task.child} didn't come within its timeout of {task.compiled.spec.timeout or 0:g} s"
    error = ErrorInfo("TimeoutError", text)
    ended = ev.ChildEnded(task.path, task.number, task.child, ev.LATE, error)
    return [ended, _what_next(state, task, task.number, error, "timeout", now_us)]


def _deadline(state: State) -> list[ev.Event]:
    error = ErrorInfo("DeadlineExceeded", "the execution isn't done by its deadline", retryable=False)
    return [ev.ExecutionFailing(error), *_end_all_attempts(state, error, "timeout")]


def _end_all_attempts(state: State, error: ErrorInfo, how: str = "cancelled") -> list[ev.Event]:
    events: list[ev.Event] = []
    for task in state.tasks.values():
        if not task.live:
            continue
        events += [ev.AttemptFailed(task.path, number, error, how) for number in task.live]
        if not task.final:
            events.append(ev.TaskCancelled(task.path))
    return events


# --- what doesn't fit --------------------------------------------------------------------------------------------


def _live_task(state: State, path: str, number: int) -> TaskState | None:
    task = state.tasks.get(path)
    return task if task is not None and task.live is not None and number in task.live else None


def _late(state: State, path: str, number: int) -> list[ev.Event]:
    known = path in state.tasks and number <= state.tasks[path].number
    return [ev.InputIgnored("late: the attempt has ended" if known else NO_SUCH_ATTEMPT, path, number)]


def _ignored(reason: str) -> list[ev.Event]:
    return [ev.InputIgnored(reason)]


_DECIDE: dict[type, Callable[[State, Any, int], list[ev.Event]]] = {
    inp.Start: _start,
    inp.Grant: _grant,
    inp.Succeeded: _succeeded,
    inp.Failed: _failed,
    inp.Refused: _refused,
    inp.Lost: _lost,
    inp.Saved: _saved,
    inp.Published: _published,
    inp.Tick: _tick,
    inp.Pause: _pause,
    inp.Resume: _resume,
    inp.Cancel: _cancel,
    inp.Retry: steering.retry,
    inp.Skip: steering.skip,
    inp.Complete: steering.complete,
    inp.Resolve: resolve,
    inp.Signal: _signal,
    inp.Answer: _answer,
    inp.Await: _await,
    inp.Ended: _ended,
}
