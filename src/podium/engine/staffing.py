"""Between executions and agents: leases of what is live, what agents say, and word of it all to the desk that places.

The desk is told of what has been decided, before it is committed; messages to agents leave only afterwards, when the
engine says so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container
from typing import assert_never

from msgspec import Raw

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival
from podium.engine.changes import How
from podium.engine.circuits import sign_of
from podium.engine.expansions import without_growth
from podium.engine.leases import FOREIGN_LEASE_SECONDS, Lease, Leases
from podium.engine.limiting import bounds_of
from podium.engine.losses import Losses, in_shards
from podium.engine.placing import Desk, Placing, enqueue_ready
from podium.engine.state import State, TaskState, attempt_id
from podium.engine.values import value_of
from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.ids import shard_of
from podium.scheduling.placement import Placement
from podium.store.keys import check_key
from podium.telemetry.logs import get_logger
from podium.workflow.model import TaskStatus
from podium.workflow.nesting import check_nesting

REMINDERS = 3  # a lease has so many parts, after each of which an agent is told again what it hasn't accepted
UNDELIVERED = "undelivered"  # why an attempt is lost of which its agent never said that it has begun
MAX_DIGITS = 9  # of an attempt's number
MOST_REPLACED = 20_000  # agents' earlier incarnations that are remembered
MAX_ERROR_TEXT = 8 * 1024
MAX_TRACEBACK = 16 * 1024
_log = get_logger("podium.engine")
_STOPS_STARTING = (ev.ExecutionPausing, ev.ExecutionFailing, ev.ExecutionCancelling)
_ENDS_ATTEMPT = (ev.TaskCompleted, ev.AttemptFailed, ev.AttemptReturned)


def split_attempt(attempt: str) -> tuple[str, str, int]:
    """Return execution, task and number of an attempt's id. Raises InvalidInputError for what is none, or can't be
    recorded as one.
    """
    check_key("an attempt's id", attempt)
    execution, _, rest = attempt.partition(":")
    _, _, rest = rest.partition(":")
    task, _, number = rest.rpartition(":")
    if not task or not number.isdecimal() or not number.isascii() or len(number) > MAX_DIGITS:
        raise InvalidInputError(f"{attempt[:100]!r} is not an attempt's id")
    return execution, task, int(number)


class Member:
    """A registered agent and when it was last heard of."""

    __slots__ = ("registration", "seen_us")

    def __init__(self, registration: msg.Registration, seen_us: int) -> None:
        self.registration = registration
        self.seen_us = seen_us


class Staffing:
    """The leases and the registered agents of one owner, and the way to the desk that places."""

    def __init__(
        self,
        placing: Placing,
        leases: Leases,
        arrive: Callable[[Arrival], None],
        foreign_lease_seconds: float = FOREIGN_LEASE_SECONDS,
    ) -> None:
        self._foreign_lease_seconds = foreign_lease_seconds
        self.placing = placing
        self.desk: Desk = placing  # another one, while another replica places
        self.leases = leases
        self.members: dict[str, Member] = {}
        self._arrive = arrive
        self.losses = Losses(self._tell_lost)
        # Whether agents elsewhere can be heard at all; while they can't, their silence says nothing.
        self.reachable: Callable[[], bool] = lambda: True
        # Earlier incarnations of agents: what is found to be theirs later on is lost.
        self._replaced: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._reunited: list[Lease] = []  # live attempts whose agent may not have heard what we said

    @property
    def placement(self) -> Placement:
        """The queue and the slots."""
        return self.placing.placement

    # --- from executions to the desk ---------------------------------------------------------------------------

    def follow(self, state: State, arrival: Arrival, events: list[ev.Event]) -> None:
        """Bring the desk and the leases up to what was just decided."""
        given = arrival.given
        for event in events:
            kind = type(event)
            if kind is ev.TasksReady:
                enqueue_ready(self.desk, state, event.tasks)  # type: ignore[union-attr, arg-type]
            elif kind in _ENDS_ATTEMPT:
                self._end_attempt(state, given, event)  # type: ignore[arg-type]
            else:
                self._follow_rarer(state, arrival, event)

    def _follow_rarer(self, state: State, arrival: Arrival, event: ev.Event) -> None:
        given = arrival.given
        match event:
            case ev.InstancesReady(task, first, stop):
                enqueue_ready(self.desk, state, (f"{task}[{i}]" for i in range(first, stop)))
            case ev.InputIgnored(task=task, number=number) if isinstance(given, inp.Grant):
                self._ignore_grant(state, given.run or state.run, task, number)
            case ev.InputIgnored(task=task, number=number) if task and not _is_live(state, task, number):
                self.desk.end(arrival.spoken_of(task, number) or state.attempt_id(task, number), _how(given))
            case ev.TaskFailed(task=task) | ev.TaskCancelled(task=task) | ev.AttemptGranted(task=task, agent=""):
                self.desk.withdraw(state.id, task)
            case ev.TaskSkipped(task=task) if event.by:  # others never waited for an agent
                self.desk.withdraw(state.id, task)
            case ev.AttemptGranted(task=task, number=number) if state.tasks[task].compiled.bounds:
                self.desk.begin(state.attempt_id(task, number))
            case ev.ExecutionResumed() | ev.ExecutionRetried():
                enqueue_ready(self.desk, state, [p for p, t in state.tasks.items() if t.status is TaskStatus.READY])
            case _ if isinstance(event, _STOPS_STARTING):
                self.desk.withdraw_all(state.id)
            case _:
                pass

    def _ignore_grant(self, state: State, run: int, path: str, number: int) -> None:
        """Let the slot of a grant that came too late go; if it came twice, the first one's counts."""
        task = state.tasks.get(path)
        live = (task.live or {}).get(number) if task is not None and run == state.run else None
        attempt = attempt_id(state.id, run, path, number)
        if task is None or live is None:
            self.desk.end(attempt, How.NOT_BEGUN)
        else:
            bounds = bounds_of(state, task)
            self.desk.keep(attempt, state.id, live.agent, live.incarnation, task.compiled.needs, bounds)

    def _end_attempt(
        self, state: State, given: inp.Input, event: ev.TaskCompleted | ev.AttemptFailed | ev.AttemptReturned
    ) -> None:
        if not event.number:  # a person's result: the task may wait for an agent, and its attempts have ended before
            self.desk.withdraw(state.id, event.task)
            return
        task, attempt = state.tasks[event.task], state.attempt_id(event.task, event.number)
        self.leases.end(attempt)
        self.losses.forget(attempt)
        agent = task.agent if task.number == event.number else ""
        self.desk.end(attempt, _how(given), sign_of(event), agent)
        if isinstance(event, ev.AttemptReturned) and task.status is TaskStatus.READY:
            enqueue_ready(self.desk, state, (event.task,))

    def adopt(self, state: State, now_us: int) -> None:
        """Hold what a loaded execution has live; its leases begin anew."""
        if self.desk is self.placing:
            self.placing.adopt(state)
        for task in state.tasks.values():
            for attempt in (task.live or {}).values():
                self.begin_lease(state, task, attempt.number, now_us)
                lease = self.leases.get(state.attempt_id(task.path, attempt.number))
                if lease is not None and self._is_here(attempt.agent, attempt.incarnation):
                    self._reunited.append(lease)

    def disown_shards(self, shards: Container[int]) -> None:
        """Other replicas have the executions of these shards now, and their leases."""
        for attempt, lease in self.leases.items():
            if shard_of(lease.execution) in shards:
                self.leases.end(attempt)
        self.losses.disown(in_shards(shards))

    def disown(self, execution: str) -> None:
        """Another replica has this execution now: its leases are that one's."""
        for attempt in self.leases.attempts_of(execution):
            self.leases.end(attempt)
        self.losses.disown(execution.__eq__)

    @property
    def has_to_say(self) -> bool:
        """Whether something is to be said again."""
        return bool(self._reunited)

    def reunited(self) -> list[Lease]:
        """Return, once, the attempts found live whose agent is here: what we last told it may never have left."""
        found, self._reunited = self._reunited, []
        return found

    def begin_lease(self, state: State, task: TaskState, number: int, now_us: int) -> None:
        """Begin the lease of a live attempt; without effect for one that has ended meanwhile."""
        attempt = (task.live or {}).get(number)
        if attempt is None:
            return
        length_us = self._lease_us(attempt.agent, attempt.incarnation)
        lease = Lease(state.id, task.path, number, attempt.agent, attempt.incarnation, now_us + length_us, length_us)
        self.leases.begin(state.attempt_id(task.path, number), lease, now_us)
        if (attempt.agent, attempt.incarnation) in self._replaced:
            self._lose(state.attempt_id(task.path, number), lease, _anew(attempt.agent))

    def begun(self, state: State, task: TaskState, number: int) -> None:
        """A grant is committed; another desk than ours was told so by that commit."""
        if task.compiled.bounds and self.desk is self.placing:
            self.placing.begun(state.attempt_id(task.path, number))

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
            case msg.Succeeded() | msg.Failed() | msg.Refused() | msg.HandedBack() | msg.Saved() | msg.Published():
                return _input_of(message)
            case msg.Leaving():
                self.placement.leave(message.agent)
            case msg.Freed():
                self.placing.free(message.attempt)
            case msg.Renewal():
                self.leases.renew(message.attempts, now_us)
                self.placing.renewed(message.attempts, now_us)
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
        """An agent won't: it gets nothing more until it is heard of again, or, when it leaves, at all.

        The word may be late, of an earlier life of an agent that is here again: whose attempt it was tells them apart.
        """
        lease = self.leases.get(message.attempt)
        holder = (lease.agent, lease.incarnation) if lease is not None else self.placement.holder(message.attempt)
        if message.reason == "draining" and holder is not None and self._is_here(*holder):
            self.placement.leave(message.agent)
        else:
            self.placement.refuse(message.agent)

    def expire(self, now_us: int) -> None:
        """Turn leases that have ended into inputs, and give back the slots whose agents say nothing of them."""
        self.placing.expire(now_us)
        self.losses.remind()
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
            self._lose(attempt, lease, _anew(registration.agent))
        self._note_replaced(known, registration)
        for _, lease in self.leases.of_agent(registration.agent):
            if lease.incarnation == registration.incarnation:
                self.leases.prolong(lease, now_us)
                self._reunited.append(lease)
        self.members[registration.agent] = Member(registration, now_us)
        lives_here = not registration.incarnation.startswith((msg.REMOTE, msg.FOREIGN))
        self.placing.register(registration, lives_here)

    def _note_replaced(self, known: Member | None, registration: msg.Registration) -> None:
        """Remember whose place is taken, unless it is only said that what came before is there again."""
        self._replaced.pop((registration.agent, registration.incarnation), None)
        if known is not None and known.registration.incarnation != registration.incarnation:
            self._replaced[known.registration.agent, known.registration.incarnation] = None
            if len(self._replaced) > MOST_REPLACED:
                self._replaced.popitem(last=False)

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
        self.losses.lose(attempt, lease, reason)

    def _tell_lost(self, attempt: str, lease: Lease, reason: str) -> None:
        self._arrive(Arrival(lease.execution, f"lost:{attempt}", inp.Lost(lease.task, lease.number, reason)))

    def _note(self, attempt: str, accepted_us: int = 0, fraction: float | None = None, text: str = "") -> None:
        lease = self.leases.get(attempt)
        if lease is None:
            return
        lease.accepted_us = accepted_us or lease.accepted_us
        if fraction is not None:
            lease.fraction, lease.message = fraction, text


def _anew(agent: str) -> str:
    return f"agent {agent} was started anew"


def _is_live(state: State, path: str, number: int) -> bool:
    task = state.tasks.get(path)
    return task is not None and number in (task.live or {})


def _how(given: inp.Input) -> How:
    """Return how the attempt ended that this input ended."""
    match given:
        case inp.Tick() | inp.Cancel() | inp.Skip() | inp.Complete():
            return How.ENDED_BY_US
        case inp.Failed(holds_slot=True):
            return How.HOLDS_SLOT
        case inp.Lost():
            return How.LOST
        case inp.Refused(reason="draining"):
            return How.DRAINING
        case inp.Refused(reason="full"):
            return How.REFUSED
        case _:
            return How.BY_AGENT


_Says = msg.Succeeded | msg.Failed | msg.Refused | msg.HandedBack | msg.Saved | msg.Published


def _input_of(message: _Says) -> Arrival:
    attempt = message.attempt
    execution, task, number = split_attempt(attempt)
    blobs: tuple[tuple[str, bytes], ...] = ()
    given: inp.Input
    match message:
        case msg.Succeeded() if too_deep := _why_too_deep(message.value):
            input_id, given = f"failed:{attempt}", inp.Failed(task, number, too_deep)
        case msg.Succeeded():
            result, growth = without_growth(bytes(message.value))
            value, content = value_of(result)
            blobs = ((value.blob, content),) if content is not None and value.blob is not None else ()
            input_id, given = f"succeeded:{attempt}", inp.Succeeded(task, number, value, growth)
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
            input_id, given = f"handed_back:{attempt}", inp.Refused(task, number, inp.HANDED_BACK)
        case msg.Saved():
            check_nesting(bytes(message.checkpoint), "a checkpoint")
            value, content = value_of(bytes(message.checkpoint))
            blobs = ((value.blob, content),) if content is not None and value.blob is not None else ()
            input_id, given = f"saved:{attempt}:{message.number}", inp.Saved(task, number, message.number, value)
        case msg.Published():
            check_nesting(bytes(message.value), "a published value")
            value, content = value_of(bytes(message.value))
            blobs = ((value.blob, content),) if content is not None and value.blob is not None else ()
            input_id, given = (
                f"published:{attempt}:{message.number}",
                inp.Published(task, number, message.number, value),
            )
        case _:
            assert_never(message)
    return Arrival(execution, input_id, given, blobs=blobs, agent=message.agent, attempt=attempt)


def _why_too_deep(result: Raw) -> msg.ErrorInfo | None:
    try:
        check_nesting(bytes(result), "its result")
    except InvalidInputError as error:
        return msg.ErrorInfo("ResultError", str(error), retryable=False)
    return None


def cut(error: msg.ErrorInfo) -> msg.ErrorInfo:
    """Return an error with its texts cut to their limits; the cut says how much was left out."""
    if len(error.message) <= MAX_ERROR_TEXT and len(error.traceback) <= MAX_TRACEBACK and len(error.type) <= 200:
        return error
    return msg.ErrorInfo(
        error.type[:200], _cut(error.message, MAX_ERROR_TEXT), _cut(error.traceback, MAX_TRACEBACK), error.retryable
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} characters left out)"
