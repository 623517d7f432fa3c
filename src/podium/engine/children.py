"""Child workflows: a task that is an execution of its own; how that starts, ends, and is ended with its parent. Pure.

A child's id follows from its parent's, so that there is one however often the parent is decided again. Its start and
its end travel as letters, in the commits that say so; in between the parent's task waits for the child's end. Of a
fan-out each instance has a child.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import Final

from podium.clock import SECOND, seconds_to_us
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.asking import finally_failed
from podium.engine.assignments import arguments_of
from podium.engine.scope import BlobMissing, decoded
from podium.engine.state import DECIDING, State, TaskState
from podium.engine.values import NULL, Value, value_of
from podium.exceptions import ExpressionError, InvalidInputError
from podium.fleet.messages import ErrorInfo
from podium.ids import execution_id_for
from podium.workflow.inputs import check_input
from podium.workflow.model import ExecutionStatus, ParentClose, Workflow
from podium.workflow.nesting import check_nesting

MAX_DEPTH: Final = 16  # executions, each the child of the one before
MAX_TEXT: Final = 4_000  # characters of a child's error
_SEED_BITS: Final = 53


# --- the start -------------------------------------------------------------------------------------------------------


def begin(state: State, task: TaskState, now_us: int) -> list[ev.Event]:
    """Return how an eligible task starts its child and waits for it, or that it can't; nothing while it is paused."""
    if state.status is not ExecutionStatus.RUNNING:
        return []
    child = task.compiled.child
    assert child is not None
    depth = depth_of(state) + 1
    if depth > MAX_DEPTH:
        text = f"it would be {depth} executions deep, each the child of the one before; at most {MAX_DEPTH} may be"
        return [finally_failed(task, ErrorInfo("ChildDepth", text, retryable=False))]
    try:
        text_of_input = input_of(state, task)
        check_nesting(text_of_input, "it")
        check_input(child.workflow, decoded(text_of_input))
    except (ExpressionError, InvalidInputError, BlobMissing, TypeError, ValueError, RecursionError) as error:
        why = f"the input of the child {child.workflow.name} can't be made: {error}"
        return [finally_failed(task, ErrorInfo("ArgumentError", why, retryable=False))]
    number, spec = task.number + 1, task.compiled.spec
    execution = id_of(state, task, number)
    started = ev.ChildStarted(
        task.path,
        number,
        execution,
        value_of(text_of_input)[0],
        priority=state.priority if spec.priority is None else spec.priority,
        timeout_seconds=_seconds_left(state, child.workflow, now_us),
    )
    timeout_us = 0 if spec.timeout is None else now_us + seconds_to_us(spec.timeout)
    return [started, ev.TaskWaiting(task.path, "execution", execution, timeout_us=timeout_us)]


def fits_its_fan(task: TaskState, starting: Counter[str]) -> bool:
    """Whether a child may begin, one of a fan-out only within its window; `starting` counts those of one breath."""
    fan = task.parent.fan if task.parent is not None else None
    if fan is None or task.parent is None:
        return True
    if fan.in_flight + starting[task.parent.path] >= fan.window:
        return False
    starting[task.parent.path] += 1
    return True


def next_instances(state: State, task: TaskState) -> list[ev.Event]:
    """Return the next instances of a fan-out over children: as many as may be unfinished at once."""
    fan = task.fan
    if fan is None or state.status is not ExecutionStatus.RUNNING:
        return []
    stop = min(fan.count, fan.done + fan.window)
    return [ev.InstancesReady(task.path, fan.begun, stop)] if stop > fan.begun else []


def id_of(state: State, task: TaskState, number: int) -> str:
    """Return the id of a task's child: the same for ever, another one for each try."""
    return execution_id_for(state.tenant, f"child:{state.id}:{state.run}:{task.generation}:{task.path}:{number}")


def depth_of(state: State) -> int:
    """Return how many executions are above this one."""
    return state.origin.depth if state.origin is not None else 0


def input_of(state: State, task: TaskState) -> bytes:
    """Return the child's input as JSON: the task's arguments."""
    return bytes(arguments_of(state, task))


def start_of(state: State, event: ev.ChildStarted) -> inp.Start:
    """Return the input by which a child begins; the state is as it is after the event."""
    child = state.tasks[event.task].compiled.child
    assert child is not None
    types = child.workflow.agent_counts()
    return inp.Start(
        child.workflow.name,
        child.workflow.version,
        child.digest,
        int.from_bytes(sha256(f"{state.seed}:{event.execution}".encode()).digest()[:8], "big") >> (64 - _SEED_BITS),
        event.input,
        {kind: spec for kind, spec in state.bindings.items() if kind in types},
        event.priority,
        event.timeout_seconds,
        state.preferred_agent,
        parent=inp.Parent(state.id, event.task, event.number, depth_of(state) + 1, state.deadline_us),
    )


def _seconds_left(state: State, workflow: Workflow, now_us: int) -> float | None:
    """Return the child's time: its own, but at most what its parent has left."""
    own = workflow.config.timeout
    if state.deadline_us is None:
        return own
    left = max(state.deadline_us - now_us, 0) / SECOND
    return left if own is None else min(own, left)


# --- the end ---------------------------------------------------------------------------------------------------------


def waits_for(state: State, task: TaskState, execution: str) -> bool:
    """Whether a task waits for the end of this child."""
    return task.child == execution and task.wait is not None and not state.final


def ended_later(state: State, given: inp.Ended) -> list[ev.Event]:
    """Return what the end of a child means for whose task nobody waits any more: perhaps the execution's end did."""
    left = state.children.get(given.execution)
    if left is None:
        return [ev.InputIgnored("the task doesn't wait for that child any more", given.task)]
    return [ev.ChildEnded(*left, given.execution, given.status)]


def left_alone(state: State) -> list[ev.Event]:
    """Return that no child is waited for any more by an execution that is cancelled by force."""
    events: list[ev.Event] = []
    for execution, (path, number) in sorted(state.children.items(), key=lambda one: one[1]):
        events.append(ev.ChildEnded(path, number, execution, ev.LEFT))
        if waits_for(state, state.tasks[path], execution):
            events.append(ev.TaskCancelled(path))
    return events


def ended(state: State, task: TaskState, given: inp.Ended) -> list[ev.Event]:
    """Return that the child that a task waits for has ended, and with which result if it has one.

    What its failure means for the task is decided by the caller, as with any attempt: `error_of` says what it was.
    """
    if given.status == ExecutionStatus.COMPLETED:
        completed = ev.TaskCompleted(task.path, 0, given.value or NULL)
        return [ev.ChildEnded(task.path, task.number, given.execution, given.status), completed]
    error = error_of(given)
    events: list[ev.Event] = [ev.ChildEnded(task.path, task.number, given.execution, given.status, error)]
    if state.status not in DECIDING:
        return [*events, ev.TaskCancelled(task.path)]
    return events


def error_of(given: inp.Ended) -> ErrorInfo:
    """Return why a child's task has failed; a child that somebody cancelled isn't started again."""
    why = f": {given.error.type}: {given.error.message}" if given.error is not None else ""
    text = f"its child {given.execution} is {given.status}{why}"[:MAX_TEXT]
    return ErrorInfo("ChildFailed", text, retryable=given.status != ExecutionStatus.CANCELLED)


def closed_by(state: State, event: ev.Event) -> list[TaskState]:
    """Return the tasks whose children an event leaves without anybody who waits for them, or with a parent that ends.

    The state is as it is afterwards. A child that is abandoned isn't among them.
    """
    match event:
        case ev.ExecutionCancelling() | ev.ExecutionFailing():
            tasks = [task for task in state.tasks.values() if not task.final]
        case ev.TaskFailed(task=path) | ev.TaskCancelled(task=path) | ev.TaskSkipped(task=path):
            tasks = [state.tasks[path]]
        case ev.TaskCompleted(task=path, number=0):
            tasks = [state.tasks[path]]
        case _:
            return []
    return [t for t in tasks if t.child and t.compiled.spec.parent_close is not ParentClose.ABANDON]


def closing_of(state: State, task: TaskState, number: int, force: bool) -> tuple[str, inp.Cancel]:
    """Return the input that ends a task's child, with its id."""
    force = force or task.compiled.spec.parent_close is ParentClose.TERMINATE
    reason = f"its parent {state.id} is {state.status}" if state.status not in DECIDING else f"{task.path} is over"
    return f"close:{state.id}:{task.path}:{number}{':force' * force}", inp.Cancel(reason, force)


def awaits_child(task: TaskState) -> bool:
    """Whether a task waits for a child, and an execution that ends has to wait for that, too."""
    return bool(task.child) and task.wait is not None and task.compiled.spec.parent_close is not ParentClose.ABANDON


def closing(state: State) -> list[tuple[str, str, int]]:
    """Return the children that only the execution's end waits for, each with its task and which one it is."""
    left = ((execution, *whose) for execution, whose in state.children.items())
    return sorted(one for one in left if not waits_for(state, state.tasks[one[1]], one[0]))


def value_blobs(state: State, event: ev.ChildStarted) -> list[tuple[str, bytes]]:
    """Return what has to be kept with a child's start: its definition, and its input if that is large."""
    task = state.tasks[event.task]
    child = task.compiled.child
    assert child is not None
    kept: list[tuple[str, bytes]] = [(child.digest, child.encoded)]
    value: Value = event.input
    if value.blob is not None:
        kept.append((value.blob, input_of(state, task)))
    return kept
