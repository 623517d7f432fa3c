"""One agent: takes assignments up to its slots, runs them, and says how each went until that is confirmed.

Async functions are tasks of the event loop, plain ones run in threads, cpu ones in processes of their own. The host
decides nothing about workflows; it refuses what it has no slot for, keeps attempts' time on its own clock, and never
blocks. All its methods but `renew` belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from types import MethodType
from typing import Any, assert_never

import msgspec
from msgspec import Struct

from podium.agents.attempt import BoundFunction, Ending, LiveAttempt, StuckAttempt, Voice
from podium.agents.errors import UnknownFunctionError, cancelled, describe_error, error_text
from podium.agents.logs import capture_logging, release_logging
from podium.agents.outbox import Outbox, Timers
from podium.agents.renewal import Renewer
from podium.agents.running import End, Running
from podium.agents.sdk import ANY_FUNCTION, AgentDefinition, Kind, task_of
from podium.agents.secrets import Secrets
from podium.clock import Clock, seconds_to_us
from podium.exceptions import AgentError
from podium.fleet.messages import (
    Accepted,
    Assignment,
    Cancel,
    Confirmation,
    Drain,
    Failed,
    Freed,
    Leaving,
    Left,
    LogSink,
    Receiver,
    Refused,
    Registration,
    Renewal,
    Succeeded,
    ToAgent,
)

logger = logging.getLogger(__name__)


class HostLimits(Struct, frozen=True):
    """The bounds and pauses of a host."""

    unconfirmed: int = 10_000  # results without a confirmation, above which nothing new is taken
    remembered: int = 1_024  # finished attempts, so that a late copy of an assignment is known
    cancel_grace_seconds: float = 5.0  # a task that ignores its cancellation so long is reported without its slot
    force_grace_seconds: float = 0.25
    thread_grace_seconds: float = 0.0  # of a thread, which can't be stopped: reported at once
    hook_seconds: float = 10.0  # an agent's own `stop` has so long
    idle_renewals: int = 6  # an idle agent says that it lives at each sixth renewal: every 30 s
    retry_seconds: float = 0.05
    confirm_seconds: float = 5.0


class AgentHost:
    """An agent of this process. Make it, `start` it, give it messages with `deliver`, `stop` it.

    `timers` keep time-outs and resends (default: the running loop); `renewer` has its attempts' leases renewed (None:
    nobody does). With both given and no plain or cpu functions a host uses no thread and reads no system clock.
    `secrets` are those that its tasks may be given (default: the usual places).
    """

    def __init__(
        self,
        definition: AgentDefinition,
        agent_id: str,
        incarnation: str,
        receiver: Receiver,
        clock: Clock,
        logs: LogSink,
        *,
        timers: Timers | None = None,
        renewer: Renewer | None = None,
        limits: HostLimits = HostLimits(),
        secrets: Secrets | None = None,
    ) -> None:
        self.definition = definition
        self.agent_id = agent_id
        self.incarnation = incarnation
        self._receiver = receiver
        self._clock = clock
        self._logs = logs
        self._given_timers = timers
        self._renewer = renewer
        self._limits = limits
        self._secrets = secrets
        self._slots = definition.slots
        self._live: dict[str, LiveAttempt] = {}
        self._bound: dict[str, BoundFunction] = {}
        self._ended_ids: set[str] = set()
        self._ended_order: deque[str] = deque()
        self._silent_renewals = 0
        self._instance: Any = None
        self._open = False  # takes assignments
        self._started = False
        self._hurried = False
        self._leaving: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop
        self._timers: Timers
        self._outbox: Outbox
        self._voice: Voice
        self._running: Running

    # --- its life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make the instance, call its `start`, and register. Raises AgentError if the agent's own code fails."""
        self._loop = asyncio.get_running_loop()
        self._timers = self._given_timers or self._loop
        self._outbox = Outbox(
            self._receiver,
            self._timers,
            retry_seconds=self._limits.retry_seconds,
            confirm_seconds=self._limits.confirm_seconds,
        )
        self._voice = Voice(self.agent_id, self._clock, self._outbox, self._logs, self._loop, self._secrets)
        self._running = Running(self.agent_id, self.definition, self._loop, self._ended)
        try:
            if self.definition.factory is not None:
                self._instance = self.definition.factory()
            self._bound = {name: self._bind(name) for name in self.definition.functions}
            await self._hook("start")
        except Exception as error:
            text = f"agent {self.agent_id} could not start: {type(error).__name__}: {error_text(error)}"
            raise AgentError(text) from error
        self._started = self._open = True
        capture_logging()
        if self._renewer is not None:
            self._renewer.add(self)
        self._outbox.say(self.registration())

    def registration(self) -> Registration:
        """Return what the agent says of itself; it has said it once at its start."""
        definition = self.definition
        return Registration(
            agent=self.agent_id,
            type=definition.type,
            incarnation=self.incarnation,
            capabilities=definition.all_capabilities,
            functions=definition.function_names,
            slots=self._slots,
            resources=definition.resources,
            version=definition.version,
            renews=self._renewer is not None,
        )

    async def drain(self, grace_seconds: float = 10.0) -> None:
        """Take nothing new, finish within the grace, hand back the rest, leave. Later calls await the same end."""
        self._open = False
        if self._started:
            if self._leaving is None:
                name = f"{self.agent_id} drains"
                self._leaving = asyncio.create_task(self._leave(grace_seconds), name=name)
            await asyncio.shield(self._leaving)

    async def stop(self) -> None:
        """Hand back what runs and leave, without a grace. Safe to call twice, and while it drains."""
        self._hurry()
        await self.drain(0.0)

    def abandon(self) -> None:
        """End everything without a word, as a crash of the process would; for tests of what others make of it."""
        self._open = False
        if not self._started:
            return
        self._started = False
        self._outbox.abandon()
        for live in tuple(self._live.values()):
            live.reported = True
            live.end(Ending.CANCELLED, "abandoned")
            self._running.interrupt(live, kill=True)
        self._live.clear()
        self._running.abandon()
        self._let_go()

    def repeat_results(self) -> None:
        """Say at once again what is not confirmed: what was said may be lost."""
        if self._started:
            for attempt in self._outbox.held:
                self._outbox.repeat(attempt)

    # --- what it is asked and tells ------------------------------------------------------------------------------

    def deliver(self, message: ToAgent) -> None:
        """Take a message; never blocks and never raises."""
        match message:
            case Assignment():
                self._assign(message)
            case Confirmation():
                if self._started and self._outbox.confirm(message.attempt):
                    self._changed.set()
            case Cancel():
                self._cancel(message)
            case Drain():
                if self._started and self._draining is None:
                    name = f"{self.agent_id} is asked to drain"
                    self._draining = self._loop.create_task(self.drain(message.grace_seconds), name=name)
            case _:
                assert_never(message)

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return len(self._live)

    @property
    def stuck(self) -> tuple[StuckAttempt, ...]:
        """The attempts that hold a slot though their end was reported, for `explain` to show."""
        return tuple(live.stuck() for live in tuple(self._live.values()) if live.reported)

    def renew(self) -> None:
        """Send one renewal for all attempts; may be called from any thread, and while the loop is blocked."""
        now_us = self._clock.now_us()
        working = [  # with those that only hold their slot still
            live.attempt
            for live in tuple(self._live.values())
            if live.reported
            or (live.deadline_us is None or now_us < live.deadline_us + seconds_to_us(live.assignment.lease_seconds))
        ]
        attempts = tuple(dict.fromkeys((*working, *self._outbox.held)))
        self._silent_renewals += 1
        if attempts or self._silent_renewals >= self._limits.idle_renewals:
            self._silent_renewals = 0
            self._receiver.receive(Renewal(self.agent_id, attempts))

    # --- assignments ---------------------------------------------------------------------------------------------

    def _assign(self, assignment: Assignment) -> None:
        attempt = assignment.attempt
        if not self._started:
            self._receiver.receive(Refused(self.agent_id, attempt, "draining"))  # if it is lost, the lease ends
        elif attempt in self._live or attempt in self._ended_ids or self._outbox.holds(attempt):
            self._outbox.repeat(attempt)  # a copy: it runs, or its result is known
        elif not self._open:
            self._outbox.say(Refused(self.agent_id, attempt, "draining"))
        elif len(self._live) >= self._slots or self._outbox.held_count >= self._limits.unconfirmed:
            self._outbox.say(Refused(self.agent_id, attempt, "full"))
        else:
            self._begin(assignment)

    def _begin(self, assignment: Assignment) -> None:
        bound = self._bound.get(assignment.function) or self._bound.get(ANY_FUNCTION)
        if bound is None:
            self._tell_unknown(assignment)
            return
        now_us = self._clock.now_us()
        timeout = assignment.timeout_seconds
        live = LiveAttempt(assignment, bound, self._voice, now_us)
        if self._renewer is not None:
            self._renewer.keep_up_with(assignment.lease_seconds)
        self._live[assignment.attempt] = live
        self._outbox.say(Accepted(self.agent_id, assignment.attempt))
        if timeout is not None:
            live.timer = self._timers.call_later(timeout, self._time_out, live)
        self._running.begin(live)

    def _tell_unknown(self, assignment: Assignment) -> None:
        names = ", ".join(self.definition.functions)
        error = UnknownFunctionError(
            f"agent {self.agent_id} ({self.definition.type}) has no function {assignment.function!r}; it has {names}"
        )
        self._remember(assignment.attempt)
        self._outbox.report(Failed(self.agent_id, assignment.attempt, describe_error(error)))

    def _ended(self, live: LiveAttempt, end: End) -> None:
        """The function has returned: say so, unless that was said before, and free the slot."""
        if self._live.pop(live.attempt, None) is None:
            return
        if live.timer is not None:
            live.timer.cancel()
        if live.reported:
            self._outbox.free(live.attempt)
            self._outbox.say(Freed(self.agent_id, live.attempt))
        else:
            self._tell(live, end)
        self._changed.set()

    def _tell(self, live: LiveAttempt, end: End) -> None:
        live.reported = True
        self._remember(live.attempt)
        if isinstance(end, (Succeeded, Failed)):
            self._outbox.report(end)
        else:
            self._outbox.say(end)

    def _remember(self, attempt: str) -> None:
        self._ended_ids.add(attempt)
        self._ended_order.append(attempt)
        if len(self._ended_order) > self._limits.remembered:
            self._ended_ids.discard(self._ended_order.popleft())

    # --- ends that are asked for ---------------------------------------------------------------------------------

    def _time_out(self, live: LiveAttempt) -> None:
        live.end(Ending.TIMED_OUT, "its time ran out")
        self._interrupt(live, kill=True, grace_seconds=self._limits.cancel_grace_seconds)

    def _cancel(self, message: Cancel) -> None:
        live = self._live.get(message.attempt)
        if live is None:
            if self._started and message.attempt not in self._ended_ids and not self._outbox.holds(message.attempt):
                # Its assignment was lost, or is still to come: say that nothing runs, and let nothing run.
                self._remember(message.attempt)
                self._outbox.report(Failed(self.agent_id, message.attempt, cancelled(message.reason), cancelled=True))
        elif not live.reported:
            first = live.ending is None
            live.end(Ending.CANCELLED, message.reason)
            if message.force:
                self._interrupt(live, kill=True, grace_seconds=self._limits.force_grace_seconds)
            elif first:  # a second one would only interrupt the task's own clearing up
                self._running.interrupt(live, kill=False)

    def _interrupt(self, live: LiveAttempt, kill: bool, grace_seconds: float) -> None:
        """Interrupt an attempt; if its function doesn't return within the grace, report it without its slot."""
        if live.timer is not None:
            live.timer.cancel()
        if live.bound.kind is Kind.SYNC:
            grace_seconds = min(grace_seconds, self._limits.thread_grace_seconds)
        if grace_seconds > 0:
            live.timer = self._timers.call_later(grace_seconds, self._tell_stuck, live)
        self._running.interrupt(live, kill)
        if grace_seconds <= 0:
            self._tell_stuck(live)

    def _tell_stuck(self, live: LiveAttempt) -> None:
        if live.attempt in self._live and not live.reported:
            end = live.failure(asyncio.CancelledError())
            self._tell(live, msgspec.structs.replace(end, holds_slot=True) if isinstance(end, Failed) else end)
            self._changed.set()

    # --- leaving -------------------------------------------------------------------------------------------------

    def _hurry(self) -> None:
        self._hurried = True
        self._changed.set()

    async def _leave(self, grace_seconds: float) -> None:
        if grace_seconds > 0:
            self._outbox.say(Leaving(self.agent_id))
        timer = self._timers.call_later(grace_seconds, self._hurry)
        while (self._unreported() or self._outbox.held_count) and not self._hurried:
            self._changed.clear()
            await self._changed.wait()
        timer.cancel()
        for live in self._unreported():
            live.end(Ending.HANDED_BACK, "the agent leaves")
            self._interrupt(live, kill=True, grace_seconds=self._limits.cancel_grace_seconds)
        while self._unreported():
            self._changed.clear()
            await self._changed.wait()
        self._outbox.say(Left(self.agent_id, self.incarnation))
        self._outbox.close()
        self._started = False
        self._let_go()
        await self._running.close()
        try:
            async with asyncio.timeout(self._limits.hook_seconds):
                await self._hook("stop")
        except Exception:  # the agent is gone already; its own clearing up fails alone
            logger.exception("agent %s failed in its stop()", self.agent_id)

    def _unreported(self) -> list[LiveAttempt]:
        return [live for live in self._live.values() if not live.reported]

    def _let_go(self) -> None:
        release_logging()
        if self._renewer is not None:
            self._renewer.remove(self)

    # --- the instance --------------------------------------------------------------------------------------------

    def _bind(self, name: str) -> BoundFunction:
        described = self.definition.functions[name]
        run = MethodType(described.function, self._instance) if described.is_method else described.function
        return BoundFunction(name, described.kind, described.call, run)

    async def _hook(self, name: str) -> None:
        """Call the instance's `start` or `stop`, if it has one and it isn't one of its tasks."""
        hook = getattr(self._instance, name, None)
        if callable(hook) and task_of(hook) is None:
            outcome = hook()
            if inspect.isawaitable(outcome):
                await outcome
