"""An agent's end of the bus as somebody else would write it: document 000's JSON, no incarnation, no renewals.

It stands where `agents.connection` stands for Podium's own agents, and says the same messages as far as the JSON can.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from podium.agents.connection import Ears, MakeTransport
from podium.bus.transport import Delivery, Subscription, Transport
from podium.clock import Clock
from podium.exceptions import InvalidInputError, MessageBusError, TransportClosedError
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.translation import wire_result

REGISTER_SECONDS = 5.0
HEARTBEAT_SECONDS = 30.0


class ForeignConnection:
    """The end of one agent. It registers until that is confirmed, and whenever it is asked to."""

    def __init__(self, make: MakeTransport, clock: Clock, ears: Ears) -> None:
        self._make = make
        self._clock = clock
        self._ears = ears
        self._agent = ""
        self._registration: msg.Registration | None = None
        self._registered = False
        self._waiting: deque[tuple[str, msgspec.Struct]] = deque()
        self._wake = asyncio.Event()
        self._said = 0
        self._transport: Transport
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Connect. Raises TransportUnavailableError."""
        self._transport = self._make(lambda what, details: None)
        await self._transport.start()

    async def hear_for(self, agent: str) -> None:
        """Be this agent."""
        self._agent = agent
        subscription = await self._transport.subscribe((wire.task_subject(agent), wire.status_subject(agent)))
        self._start(self._listen(subscription), f"foreign-{agent}-hears")
        self._start(self._speak(), f"foreign-{agent}-speaks")
        self._start(self._register(), f"foreign-{agent}-registers")
        self._start(self._beat(), f"foreign-{agent}-beats")

    def is_registered(self, agent: str) -> bool:
        """Whether the orchestrator has said so."""
        return self._registered

    async def end(self) -> None:
        """Say what waits, and disconnect."""
        while self._waiting and self._transport.connected:
            self._wake.set()
            await asyncio.sleep(0.005)
        await self._transport.stop(2.0)
        await self.abandon()

    async def abandon(self) -> None:
        """End everything without a word."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what it says --------------------------------------------------------------------------------------------

    def say(self, message: msg.FromAgent) -> bool:
        """Put what the JSON can say on its way; the rest (renewals, threads that return) it can't."""
        agent = message.agent
        match message:
            case msg.Registration():
                self._registration, self._registered = message, False
                self._wake.set()
            case msg.Succeeded() | msg.Failed():
                result = wire.TaskResultMessage(**self._head(), result=wire_result(message))
                self._put(wire.result_subject(agent), result)
            case msg.Accepted(attempt=attempt):
                self._state(agent, state="BUSY", task_id=attempt)
            case msg.Progress(attempt=attempt, fraction=fraction, message=text):
                self._state(agent, state="BUSY", task_id=attempt, progress=fraction, message=text)
            case msg.Saved(attempt=attempt, checkpoint=checkpoint):
                self._state(agent, state="BUSY", task_id=attempt, checkpoint=msgspec.json.decode(checkpoint))
            case msg.Refused(attempt=attempt, reason=reason):
                self._state(agent, state="BUSY", task_id=attempt, refused=True, message=reason)
            case msg.HandedBack(attempt=attempt):
                self._state(agent, state="DRAINING", task_id=attempt, refused=True)
            case msg.Left():
                self._state(agent, state="STOPPED")
            case _:
                pass
        return True

    def _state(self, agent: str, **fields: Any) -> None:
        status = wire.AgentStatus(agent_id=agent, **fields)
        self._put(wire.status_subject(agent), wire.AgentStatusMessage(**self._head(), status=status))

    def _put(self, subject: str, message: msgspec.Struct) -> None:
        self._waiting.append((subject, message))
        self._wake.set()

    def _head(self) -> dict[str, Any]:
        self._said += 1
        return {"message_id": f"{self._agent}-{self._said}", "timestamp": self._clock.now_us() // 1_000}

    async def _speak(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._publish(*self._waiting.popleft())

    async def _publish(self, subject: str, message: msgspec.Struct) -> None:
        try:
            await self._transport.publish(subject, wire.encoded(message))
        except TransportClosedError:
            raise
        except MessageBusError:
            pass  # results are said again, the rest is gone

    async def _register(self) -> None:
        while True:
            if not self._registered:
                await self._say_registration()
            await asyncio.sleep(REGISTER_SECONDS)

    async def _say_registration(self) -> None:
        given = self._registration
        if given is None:
            return
        registration = wire.AgentRegistration(
            agent_id=given.agent,
            agent_type=given.type,
            capabilities=given.capabilities,
            max_concurrent_tasks=given.slots,
            resources=wire.Resources(
                given.resources.cpu_cores,
                given.resources.memory_mb,
                given.resources.disk_mb,
                given.resources.gpu_count or 0,
            ),
        )
        await self._publish(wire.REGISTER, wire.AgentRegistrationMessage(**self._head(), registration=registration))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._publish(
                wire.heartbeat_subject(self._agent), wire.HeartbeatMessage(**self._head(), agent_id=self._agent)
            )

    # --- what it hears -------------------------------------------------------------------------------------------

    async def _listen(self, subscription: Subscription) -> None:
        while True:
            try:
                deliveries = await subscription.next()
            except TransportClosedError:
                return
            for delivery in deliveries:
                await self._hear(delivery)

    async def _hear(self, delivery: Delivery) -> None:
        if delivery.subject == wire.task_subject(self._agent):
            task = wire.decoded(delivery.data, wire.TaskAssignmentMessage).task
            self._ears.deliver(self._agent, (self._assignment(task),))
            return
        try:
            notice = wire.decoded(delivery.data, wire.OrchestratorNotice)
        except InvalidInputError:
            return  # its own status
        match notice.notice:
            case wire.Notice.REGISTERED:
                self._registered = True
            case wire.Notice.REGISTER_AGAIN:
                self._registered = False
                await self._say_registration()
            case wire.Notice.RESULT_CONFIRMED:
                self._ears.deliver(self._agent, (msg.Confirmation(notice.task_id, notice.accepted is not False),))
            case wire.Notice.TASK_CANCELLED:
                self._ears.deliver(self._agent, (msg.Cancel(notice.task_id, notice.reason, notice.force),))
            case wire.Notice.DRAIN:
                self._ears.drain(self._agent, 10.0 if notice.grace_ms is UNSET else notice.grace_ms / 1_000)
            case _:
                pass

    def _assignment(self, task: wire.AgentTask) -> msg.Assignment:
        return msg.Assignment(
            attempt=task.task_id,
            agent=self._agent,
            execution=task.execution_id,
            tenant="",
            task=task.task_name,
            function=task.task_type,
            arguments=Raw(msgspec.json.encode(task.payload)),
            idempotency_key=task.idempotency_key,
            number=task.attempt,
            lenient=True,
            timeout_seconds=None if task.timeout_ms is None else task.timeout_ms / 1_000,
            lease_seconds=(task.lease_ms or 60_000) / 1_000,
            checkpoint=Raw(msgspec.json.encode(task.checkpoint)),
        )
