"""Request and reply over a bus: the answers to all requests of one bus come to one subject of its own, and find the
request that waits by their correlation id.

Requests go like any message, so that many in flight share frames. A request that nobody answers ends with its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from podium.bus.codec import decode
from podium.bus.message import Message
from podium.bus.transport import Subscription, Transport
from podium.exceptions import (
    BackpressureError,
    MalformedMessageError,
    RequestTimeoutError,
    TransportClosedError,
)
from podium.telemetry.logs import get_logger

_log = get_logger(__name__)

PREFIX = "podium.reply."
_MOST_WAITING = 65_536

Publish = Callable[[Message], Awaitable[None]]


class Replies:
    """The requests of one bus that wait for their answers."""

    def __init__(self, transport: Transport, incarnation: str) -> None:
        """Nothing is subscribed to before the first request."""
        self.subject = f"{PREFIX}{incarnation}"
        self._transport = transport
        self._incarnation = incarnation
        self._asked = 0
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._subscription: Subscription | None = None
        self._listening: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()

    async def ask(self, message: Message, publish: Publish, timeout_seconds: float) -> Message:
        """Publish a request and return the first answer. Raises RequestTimeoutError, and what publishing raises."""
        if self._listening is None or self._listening.done():
            await self._listen()
        if len(self._waiting) >= _MOST_WAITING:
            raise BackpressureError(f"{len(self._waiting)} requests wait for their answers; try again later")
        self._asked += 1
        correlation = message.correlation_id
        if not correlation or correlation in self._waiting:
            correlation = f"{self._incarnation}:{self._asked}"
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Message] = loop.create_future()
        self._waiting[correlation] = answer
        timer = loop.call_later(timeout_seconds, _time_out, answer, message.recipient_id, timeout_seconds)
        try:
            await publish(replace(message, correlation_id=correlation, reply_to=self.subject))
            return await answer
        finally:
            timer.cancel()
            del self._waiting[correlation]

    async def stop(self) -> None:
        """Listen no longer; what waits ends with TransportClosedError. Safe twice."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.stop()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(TransportClosedError("the bus was shut down before an answer came"))

    async def _listen(self) -> None:
        async with self._opening:
            if self._listening is None or self._listening.done():
                self._subscription = await self._transport.subscribe(self.subject)
                self._listening = asyncio.get_running_loop().create_task(
                    self._receive(self._subscription), name="podium bus receives answers"
                )

    async def _receive(self, subscription: Subscription) -> None:
        while True:
            try:
                deliveries = await subscription.next()
            except TransportClosedError:
                return
            for delivery in deliveries:
                try:
                    frame = decode(delivery.data, delivery.headers, delivery.subject, delivery.published_us)
                except MalformedMessageError as error:
                    _log.warning("an answer can't be read", reason=str(error))
                    continue
                for message in frame.messages:
                    answer = self._waiting.get(message.correlation_id)
                    if answer is not None and not answer.done():
                        answer.set_result(message)


def _time_out(answer: asyncio.Future[Message], recipient: str, seconds: float) -> None:
    if not answer.done():
        who = f" from {recipient}" if recipient else ""
        answer.set_exception(RequestTimeoutError(f"no answer came{who} within {seconds:g} s"))
