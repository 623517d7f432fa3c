"""The listening half of a bus: an async iterator over topics. Frames wait in lanes, are decoded when their turn comes,
and are acknowledged when the last of their messages has been taken and the next one is asked for.

What can't be read becomes a dead letter, what came before is passed over, what never came is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

from msgspec import Struct
from msgspec.structs import force_setattr

from podium.bus.codec import FRAME_HEADERS, Frame, decode, decode_parts, encode_one
from podium.bus.deduplication import Marks
from podium.bus.lanes import Lanes, lane_in
from podium.bus.message import Message
from podium.bus.topics import subjects_by_lane
from podium.bus.transport import Delivery, Subscription
from podium.clock import Clock
from podium.exceptions import (
    BackpressureError,
    InvalidInputError,
    MalformedMessageError,
    NotSupported,
    PodiumError,
    TransportClosedError,
)
from podium.telemetry.logs import get_logger

_log = get_logger(__name__)

_FETCH = 64  # frames at a time
_READY = 256  # frames that are fetched and not taken
_AT_ONCE = 64  # frames that are handed out before the loop has its turn: as many as one turn of a publisher makes
_MOST_AGAIN = 1_024  # messages that wait to be handed out once more
_NEVER_US = 1 << 62
_READY_BYTES = 16 << 20
_LETTER_RETRY_SECONDS = 5.0

Letter = Callable[[str, str, dict[str, str], bytes, str], Awaitable[int]]  # reason, subject, headers, data, message id
Listen = Callable[[tuple[str, ...]], Awaitable[Subscription]]  # to the subjects of one lane
Taken = Callable[[str, int, float], None]  # subject, messages, milliseconds that they were on their way
Dealt = Callable[[str, int, float], None]  # subject, messages, milliseconds that each took


class Links(Struct, frozen=True):
    """What a subscription needs of its bus."""

    clock: Clock
    listen: Listen
    letter: Letter
    new_source: Callable[[], str]
    taken: Taken
    dealt: Dealt
    closed: Callable[[BusSubscription], None]


class _Open(Struct, gc=False):
    """A frame of which messages are out: taken, and not dealt with."""

    delivery: Delivery
    count: int
    began_us: int
    key: tuple[str, int]
    held: int = 0  # messages that are to be handed out again before it can be acknowledged


class _Again(Struct, gc=False):
    """A message that wasn't dealt with."""

    due_us: int
    message: Message
    frame: _Open
    attempt: int


class BusSubscription:
    """The messages of some topics: `async for message in subscription`. Close it, or use it with `async with`.

    A message counts as dealt with when the next one is asked for, or by `ack`. With groups over streams the others of
    the group get what a closed subscription hasn't dealt with.
    """

    def __init__(
        self,
        topics: tuple[str, ...],
        group: str,
        links: Links,
        *,
        max_deliveries: int,
        prefetch: int,
        early: list[Delivery],
    ) -> None:
        """Made by `MessageBus.subscribe`. `early` is what the bus itself said before anybody listened."""
        self.topics = topics
        self.group = group
        self._links = links
        self._max_deliveries = max_deliveries
        self._most_ready = min(prefetch, _READY)
        self._marks = Marks()
        self._ready: Lanes[Delivery] = Lanes()
        self._subscriptions: list[Subscription] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._messages: list[Message] = []  # of the frame that is handed out, the next one last
        self._frame: _Open | None = None
        self._last: Message | None = None
        self._attempt = 1
        self._again: list[_Again] = []
        self._kept_open: dict[tuple[str, int], _Open] = {}
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._handed = 0
        self._ended = False  # nothing more arrives
        self._closing: asyncio.Task[None] | None = None
        self._ready_bytes = 0
        for delivery in early:
            self._ready.put(lane_in(delivery.subject), delivery)
            self._ready_bytes += len(delivery.data)
        self._opening = asyncio.get_running_loop().create_task(self._open(), name="podium bus subscribes")

    # --- for who listens -------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._each()

    async def __anext__(self) -> Message:
        messages = self._messages or await self._advance()
        message = self._last = messages.pop()
        return message

    async def _each(self) -> AsyncIterator[Message]:
        """The same as `__anext__`, in half its time. What it has come to is in the subscription, not in here."""
        while True:
            try:
                messages = self._messages or await self._advance()
            except StopAsyncIteration:
                return
            while messages:
                self._last = message = messages.pop()
                yield message

    async def opened(self) -> Self:
        """Wait until the carrier knows of it: what is published from now on, by anybody, is heard.

        Raises what the transport raises; the iteration raises it too.
        """
        await asyncio.wait({self._opening})
        if self._opening.cancelled():
            raise TransportClosedError("the subscription was closed before it was made")
        self._opening.result()
        return self

    async def __aenter__(self) -> Self:
        return await self.opened()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.aclose()

    def ack(self) -> None:
        """Say that the last message is dealt with, without asking for another one."""
        if not self._messages:
            self._finish()

    async def nack(self, message: Message, delay_seconds: float = 0.0, reason: str = "not dealt with") -> None:
        """Have the last message again, not before the delay; after too many times it becomes a dead letter.

        Its frame isn't acknowledged until then, so that a crash loses nothing. Raises InvalidInputError for any other
        message than the last one, BackpressureError when too many wait for another try.
        """
        frame = self._must_be_last(message)
        if self._attempt >= self._max_deliveries:
            await self._set_aside(message, frame, f"given up after {self._attempt} tries: {reason}")
            return
        if len(self._again) >= _MOST_AGAIN:
            raise BackpressureError(f"{len(self._again)} messages wait for another try; take those first")
        frame.held += 1
        self._kept_open[frame.key] = frame
        due_us = self._links.clock.now_us() + round(delay_seconds * 1_000_000)
        self._again.append(_Again(due_us, message, frame, self._attempt + 1))
        self._last = None

    async def dead_letter(self, message: Message, reason: str) -> int:
        """Set the last message aside as a dead letter; return its id. Raises InvalidInputError for any other one."""
        frame = self._must_be_last(message)
        return await self._set_aside(message, frame, reason)

    @property
    def lost(self) -> int:
        """How many messages never came, though later ones did, or frames that the carrier had to drop."""
        dropped = sum(subscription.lost for subscription in self._subscriptions)
        return dropped if self.group else max(dropped, self._marks.missing)

    async def lag(self) -> int:
        """Return how many frames wait, here and at the carrier."""
        waiting = [await subscription.lag() for subscription in self._subscriptions]
        return len(self._ready) + sum(waiting)

    async def aclose(self) -> None:
        """Listen no longer. What wasn't dealt with goes back to the stream. Safe twice."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="podium bus unsubscribes")
        await asyncio.shield(self._closing)

    # --- arriving --------------------------------------------------------------------------------------------------

    @property
    def opening(self) -> asyncio.Task[None]:
        """The task that makes it known to the carrier."""
        return self._opening

    async def _open(self) -> None:
        try:
            for subjects in subjects_by_lane(self.topics):
                self._subscriptions.append(await self._links.listen(subjects))
        except Exception:
            self._ended = True
            self._arrived.set()
            raise
        loop = asyncio.get_running_loop()
        self._pumps = [
            loop.create_task(self._pump(subscription), name="podium bus receives")
            for subscription in self._subscriptions
        ]

    async def _pump(self, subscription: Subscription) -> None:
        """Bring in what arrives, as far as there is room."""
        ready = self._ready
        try:
            while True:
                for delivery in await subscription.next(min(_FETCH, self._most_ready)):
                    ready.put(lane_in(delivery.subject), delivery)
                    self._ready_bytes += len(delivery.data)
                self._arrived.set()
                while len(ready) >= self._most_ready or self._ready_bytes > _READY_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except TransportClosedError:
            _log.debug("a subscription has ended", topics=self.topics)
        except PodiumError as error:
            _log.error("a subscription has ended", topics=self.topics, reason=repr(error))
        self._pumps = [pump for pump in self._pumps if pump is not asyncio.current_task()]
        if not self._pumps:
            self._ended = True
            self._arrived.set()

    # --- handing out -----------------------------------------------------------------------------------------------

    async def _advance(self) -> list[Message]:
        """Return the messages of the next frame, the first one last. Raises StopAsyncIteration at the end."""
        if self._frame is not None:
            self._finish()
        if not self._opening.done():
            await asyncio.wait({self._opening})
        self._handed += 1
        if self._handed % _AT_ONCE == 0:
            await asyncio.sleep(0)
        while True:
            if self._again and (message := self._due_again()) is not None:
                self._messages = [message]
                return self._messages
            delivery = self._ready.take()
            if delivery is None:
                await self._more()
                continue
            self._ready_bytes -= len(delivery.data)
            if len(self._ready) < self._most_ready and self._ready_bytes <= _READY_BYTES:
                self._room.set()
            frame = await self._read(delivery)
            if frame is not None and frame.messages:
                messages = frame.messages
                messages.reverse()
                self._messages = messages
                return messages

    async def _more(self) -> None:
        """Wait until something arrives or is due again."""
        if self._closing is not None or (self._ended and not self._again):
            if not self._opening.cancelled():
                self._opening.result()  # raises why there is no subscription
            raise StopAsyncIteration
        self._arrived.clear()
        due_us = min((again.due_us for again in self._again), default=_NEVER_US)
        seconds = (due_us - self._links.clock.now_us()) / 1_000_000 if due_us != _NEVER_US else None
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return

    async def _read(self, delivery: Delivery) -> Frame | None:
        """Decode a frame and note it; None if nothing of it is to be handed out."""
        now_us = self._links.clock.now_us()
        try:
            frame = decode(delivery.data, delivery.headers, delivery.subject, delivery.published_us, delivery.reply)
            count = len(frame.messages)
        except MalformedMessageError as error:
            rest = await self._sift(delivery, str(error))
            if rest is None:
                return None
            frame, count = rest
        if not frame.source:
            _name(frame.messages[0], delivery, self._links)
        key = (frame.source, frame.first) if frame.source else ("", delivery.sequence)
        if frame.source and count and not self._marks.admit(frame.source, frame.first, count):
            if key not in self._kept_open:  # else the first of the two is acknowledged when it is dealt with
                delivery.ack()
            return None
        if delivery.attempt > self._max_deliveries:
            await self._give_up(delivery, f"delivered {delivery.attempt} times and never dealt with")
            return None
        if not frame.messages:
            delivery.ack()
            return None
        self._frame = _Open(delivery, len(frame.messages), now_us, key)
        self._attempt = delivery.attempt
        age_ms = (now_us - frame.published_us) / 1_000 if frame.published_us else 0.0
        self._links.taken(delivery.subject, len(frame.messages), max(age_ms, 0.0))
        return frame

    async def _sift(self, delivery: Delivery, reason: str) -> tuple[Frame, int] | None:
        """Set aside what can't be read; return the rest of the frame, and how many messages the whole had."""
        parts = decode_parts(delivery.data, delivery.subject) if len(delivery.data) else None
        if parts is None or not parts.bad:
            await self._give_up(delivery, reason)
            return None
        for number, (data, problem) in enumerate(parts.bad):
            if not await self._letter(f"unreadable: {problem}", delivery, data, f"-{number}"):
                return None
        return parts.frame, parts.count

    async def _give_up(self, delivery: Delivery, reason: str) -> None:
        """Set a whole delivery aside, and only then never have it again."""
        if await self._letter(reason, delivery, delivery.data):
            delivery.reject()

    async def _letter(self, reason: str, delivery: Delivery, data: bytes, part: str = "") -> bool:
        """Set bytes of a delivery aside; False if that failed: then the delivery comes again."""
        message_id = f"{delivery.subject}:{delivery.sequence}{part}" if delivery.sequence else ""
        try:
            await self._links.letter(reason, delivery.subject, dict(delivery.headers), data, message_id)
        except NotSupported:
            _log.error("a message is lost: no dead letters on this transport", subject=delivery.subject, reason=reason)
        except PodiumError as error:
            _log.error("a dead letter can't be kept", subject=delivery.subject, reason=reason, error=repr(error))
            delivery.nack(_LETTER_RETRY_SECONDS)
            return False
        except asyncio.CancelledError:
            delivery.nack()
            raise
        return True

    async def _set_aside(self, message: Message, frame: _Open, reason: str) -> int:
        delivery = frame.delivery
        if not frame.key[0]:  # it came as JSON, alone: as it was
            return await self._links.letter(reason, delivery.subject, dict(delivery.headers), delivery.data, "")
        # One of a frame, in a frame of its own, from a source of its own: a retry would else be taken for a repetition.
        data = encode_one(message, self._links.new_source(), message.timestamp)
        return await self._links.letter(reason, delivery.subject, FRAME_HEADERS, data, "")

    # --- being dealt with ------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """The messages that are out are dealt with, but for those that shall come again."""
        frame, self._frame, self._last = self._frame, None, None
        if frame is None:
            return
        if not frame.held:
            self._settle(frame)

    def _settle(self, frame: _Open) -> None:
        self._kept_open.pop(frame.key, None)
        frame.delivery.ack()
        took_ms = (self._links.clock.now_us() - frame.began_us) / 1_000
        self._links.dealt(frame.delivery.subject, frame.count, took_ms / frame.count)

    def _due_again(self) -> Message | None:
        """Return a message whose time has come again."""
        now_us = self._links.clock.now_us()
        for place, again in enumerate(self._again):
            if again.due_us <= now_us:
                del self._again[place]
                again.frame.held -= 1
                self._frame, self._attempt = again.frame, again.attempt
                return again.message
        return None

    def _must_be_last(self, message: Message) -> _Open:
        if self._frame is None or self._last is not message:
            raise InvalidInputError("only the message that was taken last can be given back or set aside")
        return self._frame

    # --- the end ---------------------------------------------------------------------------------------------------

    async def _close(self) -> None:
        if not self._opening.done():
            self._opening.cancel()
        await asyncio.gather(self._opening, return_exceptions=True)
        for subscription in self._subscriptions:
            await subscription.stop()
        pumps = list(self._pumps)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for delivery in self._ready.clear():
            delivery.nack()
        left = {id(frame): frame for frame in (*self._kept_open.values(), *([self._frame] if self._frame else []))}
        for frame in left.values():
            frame.delivery.nack()
        self._messages, self._frame, self._again = [], None, []
        self._ended = True
        self._arrived.set()
        self._links.closed(self)


def _name(message: Message, delivery: Delivery, links: Links) -> None:
    """Give a message an id that came without one: that of its place in the stream, where it has one."""
    if not message.message_id:
        place = f"{message.topic}:{delivery.sequence}" if delivery.sequence else links.new_source()
        force_setattr(message, "message_id", place)
