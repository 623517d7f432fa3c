"""An execution's state in memory: what the fold of its events is. Only `evolve` changes it.

Counters and work lists (`eligible`, `fans`, `timers`) are kept so that deciding never scans the tasks. Everything here
can be made again from the events; what holds large values only borrows them (`loaded`, `items`).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any

from podium.engine.definition import CompiledTask, Definition
from podium.engine.eligible import Eligible
from podium.engine.events import RunCompleted, StatusPublished, TaskWaiting
from podium.engine.inputs import Parent
from podium.engine.transitions import check_execution_move, check_task_move
from podium.engine.values import NULL, Value
from podium.fleet.messages import ErrorInfo
from podium.workflow.model import FINAL_EXECUTION, FINAL_TASK, ExecutionStatus, TaskStatus

STARTING = frozenset({ExecutionStatus.RUNNING})
DECIDING = frozenset({ExecutionStatus.RUNNING, ExecutionStatus.PAUSING, ExecutionStatus.PAUSED})
IN_FLIGHT = frozenset({TaskStatus.READY, TaskStatus.RUNNING, TaskStatus.RETRYING})
CHILD_IN_FLIGHT = frozenset({TaskStatus.WAITING, TaskStatus.RETRYING})  # of a fan-out over children
PEOPLE = ("person", "decision")  # what tasks wait for that people say: an answer, and what becomes of a failed one
WAIT_TIMERS = {"due": "due_us", "escalation": "escalates_us", "patience": "timeout_us"}  # to fields of TaskWaiting

_FEW_TIMERS = 64


class Attempt:
    """A live attempt."""

    __slots__ = ("agent", "granted_us", "incarnation", "number")

    def __init__(self, number: int, agent: str, incarnation: str, granted_us: int) -> None:
        self.number = number
        self.agent = agent
        self.incarnation = incarnation
        self.granted_us = granted_us


class FanOut:
    """A task that became instances: how many there are, have begun, are in flight, have ended."""

    __slots__ = ("begun", "completed", "count", "done", "failed", "in_flight", "window")

    def __init__(self, count: int, window: int) -> None:
        self.count = count
        self.window = window
        self.begun = self.in_flight = self.done = self.failed = self.completed = 0


class TaskState:
    """A task, or an instance of one (`index` is not None, `parent` is its fan-out)."""

    __slots__ = (
        "agent", "checkpoint", "child", "compiled", "crashes", "deadline_us", "due_us", "error", "failures", "fan",
        "finished_us", "generation", "heard", "index", "interruptions", "live", "number", "parent", "path", "ready_us",
        "reason", "result", "saved", "started_us", "status", "substitute", "unmet", "wait",
    )  # fmt: skip

    def __init__(
        self, path: str, compiled: CompiledTask, index: int | None = None, parent: TaskState | None = None
    ) -> None:
        self.path = path
        self.compiled = compiled
        self.index = index
        self.parent = parent
        self.status = TaskStatus.PENDING
        self.unmet = len(compiled.spec.dependencies) if parent is None else 0
        self.number = 0  # of the newest attempt; of a fan-out that ran before, of all its instances then
        self.generation = 0
        self.failures = self.crashes = self.interruptions = 0
        self.live: dict[int, Attempt] | None = None
        self.result: Value | None = None
        self.error: ErrorInfo | None = None
        self.reason = ""
        self.checkpoint: Value | None = None
        self.saved = (0, 0)  # which attempt's which one that is
        self.fan: FanOut | None = None
        self.substitute: str | None = None  # the fallback that runs in its place
        self.wait: TaskWaiting | None = None  # what it waits for outside
        self.child = ""  # the execution that it is, until that has ended
        self.heard = 0  # it had its signal in a former generation: those up to this sequence are others'
        self.agent = ""  # of the newest attempt
        self.ready_us = self.started_us = self.finished_us = self.deadline_us = self.due_us = 0

    @property
    def final(self) -> bool:
        """Whether the task has ended."""
        return self.status in FINAL_TASK


class State:
    """One execution."""

    def __init__(self, execution: str, tenant: str, definition: Definition) -> None:
        self.id = execution
        self.tenant = tenant
        self.definition = definition
        self.status = ExecutionStatus.RUNNING
        self.run = 1
        self.run_started_us = 0
        self.attempts_before = 0  # no attempt of an earlier run has a higher number
        self.next_run: RunCompleted | None = None  # what the run that has ended says of the next one
        self.sequence = 0
        self.seed = 0
        self.input = NULL
        self.bindings: dict[str, str] = {}
        self.priority = 50
        self.preferred_agent = ""
        self.schedule = ""  # that started it
        self.begins_us: int | None = None  # tasks don't start before; None: that has come
        self.deadline_us: int | None = None
        self.timeout_us: int | None = None  # from the start, or from a retry, to the deadline
        self.created_us = self.updated_us = 0
        self.finished_us: int | None = None
        self.reason = ""  # of a pause or a cancellation
        self.error: ErrorInfo | None = None
        self.partial = False
        self.fatal: tuple[str, ErrorInfo] | None = None  # a failure that the execution has to follow
        self.tasks: dict[str, TaskState] = {}
        self.counts = dict.fromkeys(TaskStatus, 0)
        self.total = 0  # tasks and instances, begun or not
        self.unfinished = 0  # top-level tasks to wait for
        self.live = 0  # attempts
        self.in_flight = 0  # tasks and instances that are ready, running or between attempts
        self.eligible = Eligible()  # pending with nothing unmet: to be looked at
        self.fans: dict[str, None] = {}  # fan-outs to be looked at
        self._timers: list[tuple[int, str, str, int]] = []
        self._timers_limit = _FEW_TIMERS
        self.loaded: dict[str, bytes] = {}  # blobs by hash: those that conditions read, others for a moment
        self.pinned: set[str] = set()  # of those, the ones that conditions read
        self.items: dict[str, list[Any]] = {}  # fan-outs' lists, once evaluated
        self.waiting: dict[tuple[str, str], dict[str, None]] = {}  # who waits outside, by what for and its name
        self.signals: dict[str, dict[int, Value]] = {}  # kept for tasks to come: by name, then by sequence
        self.published: StatusPublished | None = None  # what it shows as its status
        self.awaiters: dict[tuple[str, str], int] = {}  # executions and tasks of theirs that wait for our end
        self.origin: Parent | None = None  # whose child it is
        self.children: dict[str, tuple[str, int]] = {}  # executions that must end before it can: whose, and which one

    @property
    def final(self) -> bool:
        """Whether the execution has ended."""
        return self.status in FINAL_EXECUTION

    @property
    def active(self) -> bool:
        """Whether its owner must hold it in memory: something is live, ready or about to be decided."""
        if self.final:
            return False
        if self.live or self.status in (ExecutionStatus.PAUSING, ExecutionStatus.FAILING, ExecutionStatus.CANCELLING):
            return True
        return self.status is ExecutionStatus.RUNNING and self.counts[TaskStatus.READY] > 0

    def attempt_id(self, task: str, number: int) -> str:
        """Return the id that fences an attempt, the same for ever."""
        return attempt_id(self.id, self.run, task, number)

    def attempts_of(self, task: TaskState) -> int:
        """Return how many attempts a task has had in this run; their numbers go on from those of earlier runs."""
        return self.number_in_run(task.number)

    def number_in_run(self, number: int) -> int:
        """Return which attempt of its task in this run one is, from 1: what people are told."""
        return max(number - self.attempts_before, 0)

    def idempotency_key(self, task: TaskState) -> str:
        """Return the key of a task's effects: the same for all its attempts of one generation."""
        return f"{self.id}:{self.run}:{task.generation}:{task.path}"

    def succeeded(self, task: TaskState) -> bool:
        """Whether the task has a result: its own or its fallback's."""
        return self.result_of(task).status is TaskStatus.COMPLETED

    def settled(self, task: TaskState) -> bool:
        """Whether nothing more is to come of a task: it has ended and, where it failed, so has its fallback."""
        last = self.result_of(task)
        return last.final and (last.status is not TaskStatus.FAILED or last.compiled.fallback is None)

    def awaited(self, task: TaskState) -> bool:
        """Whether a pending task may start by itself: a fallback only once its primary has failed."""
        primary = task.compiled.stands_in_for
        return primary is None or self.tasks[primary].substitute == task.path

    def result_of(self, task: TaskState) -> TaskState:
        """Return the task whose result stands for this one's."""
        while task.substitute is not None:
            task = self.tasks[task.substitute]
        return task

    # --- timers: (due, kind, task, attempt number); stale ones are dropped when they come up -------------------

    def add_timer(self, due_us: int, kind: str, task: str = "", number: int = 0) -> None:
        """Set a timer. Those that mean nothing any more are cleared out whenever they may be half of all."""
        heappush(self._timers, (due_us, kind, task, number))
        if len(self._timers) > self._timers_limit:
            self._timers = [timer for timer in self._timers if self.timer_holds(timer)]
            heapify(self._timers)
            self._timers_limit = max(_FEW_TIMERS, 2 * len(self._timers))

    def timer_holds(self, timer: tuple[int, str, str, int]) -> bool:
        """Whether a timer still means something."""
        due_us, kind, path, number = timer
        if self.final:
            return False
        if kind == "execution":
            return self.deadline_us == due_us and self.status in DECIDING
        if kind == "begin":
            return self.begins_us == due_us
        if kind == "run":
            return self.next_run is not None and self.next_run.begins_us == due_us
        task = self.tasks.get(path)
        if task is None:
            return False
        if kind == "attempt":
            return task.live is not None and number in task.live
        if self.status not in DECIDING:
            return False
        if kind == "retry":
            return task.status is TaskStatus.RETRYING and task.due_us == due_us
        if kind in WAIT_TIMERS:
            return task.wait is not None and due_us == getattr(task.wait, WAIT_TIMERS[kind])
        return not task.final and task.deadline_us == due_us

    def next_timer_us(self) -> int | None:
        """Return when the next timer is due; None without one."""
        timers = self._timers
        while timers and not self.timer_holds(timers[0]):
            heappop(timers)
        return timers[0][0] if timers else None

    def due_timers(self, now_us: int) -> list[tuple[int, str, str, int]]:
        """Return the timers that are due and hold, soonest first, looking only at the heap's top."""
        timers, found, look = self._timers, [], [0]
        while look:
            at = look.pop()
            if at < len(timers) and timers[at][0] <= now_us:
                look += (2 * at + 1, 2 * at + 2)
                if self.timer_holds(timers[at]):
                    found.append(timers[at])
        return sorted(found)

    def clear_timers(self) -> None:
        """Forget every timer."""
        self._timers = []

    def forget_run(self) -> None:
        """Let go of all tasks and of whatever was kept for them, but for signals that nobody has taken."""
        self.attempts_before = max((t.number for t in self.tasks.values()), default=self.attempts_before)
        for kept in (self.tasks, self.eligible, self.fans, self.items, self.waiting, self.children):
            kept.clear()
        self.counts = dict.fromkeys(TaskStatus, 0)
        self.total = self.unfinished = self.live = self.in_flight = 0
        self.partial, self.fatal, self.error = False, None, None
        self.clear_timers()
        read = {self.input.blob, *(value.blob for kept in self.signals.values() for value in kept.values())}
        self.loaded = {digest: text for digest, text in self.loaded.items() if digest in read}
        self.pinned = {digest for digest in self.loaded if digest in self.pinned or "" in self.definition.hot}

    # --- moves, for `evolve` only -----------------------------------------------------------------------------

    def move(self, status: ExecutionStatus) -> None:
        """Go to another state, if the table has the move."""
        check_execution_move(self.status, status)
        self.status = status

    def move_task(self, task: TaskState, status: TaskStatus) -> None:
        """Bring a task to another state, if the table has the move, and keep the counts."""
        before = task.status
        check_task_move(task.path, before, status)
        task.status = status
        self.counts[before] -= 1
        self.counts[status] += 1
        if task.fan is not None:
            return
        is_child = task.compiled.child is not None
        flying = CHILD_IN_FLIGHT if is_child else IN_FLIGHT
        moved = (status in flying) - (before in flying)
        if moved:
            if not is_child:  # a child's tasks are in flight there
                self.in_flight += moved
            if task.parent is not None and task.parent.fan is not None:
                task.parent.fan.in_flight += moved

    def drop_instances(self, task: TaskState) -> None:
        """Forget the instances of a fan-out that runs again; the attempts of the next ones go on counting."""
        fan = task.fan
        if fan is None:
            return
        for index in range(fan.begun):
            instance = self.tasks.pop(f"{task.path}[{index}]")
            self.wait_for(instance, None)
            self.counts[instance.status] -= 1
            self.in_flight -= instance.compiled.child is None and instance.status in IN_FLIGHT
            task.number = max(task.number, instance.number)
        self.total -= fan.count
        self.items.pop(task.path, None)
        task.fan = None

    def add_task(self, task: TaskState) -> None:
        """Put a task or an instance in."""
        self.tasks[task.path] = task
        self.counts[task.status] += 1

    def wait_for(self, task: TaskState, wait: TaskWaiting | None) -> None:
        """Note what a task waits for outside from now on; None: nothing any more."""
        before = task.wait
        if before is not None:
            paths = self.waiting[before.awaits, before.name]
            del paths[task.path]
            if not paths:
                del self.waiting[before.awaits, before.name]
        task.wait = wait
        if wait is not None:
            self.waiting.setdefault((wait.awaits, wait.name), {})[task.path] = None

    def add_wait_timers(self, wait: TaskWaiting) -> None:
        """Set the timers of a wait."""
        for kind, field in WAIT_TIMERS.items():
            due_us = getattr(wait, field)
            if due_us:
                self.add_timer(due_us, kind, wait.task)


def attempt_id(execution: str, run: int, task: str, number: int) -> str:
    """Return the id that fences an attempt."""
    return f"{execution}:{run}:{task}:{number}"


def place_of(attempt: str) -> tuple[int, str, int]:
    """Return run, task and number of an attempt's id, as `attempt_id` makes it."""
    _, run, rest = attempt.split(":", 2)
    task, _, number = rest.rpartition(":")
    return int(run), task, int(number)


def unfinished_instances(state: State, task: TaskState) -> list[TaskState]:
    """Return the instances of a fan-out that have begun and not ended; of any other task none."""
    begun = task.fan.begun if task.fan is not None else 0
    return [i for i in (state.tasks[f"{task.path}[{index}]"] for index in range(begun)) if not i.final]
