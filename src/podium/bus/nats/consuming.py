"""Reading a JetStream stream under a durable name, with requests that overlap so that messages never stop coming.

The consumer pulls: whenever less than half of its limit is on the way, it asks for what there is room for. The server
answers each request with messages, heartbeats while there are none, and a status when the request is over. Silence, or
a status that says that the consumer is gone, has the transport look, and make again what was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from msgspec import Struct

from podium.bus.arrivals import Arrivals
from podium.bus.nats.client import PodiumClient
from podium.bus.nats.streams import Streams
from podium.bus.nats.wire import header_number, headers_of, place_of, publishing, status_of
from podium.bus.transport import Delivery, Stream

HEARTBEAT_SECONDS = 1.0  # of the server, while it has nothing for us
SILENCE_SECONDS = 3.5  # without any sign: something is wrong
EXPIRY_SECONDS = 10.0  # of a request: so long one that stands still may be given what others could take
# Of a request, and of what is fetched before more is asked for. A server cuts off who has 64 MiB on the way to him.
MAX_BYTES = 8 << 20
_NS = 1_000_000_000
_HEARTBEAT = 100
_NO_RESPONDERS = 503
_GONE = ("Deleted", "Shutdown", "Leadership")


class Fetched(Struct):
    """A message of a stream as it came: a Delivery."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    attempt: int
    sequence: int
    published_us: int
    place: str  # where its acknowledgement goes
    client: PodiumClient
    reply: str = ""

    def ack(self) -> None:
        """It is dealt with."""
        self._settle(b"+ACK")

    def nack(self, delay_seconds: float = 0.0) -> None:
        """It comes again, not before the delay."""
        if delay_seconds > 0:
            self._settle(b'-NAK {"delay": %d}' % round(delay_seconds * _NS))
        else:
            self._settle(b"-NAK")

    def reject(self) -> None:
        """It never comes again."""
        self._settle(b"+TERM")

    def _settle(self, word: bytes) -> None:
        self.client.acknowledge(publishing(self.place, "", word, None))


class Consuming:
    """One reader of a durable consumer."""

    lost = 0

    def __init__(
        self,
        client: PodiumClient,
        streams: Streams,
        inbox: str,
        stream: Stream,
        name: str,
        subjects: tuple[str, ...],
        limit: int,
        redeliver_seconds: float,
        max_deliveries: int,
        trouble: Callable[[], None],
        ended: Callable[[Consuming], None],
    ) -> None:
        """`trouble` is called when the consumer seems to be gone, the transport then calls `restore`; `ended` when it
        has stopped.
        """
        self.arrivals: Arrivals[Fetched] = Arrivals(limit, self._pull, max_bytes=1 << 62)
        self.stream = stream
        self._client = client
        self._streams = streams
        self._name = name
        self._subjects = subjects
        self._redeliver_seconds = redeliver_seconds
        self._max_deliveries = max_deliveries
        self._trouble = trouble
        self._ended = ended
        self._max_bytes = max(MAX_BYTES, 2 * client.max_payload)
        self._ask_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream.name}.{name}"
        self._inbox = inbox
        self._round = 0  # goes up when all requests are given up; each has a subject of its own
        self._sids: list[int] = []  # of this round and of those before, whose stragglers still come
        self._awaited = 0  # messages that open requests may still bring
        self._created = ""
        self._heard_at = asyncio.get_running_loop().time()
        self._watch: asyncio.TimerHandle | None = None

    async def begin(self, start: int) -> None:
        """Have the consumer and ask for the first messages."""
        self._created = await self._have(start)
        self._ask_anew()

    async def restore(self) -> bool:
        """Have the consumer again after trouble, and ask anew; return whether it was lost."""
        if self.arrivals.closed:
            return False
        before, self._created = self._created, await self._have(0)
        self._ask_anew()
        return before != self._created

    async def next(self, limit: int = 256) -> list[Delivery]:
        """Return what has been fetched, at least one."""
        return [*await self.arrivals.take(limit)]

    async def lag(self) -> int:
        """Return how many wait, here and in the stream."""
        return len(self.arrivals) + await self._streams.unread(self.stream, self._name)

    async def stop(self) -> None:
        """Fetch nothing new; what was on its way goes back to the stream."""
        if self.arrivals.closed:
            return
        self.arrivals.close()
        if self._watch is not None:
            self._watch.cancel()
        self._client.unlisten(self._sids[-1])
        if self._client.is_connected:
            await self._client.answered(SILENCE_SECONDS)
        for sid in self._sids:
            self._client.forget(sid)
        self._ended(self)

    def give_back(self) -> None:
        """Let others have what nobody has seen here."""
        for fetched in self.arrivals.clear():
            fetched.nack()

    async def _have(self, start: int) -> str:
        return await self._streams.place(
            self.stream, self._name, self._subjects, self._redeliver_seconds, self._max_deliveries, start
        )

    def _ask_anew(self) -> None:
        """Give up all requests (the server drops those that nobody listens for) and begin a new round."""
        if self.arrivals.closed:
            return
        self._round += 1
        for sid in self._sids[:-1]:
            self._client.forget(sid)
        for sid in self._sids[-1:]:
            self._client.unlisten(sid)
        sink = partial(self._arrived, self._round)
        self._sids = [*self._sids[-1:], self._client.listen(f"{self._inbox}.{self._round}", "", sink)]
        self._awaited = 0
        self._heard_at = self.arrivals.loop.time()
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self.arrivals.loop.call_later(HEARTBEAT_SECONDS, self._look)
        self._pull()

    def _pull(self) -> None:
        arrivals = self.arrivals
        if arrivals.closed or self._awaited * 2 > arrivals.limit or arrivals.bytes > self._max_bytes:
            return
        room = arrivals.limit - len(arrivals) - self._awaited
        if room < 1 or (room * 4 < arrivals.limit and self._awaited) or not self._client.is_connected:
            return
        self._awaited += room
        body = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d,"max_bytes":%d}' % (
            room,
            EXPIRY_SECONDS * _NS,
            HEARTBEAT_SECONDS * _NS,
            self._max_bytes,
        )
        self._client.write_soon(publishing(self._ask_subject, f"{self._inbox}.{self._round}", body, None))

    def _arrived(self, round_: int, subject: str, reply: str, data: bytes, headers: bytes) -> None:
        place = place_of(reply)
        if place is None:
            if round_ == self._round and not self.arrivals.closed:
                self._over(headers)
            return
        fetched = Fetched(
            subject,
            data,
            headers_of(headers),
            place.attempt,
            place.sequence,
            place.published_us,
            reply,
            self._client,
        )
        if not self.arrivals.offer(fetched):
            fetched.nack()
        if round_ == self._round:
            self._heard_at = self.arrivals.loop.time()
            self._awaited = max(0, self._awaited - 1)
            if self._awaited * 2 <= self.arrivals.limit:
                self._pull()

    def _over(self, headers: bytes) -> None:
        """A status: a sign of life, or the end of a request."""
        status, words = status_of(headers)
        self._heard_at = self.arrivals.loop.time()
        if status in (0, _HEARTBEAT):
            return
        self._awaited = max(0, self._awaited - header_number(headers, b"Nats-Pending-Messages"))
        if status == _NO_RESPONDERS or any(word in words for word in _GONE):
            self._awaited = self.arrivals.limit  # no more requests until the transport has looked
            self._trouble()
        elif "MaxWaiting" not in words:  # then the next look asks
            self._pull()

    def _look(self) -> None:
        if self.arrivals.closed:
            return
        loop = self.arrivals.loop
        self._watch = loop.call_later(HEARTBEAT_SECONDS, self._look)
        if not self._client.is_connected:
            self._heard_at = loop.time()
        elif self._awaited and loop.time() - self._heard_at > SILENCE_SECONDS:
            self._heard_at = loop.time()
            self._trouble()
        else:
            self._pull()
