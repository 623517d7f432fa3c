"""What the log says in numbers: how executions and tasks of each workflow's version ended, and how long they took.

Pure: rows' events in, counts out. `readmodels` keeps the counts in the store, each shard's apart; `total` adds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from podium.engine import events as ev
from podium.store.protocol import LogRow, ModelRow

NAME = "statistics"
MOST_TASKS = 1_000  # of one version that are counted apart, in each shard
OTHER_TASKS = "*"  # the key of those beyond


class Counts(Struct):
    """Numbers of which those named `longest_us` are the largest seen, and all others are sums."""

    def add(self, other: Struct) -> None:
        """Add those of another shard."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, max(mine, theirs) if name == "longest_us" else mine + theirs)


class ExecutionCounts(Counts):
    """The executions of one version. One that a person has retried ends again, so `retried` opens as `started` does."""

    started: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    duration_us: int = 0  # of all that ended, each from its start or its last retry
    longest_us: int = 0
    last_us: int = 0  # how long the one took that ended last,
    last_ended_us: int = 0  # and when that was

    def add(self, other: Struct) -> None:
        """Add those of another shard; the last end of both is kept."""
        assert isinstance(other, ExecutionCounts)
        last = max(self, other, key=lambda each: each.last_ended_us)
        last_us, last_ended_us = last.last_us, last.last_ended_us
        super().add(other)
        self.last_us, self.last_ended_us = last_us, last_ended_us

    @property
    def ended(self) -> int:
        """How many ends there were."""
        return self.completed + self.failed + self.cancelled


class TaskCounts(Counts):
    """One task of one version, the instances of a fan-out together."""

    attempts: int = 0
    completed: int = 0
    failures: int = 0  # attempts that ended without a result, those lost among them
    lost: int = 0
    run_us: int = 0  # from the grant of each attempt to its end
    longest_us: int = 0


class Group:
    """The counts of one version in one shard, and which of them have changed."""

    def __init__(self, rows: Iterable[ModelRow] = ()) -> None:
        self.execution = ExecutionCounts()
        self.tasks: dict[str, TaskCounts] = {}
        self.changed: set[str] = set()  # task ids; empty: the execution's
        for row in rows:
            task = _plain(row.key.rpartition("/")[2])
            if task:
                self.tasks[task] = msgspec.json.decode(row.value or b"{}", type=TaskCounts)
            else:
                self.execution = msgspec.json.decode(row.value or b"{}", type=ExecutionCounts)

    def of_execution(self) -> ExecutionCounts:
        """Return the executions' counts, to be changed."""
        self.changed.add("")
        return self.execution

    def of_task(self, path: str) -> TaskCounts:
        """Return a task's counts, to be changed."""
        task = path.partition("[")[0]
        counts = self.tasks.get(task)
        if counts is None:
            if len(self.tasks) >= MOST_TASKS:
                task = OTHER_TASKS
            counts = self.tasks.setdefault(task, TaskCounts())
        self.changed.add(task)
        return counts

    def changes(self, key: str) -> list[ModelRow]:
        """Return the entries that have changed; from then on they count as written."""
        changed, self.changed = self.changed, set()
        return [
            ModelRow(f"{key}{_escaped(task)}", msgspec.json.encode(self.tasks[task] if task else self.execution))
            for task in changed
        ]


class Opened(Struct):
    """What must be known of an execution between its rows."""

    shard: int
    group: str  # the key of its version
    began_us: int
    ended: bool = False
    granted: dict[tuple[str, int], int] = {}  # when each live attempt was given to an agent

    def take(self, now_us: int, events: Sequence[ev.Event], group: Group) -> None:
        """Count what one row brought."""
        for event in events:
            count = _COUNTED.get(type(event))
            if count is not None:
                count(self, event, now_us, group)

    def _granted(self, event: ev.AttemptGranted, now_us: int, group: Group) -> None:
        self.granted[event.task, event.number] = now_us
        group.of_task(event.task).attempts += 1

    def _returned(self, event: ev.AttemptReturned, now_us: int, group: Group) -> None:
        if self.granted.pop((event.task, event.number), None) is not None:
            group.of_task(event.task).attempts -= 1

    def _completed(self, event: ev.TaskCompleted, now_us: int, group: Group) -> None:
        if (event.task, event.number) in self.granted:
            counts = group.of_task(event.task)
            counts.completed += 1
            self._ran(counts, event.task, event.number, now_us)

    def _failed(self, event: ev.AttemptFailed, now_us: int, group: Group) -> None:
        counts = group.of_task(event.task)
        counts.failures += 1
        counts.lost += event.how == "lost"
        self._ran(counts, event.task, event.number, now_us)

    def _ran(self, counts: TaskCounts, task: str, number: int, now_us: int) -> None:
        took_us = now_us - self.granted.pop((task, number), now_us)
        counts.run_us += took_us
        counts.longest_us = max(counts.longest_us, took_us)

    def _started(self, event: ev.Event, now_us: int, group: Group) -> None:
        group.of_execution().started += 1

    def _retried(self, event: ev.Event, now_us: int, group: Group) -> None:
        group.of_execution().retried += 1
        self.began_us, self.ended = now_us, False

    def _end(self, event: ev.Event, now_us: int, group: Group) -> None:
        counts, took_us = group.of_execution(), now_us - self.began_us
        counts.completed += isinstance(event, ev.ExecutionCompleted)
        counts.failed += isinstance(event, ev.ExecutionFailed)
        counts.cancelled += isinstance(event, ev.ExecutionCancelled)
        counts.duration_us += took_us
        counts.longest_us = max(counts.longest_us, took_us)
        if now_us >= counts.last_ended_us:
            counts.last_us, counts.last_ended_us = took_us, now_us
        self.ended = True
        self.granted.clear()


_COUNTED: dict[type, Callable[[Opened, Any, int, Group], None]] = {
    ev.AttemptGranted: Opened._granted,
    ev.AttemptReturned: Opened._returned,
    ev.TaskCompleted: Opened._completed,
    ev.AttemptFailed: Opened._failed,
    ev.ExecutionStarted: Opened._started,
    ev.ExecutionRetried: Opened._retried,
    ev.ExecutionCompleted: Opened._end,
    ev.ExecutionFailed: Opened._end,
    ev.ExecutionCancelled: Opened._end,
}


def opened(row: LogRow, events: Sequence[ev.Event]) -> Opened | None:
    """Return what must be known of an execution that its first row starts; None if it doesn't."""
    started = next((event for event in events if isinstance(event, ev.ExecutionStarted)), None)
    if started is None:
        return None
    return Opened(row.shard, key_of(row.tenant, started.workflow, started.version), row.now_us)


def key_of(tenant: str, workflow: str, version: str) -> str:
    """Return the key of a version: that of its executions, and the beginning of those of its tasks."""
    return "".join(f"{_escaped(part)}/" for part in (tenant, workflow, version))


def _escaped(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F")


def _plain(part: str) -> str:
    return part.replace("%2F", "/").replace("%25", "%")


class Version(Struct):
    """All that is counted of one version of a workflow."""

    tenant: str
    workflow: str
    version: str
    executions: ExecutionCounts
    tasks: dict[str, TaskCounts]


def total(entries: Iterable[ModelRow]) -> list[Version]:
    """Add the entries of all shards; versions come in order of tenant, workflow and version."""
    found: dict[tuple[str, str, str], Version] = {}
    for row in entries:
        tenant, workflow, version, task = (_plain(part) for part in row.key.split("/"))
        key = (tenant, workflow, version)
        into = found.setdefault(key, Version(*key, ExecutionCounts(), {}))
        value = row.value or b"{}"
        if task:
            into.tasks.setdefault(task, TaskCounts()).add(msgspec.json.decode(value, type=TaskCounts))
        else:
            into.executions.add(msgspec.json.decode(value, type=ExecutionCounts))
    return [found[key] for key in sorted(found)]
