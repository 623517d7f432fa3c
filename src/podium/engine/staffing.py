"""Between executions and agents: ready tasks into the queue, grants out of it, leases of what is live, what agents say.

Placement is fed with what has been decided, before it is committed, so that a slot is taken in the batch that made
the task ready; messages to agents leave only afterwards, when the engine says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival
from podium.engine.leases import Lease, Leases
from podium.engine.state import State, TaskState
from podium.engine.values import value_of
from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.scheduling.placement import Agent, Placement, ReadyTask
from podium.scheduling.resources import vector_of
from podium.telemetry.logs import get_logger
from podium.workflow.model import ExecutionStatus, TaskStatus

FOREIGN_LEASE_SECONDS = 60.0  # of an agent that declares no renewal; any message from it renews
REMINDERS = 3  # a lease has so many parts, after each of which an agent is told again what it hasn't accepted
FREED_KEPT = 10_000
UNDELIVERED = "undelivered"  # why an attempt is lost of which its agent never said that it has begun
MAX_ERROR_TEXT = 8 * 1024
MAX_TRACEBACK = 16 * 1024
_log = get_logger("podium.engine")
_STOPS_STARTING = (ev.ExecutionPausing, ev.ExecutionFailing, ev.ExecutionCancelling)
_ENDS_ATTEMPT = (ev.TaskCompleted, ev.AttemptFailed, ev.AttemptReturned)


def split_attempt(attempt: str) -> tuple[str, str, int]:
    """Return execution, task and number of an attempt's id. Raises InvalidInputError for what is none."""
    execution, _, rest = attempt.partition(":")
    _, _, rest = rest.partition(":")
    task, _, number = rest.rpartition(":")
    if not task or not number.isdecimal():
        raise InvalidInputError(f"{attempt[:100]!r} is not an attempt's id")
    return execution, task, int(number)


class Member:
    """A registered agent and when it was last heard of."""

    __slots__ = ("registration", "seen_us")

    def __init__(self, registration: msg.Registration, seen_us: int) -> None:
        self.registration = registration
        self.seen_us = seen_us


class Staffing:
    """The queue, the leases and the registered agents of one owner."""

    def __init__(
        self,
        placement: Placement,
        leases: Leases,
        arrive: Callable[[Arrival], None],
        foreign_lease_seconds: float = FOREIGN_LEASE_SECONDS,
    ) -> None:
        self._foreign_lease_seconds = foreign_lease_seconds
        self.placement = placement
        self.leases = leases
        self.members: dict[str, Member] = {}
        self._arrive = arrive
        # Whether agents elsewhere can be heard at all; while they can't, their silence says nothing.
        self.reachable: Callable[[], bool] = lambda: True
        self._turn = 0
        self._freed: dict[str, None] = {}  # attempts whose threads have returned, the latest of them
        self._reunited: list[Lease] = []  # live attempts whose agent may not have heard what we said
        # slots of attempts that we ended, and until when we wait for their agents' word
        self._lingering: dict[str, int] = {}
        # slots of threads that outlive their attempts, and until when that is believed without another renewal
        self._stuck: dict[str, int] = {}

    # --- from executions to the queue --------------------------------------------------------------------------

    def follow(self, state: State, given: inp.Input, events: list[ev.Event]) -> None:
        """Bring the queue and the slots up to what was just decided."""
        for event in events:
            kind = type(event)
            if kind is ev.TasksReady:
                self._enqueue_all(state, event.tasks)  # type: ignore[union-attr]
            elif kind in _ENDS_ATTEMPT:
                self._end_attempt(state, given, event)  # type: ignore[arg-type]
            else:
                self._follow_rarer(state, given, event)

    def _follow_rarer(self, state: State, given: inp.Input, event: ev.Event) -> None:
        match event:
            case ev.InstancesReady(task, first, stop):
                self._enqueue_all(state, (f"{task}[{i}]" for i in range(first, stop)))
            case ev.InputIgnored(task=task, number=number) if isinstance(given, inp.Grant):
                self.placement.release(state.attempt_id(task, number))
            case ev.InputIgnored(task=task, number=number) if task:
                self._release_unless_held(state, given, task, number)
            case ev.TaskFailed(task=task) | ev.TaskCancelled(task=task):
                self.placement.withdraw(state.id, task)
            case ev.ExecutionResumed() | ev.ExecutionRetried():
                self._enqueue_all(state, [p for p, t in state.tasks.items() if t.status is TaskStatus.READY])
            case _ if isinstance(event, _STOPS_STARTING):
                self.placement.withdraw_all(state.id)
            case _:
                pass

    def _end_attempt(
        self, state: State, given: inp.Input, event: ev.TaskCompleted | ev.AttemptFailed | ev.AttemptReturned
    ) -> None:
        self.leases.end(state.attempt_id(event.task, event.number))
        self._release_unless_held(state, given, event.task, event.number)
        if isinstance(event, ev.AttemptReturned) and state.tasks[event.task].status is TaskStatus.READY:
            self._enqueue_all(state, (event.task,))

    def _release_unless_held(self, state: State, given: inp.Input, task: str, number: int) -> None:
        """Give the slot back, unless the agent hasn't said so: a timed-out thread keeps its slot until it returns.

        Of an attempt that ends by our own word the agent's is awaited, but not for ever: what we said may be lost.
        """
        attempt = state.attempt_id(task, number)
        if isinstance(given, inp.Tick | inp.Cancel):
            self._lingering[attempt] = 0
            return
        self._lingering.pop(attempt, None)
        if isinstance(given, inp.Failed) and given.holds_slot and attempt not in self._freed:
            self._stuck[attempt] = 0
            return  # decided again after a failed append, its slot may have come back meanwhile
        self.placement.release(attempt)

    def _enqueue_all(self, state: State, paths: Iterable[str]) -> None:
        if state.status is not ExecutionStatus.RUNNING:
            return
        for path in paths:
            task = state.tasks[path]
            if task.status is TaskStatus.READY:
                self.placement.enqueue(_ready_task(state, task))

    def adopt(self, state: State, now_us: int) -> None:
        """Queue and hold what a loaded execution has ready and live; its leases begin anew."""
        self._enqueue_all(state, [p for p, t in state.tasks.items() if t.status is TaskStatus.READY])
        for task in state.tasks.values():
            for attempt in (task.live or {}).values():
                attempt_id = state.attempt_id(task.path, attempt.number)
                self.placement.hold(attempt_id, state.id, attempt.agent, attempt.incarnation, task.compiled.needs)
                self.begin_lease(state, task, attempt.number, now_us)
                lease = self.leases.get(attempt_id)
                if lease is not None and self._is_here(attempt.agent, attempt.incarnation):
                    self._reunited.append(lease)

    @property
    def has_to_say(self) -> bool:
        """Whether something is to be said again."""
        return bool(self._reunited)

    def reunited(self) -> list[Lease]:
        """Return, once, the attempts found live whose agent is here: what we last told it may never have left."""
        found, self._reunited = self._reunited, []
        return found

    def grants(self, fence: int, limit: int) -> list[Arrival]:
        """Return what placement decides now, an input for each execution."""
        found: dict[str, list[inp.Granted]] = {}
        for slot in self.placement.place(limit):
            found.setdefault(slot.execution, []).append(
                inp.Granted(slot.task, slot.number, slot.agent, slot.incarnation)
            )
        arrivals = []
        for execution, granted in found.items():
            self._turn += 1
            given = inp.Grant(fence, self._turn, tuple(granted))
            arrivals.append(Arrival(execution, f"grant:{fence}:{self._turn}", given))
        return arrivals

    def begin_lease(self, state: State, task: TaskState, number: int, now_us: int) -> None:
        """Begin the lease of a live attempt; without effect for one that has ended meanwhile."""
        attempt = (task.live or {}).get(number)
        if attempt is None:
            return
        length_us = self._lease_us(attempt.agent, attempt.incarnation)
        lease = Lease(state.id, task.path, number, attempt.agent, attempt.incarnation, now_us + length_us, length_us)
        self.leases.begin(state.attempt_id(task.path, number), lease, now_us)

    def lease_seconds(self, agent: str) -> float:
        """Return how long this agent's leases are."""
        return self._lease_us(agent) / 1_000_000

    def _lease_us(self, agent: str, incarnation: str = "") -> int:
        member = self.members.get(agent)
        renews = member.registration.renews if member is not None else not incarnation.startswith(msg.FOREIGN)
        return self.leases.length_us if renews else int(self._foreign_lease_seconds * 1_000_000)

    # --- what agents say ---------------------------------------------------------------------------------------

    def hear(self, message: msg.FromAgent, now_us: int) -> Arrival | None:
        """Take a message; return the input that it is, if it is one."""
        if isinstance(message, msg.Registration):
            self._register(message, now_us)
            return None
        self._check_speaker(message)
        member = self.members.get(message.agent)
        if member is not None:
            member.seen_us = now_us
            if not member.registration.renews:
                self.leases.renew_all(message.agent, now_us)
        if isinstance(message, msg.Refused):
            self._refused(message)
        else:
            self.placement.heard_of(message.agent)
        match message:
            case msg.Succeeded() | msg.Failed() | msg.Refused() | msg.HandedBack() | msg.Saved():
                return _input_of(message)
            case msg.Leaving():
                self.placement.leave(message.agent)
            case msg.Freed():
                self._stuck.pop(message.attempt, None)
                self.placement.release(message.attempt)
                self._freed[message.attempt] = None
                if len(self._freed) > FREED_KEPT:
                    del self._freed[next(iter(self._freed))]
            case msg.Renewal():
                self.leases.renew(message.attempts, now_us)
                for attempt in self._stuck.keys() & message.attempts if self._stuck else ():
                    self._stuck[attempt] = now_us + self.leases.length_us
            case msg.Accepted():
                self._note(message.attempt, accepted_us=now_us)
            case msg.Progress():
                self._note(message.attempt, fraction=message.fraction, text=message.message)
            case msg.Left():
                self._gone(message.agent, message.incarnation, "its agent left")
            case _:
                assert_never(message)
        return None

    def _check_speaker(self, message: msg.FromAgent) -> None:
        """Raise InvalidInputError when an agent speaks of another one's live attempt."""
        attempt: str = getattr(message, "attempt", "")
        lease = self.leases.get(attempt) if attempt else None
        if lease is not None and lease.agent != message.agent:
            raise InvalidInputError(f"agent {message.agent} speaks of an attempt that agent {lease.agent} has")

    @property
    def live_here(self) -> bool:
        """Whether an agent that ends with this process has an attempt."""
        return any(not lease.incarnation.startswith((msg.REMOTE, msg.FOREIGN)) for lease in self.leases.all())

    def held_as(self, agent: str) -> str:
        """Return the incarnation under which an agent holds attempts; empty if it holds none."""
        for _, lease in self.leases.of_agent(agent):
            return lease.incarnation
        return ""

    def suspend(self, agent: str) -> None:
        """Nothing goes to this agent until it is heard of again."""
        self.placement.refuse(agent)

    def give_up(self, agent: str, reason: str) -> None:
        """An agent is gone for now: what it has is lost, and nothing goes to it until it is heard of again."""
        self.suspend(agent)
        for attempt, lease in self.leases.of_agent(agent):
            self._lose(attempt, lease, UNDELIVERED if self._never_had(lease) else reason)

    def doubt_deliveries(self, now_us: int, agent: str | None = None) -> None:
        """What was on its way to agents elsewhere (or to this one) may be lost: say again what they haven't said that
        they have.
        """
        leases = self.leases.all() if agent is None else [lease for _, lease in self.leases.of_agent(agent)]
        for lease in leases:
            member = self.members.get(lease.agent)
            renews = member is not None and member.registration.renews
            if lease.incarnation.startswith((msg.REMOTE, msg.FOREIGN)) and not (renews and lease.accepted_us):
                self.leases.prolong(lease, now_us)
                self._reunited.append(lease)

    def _remind(self, now_us: int) -> None:
        """Say again to agents elsewhere what they haven't said that they have: a bus may have lost it.

        Any word of one that doesn't renew renews all that it holds, so that what it never heard of would never be
        missed; one that renews shall have it before its lease ends.
        """
        for lease in self.leases.all():
            if lease.accepted_us or not lease.incarnation.startswith((msg.REMOTE, msg.FOREIGN)):
                continue
            member = self.members.get(lease.agent)
            if member is None:
                continue
            parts = REMINDERS if member.registration.renews else 2
            if lease.said_us + self._lease_us(lease.agent) // parts <= now_us:
                lease.said_us = now_us
                self._reunited.append(lease)

    def _believe(self, now_us: int) -> None:
        """Nobody elsewhere can be heard: all their leases begin anew."""
        for lease in self.leases.all():
            if lease.incarnation.startswith((msg.REMOTE, msg.FOREIGN)):
                self.leases.believe(lease, now_us)

    def _refused(self, message: msg.Refused) -> None:
        """An agent won't: it gets nothing more until it is heard of again, or, when it leaves, at all."""
        if message.reason == "draining":
            self.placement.leave(message.agent)
        else:
            self.placement.refuse(message.agent)

    def expire(self, now_us: int) -> None:
        """Turn leases that have ended into inputs, and give back the slots whose agents say nothing of them."""
        for waited in (self._lingering, self._stuck):
            self._release_overdue(waited, now_us)
        if not len(self.leases):
            self.leases.rest()
            return
        if self.reachable():
            self._remind(now_us)
        else:
            self._believe(now_us)
        for attempt, lease in self.leases.expired(now_us):
            self.suspend(lease.agent)  # it would only lose the next one too
            if self._never_had(lease):
                self._lose(attempt, lease, UNDELIVERED)
                continue
            seconds = self._lease_us(lease.agent, lease.incarnation) / 1_000_000
            self._lose(attempt, lease, f"agent {lease.agent} gave no sign of life for {seconds:g} s")

    def _never_had(self, lease: Lease) -> bool:
        """Whether an agent was heard of during a lease, but never said that it has the attempt.

        One that was silent meanwhile may have died of it.
        """
        member = self.members.get(lease.agent)
        if member is None or not member.registration.renews or not lease.incarnation.startswith(msg.REMOTE):
            return False
        began_us = lease.expires_us - (lease.length_us or self.leases.length_us)
        return not lease.accepted_us and member.seen_us > began_us

    def _release_overdue(self, waited: dict[str, int], now_us: int) -> None:
        for attempt, until_us in list(waited.items()):
            if not until_us:
                waited[attempt] = now_us + self.leases.length_us
            elif until_us <= now_us:
                del waited[attempt]
                self.placement.release(attempt)

    def lose_inherited(self, reason: str = "owner_died") -> None:
        """Give up the attempts whose agent isn't registered: after a take-over of agents that lived in the process."""
        for attempt, lease in self.leases.of_agent_unlike(self._is_here):
            if not lease.incarnation.startswith((msg.REMOTE, msg.FOREIGN)):  # those live on, and come back
                self._lose(attempt, lease, reason)

    def _is_here(self, agent: str, incarnation: str) -> bool:
        member = self.members.get(agent)
        return member is not None and member.registration.incarnation == incarnation

    def _register(self, registration: msg.Registration, now_us: int) -> None:
        known = self.members.get(registration.agent)
        if known is not None and known.registration == registration:
            known.seen_us = now_us
            self.placement.heard_of(registration.agent)
            return
        for attempt, lease in self.leases.of_agent(registration.agent, other_than=registration.incarnation):
            self._lose(attempt, lease, f"agent {registration.agent} was started anew")
        for _, lease in self.leases.of_agent(registration.agent):
            if lease.incarnation == registration.incarnation:
                self.leases.prolong(lease, now_us)
                self._reunited.append(lease)
        self.members[registration.agent] = Member(registration, now_us)
        lives_here = not registration.incarnation.startswith((msg.REMOTE, msg.FOREIGN))
        self.placement.add_agent(
            Agent(
                registration.agent,
                registration.type,
                registration.incarnation,
                max(registration.slots, 1),
                vector_of(registration.resources),
                frozenset(registration.capabilities),
                frozenset(registration.functions),
                self.placement.here if lives_here else None,
            )
        )

    def _gone(self, agent: str, incarnation: str, reason: str) -> None:
        member = self.members.get(agent)
        if member is None or member.registration.incarnation != incarnation:
            return
        del self.members[agent]
        for attempt, lease in self.leases.of_agent(agent):
            self._lose(attempt, lease, reason)
        self.placement.remove_agent(agent)

    def _lose(self, attempt: str, lease: Lease, reason: str) -> None:
        self.leases.end(attempt)
        _log.info("attempt lost", attempt=attempt, agent=lease.agent, reason=reason)
        self._arrive(Arrival(lease.execution, f"lost:{attempt}", inp.Lost(lease.task, lease.number, reason)))

    def _note(self, attempt: str, accepted_us: int = 0, fraction: float | None = None, text: str = "") -> None:
        lease = self.leases.get(attempt)
        if lease is None:
            return
        lease.accepted_us = accepted_us or lease.accepted_us
        if fraction is not None:
            lease.fraction, lease.message = fraction, text


def _ready_task(state: State, task: TaskState) -> ReadyTask:
    compiled = task.compiled
    number = task.number + 1
    return ReadyTask(
        state.id,
        task.path,
        number,
        state.attempt_id(task.path, number),
        compiled.agent_type,
        compiled.priority if compiled.priority is not None else state.priority,
        task.ready_us,
        compiled.needs,
        compiled.capabilities,
        compiled.function,
        state.preferred_agent,
    )


def _input_of(message: msg.Succeeded | msg.Failed | msg.Refused | msg.HandedBack | msg.Saved) -> Arrival:
    attempt = message.attempt
    execution, task, number = split_attempt(attempt)
    blobs: tuple[tuple[str, bytes], ...] = ()
    given: inp.Input
    match message:
        case msg.Succeeded():
            value, content = value_of(bytes(message.value))
            blobs = ((value.blob, content),) if content is not None and value.blob is not None else ()
            input_id, given = f"succeeded:{attempt}", inp.Succeeded(task, number, value)
        case msg.Failed():
            how = (
                "timeout"
                if message.timed_out
                else "crash"
                if message.crashed
                else "cancelled"
                if message.cancelled
                else "error"
            )
            input_id, given = f"failed:{attempt}", inp.Failed(task, number, cut(message.error), how, message.holds_slot)
        case msg.Refused():
            input_id, given = f"refused:{attempt}", inp.Refused(task, number, message.reason[:1_000])
        case msg.HandedBack():
            input_id, given = f"handed_back:{attempt}", inp.Refused(task, number, "handed back by its agent")
        case msg.Saved():
            value, content = value_of(bytes(message.checkpoint))
            blobs = ((value.blob, content),) if content is not None and value.blob is not None else ()
            input_id, given = f"saved:{attempt}:{message.number}", inp.Saved(task, number, message.number, value)
        case _:
            assert_never(message)
    return Arrival(execution, input_id, given, blobs=blobs, agent=message.agent, attempt=attempt)


def cut(error: msg.ErrorInfo) -> msg.ErrorInfo:
    """Return an error with its texts cut to their limits; the cut says how much was left out."""
    if len(error.message) <= MAX_ERROR_TEXT and len(error.traceback) <= MAX_TRACEBACK and len(error.type) <= 200:
        return error
    return msg.ErrorInfo(
        error.type[:200], _cut(error.message, MAX_ERROR_TEXT), _cut(error.traceback, MAX_TRACEBACK), error.retryable
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} characters left out)"
