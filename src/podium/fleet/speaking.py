"""What an orchestrator says to agents elsewhere: gathered for a moment, then sent in frames or as document 000's JSON.

`send` never blocks and never fails: what can't be delivered is lost, counted, and a lease ends. One task does the
sending; what is said to one agent leaves in its order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from podium.bus.transport import Transport
from podium.clock import Clock
from podium.exceptions import (
    BackpressureError,
    MessageBusError,
    PayloadTooLargeError,
    PodiumError,
    TransportClosedError,
)
from podium.fleet import messages as msg
from podium.fleet import wire
from podium.fleet.frames import CONTENT_TYPE, FRAME_MESSAGES, encode_frame
from podium.fleet.translation import notice_of, wire_task
from podium.telemetry.logs import get_logger

MOST_WAITING = 200_000
_FRAME_HEADERS = {"Content-Type": CONTENT_TYPE}
_JSON_HEADERS = {"Content-Type": wire.CONTENT_TYPE}
_log = get_logger("podium.fleet")


class Speaker:
    """The outgoing half of the link."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        incarnation: str,
        *,
        speaks_frames: Callable[[str], bool],
        too_large: Callable[[str, msg.Assignment, str], None],
        may_answer: Callable[[str], bool] = lambda reply: True,
    ) -> None:
        """`speaks_frames` says of an agent whether it is one of Podium's; `too_large` is told of an assignment that
        the carrier can't take; `may_answer` says whether a reply subject may be answered on.
        """
        self._transport = transport
        self._clock = clock
        self._incarnation = incarnation
        self._speaks_frames = speaks_frames
        self._too_large = too_large
        self._may_answer = may_answer
        self._waiting: dict[str, list[msg.ToAgent]] = {}
        self._count = 0
        self._said = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.lost = 0

    @property
    def waiting(self) -> int:
        """How many messages wait to be sent."""
        return self._count

    def message_id(self) -> str:
        """Return the id of the next message: incarnation and counter."""
        self._said += 1
        return f"{self._incarnation}-{self._said}"

    def said(self, message_id: str) -> bool:
        """Whether a message of this id is this orchestrator's own."""
        return message_id.startswith(f"{self._incarnation}-")

    def now_ms(self) -> int:
        """Return the time that messages are stamped with."""
        return self._clock.now_us() // 1_000

    def send(self, agent: str, message: msg.ToAgent) -> None:
        """Say something to an agent soon."""
        if self._count >= MOST_WAITING:
            self.lost += 1
            return
        self._count += 1
        waiting = self._waiting.get(agent)
        if waiting is None:
            self._waiting[agent] = [message]
            self._idle.clear()
            self._wake.set()
        else:
            waiting.append(message)

    async def notify(self, agent: str, notice: wire.Notice, **fields: Any) -> None:
        """Tell an agent how it stands, at once, as JSON: every agent understands these."""
        await self._publish(
            wire.status_subject(agent), self._notice(agent, {"notice": notice, **fields}), _JSON_HEADERS
        )

    async def answer(self, reply: str, data: bytes) -> None:
        """Answer a request, if it has a subject for that which may be answered on."""
        if not reply or not self._may_answer(reply):
            return
        try:
            await self._transport.publish(reply, data, _JSON_HEADERS)
        except PodiumError as error:
            _log.info("an answer could not be given", subject=reply, error=str(error))

    async def answer_error(self, reply: str, code: str, message: str, retry_after_ms: int | None = None) -> None:
        """Answer a request that could not be done."""
        answer = wire.ErrorResponse(
            message_id=self.message_id(),
            timestamp=self.now_ms(),
            error=wire.ErrorBody(code, message[:2_000], retry_after_ms),
        )
        await self.answer(reply, wire.encoded(answer))

    async def run(self) -> None:
        """Send what there is to send, until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                agent = next(iter(self._waiting))
                said = self._waiting.pop(agent)
                self._count -= len(said)
                await self._say(agent, said)
            self._idle.set()

    async def settled(self) -> None:
        """Return when everything has been handed to the carrier."""
        await self._idle.wait()

    async def _say(self, agent: str, said: list[msg.ToAgent]) -> None:
        if self._speaks_frames(agent):
            for at in range(0, len(said), FRAME_MESSAGES):
                await self._say_frame(agent, said[at : at + FRAME_MESSAGES])
            return
        for message in said:
            try:
                await self._say_json(agent, message)
            except PayloadTooLargeError as error:
                self._refuse(agent, message, error)

    async def _say_frame(self, agent: str, said: list[msg.ToAgent]) -> None:
        first = self._said + 1
        self._said += len(said)
        try:
            await self._publish(wire.task_subject(agent), encode_frame(self._incarnation, first, said), _FRAME_HEADERS)
        except PayloadTooLargeError as error:
            if len(said) == 1:
                self._refuse(agent, said[0], error)
                return
            half = len(said) // 2
            await self._say_frame(agent, said[:half])
            await self._say_frame(agent, said[half:])

    async def _say_json(self, agent: str, message: msg.ToAgent) -> None:
        if isinstance(message, msg.Assignment):
            assignment = wire.TaskAssignmentMessage(
                message_id=self.message_id(), timestamp=self.now_ms(), task=wire_task(message)
            )
            await self._publish(wire.task_subject(agent), wire.encoded(assignment), _JSON_HEADERS)
        else:
            await self._publish(wire.status_subject(agent), self._notice(agent, notice_of(message)), _JSON_HEADERS)

    def _notice(self, agent: str, fields: dict[str, Any]) -> bytes:
        status = fields.pop("status", None) or wire.AgentStatus(agent_id=agent)
        return wire.encoded(
            wire.OrchestratorNotice(
                sender="orchestrator", message_id=self.message_id(), timestamp=self.now_ms(), status=status, **fields
            )
        )

    def _refuse(self, agent: str, message: msg.ToAgent, error: PayloadTooLargeError) -> None:
        if isinstance(message, msg.Assignment):
            self._too_large(agent, message, str(error))
        else:
            self.lost += 1
            _log.warning("a message to an agent is too large", agent=agent, error=str(error))

    async def _publish(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        try:
            await self._transport.publish(subject, data, headers)
        except (PayloadTooLargeError, TransportClosedError):
            raise
        except (MessageBusError, BackpressureError) as error:
            self.lost += 1
            _log.warning("a message to an agent is lost", subject=subject, error=str(error))
