"""An agent process's end of the link, on one event loop: registrations, frames, notices, heartbeats.

It registers its agents, and again whenever the orchestrator asks; results are the hosts' to repeat. It uses no thread:
`podium.agents.wire` gives it one of its own, a simulation has it on the loop of everything else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from podium.agents.measuring import Measured
from podium.bus.transport import Delivery, Happening, Subscription, Transport
from podium.clock import Clock
from podium.exceptions import (
    BackpressureError,
    InvalidInputError,
    MessageBusError,
    PayloadTooLargeError,
    PodiumError,
    RegistrationConflictError,
    TransportClosedError,
)
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.frames import CONTENT_TYPE, FRAME_MESSAGES, decode_heard, encode_frame
from podium.fleet.hearing import is_frame
from podium.fleet.translation import wire_registration
from podium.telemetry.logs import get_logger

MOST_WAITING = 20_000
MOST_LINES = 5_000  # messages that wait, above which log lines are dropped
FIRST_BEAT_SECONDS = 1.0
REGISTER_SECONDS = 2.0
PAUSE_SECONDS = 0.1
_FRAME_HEADERS = {"Content-Type": CONTENT_TYPE}
_JSON_HEADERS = {"Content-Type": wire.CONTENT_TYPE}
_KEPT = (
    *(msg.Succeeded, msg.Failed, msg.Saved, msg.Published),
    *(msg.HandedBack, msg.Refused, msg.Freed, msg.Left),
)
_FOR_ALL = (msg.Progress, msg.Leaving, msg.Left)  # what every replica must hear: one alone gets what is kept
_log = get_logger("podium.agents")

Said = msg.FromAgent | msg.LogLine
MakeTransport = Callable[[Callable[[Happening, str], None]], Transport]


class Figures(Protocol):
    """What an agent measures of itself."""

    def ended(self, succeeded: bool) -> None:
        """A task has ended."""
        ...

    def metrics(self, interval_seconds: float) -> dict[str, float]:
        """Return the figures since the last call, which was so many seconds ago."""
        ...


class Ears(Protocol):
    """Who is told, on the connection's loop, what the orchestrator says."""

    def deliver(self, agent: str, messages: tuple[msg.ToAgent, ...]) -> None:
        """Assignments and the like, for one agent, in order."""
        ...

    def drain(self, agent: str, grace_seconds: float) -> None:
        """It shall take nothing new, finish, and leave."""
        ...

    def refused(self, agent: str, error: PodiumError) -> None:
        """It may not be (or may no longer be) part of the fleet."""
        ...

    def taken_in(self, agent: str) -> None:
        """The orchestrator has taken it in, perhaps anew: what it was told before may be lost."""
        ...

    def connected(self, is_so: bool) -> None:
        """The bus is there, or gone."""
        ...


class AgentConnection:
    """Make it on its loop, `begin`, `hear_for` each agent, `end`. All but `say` and `say_line` belongs to the loop."""

    def __init__(
        self,
        make: MakeTransport,
        clock: Clock,
        incarnation: str,
        ears: Ears,
        *,
        on_loop: Callable[[Callable[[], None]], object] | None = None,
        measure: Callable[[], Figures] = Measured,
        register_on_own_subject: bool = False,
    ) -> None:
        """`on_loop` calls something on the connection's loop, from any thread (None: nothing is said on others)."""
        self._make = make
        self._clock = clock
        self._incarnation = incarnation
        self._ears = ears
        self._on_loop = on_loop or _at_once
        self._measure = measure
        self._own_subject = register_on_own_subject
        self._waiting: deque[tuple[str, Said]] = deque()
        self._woken = False
        self._saying = False  # what was taken isn't said yet
        self._closing = False
        self._said = 0
        self._registrations: dict[str, msg.Registration] = {}
        self._unregistered: set[str] = set()
        self._more: dict[str, Any] = {}
        self._heartbeat_seconds = 30.0
        self.measured: dict[str, Figures] = {}
        self.lines_dropped = 0
        self._transport: Transport
        self._wake = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # --- life --------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Connect. Raises TransportUnavailableError when the bus can't be reached."""
        self._transport = self._make(self._happened)
        await self._transport.start()
        self._ears.connected(True)
        events = await self._transport.subscribe(wire.SYSTEM_EVENT)
        self._start(self._listen(events, self._event), "podium-wire-events")
        self._start(self._speak(), "podium-wire-speaks")
        self._start(self._register_for_ever(), "podium-wire-registers")
        self._start(self._beat(), "podium-wire-beats")

    async def hear_for(self, agent: str, **more: Any) -> None:
        """Hear for this agent; `more` are fields of its registration: location, tags, key and the like."""
        self._more[agent] = more
        self.measured[agent] = self._measure()
        subscription = await self._transport.subscribe((wire.task_subject(agent), wire.status_subject(agent)))
        self._subscriptions.append(subscription)
        self._start(self._listen(subscription, lambda delivery: self._heard(agent, delivery)), f"podium-wire-{agent}")

    def is_registered(self, agent: str) -> bool:
        """Whether the orchestrator has confirmed an agent's registration."""
        return agent in self._registrations and agent not in self._unregistered

    async def end(self) -> None:
        """Say what waits to be said, and disconnect."""
        self._closing = True
        while (self._waiting or self._saying) and self._transport.connected:
            self._wake.set()
            await asyncio.sleep(0.005)
        for subscription in self._subscriptions:
            await subscription.stop()
        await self._transport.stop(2.0)
        await self.abandon()

    async def abandon(self) -> None:
        """End everything without a word."""
        self._closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what agents say, from any thread ----------------------------------------------------------------------

    def say(self, message: msg.FromAgent) -> bool:
        """Take what an agent says. False when too much waits already: it must be said again."""
        if isinstance(message, msg.Registration):
            self._registrations[message.agent] = message
            self._unregistered.add(message.agent)
            self._on_loop(lambda: self._register_soon((message.agent,)))
            return True
        if len(self._waiting) >= MOST_WAITING or self._closing:
            return False
        if isinstance(message, msg.Succeeded | msg.Failed):
            measured = self.measured.get(message.agent)
            if measured is not None:
                measured.ended(isinstance(message, msg.Succeeded))
        self._put(message.agent, message)
        if isinstance(message, msg.Left):
            self._on_loop(lambda: self._forget(message.agent))
        return True

    def _forget(self, agent: str) -> None:
        """An agent has left: nothing registers it again, and it beats no more."""
        self._registrations.pop(agent, None)
        self._unregistered.discard(agent)
        self.measured.pop(agent, None)

    def say_line(self, agent: str, line: msg.LogLine) -> None:
        """Take a line that an attempt logged; the orchestrator keeps it. Too many at once are dropped and counted."""
        if len(self._waiting) >= MOST_LINES or self._closing:
            self.lines_dropped += 1
        else:
            self._put(agent, line)

    def _put(self, agent: str, message: Said) -> None:
        self._waiting.append((agent, message))
        if not self._woken:
            self._woken = True
            self._on_loop(self._wake.set)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a part of the agent's link ended", part=task.get_name(), exc_info=task.exception())

    def _happened(self, what: Happening, details: str) -> None:
        if what is Happening.DISCONNECTED:
            self._ears.connected(False)
            _log.warning("the bus is gone; it is tried again", details=details)
        elif what in (Happening.CONNECTED, Happening.RECONNECTED):
            self._ears.connected(True)
            if what is Happening.RECONNECTED:
                _log.warning("the bus is there again")
                self._register_all()
        elif what is not Happening.CLOSED:
            _log.warning("the bus", happening=str(what), details=details)

    # --- to the orchestrator -----------------------------------------------------------------------------------

    async def _speak(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._woken = False
            while self._waiting:
                if not self._transport.connected:
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                self._saying = True
                try:
                    await self._say(self._taken())
                finally:
                    self._saying = False

    def _taken(self) -> dict[str, list[Said]]:
        """Take what waits, at most some frames of it, by agent."""
        taken: dict[str, list[Said]] = {}
        waiting = self._waiting
        for _ in range(min(len(waiting), 16 * FRAME_MESSAGES)):
            agent, message = waiting.popleft()
            taken.setdefault(agent, []).append(message)
        return taken

    async def _say(self, taken: dict[str, list[Said]]) -> None:
        for agent, said in taken.items():
            messages = _worth_saying(said)
            for at in range(0, len(messages), FRAME_MESSAGES):
                await self._say_frame(agent, messages[at : at + FRAME_MESSAGES])
            for_all: list[Said] = [message for message in messages if isinstance(message, _FOR_ALL)]
            if for_all and any(isinstance(message, _KEPT) for message in messages):
                await self._say_frame(agent, for_all, wire.status_subject(agent))

    async def _say_frame(self, agent: str, messages: list[Said], subject: str = "") -> None:
        first = self._said + 1
        self._said += len(messages)
        data = encode_frame(self._incarnation, first, messages)
        try:
            await self._transport.publish(subject or _subject_for(agent, messages), data, _FRAME_HEADERS)
        except PayloadTooLargeError as error:
            if len(messages) > 1:
                half = len(messages) // 2
                await self._say_frame(agent, messages[:half], subject)
                await self._say_frame(agent, messages[half:], subject)
            else:
                await self._say_too_large(agent, messages[0], error)
        except (MessageBusError, BackpressureError) as error:
            # Results are said again until they are confirmed; the rest is true anew at the next renewal.
            _log.info("a frame is lost", agent=agent, messages=len(messages), error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _say_too_large(self, agent: str, message: Any, error: PayloadTooLargeError) -> None:
        if isinstance(message, msg.Succeeded | msg.Failed):
            info = msg.ErrorInfo("PayloadTooLarge", f"its result is too large for the bus: {error}", retryable=False)
            await self._say_frame(agent, [msg.Failed(agent, message.attempt, info)])
        else:
            _log.warning("a message is too large for the bus", kind=type(message).__name__, error=str(error))

    # --- from the orchestrator ---------------------------------------------------------------------------------

    async def _listen(self, subscription: Subscription, take: Callable[[Delivery], None]) -> None:
        while True:
            try:
                deliveries = await subscription.next()
            except TransportClosedError:
                return
            for delivery in deliveries:
                try:
                    take(delivery)
                except InvalidInputError as error:
                    _log.warning("a message can't be read", subject=delivery.subject, error=str(error))

    def _heard(self, agent: str, delivery: Delivery) -> None:
        if delivery.subject == wire.task_subject(agent):
            if is_frame(delivery):
                self._hand_over(agent, decode_heard(delivery.data).messages)
            return
        if not is_frame(delivery) and b'"orchestrator"' in delivery.data:
            self._noticed(agent, wire.decoded(delivery.data, wire.OrchestratorNotice))

    def _hand_over(self, agent: str, messages: tuple[msg.ToAgent, ...]) -> None:
        work = tuple(message for message in messages if not isinstance(message, msg.Drain))
        if work:
            self._ears.deliver(agent, work)
        for message in messages:
            if isinstance(message, msg.Drain):
                self._ears.drain(agent, message.grace_seconds)

    def _noticed(self, agent: str, notice: wire.OrchestratorNotice) -> None:
        if notice.incarnation and notice.incarnation != self._incarnation:
            return  # another process of this name is meant
        match notice.notice:
            case wire.Notice.REGISTERED:
                self._unregistered.discard(agent)
                self._ears.taken_in(agent)
                if isinstance(notice.heartbeat_interval_ms, int):
                    self._heartbeat_seconds = max(notice.heartbeat_interval_ms, 100) / 1_000
            case wire.Notice.REGISTER_AGAIN:
                if agent in self._registrations:
                    self._unregistered.add(agent)
                    self._register_soon((agent,))
            case wire.Notice.REGISTRATION_REFUSED:
                error = RegistrationConflictError(notice.reason or None)
                if notice.code == 409:
                    self._ears.refused(agent, error)
                else:
                    _log.warning("the registration is refused; it is tried again", agent=agent, reason=notice.reason)
            case wire.Notice.RESULT_CONFIRMED:  # so speaks an orchestrator that doesn't know yet what this agent is
                self._ears.deliver(agent, (msg.Confirmation(notice.task_id, notice.accepted is not False),))
            case wire.Notice.TASK_CANCELLED:
                self._ears.deliver(agent, (msg.Cancel(notice.task_id, notice.reason, notice.force),))
            case wire.Notice.DRAIN:
                grace = notice.grace_ms if isinstance(notice.grace_ms, int) else 10_000
                self._ears.drain(agent, grace / 1_000)
            case _:
                pass

    def _event(self, delivery: Delivery) -> None:
        if b"ORCHESTRATOR_STARTED" in delivery.data:
            self._register_all()

    # --- registration and heartbeats ---------------------------------------------------------------------------

    def _register_all(self) -> None:
        """Somebody may not know us: say it once more of all, also where what was said before is confirmed meanwhile."""
        self._unregistered.update(self._registrations)
        self._register_soon(tuple(self._registrations))

    def _register_soon(self, agents: tuple[str, ...]) -> None:
        self._start(self._register(agents), "podium-wire-register")

    async def _register_for_ever(self) -> None:
        """Say it again until it is confirmed."""
        while True:
            await asyncio.sleep(REGISTER_SECONDS)
            await self._register(tuple(self._unregistered))

    async def _register(self, agents: tuple[str, ...]) -> None:
        for agent in agents:
            given = self._registrations.get(agent)
            if given is None:
                continue
            registration = wire_registration(given, **self._more.get(agent, {}))
            message = wire.AgentRegistrationMessage(
                message_id=self._message_id(), timestamp=self._now_ms(), registration=registration
            )
            subject = f"mcp.agent.{agent}.register" if self._own_subject else wire.REGISTER
            await self._publish(subject, wire.encoded(message))

    async def _beat(self) -> None:
        """Send every agent's heartbeat with what it measured of itself."""
        await asyncio.sleep(min(self._heartbeat_seconds, FIRST_BEAT_SECONDS))  # how often, is told at the registration
        while True:
            for agent, measured in tuple(self.measured.items()):
                if agent in self._registrations:
                    beat = wire.HeartbeatMessage(
                        message_id=self._message_id(),
                        timestamp=self._now_ms(),
                        agent_id=agent,
                        metrics=measured.metrics(self._heartbeat_seconds),
                        incarnation=self._incarnation,
                    )
                    await self._publish(wire.heartbeat_subject(agent), wire.encoded(beat))
            await asyncio.sleep(self._heartbeat_seconds)

    async def _publish(self, subject: str, data: bytes) -> None:
        try:
            await self._transport.publish(subject, data, _JSON_HEADERS)
        except (MessageBusError, BackpressureError) as error:
            _log.info("a message is lost", subject=subject, error=str(error))

    def _message_id(self) -> str:
        self._said += 1
        return f"{self._incarnation}-{self._said}"

    def _now_ms(self) -> int:
        return self._clock.now_us() // 1_000


def _at_once(call: Callable[[], None]) -> None:
    call()


def _worth_saying(messages: list[Said]) -> list[Said]:
    """Leave out that a task was accepted where its end is said at the same time."""
    ended = {message.attempt for message in messages if isinstance(message, msg.Succeeded | msg.Failed)}
    if not ended:
        return messages
    return [m for m in messages if not (isinstance(m, msg.Accepted) and m.attempt in ended)]


def _subject_for(agent: str, messages: list[Said]) -> str:
    """Return where a frame goes: what may not be lost where the carrier keeps it."""
    if any(isinstance(message, _KEPT) for message in messages):
        return wire.result_subject(agent)
    if all(isinstance(message, msg.Renewal) for message in messages):
        return wire.heartbeat_subject(agent)
    return wire.status_subject(agent)
