"""A row a task, as the live table and `podium status` show it: state, agent, attempt, time, note.

Of many tasks those are shown that a person asks about first: what runs, failed, is tried again; the rest is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from msgspec import Struct

from podium.cli.times import between_us
from podium.engine.asking import asks
from podium.engine.outside import waited_for
from podium.engine.state import State, TaskState
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import TaskStatus

TITLES = ("TASK", "STATE", "AGENT", "TRY", "TIME", "NOTE")
COLORS = {
    TaskStatus.RUNNING: "cyan", TaskStatus.RETRYING: "yellow", TaskStatus.COMPLETED: "green", TaskStatus.FAILED: "red",
    TaskStatus.CANCELLED: "yellow", TaskStatus.WAITING: "blue", TaskStatus.SKIPPED: "dim", TaskStatus.PENDING: "dim",
}  # fmt: skip
_PRESSING = (TaskStatus.FAILED, TaskStatus.RETRYING, TaskStatus.RUNNING, TaskStatus.WAITING, TaskStatus.CANCELLED,
             TaskStatus.READY)  # fmt: skip
_ORDER = (TaskStatus.COMPLETED, TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.READY, TaskStatus.WAITING,
          TaskStatus.PENDING, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED)  # fmt: skip

Activity = Mapping[str, Mapping[str, Any]]


class Row(Struct, frozen=True):
    """One line of a table of tasks."""

    task: str
    state: str
    agent: str = ""
    attempt: str = ""
    time: str = ""
    note: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row's texts in the order of `TITLES`."""
        return self.task, self.state, self.agent, self.attempt, self.time, self.note


def rows_of(state: State, now_us: int, activity: Activity, limit: int) -> list[Row]:
    """Return at most `limit` rows: instances too while there is room, then tasks, then only what is pressing."""
    tops = len(state.definition.tasks)
    if len(state.tasks) <= limit:
        return [_row(state, task, now_us, activity) for task in _in_order(state)]
    if tops <= limit:
        return [_row(state, state.tasks[task_id], now_us, activity) for task_id in state.definition.tasks]
    return _pressing_rows(state, now_us, activity, limit)


def counted(counts: Mapping[TaskStatus, int]) -> str:
    """Return counts in words: `812 completed, 3 failed, 9,185 pending`."""
    return ", ".join(f"{counts[status]:,} {status}" for status in _ORDER if counts.get(status))


def _in_order(state: State) -> Iterator[TaskState]:
    """Yield each task, its instances behind it."""
    for task_id in state.definition.tasks:
        task = state.tasks[task_id]
        yield task
        if task.fan is not None:
            yield from _instances(state, task)


def _instances(state: State, task: TaskState) -> Iterator[TaskState]:
    for index in range(task.fan.count if task.fan is not None else 0):
        instance = state.tasks.get(f"{task.path}[{index}]")
        if instance is not None:
            yield instance


def _pressing_rows(state: State, now_us: int, activity: Activity, limit: int) -> list[Row]:
    by_status: dict[TaskStatus, list[TaskState]] = {status: [] for status in _PRESSING}
    for task in state.tasks.values():
        kept = by_status.get(task.status)
        if kept is not None and len(kept) < limit and task.fan is None:
            kept.append(task)
    room = max(limit - 1, 1)
    pressing: Iterable[TaskState] = (task for status in _PRESSING for task in by_status[status])
    shown = list(islice(pressing, room))
    left = Counter({status: count for status, count in state.counts.items() if count})
    left.subtract(Counter(task.status for task in shown))
    rest = sum(left.values())
    rows = [_row(state, task, now_us, activity) for task in shown]
    return [*rows, Row(f"… {rest:,} more", "", note=counted(left))] if rest > 0 else rows


def _row(state: State, task: TaskState, now_us: int, activity: Activity) -> Row:
    name = f"  [{task.index}]" if task.index is not None else task.path
    return Row(
        task=name,
        state=str(task.status),
        agent=task.agent if task.fan is None else "",
        attempt=str(state.attempts_of(task) or "") if task.fan is None else "",
        time=_time(task, now_us),
        note=note_of(state, task, now_us, activity.get(task.path)),
    )


def _time(task: TaskState, now_us: int) -> str:
    if not task.started_us:
        return ""
    return between_us(task.started_us, (task.finished_us or now_us) if task.final else now_us)


def note_of(state: State, task: TaskState, now_us: int, activity: Mapping[str, Any] | None = None) -> str:
    """Return in a few words what there is to say of a task: progress, error, reason."""
    if task.substitute is not None:
        return f"{task.substitute} runs in its place"
    match task.status:
        case TaskStatus.RUNNING if task.fan is not None:
            fan = task.fan
            failed = f", {fan.failed:,} failed" if fan.failed else ""
            return f"{fan.done:,} of {fan.count:,} done, {fan.in_flight:,} under way{failed}"
        case TaskStatus.RUNNING:
            return _progress(activity)
        case TaskStatus.RETRYING:
            due = f"again in {between_us(now_us, task.due_us)}" if task.due_us > now_us else "again now"
            return f"{due}: {_error(task)}" if task.error else due
        case TaskStatus.COMPLETED if task.reason:  # a person's result
            return task.reason
        case TaskStatus.COMPLETED if task.fan is not None:
            failed = f", {task.fan.failed:,} failed" if task.fan.failed else ""
            return f"{task.fan.count:,} instance{'s' * (task.fan.count != 1)}{failed}"
        case TaskStatus.FAILED:
            return _error(task)
        case TaskStatus.READY:
            return "waits for an agent"
        case TaskStatus.WAITING if asks(task):
            return f"asks: {_error(task)}"
        case TaskStatus.WAITING if task.wait is not None:
            return f"waiting for {waited_for(task.wait)}"
        case _:
            return task.reason


def _progress(activity: Mapping[str, Any] | None) -> str:
    if not activity or activity.get("fraction") is None:
        return ""
    return f"{activity['fraction']:.0%} {activity.get('message') or ''}".rstrip()


def _error(task: TaskState) -> str:
    return shown_error(task.error) if task.error else task.reason


def shown_error(error: ErrorInfo) -> str:
    """Return an error as a person reads it: `ValueError: …`, without the module that its type is from."""
    return f"{error.type.rpartition('.')[2]}: {error.message}"
