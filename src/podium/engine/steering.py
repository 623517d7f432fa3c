"""What a person decides about single tasks: to skip one, to give its result, to have it and all behind it run again.
Pure.

What doesn't fit is refused in words that say what would. Live attempts of a task that is ended so end here and now,
and are told to stop; what they say later is late.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.continuing import CONTINUE_ERROR, why_passed
from podium.engine.evolve import opens_again
from podium.engine.state import DECIDING, State, TaskState, unfinished_instances
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, TaskStatus

SOMEBODY = "somebody"  # who, where it isn't said
_WITHOUT_SUCCESS = (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)


# --- one task is ended -----------------------------------------------------------------------------------------------


def skip(state: State, given: inp.Skip, now_us: int) -> list[ev.Event]:
    """Return what a person's skip of a task causes."""
    by = given.by or SOMEBODY
    return _end_by_hand(state, given, ev.TaskSkipped(given.task, given.reason, by), by, now_us)


def complete(state: State, given: inp.Complete, now_us: int) -> list[ev.Event]:
    """Return what a person's result of a task causes."""
    by = given.by or SOMEBODY
    return _end_by_hand(state, given, ev.TaskCompleted(given.task, 0, given.value, by, given.reason), by, now_us)


def _end_by_hand(
    state: State, given: inp.Skip | inp.Complete, end: ev.TaskSkipped | ev.TaskCompleted, by: str, now_us: int
) -> list[ev.Event]:
    refusal = why_passed(state, given.run) or why_not_ended(state, end.task)
    if refusal:
        return [ev.InputIgnored(refusal)]
    opened: list[ev.Event] = [] if state.status in DECIDING else [_opened(state, now_us, by=by)]
    how = "skipped" if isinstance(end, ev.TaskSkipped) else "completed"
    error = ErrorInfo("Superseded", f"{by} has {how} the task", retryable=False)
    return [*opened, *_stops(state.tasks[end.task], state, error), end]


def _stops(task: TaskState, state: State, error: ErrorInfo) -> Iterator[ev.Event]:
    """Yield the ends of what is under way of a task, of its instances where it is a fan-out."""
    for number in task.live or ():
        yield ev.AttemptFailed(task.path, number, error, "cancelled")
    for instance in unfinished_instances(state, task):
        for number in instance.live or ():
            yield ev.AttemptFailed(instance.path, number, error, "cancelled")
        yield ev.TaskCancelled(instance.path)


def why_not_ended(state: State, path: str) -> str:
    """Return why a person can't end a task, or an instance, now; empty if that can be done."""
    if state.status not in DECIDING and state.status not in _WITHOUT_SUCCESS:
        again = "; `podium retry --from` runs tasks again" if state.status is ExecutionStatus.COMPLETED else ""
        return f"the execution is {state.status}{again}"
    task = state.tasks.get(path)
    if task is None:
        return why_unknown(state, path)
    if state.status in _WITHOUT_SUCCESS:
        return _why_not_opened(state, task)
    if task.status is TaskStatus.FAILED and task.substitute is not None:
        return f"task {path} has failed already, and its fallback {task.substitute} stands for it"
    if task.final:
        return _ended_already(task)
    if task.parent is not None and task.parent.final:
        return f"task {path} isn't wanted any more: {task.parent.path} is {task.parent.status} already"
    return _why_not_its_turn(state, task)


def _ended_already(task: TaskState) -> str:
    has = "was" if task.status in (TaskStatus.SKIPPED, TaskStatus.CANCELLED) else "has"
    return f"task {task.path} {has} {task.status} already"


def _why_not_its_turn(state: State, task: TaskState) -> str:
    whole = task.parent or task
    primary = whole.compiled.stands_in_for
    if primary is not None and state.tasks[primary].substitute != whole.path:
        return f"task {task.path} runs only if {primary} fails, and that hasn't happened"
    if whole is not task and whole.status is TaskStatus.PENDING:
        return f"task {task.path} is one of {whole.path}, which hasn't begun again"
    return ""


def _why_not_opened(state: State, task: TaskState) -> str:
    """Return why a task can't be ended in an execution that ended without success, which goes on with that."""
    if task.parent is not None or task.fan is not None:
        return (
            f"the execution is {state.status}: of a fan-out, tasks are ended only while it runs; `podium retry` first"
        )
    if task.final and not opens_again(state, task):
        return _ended_already(task)
    primary = task.compiled.stands_in_for
    if primary is not None and opens_again(state, state.tasks[primary]):
        return f"task {task.path} runs only if {primary} fails again; it is {primary} that goes on"
    return _why_not_its_turn(state, task)


def why_unknown(state: State, path: str) -> str:
    """Return why there is no such task, or no such instance yet."""
    name, bracket, rest = path.partition("[")
    task = state.tasks.get(name)
    if task is None or not bracket:
        return f"there is no task {path!r}"
    fan, index = task.fan, rest.removesuffix("]")
    if fan is None:
        return f"task {name} has no instances{'' if task.final or task.compiled.items is None else ' yet'}"
    if index.isdecimal() and index.isascii() and int(index[:9]) < fan.count:
        return f"instance {path} hasn't begun; {fan.begun} of {fan.count} have"
    return f"there is no instance {path!r}: {name} has {fan.count}, counted from 0"


# --- tasks run again -------------------------------------------------------------------------------------------------


def retry(state: State, given: inp.Retry, now_us: int) -> list[ev.Event]:
    """Return what a person's retry causes: of all that failed and, from a task on, of what had ended well, too."""
    refusal = why_not_from(state, given.from_task) if given.from_task else why_not_retried(state)
    if refusal:
        return [ev.InputIgnored(refusal)]
    return [_opened(state, now_us, behind(state, given.from_task) if given.from_task else (), given.by)]


def _opened(state: State, now_us: int, tasks: tuple[str, ...] = (), by: str = "") -> ev.ExecutionRetried:
    return ev.ExecutionRetried(None if state.timeout_us is None else now_us + state.timeout_us, tasks, by)


def why_not_retried(state: State) -> str:
    """Return why what failed can't be tried again; empty if it can."""
    if state.status in _WITHOUT_SUCCESS:
        return why_not_continued(state)
    return f"the execution is {state.status}, only one that ended without success can be retried"


def why_not_continued(state: State) -> str:
    """Return why a retry without a task would fail at once, of a loop that couldn't go on; empty of all others."""
    if state.status is not ExecutionStatus.FAILED or state.error is None or state.error.type != CONTINUE_ERROR:
        return ""
    if any(not task.final or opens_again(state, task) for task in state.tasks.values()):
        return ""
    return (
        "no task of the run failed, only its continuation: it would fail again as it did; "
        "`podium retry ID --from TASK` runs the task again, and all that depends on it"
    )


def why_not_from(state: State, path: str) -> str:
    """Return why an execution can't go on from a task; empty if it can."""
    if state.status not in FINAL_EXECUTION:
        return f"the execution is {state.status}, only one that has ended can be retried from a task on"
    task = state.tasks.get(path)
    if task is None:
        return why_unknown(state, path)
    if task.parent is not None:
        return f"a fan-out runs again as a whole: {task.parent.path}, not {path}"
    return ""


def behind(state: State, path: str) -> tuple[str, ...]:
    """Return a task with all that depends on it, however indirectly, in the order in which the execution has them.

    A fallback depends on the task that it stands in for, and who waits for that task depends on its fallback.
    """
    found: dict[str, None] = {}
    look = [path]
    while look:
        name = look.pop()
        if name in found:
            continue
        found[name] = None
        compiled = state.tasks[name].compiled
        look += compiled.dependents
        if compiled.fallback is not None:
            look.append(compiled.fallback)
        look += _who_waits_for_it_as_a_fallback(state, name)
    return tuple(name for name in state.definition.tasks if name in found)


def _who_waits_for_it_as_a_fallback(state: State, name: str) -> Iterator[str]:
    primary = state.tasks[name].compiled.stands_in_for
    while primary is not None and state.tasks[primary].substitute == name:
        compiled = state.tasks[primary].compiled
        yield from compiled.dependents
        name, primary = primary, compiled.stands_in_for


class Rerun(Struct, frozen=True):
    """What a retry would do: the tasks that run again, those that run for the first time, and those whose ends stay.

    `not_idempotent` are those of the first that aren't marked `idempotent`: what they did outside is done once more.
    """

    again: tuple[str, ...]
    first: tuple[str, ...]
    kept: tuple[str, ...]
    not_idempotent: tuple[str, ...]


def rerun_of(state: State, path: str = "") -> Rerun:
    """Return what a retry of an ended execution would do, from a task on or (empty) of all that failed.

    A task has run if an attempt of it has begun, or an instance; what never had one has nothing to repeat.
    """
    anew = frozenset(behind(state, path)) if path else frozenset[str]()
    goes_on = [
        task
        for task in state.tasks.values()
        if task.parent is None and (task.path in anew or not task.final or opens_again(state, task))
    ]
    again = tuple(task.path for task in goes_on if state.attempts_of(task) or task.fan is not None)
    first = tuple(task.path for task in goes_on if not state.attempts_of(task) and task.fan is None)
    going = {task.path for task in goes_on}
    kept = tuple(name for name in state.definition.tasks if name not in going)
    unmarked = tuple(name for name in again if not state.tasks[name].compiled.spec.idempotent)
    return Rerun(again, first, kept, unmarked)
