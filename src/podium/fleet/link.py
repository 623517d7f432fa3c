"""The orchestrator's end of the link to agents elsewhere: registrations, heartbeats, states and results come in here,
and what the engine says to agents goes out.

It is a `Carrier` for the engine and feeds its `Receiver`. It decides nothing about work: who may register is the
registry's business, what a result means the engine's. Whatever can't be read is counted, answered and set aside, and
the loop goes on.

Of several replicas each hears all that agents say, but for results, of which each gets a share. What is told to agents
and to people about the fleet, the leader tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from podium.bus.transport import Delivery, Stream, Subscription, Transport
from podium.clock import Clock
from podium.exceptions import (
    InvalidInputError,
    MessageBusError,
    TransportClosedError,
)
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.admission import Admission, Identify, LinkSettings, Tell
from podium.fleet.audience import Audience
from podium.fleet.hearing import (
    agent_of,
    heard_frame,
    heard_heartbeat,
    heard_notice,
    heard_result,
    heard_status,
    is_frame,
    is_notice,
)
from podium.fleet.presence import Presence
from podium.fleet.receipts import Receipts
from podium.fleet.registry import FleetRegistry
from podium.fleet.silence import Silence
from podium.fleet.speaking import Speaker
from podium.fleet.taking import Taking
from podium.fleet.unusable import SetAside, Unusable
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics

RESULTS = Stream("PODIUM_RESULTS", ("mcp.agent.*.result",), work=True)
HEARTBEATS = "mcp.agent.*.heartbeat"
STATUSES = "mcp.agent.*.status"
REGISTRATIONS = (wire.REGISTER, "mcp.agent.*.register")
TAKEN_AT_ONCE = 512
LEFT_SECONDS = 1.0  # before a result that was left to other replicas comes again, perhaps to us
GATHER_SECONDS = 0.02  # of signs of life, which can wait: each alone would wake everything
_log = get_logger("podium.fleet")


class FleetLink:
    """Make it, hand it to the engine as its carrier, `start` it once that runs, `stop` it before the transport."""

    def __init__(
        self,
        transport: Transport,
        registry: FleetRegistry,
        receiver: msg.Receiver,
        *,
        clock: Clock,
        incarnation: str,
        settings: LinkSettings = LinkSettings(),
        tell: Tell,
        set_aside: SetAside,
        suspend: Callable[[str], None],
        doubt: Callable[[str], None] = lambda agent: None,
        held_as: Callable[[str], str] = lambda agent: "",
        identify: Identify | None = None,
        may_answer: Callable[[str], bool] = lambda reply: True,
        presence: Presence | None = None,
        taken: Callable[[str], bool] = lambda agent: False,
        audience: Audience | None = None,
        logs: msg.LogSink | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`suspend` has the engine give an agent nothing until it is heard of; `doubt` has it say again what an agent
        may not have heard; `held_as` is the incarnation under
        which an agent holds attempts, empty if it holds none; `identify` returns the key that a registration was made
        with, or raises RegistrationConflictError; `may_answer` says whether a reply subject may be answered on;
        `presence` follows whose connections end, where the bus tells it; `taken` are ids of agents that live here;
        `audience` is this replica's part of what all hear (None: there is no other one).
        """
        self.registry = registry
        self._transport = transport
        self._receiver = receiver
        self._clock = clock
        self._settings = settings
        self._presence = presence
        self._audience = audience or Audience()
        self._metrics = metrics or Metrics()
        self._frames: set[str] = set()  # agents that speak frames
        self._speaker = Speaker(
            transport,
            clock,
            incarnation,
            speaks_frames=self._frames.__contains__,
            too_large=self._too_large,
            may_answer=may_answer,
        )
        self._admission = Admission(
            registry,
            receiver,
            self._speaker,
            clock=clock,
            settings=settings,
            tell=tell,
            frames=self._frames,
            doubt=doubt,
            held_as=held_as,
            identify=identify,
            presence=presence,
            taken=taken,
            leads=self._audience.leads,
        )
        self._receipts = Receipts()
        self._unusable = Unusable(
            registry,
            receiver,
            self._speaker,
            self._receipts,
            tell=tell,
            set_aside=set_aside,
            audience=self._audience,
            metrics=self._metrics,
        )
        self._saved = 0
        self._subscriptions: list[Subscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._taking = Taking(
            registry,
            receiver,
            self._admission,
            self._receipts,
            self._audience,
            clock,
            frames=self._frames,
            presence=presence,
            logs=logs,
        )
        self._silence = Silence(
            registry,
            receiver,
            transport,
            self._taking,
            self._audience,
            clock,
            settings,
            tell=tell,
            suspend=suspend,
        )

    # --- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, and check health from now on. Raises TransportUnavailableError."""
        transport, taken = self._transport, 65_536
        self._silence.begin()
        # One subscription, since what replicas say to an agent must be heard in order with its registration.
        states = await transport.subscribe((*REGISTRATIONS, STATUSES), limit=2 * taken)
        heartbeats = await transport.subscribe(HEARTBEATS, limit=taken)
        results = await transport.consume(
            RESULTS, "orchestrator", redeliver_seconds=self._settings.redeliver_seconds, limit=4_096
        )
        self._subscriptions = [states, heartbeats, results]
        self._begin(self._speaker.run(), "podium-link-speaks")
        self._begin(self._listen(states, self._state), "podium-link-states")
        self._begin(self._listen(heartbeats, self._heartbeat, GATHER_SECONDS), "podium-link-heartbeats")
        self._begin(self._listen(results, self._result), "podium-link-results")
        self._begin(self._silence.run(), "podium-link-health")

    async def deafen(self) -> None:
        """Hear nothing more: what isn't recorded yet comes again. What is said still leaves. Safe twice."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.stop()
        self._taking.end()
        self._admission.end()

    async def stop(self) -> None:
        """Say what waits to be said, then no more. Safe twice."""
        await self.deafen()
        tasks, self._tasks = self._tasks, []
        if tasks:
            try:
                async with asyncio.timeout(2.0):
                    await self._speaker.settled()
            except TimeoutError:
                _log.warning("messages to agents were not sent any more")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(_say_failure)
        self._tasks.append(task)

    @property
    def failure(self) -> BaseException | None:
        """Why a part of the link ended by itself, if one did."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None

    # --- to agents ---------------------------------------------------------------------------------------------

    def send(self, agent: str, message: msg.ToAgent) -> None:
        """Carry what the engine says to an agent."""
        if isinstance(message, msg.Confirmation):
            self._receipts.confirm(agent, message.attempt)
        elif isinstance(message, msg.Assignment):
            self._metrics.counter("routing_messages_total", "least_loaded").inc()
        self._speaker.send(agent, message)

    def drain_agents(self, grace_seconds: float) -> None:
        """Tell all agents to take nothing new, finish, and stop."""
        for info in self.registry.infos(self._clock.now_us()):
            self._speaker.send(info.agent_id, msg.Drain(grace_seconds))

    async def take_over(self) -> None:
        """This replica leads from now on: decide on the registrations that nobody has answered."""
        await self._admission.take_over()

    async def ask_again(self) -> None:
        """This replica may have missed something: have agents that don't listen for starts register again."""
        for info in self.registry.infos(self._clock.now_us()):
            if info.agent_id not in self._frames:
                await self._admission.ask_again(info.agent_id)

    async def ask_for(self, agents: Iterable[str]) -> None:
        """Have these agents, which aren't known here, register again."""
        for agent in agents:
            await self._admission.ask_again(agent)

    def message_id(self) -> str:
        """Return the id of the next message that this orchestrator says."""
        return self._speaker.message_id()

    async def lag(self) -> int:
        """Return how many results wait to be taken."""
        return await self._subscriptions[-1].lag() if self._subscriptions else 0

    @property
    def unconfirmed(self) -> int:
        """How many results were taken and aren't recorded yet."""
        return len(self._receipts)

    @property
    def unsaid(self) -> int:
        """How many messages to agents wait to be sent."""
        return self._speaker.waiting

    @property
    def asked(self) -> int:
        """How many agents are remembered as told to register."""
        return self._admission.asked

    @property
    def lost(self) -> int:
        """How many messages to agents could not be sent."""
        return self._speaker.lost

    def knows(self, agent: str) -> bool:
        """Whether an agent of this id is registered over the link."""
        return agent in self.registry

    def _too_large(self, agent: str, message: msg.Assignment, why: str) -> None:
        """The carrier can't take an assignment: its attempt fails and says so."""
        error = msg.ErrorInfo("PayloadTooLarge", f"its arguments are too large for the bus: {why}", retryable=False)
        self._receiver.receive(msg.Failed(agent, message.attempt, error))

    def unusable(self, agent: str, attempt: str, why: str) -> None:
        """What an agent said of this attempt can't be recorded: set it aside, and let the agent forget it."""
        self._unusable.unrecordable(agent, attempt, why)

    # --- from agents -------------------------------------------------------------------------------------------

    async def _listen(
        self,
        subscription: Subscription,
        take: Callable[[Delivery], Coroutine[Any, Any, None] | None],
        gather_seconds: float = 0.0,
    ) -> None:
        """Take what comes, for ever; what one message does wrong keeps none of the others from being heard.

        With `gather_seconds` there is a pause before what comes next, unless very much does.
        """
        while True:
            try:
                deliveries = await subscription.next(TAKEN_AT_ONCE)
            except TransportClosedError:
                return
            for delivery in deliveries:
                try:
                    waiting = take(delivery)
                    if waiting is not None:
                        await waiting
                except InvalidInputError as error:
                    await self._unusable.malformed(delivery, error)
                except Exception as error:  # noqa: BLE001 - the fleet's other agents hang on this loop
                    _log.error("a message could not be handled", subject=delivery.subject, exc_info=error)
                    await self._unusable.malformed(delivery, error)
            if gather_seconds and len(deliveries) < TAKEN_AT_ONCE:
                await asyncio.sleep(gather_seconds)

    def give_back(self) -> None:
        """Leave the results that were taken here and aren't recorded to the other replicas."""
        self._receipts.give_back()

    def _result(self, delivery: Delivery) -> Coroutine[Any, Any, None] | None:
        if not self._audience.reaches():
            delivery.nack(LEFT_SECONDS)
            return None
        frame = is_frame(delivery)
        heard = heard_frame(delivery) if frame else heard_result(delivery)
        attempts = [m.attempt for m in heard.messages if isinstance(m, msg.Succeeded | msg.Failed)]
        self._receipts.expect(delivery, heard.agent, attempts)
        return self._taking.take(heard, heard.messages)

    def _heartbeat(self, delivery: Delivery) -> Coroutine[Any, Any, None] | None:
        heard = heard_frame(delivery) if is_frame(delivery) else heard_heartbeat(delivery)
        return self._taking.take(heard, self._audience.share(heard.messages))

    def _state(self, delivery: Delivery) -> Coroutine[Any, Any, None] | None:
        if not delivery.subject.endswith(".status"):
            return self._admission.take(delivery)
        if is_frame(delivery):
            heard = heard_frame(delivery)
        elif is_notice(delivery):
            notice = heard_notice(delivery)
            if notice is not None:
                self._admission.overhear(agent_of(delivery.subject), notice)
            return None
        else:
            self._saved += 1
            heard = heard_status(delivery, self._clock.now_us() + self._saved)
        if isinstance(heard.messages[-1], msg.Left) and self._taking.leaves_soon(heard):
            return None
        return self._taking.take(heard, self._audience.share(heard.messages))


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), MessageBusError):
        _log.error("a part of the link ended", part=task.get_name(), exc_info=task.exception())
