"""The publishing half of a bus: messages gather in frames, frames wait in lanes, and go to the transport in order.

A frame goes when it is full, and else with the next turn of the loop; when many go, they wait for each other, at most a
millisecond. `put` never waits: who publishes asks `room` first whenever `blocked` says so. Nothing is dropped silently:
what can't be sent within a stop is counted and told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from podium.bus.codec import (
    FRAME_HEADERS,
    MOST_IN_FRAME,
    UNENCODABLE,
    encode_into,
    frame_bytes,
    frame_prefix,
    subject_of,
    unencodable,
)
from podium.bus.lanes import Lane, Lanes, lane_of
from podium.bus.message import Message, MessageType, priority_named
from podium.bus.subjects import check_subject
from podium.bus.transport import Transport
from podium.clock import Clock
from podium.exceptions import (
    BackpressureError,
    MessageBusError,
    PayloadTooLargeError,
    TransportClosedError,
    TransportUnavailableError,
)
from podium.telemetry.logs import get_logger

_log = get_logger(__name__)

LINGER_SECONDS = 0.001
_EARLY = 4  # frames that aren't full and may go within one linger
_MOST_SOURCES = 4_096
_LARGE_BLOCK = 4 << 20
_OVERHEAD = 512  # bytes of a frame's own, and of its headers
_RETRY_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0)


class Limits(Struct, frozen=True):
    """How much is gathered, and how much may wait."""

    batch_size: int = 64  # messages of a frame
    batch_bytes: int = 16_384  # of a frame of many messages
    message_bytes: int = 1 << 20  # of one message, where the transport takes as many
    frames: int = 128  # that wait to be sent
    held_bytes: int = 16 << 20  # of frames that wait, or aren't acknowledged
    in_flight: int = 256  # frames that are sent to a stream and not acknowledged yet
    patience_seconds: float = 5.0  # that a publisher waits for room


class Outgoing(Struct, gc=False):
    """A frame on its way."""

    subject: str
    data: bytes
    count: int
    message_id: str  # empty: it is said once, and kept by nobody


class Source:
    """One lane of one topic: what has been said on it and isn't in a frame yet."""

    __slots__ = ("bare", "began_us", "buffer", "first", "kept", "lane", "name", "prefix", "subject", "topic", "types")

    def __init__(self, name: str, topic: str, subject: str, lane: Lane, kept: bool) -> None:
        self.name = name
        self.topic = topic
        self.subject = subject
        self.lane = lane
        self.kept = kept
        self.prefix = frame_prefix(name, lane)
        self.first = 1
        self.began_us = 0
        self.bare = True
        self.buffer = bytearray()
        self.types: list[MessageType] = []


Known = dict[str, dict[int, Source]]  # the sources of each topic or subject by priority
Sent = Callable[[Source, Mapping[MessageType, int], Outgoing], None]  # with how many messages of each type


class Sending:
    """Gathers, frames and sends what one bus publishes."""

    def __init__(
        self, transport: Transport, incarnation: str, clock: Clock, limits: Limits, kept: bool, sent: Sent
    ) -> None:
        """`sent` is told of each frame that is made, before it leaves."""
        self.blocked = True  # until it is started; then whenever too much waits
        self.failed = 0  # messages that were taken and never left
        self.topics: Known = {}
        self.subjects: Known = {}  # of replies
        self.openings: set[asyncio.Task[None]] = set()  # subscriptions of this bus that must be there before we speak
        self._transport = transport
        self._incarnation = incarnation
        self._clock = clock
        self._limits = limits
        self._kept = kept
        self._sent = sent
        self._batch = min(limits.batch_size, MOST_IN_FRAME)
        self._largest = min(limits.message_bytes, transport.capabilities.max_payload - _OVERHEAD)
        self._bytes = min(limits.batch_bytes, self._largest)
        self._made = 0
        self._begun: list[Source] = []
        self._frames: Lanes[Outgoing] = Lanes()
        self._flights: set[asyncio.Task[None]] = set()
        self._flight_room = asyncio.Event()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._busy = False
        self._held_bytes = 0
        self._timer: asyncio.Handle | None = None
        self._turn = 0.0
        self._early = 0
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    # --- the way of a message --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to send."""
        _keep_freed_memory()
        self._loop = asyncio.get_running_loop()
        self._runner = self._loop.create_task(self._run(), name="podium bus sends")
        self.blocked = False
        self._room.set()

    def put(self, message: Message, known: Known, name: str) -> None:
        """Take a message for a topic (of `topics`) or a plain subject (of `subjects`).

        Raises InvalidInputError, PayloadTooLargeError; then nothing was taken. Done for each message: nothing here is
        a function of its own without need.
        """
        try:
            source = known[name][message.priority]
        except KeyError:
            source, message = self._source_for(message, known, name)
        buffer, types = source.buffer, source.types
        size = len(buffer)
        try:
            encode_into(message, buffer, -1)
        except UNENCODABLE as error:
            del buffer[size:]
            raise unencodable(error) from error
        types.append(message.message_type)
        if message.message_id or message.timestamp:
            source.bare = False
        if not size:
            self._begin(source)
        if len(types) >= self._batch or len(buffer) >= self._bytes:
            self._fill(source, size)

    async def room(self, wait: bool) -> None:
        """Wait for room. Raises BackpressureError when there is none, TransportClosedError after the stop."""
        if self._closed:
            raise TransportClosedError("this bus has been shut down")
        if self._runner is None:
            raise MessageBusError("the bus isn't initialised; `await bus.initialize()` before")
        if not wait:
            raise BackpressureError(f"{len(self._frames)} frames wait to be sent; try again later")
        try:
            async with asyncio.timeout(self._limits.patience_seconds):
                while self.blocked and not self._closed:
                    await self._room.wait()
        except TimeoutError:
            raise BackpressureError(
                f"{len(self._frames)} frames wait to be sent, and too few left within "
                f"{self._limits.patience_seconds:g} s; the transport is "
                f"{'connected' if self._transport.connected else 'not connected'}"
            ) from None
        if self._closed:
            raise TransportClosedError("this bus has been shut down")

    async def flush(self) -> None:
        """Wait until all that was published has left, and what goes to a stream is kept there.

        Raises MessageBusError if some of it never will.
        """
        if self._closed:
            raise TransportClosedError("this bus has been shut down")
        failed = self.failed
        self._send_begun()
        while self._waiting():
            self._idle.clear()
            await self._idle.wait()
        if self.failed != failed:
            raise MessageBusError(f"{self.failed - failed} messages couldn't be sent; the log says why")

    async def stop(self, seconds: float) -> None:
        """Send what waits, for at most so long; take nothing more. Safe twice."""
        if not self._closed and self._runner is not None:
            try:
                async with asyncio.timeout(seconds):
                    await self.flush()
            except (TimeoutError, MessageBusError) as error:
                _log.warning("the bus stops with messages that never left", reason=str(error) or "time is over")
        self._closed = self.blocked = True
        self._room.set()
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._flights, *([self._runner] if self._runner is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = self._frames.clear()
        self.failed += sum(frame.count for frame in left)

    @property
    def waiting_frames(self) -> int:
        """How many frames wait or are on their way."""
        return len(self._frames) + len(self._flights)

    # --- gathering -------------------------------------------------------------------------------------------------

    def _source_for(self, message: Message, known: Known, name: str) -> tuple[Source, Message]:
        """Return the source of a message's priority, made if need be, and the message with that as a number."""
        priority: Any = message.priority
        if not isinstance(priority, int):  # a name, which nothing has checked before
            priority = priority_named(str(priority)).value
            message = replace(message, priority=priority)
        lane = lane_of(priority)
        sources = known.get(name) or self._open(known, name)
        source = next((source for source in sources.values() if source.lane is lane), None)
        if source is None:
            is_topic = known is self.topics
            subject = subject_of(name, lane) if is_topic else name
            self._made += 1
            source = Source(f"{self._incarnation}.{self._made}", name, subject, lane, self._kept and is_topic)
        sources[priority] = source
        return source, message

    def _open(self, known: Known, name: str) -> dict[int, Source]:
        check_subject(subject_of(name, Lane.NORMAL) if known is self.topics else name)
        if len(known) >= _MOST_SOURCES:
            # A source that comes back has a new name, so that it may count from 1 again.
            idle = next((key for key, of in known.items() if not any(source.types for source in of.values())), None)
            if idle is None:
                raise BackpressureError(f"{len(known)} topics have messages that wait; try again later")
            del known[idle]
        return known.setdefault(name, {})

    def _begin(self, source: Source) -> None:
        source.began_us = self._clock.now_us()
        self._begun.append(source)
        if self._timer is not None:
            return
        now = self._loop.time()
        if now - self._turn >= LINGER_SECONDS:
            self._turn, self._early = now, 0
        if self._early < _EARLY:
            self._early += 1
            self._timer = self._loop.call_soon(self._send_begun)
        else:
            self._timer = self._loop.call_at(self._turn + LINGER_SECONDS, self._send_begun)

    def _fill(self, source: Source, size: int) -> None:
        """The frame is full with the message that begins at `size`; or it was before, or the message is too large."""
        buffer, types = source.buffer, source.types
        if len(buffer) - size > self._largest:
            large = len(buffer) - size
            del buffer[size:]
            types.pop()
            raise PayloadTooLargeError(f"the message has {large:,} bytes; this bus takes {self._largest:,}")
        if len(buffer) <= self._largest:
            self._seal(source)
            return
        encoded, kind, bare = bytes(buffer[size:]), types.pop(), source.bare
        del buffer[size:]
        self._seal(source)
        source.buffer += encoded
        source.types.append(kind)
        source.bare = bare
        self._begin(source)
        if len(encoded) >= self._bytes:
            self._seal(source)

    def _seal(self, source: Source) -> None:
        """Make a frame of what a source has gathered."""
        types = source.types
        count, first = len(types), source.first
        data = frame_bytes(source.prefix, first, source.began_us, source.bare, count, source.buffer)
        frame = Outgoing(source.subject, data, count, f"{source.name}.{first}" if source.kept else "")
        source.first = first + count
        source.buffer, source.types, source.bare = bytearray(), [], True
        # Mostly all are of one type; counting those is much quicker than a Counter.
        kinds = {types[0]: count} if types.count(types[0]) == count else Counter(types)
        self._sent(source, kinds, frame)
        self._frames.put(source.lane, frame)
        self._held_bytes += len(data)
        self._wake.set()
        if len(self._frames) >= self._limits.frames or self._held_bytes > self._limits.held_bytes:
            self.blocked = True
            self._room.clear()

    def _send_begun(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        begun, self._begun = self._begun, []
        for source in begun:
            if source.types:
                self._seal(source)

    # --- sending ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if self.openings:
                await asyncio.wait(self.openings)
            self._wake.clear()
            while (frame := self._frames.take()) is not None:
                self._busy = True
                await self._send(frame)
                self._busy = False
            self._settled()

    async def _send(self, frame: Outgoing) -> None:
        if not frame.message_id:
            await self._until_taken(frame, self._publish)
            self._let_go(frame)
            return
        while len(self._flights) >= self._limits.in_flight:
            self._flight_room.clear()
            await self._flight_room.wait()
        flight = self._loop.create_task(self._until_taken(frame, self._append), name="podium bus appends")
        self._flights.add(flight)
        flight.add_done_callback(lambda flight: self._landed(flight, frame))

    def _landed(self, flight: asyncio.Task[None], frame: Outgoing) -> None:
        self._flights.discard(flight)
        self._flight_room.set()
        self._let_go(frame)
        self._settled()

    def _let_go(self, frame: Outgoing) -> None:
        self._held_bytes -= len(frame.data)
        few = len(self._frames) <= self._limits.frames // 2 and self._held_bytes <= self._limits.held_bytes // 2
        if few and self.blocked and not self._closed:
            self.blocked = False
            self._room.set()

    async def _until_taken(self, frame: Outgoing, send: Callable[[Outgoing], Awaitable[None]]) -> None:
        """Send a frame, again while the carrier is away or full; an id makes the repetition harmless."""
        tried = 0
        while True:
            try:
                await send(frame)
                return
            except (TransportUnavailableError, BackpressureError) as error:
                if not tried:
                    _log.warning("a frame is sent again", subject=frame.subject, reason=str(error))
            except asyncio.CancelledError:
                self.failed += frame.count
                raise
            except Exception as error:  # noqa: BLE001 - told to whoever flushes; one bad frame must not stop all others
                self.failed += frame.count
                _log.error("messages couldn't be sent", subject=frame.subject, count=frame.count, reason=repr(error))
                return
            await asyncio.sleep(_RETRY_SECONDS[min(tried, len(_RETRY_SECONDS) - 1)])
            tried += 1

    async def _publish(self, frame: Outgoing) -> None:
        await self._transport.publish(frame.subject, frame.data, FRAME_HEADERS)

    async def _append(self, frame: Outgoing) -> None:
        await self._transport.append(frame.subject, frame.data, FRAME_HEADERS, frame.message_id)

    def _waiting(self) -> bool:
        return bool(self._busy or self._flights or len(self._frames))

    def _settled(self) -> None:
        if not self._waiting():
            self._idle.set()


def _keep_freed_memory() -> None:
    """Have the C library keep what it is given back, instead of returning it to the system with each batch of frames.

    glibc raises its limits once a large block was freed. Without that, each frame's memory is mapped anew, which costs
    ten times as much as filling it. Elsewhere this does nothing.
    """
    block = bytes(_LARGE_BLOCK)
    del block
