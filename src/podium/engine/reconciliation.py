"""What should not be: the kinds of finds, and how each is told from a race. Pure.

A look yields suspects; who is a suspect again after a while, with the same evidence, is a find. So nothing counts that
was only on its way. What is compared here are values: states, leases, queues, slots; `reconciling` looks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any

from msgspec import Struct

from podium.clock import SECOND
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.leases import Lease
from podium.engine.snapshot import decode_state, encode_state
from podium.engine.state import DECIDING, WAIT_TIMERS, State, TaskState
from podium.engine.step import step
from podium.scheduling.placement import Placement
from podium.workflow.model import FINAL_TASK, ExecutionStatus, TaskStatus


class Kind(StrEnum):
    """What a find is about; the metric's label."""

    STUCK = "stuck"
    CONTRADICTION = "contradiction"
    UNREADABLE = "unreadable"
    ROW_DIFFERS = "row_differs"
    SNAPSHOT_DIFFERS = "snapshot_differs"
    MEMORY_DIFFERS = "memory_differs"
    NOT_IN_MEMORY = "not_in_memory"
    LEFT_IN_MEMORY = "left_in_memory"
    TIMER_MISSED = "timer_missed"
    LEASE_WITHOUT_ATTEMPT = "lease_without_attempt"
    ATTEMPT_WITHOUT_LEASE = "attempt_without_lease"
    SLOT_WITHOUT_ATTEMPT = "slot_without_attempt"
    ATTEMPT_WITHOUT_SLOT = "attempt_without_slot"
    TASK_NOT_QUEUED = "task_not_queued"
    QUEUED_NOT_READY = "queued_not_ready"
    SLOTS_MISCOUNTED = "slots_miscounted"
    ADMITTED_IN_VAIN = "admitted_in_vain"
    INBOX_WAITS = "inbox_waits"
    START_WAITS = "start_waits"
    SHARD_WITHOUT_OWNER = "shard_without_owner"
    SHARD_MOVED = "shard_moved"
    COUNTER_DIFFERS = "counter_differs"
    MODEL_DIFFERS = "model_differs"


MEANINGS = {
    Kind.STUCK: "an unfinished execution with nothing to wait for: no attempt, ready task, timer or input",
    Kind.CONTRADICTION: "a state that says of itself what can't be true",
    Kind.UNREADABLE: "an execution whose history can't be read; it is set aside",
    Kind.ROW_DIFFERS: "an execution's row isn't what its events say",
    Kind.SNAPSHOT_DIFFERS: "a snapshot with what came after it isn't what all events say",
    Kind.MEMORY_DIFFERS: "an execution in memory isn't what its events say",
    Kind.NOT_IN_MEMORY: "an execution with something to do that its owner doesn't have in memory",
    Kind.LEFT_IN_MEMORY: "an execution in memory that has ended, or is another replica's",
    Kind.TIMER_MISSED: "a timer in the past that nobody fires",
    Kind.LEASE_WITHOUT_ATTEMPT: "a lease without a live attempt",
    Kind.ATTEMPT_WITHOUT_LEASE: "a live attempt without a lease, that could never be lost",
    Kind.SLOT_WITHOUT_ATTEMPT: "a slot that no live attempt needs, and that no agent's word is awaited for",
    Kind.ATTEMPT_WITHOUT_SLOT: "a live attempt that no slot is counted for",
    Kind.TASK_NOT_QUEUED: "a ready task in no queue, not given to an agent and not on its way",
    Kind.QUEUED_NOT_READY: "a queued task that isn't ready",
    Kind.SLOTS_MISCOUNTED: "an agent that counts more or fewer slots as taken than are",
    Kind.ADMITTED_IN_VAIN: "a place of max_concurrent_workflows that an execution takes which isn't at work",
    Kind.INBOX_WAITS: "an input in the inbox that its owner doesn't take",
    Kind.START_WAITS: "a start that waits for room, and that its owner doesn't know",
    Kind.SHARD_WITHOUT_OWNER: "a shard that no live replica owns, though there are some",
    Kind.SHARD_MOVED: "a shard's log that isn't where its owner has written it to",
    Kind.COUNTER_DIFFERS: "a counter of max_concurrent_executions that isn't the number of unfinished executions",
    Kind.MODEL_DIFFERS: "a read model that isn't what the log says",
}

# How long a suspect must be one to be a find, in seconds. What may be on its way through an inbox, which is looked at
# each 5 s where nobody rings, has three of those looks; a shard has two leases.
PERSISTS = {
    **dict.fromkeys(Kind, 5.0),
    Kind.NOT_IN_MEMORY: 10.0,
    Kind.TIMER_MISSED: 10.0,
    Kind.SHARD_WITHOUT_OWNER: 9.0,
    Kind.SHARD_MOVED: 10.0,
    **dict.fromkeys(
        (
            Kind.SLOT_WITHOUT_ATTEMPT,
            Kind.ATTEMPT_WITHOUT_SLOT,
            Kind.TASK_NOT_QUEUED,
            Kind.QUEUED_NOT_READY,
            Kind.ADMITTED_IN_VAIN,
            Kind.INBOX_WAITS,
            Kind.START_WAITS,
        ),
        15.0,
    ),
}


class Suspect(Struct, frozen=True, eq=False):
    """What may be a find. `evidence` must be the same at the second look; the rest is for people, and for who mends."""

    kind: Kind
    subject: str  # an execution, one of its tasks or attempts, an agent, a shard, a counter
    reason: str
    evidence: tuple[Any, ...] = ()
    execution: str = ""
    task: str = ""
    seen_us: int = 0
    state: State | None = None

    @property
    def key(self) -> tuple[Kind, str]:
        """What it is about."""
        return (self.kind, self.subject)


class Find(Struct, frozen=True):
    """What should not be, and whether it is made good."""

    kind: Kind
    subject: str
    reason: str
    mended: bool

    @property
    def key(self) -> tuple[Kind, str]:
        """What it is about."""
        return (self.kind, self.subject)


def lasting(before: Iterable[Suspect], again: Iterable[Suspect]) -> list[Suspect]:
    """Return those of the second look that were suspects at the first, for the same reason, long enough before."""
    known = {suspect.key: suspect for suspect in before}
    found = []
    for suspect in again:
        earlier = known.get(suspect.key)
        if earlier is None or earlier.evidence != suspect.evidence:
            continue
        if suspect.seen_us - earlier.seen_us >= PERSISTS[suspect.kind] * SECOND:
            found.append(suspect)
    return found


# --- a state by itself -----------------------------------------------------------------------------------------------


def contradictions(state: State) -> list[str]:
    """Return what a state says of itself that can't be true: counters that don't count, tasks that nothing moves on."""
    found = []
    tasks = list(state.tasks.values())
    live = sum(len(task.live or ()) for task in tasks)
    if live != state.live:
        found.append(f"{live} attempts are live, the counter says {state.live}")
    for status in TaskStatus:
        counted = sum(task.status is status for task in tasks)
        if counted != state.counts[status]:
            found.append(f"{counted} tasks are {status}, the counter says {state.counts[status]}")
    if state.final:
        if live:
            found.append(f"{state.status} with {live} live attempts")
        if state.children:
            found.append(f"{state.status}, and {', '.join(sorted(state.children))} should have ended before")
        return found
    timers = {(kind, path) for due, kind, path, number in state._timers if state.timer_holds((due, kind, path, number))}
    for task in tasks:
        if task.status is TaskStatus.RUNNING and task.fan is None and not task.live:
            found.append(f"{task.path} is running without an attempt")
        if (
            task.status is TaskStatus.RETRYING
            and state.status is ExecutionStatus.RUNNING
            and ("retry", task.path) not in timers
        ):
            found.append(f"{task.path} waits for its next attempt, but no timer will start it")
        found += _wrong_waits(state, task, timers)
    if state.status is ExecutionStatus.COMPLETED and any(
        t.parent is None and t.status not in FINAL_TASK for t in tasks
    ):
        found.append("completed, but not every task has ended")
    return found


def _wrong_waits(state: State, task: TaskState, timers: set[tuple[str, str]]) -> list[str]:
    """Return what is wrong with a task that waits for something outside, or with one that doesn't and seems to."""
    wait = task.wait
    if (task.status is TaskStatus.WAITING) != (wait is not None):
        return [f"{task.path} is {task.status}, and {'nothing' if wait is None else wait.awaits} is waited for"]
    if wait is None or state.status not in DECIDING:
        return []
    found = []
    if task.path not in state.waiting.get((wait.awaits, wait.name), ()):
        found.append(f"{task.path} waits for {wait.awaits} {wait.name}, and isn't listed with those who do")
    for kind, field in WAIT_TIMERS.items():
        if getattr(wait, field) and (kind, task.path) not in timers:
            found.append(f"{task.path} waits with a limit ({kind}), but no timer keeps it")
    return found


def nothing_to_wait_for(state: State, now_us: int) -> str:
    """Return why nothing will ever move this execution on, an input apart; empty if something will."""
    if state.final or state.live or state.children or state.status is ExecutionStatus.PAUSED:
        return ""
    if state.status not in DECIDING or state.status is ExecutionStatus.PAUSING:
        return f"it is {state.status}, and no attempt is left that would have to settle"
    if moved_by_a_tick(state, now_us):
        return "something follows from its history that nobody has looked at"
    if state.counts[TaskStatus.READY] or state.waiting or state.next_timer_us() is not None:
        return ""  # what a task waits for outside may come at any time
    return f"{state.unfinished} of its tasks have to end, and none is ready, running or due"


def moved_by_a_tick(state: State, now_us: int) -> bool:
    """Whether the state isn't at rest: its rules have something to say without any input or timer."""
    if state.final or not (state.eligible or state.fans or not state.unfinished or state.fatal):
        return False
    copy = decode_state(state.id, state.tenant, state.definition, encode_state(state))
    copy.loaded = dict(state.loaded)
    due_us = copy.next_timer_us()
    before_us = now_us if due_us is None else min(now_us, due_us - 1)  # what a timer does is the timer's
    return any(not isinstance(event, ev.InputIgnored) for event in step(copy, inp.Tick(), before_us).events)


# --- leases ----------------------------------------------------------------------------------------------------------


def unleased(state: State, leased: Callable[[str], Lease | None], now_us: int) -> Iterator[Suspect]:
    """Yield the live attempts without a lease."""
    for task, number in live_attempts(state):
        attempt = state.attempt_id(task.path, number)
        if leased(attempt) is None:
            why = f"{attempt} is live, and has no lease that could end"
            yield Suspect(Kind.ATTEMPT_WITHOUT_LEASE, attempt, why, (number,), state.id, task.path, now_us, state)


def leased_in_vain(state: State | None, leases: Iterable[tuple[str, Lease]], now_us: int) -> Iterator[Suspect]:
    """Yield those of an execution's leases whose attempts aren't live; `state` None: it isn't in memory."""
    for attempt, lease in leases:
        task = state.tasks.get(lease.task) if state is not None else None
        if task is None or lease.number not in (task.live or ()):
            why = f"agent {lease.agent} has a lease for {attempt}, which isn't live"
            yield Suspect(Kind.LEASE_WITHOUT_ATTEMPT, attempt, why, (), lease.execution, lease.task, now_us)


def live_attempts(state: State) -> Iterator[tuple[TaskState, int]]:
    """Yield the live attempts of an execution, as tasks and numbers."""
    if not state.live:
        return
    for task in state.tasks.values():
        for number in task.live or ():
            yield task, number


# --- queue and slots -------------------------------------------------------------------------------------------------


def misplaced(
    execution: str, state: State | None, placement: Placement, awaited: Callable[[str], bool], now_us: int
) -> Iterator[Suspect]:
    """Yield what queue and slots have of an execution and shouldn't, or don't have and should.

    `state` None: there is no such execution. `awaited` says of an attempt that has ended that its slot is kept until
    its agent gives it back. A task that was granted, and whose owner hasn't recorded that yet, is in the slots already.
    """
    runs = state is not None and state.status is ExecutionStatus.RUNNING
    at = (state.sequence,) if state is not None else ()
    held = set(placement.attempts_of(execution))
    needed: set[str] = set()
    if state is not None:
        for task, number in live_attempts(state):
            attempt = state.attempt_id(task.path, number)
            needed.add(attempt)
            if attempt not in held:
                why = f"{attempt} is live, and no slot is counted for it"
                yield Suspect(
                    Kind.ATTEMPT_WITHOUT_SLOT, attempt, why, (*at, number), execution, task.path, now_us, state
                )
    ready = set()
    if state is not None and runs and state.counts[TaskStatus.READY]:
        for task in state.tasks.values():
            if task.status is not TaskStatus.READY:
                continue
            ready.add((task.path, task.number + 1))
            coming = state.attempt_id(task.path, task.number + 1)
            queued = placement.ready_task(execution, task.path)
            if coming not in held and (queued is None or queued.attempt != coming):
                why = f"{task.path} is ready, and neither queued nor given to an agent"
                subject = f"{execution}:{task.path}"
                yield Suspect(
                    Kind.TASK_NOT_QUEUED, subject, why, (*at, task.number), execution, task.path, now_us, state
                )
            needed.add(coming)  # a grant on its way
    for queued in placement.ready_tasks_of(execution):
        if (queued.task, queued.number) not in ready:
            why = f"{queued.task} is queued, and isn't ready"
            yield Suspect(
                Kind.QUEUED_NOT_READY, f"{execution}:{queued.task}", why, at, execution, queued.task, now_us, state
            )
    for attempt in sorted(held - needed):
        if not awaited(attempt):
            agent = (placement.holder(attempt) or ("an agent",))[0]
            why = f"{agent} has a slot taken by {attempt}, which isn't live"
            yield Suspect(Kind.SLOT_WITHOUT_ATTEMPT, attempt, why, at, execution, "", now_us)


def grants_in_vain(state: State, placement: Placement, now_us: int) -> Iterator[Suspect]:
    """Yield the slots that were given to ready tasks of an execution, whose owner was never told, or has forgotten it.

    To be asked only where no grant is on its way.
    """
    if state.status is not ExecutionStatus.RUNNING or not state.counts[TaskStatus.READY]:
        return
    for task in state.tasks.values():
        coming = state.attempt_id(task.path, task.number + 1)
        if task.status is TaskStatus.READY and placement.holder(coming) is not None:
            why = f"{coming} was given to an agent, and its execution doesn't know"
            yield Suspect(Kind.SLOT_WITHOUT_ATTEMPT, coming, why, (state.sequence,), state.id, task.path, now_us, state)


# --- counters --------------------------------------------------------------------------------------------------------


def expected_count(unfinished: dict[str, int], limited: Callable[[str], bool]) -> int:
    """Return what a counter of concurrent executions should be: those whose definition has a limit."""
    return sum(number for definition, number in unfinished.items() if limited(definition))
