"""The transport in memory: the same promises as over a network, in one process. Its twin is `podium.bus.nats`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from podium.bus import subjects as rules
from podium.bus.arrivals import Said
from podium.bus.memory.carrier import MemoryCarrier
from podium.bus.memory.consuming import Reading
from podium.bus.memory.subscriptions import Consuming, Listening
from podium.bus.transport import Capabilities, Delivery, Happening, Heard, Promises, Stream, Subscription
from podium.exceptions import (
    BackpressureError,
    RequestTimeoutError,
    TransportClosedError,
    TransportUnavailableError,
)
from podium.telemetry.logs import get_logger

_log = get_logger(__name__)
MAX_PENDING_BYTES = 8 << 20  # that are said while the carrier is away
_TURN = 64  # messages that one says before others have their turn


class MemoryTransport:
    """One connection to a carrier in memory."""

    name = "memory"

    def __init__(
        self,
        carrier: MemoryCarrier | None = None,
        heard: Heard | None = None,
        *,
        timeout_seconds: float = 5.0,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        """Without a carrier it is alone with itself. `timeout_seconds` bounds what waits for a carrier that is away."""
        self.carrier = carrier or MemoryCarrier()
        self.capabilities = Capabilities(
            durable=False, ordered=True, groups=True, replay=True, max_payload=self.carrier.max_payload
        )
        self.connected = False
        self._heard = heard
        self._timeout_seconds = timeout_seconds
        self._max_pending_bytes = max_pending_bytes
        self._started = False
        self._stopping: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._up = asyncio.Event()
        self._listening: set[Listening] = set()
        self._consuming: set[Consuming] = set()
        self._declared: dict[str, Stream] = {}
        self._pending: deque[tuple[str, bytes, Mapping[str, str], str]] = deque()
        self._pending_bytes = 0
        self._inboxes = 0
        self._said = 0

    # --- the connection --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect."""
        if self._stopping is not None:
            raise TransportClosedError
        if self._started:
            return
        self._loop = asyncio.get_running_loop()
        self.carrier.enter(self)
        if self.carrier.up:
            self._up.set()
        try:
            await self._reachable()
        except TransportUnavailableError:
            self.carrier.leave(self)
            raise
        self._started = self.connected = True
        self._tell(Happening.CONNECTED, self._address)

    async def stop(self, drain_seconds: float = 5.0) -> None:
        """Disconnect, when what has arrived was taken or the time is over."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(drain_seconds), name="memory transport stops")
        await asyncio.shield(self._stopping)

    async def _stop(self, drain_seconds: float) -> None:
        if not self._started:
            return
        listenings, consumings = list(self._listening), list(self._consuming)
        subscriptions: list[Listening | Consuming] = [*listenings, *consumings]
        await asyncio.gather(*(subscription.stop() for subscription in subscriptions))
        read = [subscription.arrivals.emptied() for subscription in subscriptions if subscription.arrivals.read]
        try:
            async with asyncio.timeout(drain_seconds):
                await asyncio.gather(*read)
        except TimeoutError:
            _log.warning("a transport stops with messages that nobody took", transport=self._address)
        for consuming in consumings:
            consuming.give_back()
        for listening in listenings:
            listening.arrivals.clear()
        self.carrier.leave(self)
        self.connected = False
        self._tell(Happening.CLOSED, self._address)

    async def promises(self) -> Promises:
        """Return what memory promises."""
        return Promises(
            carrier=f"memory of this process, {self._address}",
            process_kill="streams and messages are gone: they are in the memory of the process",
            machine_loss="streams and messages are gone",
            amnesia="what the bus forgets is made good from the store; streams and consumers are made again",
            replicas=1,
            sync_seconds=None,
        )

    # --- plain subjects --------------------------------------------------------------------------------------------

    async def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Say it to whoever listens now."""
        rules.check_subject(subject)
        if reply:
            rules.check_subject(reply)
        rules.check_size(data, headers, self.capabilities.max_payload)
        self._must_be_open()
        if self.carrier.up and not self._pending:
            self.carrier.say(subject, data, dict(headers or {}), reply)
            self._said += 1
            if self._said % _TURN == 0:
                await asyncio.sleep(0)  # readers on this loop get their turn, however much is said
            return
        if self._pending_bytes + len(data) > self._max_pending_bytes:
            raise BackpressureError(f"{self._address} is away, and {self._pending_bytes:,} bytes wait for it")
        self._pending.append((subject, data, dict(headers or {}), reply))
        self._pending_bytes += len(data)

    async def request(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, timeout_seconds: float = 5.0
    ) -> Delivery:
        """Say it and return the first answer."""
        rules.check_subject(subject)
        self._must_be_open()
        if self.carrier.up and not self.carrier.heard(subject):
            raise RequestTimeoutError(f"nobody listens on {subject}")
        self._inboxes += 1
        inbox = f"_INBOX.{id(self):x}.{self._inboxes}"
        listening = Listening(self.carrier, (inbox,), "", 1, self._tell, self._listening.discard)
        try:
            await self.publish(subject, data, headers, inbox)
            async with asyncio.timeout(timeout_seconds):
                return (await listening.next(1))[0]
        except TimeoutError:
            raise RequestTimeoutError(f"no answer on {subject} within {timeout_seconds:g} s") from None
        finally:
            await listening.stop()

    async def subscribe(self, subjects: str | tuple[str, ...], *, group: str = "", limit: int = 65_536) -> Subscription:
        """Hear what is said on these subjects from now on."""
        patterns = (subjects,) if isinstance(subjects, str) else tuple(subjects)
        rules.check_patterns(patterns)
        rules.check_limit(limit)
        if group:
            rules.check_name(group)
        await self._reachable()
        listening = Listening(self.carrier, patterns, group, limit, self._tell, self._listening.discard)
        self._listening.add(listening)
        return listening

    # --- streams ---------------------------------------------------------------------------------------------------

    async def append(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, message_id: str = ""
    ) -> int:
        """Say it on a subject of a stream, and return its sequence there."""
        rules.check_subject(subject)
        rules.check_size(data, headers, self.capabilities.max_payload)
        await self._reachable()
        return self.carrier.append(subject, data, dict(headers or {}), rules.check_message_id(message_id))

    async def consume(
        self,
        stream: Stream,
        name: str,
        *,
        subjects: tuple[str, ...] = (),
        limit: int = 1_024,
        redeliver_seconds: float = 30.0,
        max_deliveries: int = -1,
        start: int = 0,
    ) -> Subscription:
        """Read a stream under a durable name."""
        rules.check_place(stream, name, subjects, start, limit)
        await self.declare(stream)
        reading = Reading(subjects, redeliver_seconds, max_deliveries)
        consuming = Consuming(self.carrier, stream, name, reading, start, limit, self._consuming.discard)
        self._consuming.add(consuming)
        return consuming

    async def declare(self, stream: Stream) -> None:
        """Have a stream."""
        rules.check_stream(stream)
        await self._reachable()
        self.carrier.declare(stream)
        self._declared[stream.name] = stream

    async def read(self, stream: Stream, after: int = 0, limit: int = 100) -> list[Delivery]:
        """Return kept messages above a sequence."""
        await self._reachable()
        with self.carrier.lock:
            found = [kept for kept in self.carrier.log(stream.name).kept.values() if kept.sequence > after][:limit]
        return [Said(k.subject, k.data, dict(k.headers), "", 1, k.sequence, k.published_us) for k in found]

    async def remove(self, stream: Stream, sequence: int) -> bool:
        """Delete one kept message."""
        await self._reachable()
        with self.carrier.lock:
            return self.carrier.log(stream.name).remove(sequence)

    # --- what the carrier tells ------------------------------------------------------------------------------------

    def went_down(self) -> None:
        """The carrier is gone."""
        self._on_loop(self._disconnected)

    def came_up(self) -> None:
        """The carrier is there again."""
        self._on_loop(self._reconnected)

    def forgot(self) -> None:
        """The carrier has lost streams."""
        self._on_loop(self._make_again)

    def _disconnected(self) -> None:
        if self.carrier.up:
            return
        self._up.clear()
        if self._started and self.connected:
            self.connected = False
            self._tell(Happening.DISCONNECTED, self._address)

    def _reconnected(self) -> None:
        if not self.carrier.up:
            return
        self._up.set()
        if not self._started or self._stopping is not None:
            return
        self._make_again()
        while self._pending and self.carrier.up:
            subject, data, headers, reply = self._pending.popleft()
            self._pending_bytes -= len(data)
            self.carrier.say(subject, data, headers, reply)
        if not self.connected:
            self.connected = True
            self._tell(Happening.RECONNECTED, self._address)

    def _make_again(self) -> None:
        """Have the streams and places again that the carrier has lost; all this transport has declared."""
        if not self.carrier.up or self._stopping is not None:
            return
        with self.carrier.lock:
            lost = {name for name, stream in self._declared.items() if self.carrier.declare(stream)}
            for consuming in self._consuming:
                if not self.carrier.has_place(consuming.stream.name, consuming.place):
                    consuming.make_again()
                    lost.add(consuming.stream.name)
        for name in sorted(lost):
            self._tell(Happening.AMNESIA, f"{self._address} had lost stream {name}; it was made again and is empty")

    def _on_loop(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    # --- small things ----------------------------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return f"memory://{self.carrier.name}"

    def _must_be_open(self) -> None:
        if self._stopping is not None or not self._started:
            raise TransportClosedError(f"the transport to {self._address} isn't started, or was stopped")

    async def _reachable(self) -> None:
        """Wait for the carrier. Raises TransportUnavailableError when it stays away."""
        if self._loop is None or self._stopping is not None:
            raise TransportClosedError(f"the transport to {self._address} isn't started, or was stopped")
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._up.wait()
        except TimeoutError:
            raise TransportUnavailableError(
                f"{self._address} can't be reached within {self._timeout_seconds:g} s"
            ) from None

    def _tell(self, happening: Happening, details: str) -> None:
        # Who is told says it in words of its own; where nobody is, this line is all there is.
        quiet = self._heard is not None or happening in (Happening.CONNECTED, Happening.CLOSED)
        (_log.debug if quiet else _log.warning)(f"the bus: {happening.value}", details=details)
        if self._heard is not None:
            self._heard(happening, details)
