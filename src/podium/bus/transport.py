"""The transport protocol: how bytes get from one process to others, whatever carries them.

A subject is words with dots (`mcp.agent.a1.task`); `*` stands for one word, `>` for the rest. `publish` and `subscribe`
are fast and forgetful: who isn't there hears nothing. A `Stream` keeps what is said on its subjects until it is
consumed or too old; `append` returns when it is kept. The docstrings are law: `podium.testing.bus` checks each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

MAX_PAYLOAD = 1 << 20  # bytes of a message, unless the carrier says otherwise


class Capabilities(Struct, frozen=True):
    """What a transport can do; what it can't raises NotSupported."""

    durable: bool  # streams survive the processes that speak, and the carrier's own restart
    ordered: bool  # what one sender says on one subject arrives in that order
    groups: bool  # of the subscribers with one group name one hears each message
    replay: bool  # streams can be read again from any sequence
    max_payload: int = MAX_PAYLOAD


class Stream(Struct, frozen=True):
    """What is kept of some subjects. `work` ones lose a message once it is acknowledged, others once it is too old.

    A full `work` stream refuses more (BackpressureError at `append`), any other one forgets its oldest.
    """

    name: str  # letters, digits, `_`
    subjects: tuple[str, ...]
    work: bool = False
    max_age_seconds: float = 7 * 86_400.0
    max_bytes: int = 1 << 30
    duplicate_seconds: float = 120.0  # for so long a second `append` with the same `message_id` changes nothing


class Delivery(Protocol):
    """A message that arrived. One from a stream comes again until `ack` or `reject`; of others these do nothing."""

    subject: str
    data: bytes
    headers: Mapping[str, str]  # empty, never None
    reply: str  # where an answer is awaited; empty: nowhere
    attempt: int  # 1 at the first delivery, more at each redelivery
    sequence: int  # in its stream, from 1; 0 outside of streams
    published_us: int  # when the carrier took it, as far as it says; else 0

    def ack(self) -> None:
        """It is dealt with: don't deliver it again. Never blocks; if it is lost, the message comes again."""
        ...

    def nack(self, delay_seconds: float = 0.0) -> None:
        """It isn't dealt with: deliver it again, not before the delay. Never blocks."""
        ...

    def reject(self) -> None:
        """It can't be dealt with: never deliver it again, though it isn't done. Never blocks."""
        ...


class Subscription(Protocol):
    """Messages as they come. Bounded: of a stream no more than its limit is fetched ahead; of plain subjects what
    doesn't fit is dropped, counted in `lost` and logged.
    """

    lost: int

    async def next(self, limit: int = 256) -> list[Delivery]:
        """Wait for the next messages and return at least one, at most so many, in order.

        After `stop` what has arrived is still returned, then TransportClosedError is raised; likewise when the
        transport stops.
        """
        ...

    async def lag(self) -> int:
        """Return how many messages wait: fetched and not returned yet, and of a stream those not fetched yet."""
        ...

    async def stop(self) -> None:
        """Take nothing new. What was fetched from a stream and isn't acknowledged comes again. Safe twice."""
        ...


class Happening(StrEnum):
    """What becomes of the connection, told to whoever watches the transport."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    RECONNECTED = "reconnected"  # messages may have been lost; streams and consumers are there again
    AMNESIA = "amnesia"  # the carrier had lost a stream or a consumer; it was made again, what it held is gone
    SLOW_CONSUMER = "slow_consumer"
    ERROR = "error"
    CLOSED = "closed"


Heard = Callable[[Happening, str], None]  # with details in words; called on the loop's thread, must not block


class Promises(Struct, frozen=True):
    """What a transport really promises, for the durability report. Texts are sentences without a full stop."""

    carrier: str  # "NATS 2.15.1 at 127.0.0.1:4222"
    process_kill: str  # "streams survive: they are on disk in .podium/nats"
    machine_loss: str  # "the last 2 minutes may be lost: sync_interval is 2m0s and there is one replica"
    amnesia: str  # what Podium does when the carrier forgets
    replicas: int = 1
    sync_seconds: float | None = None  # 0 is before each acknowledgement, None is unknown
    notes: tuple[str, ...] = ()  # what isn't enforced here, for example


class Transport(Protocol):
    """One connection to a carrier. All methods belong to the event loop that `start` was called on."""

    name: str  # memory, nats, kafka, redis
    capabilities: Capabilities
    connected: bool

    async def start(self) -> None:
        """Connect. Once more changes nothing. Raises TransportUnavailableError, naming the address, after its
        connection time-out; later losses are mended by itself, for ever.
        """
        ...

    async def stop(self, drain_seconds: float = 5.0) -> None:
        """Send what was published, let subscriptions return what has arrived, disconnect. Safe twice, and at once."""
        ...

    async def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Say it to whoever listens now. Waits while the buffer to the carrier is full; during a lost connection
        raises BackpressureError once that is full. Raises PayloadTooLargeError (headers count), InvalidInputError for
        a bad subject or a header that couldn't come back as it was (`Nats-` ones are the carrier's),
        TransportClosedError.
        """
        ...

    async def append(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, message_id: str = ""
    ) -> int:
        """Say it on a subject of a stream, and return its sequence there once the carrier has kept it.

        A repetition of a `message_id` within the stream's duplicate time returns the first one's sequence and keeps
        nothing. Raises BackpressureError when a work stream is full, TransportUnavailableError when no answer came in
        time (it may be kept: say it again with the same id) or no stream has the subject.
        """
        ...

    async def request(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, timeout_seconds: float = 5.0
    ) -> Delivery:
        """Say it and return the first answer. Raises RequestTimeoutError, at once if it is known that nobody hears."""
        ...

    async def subscribe(self, subjects: str | tuple[str, ...], *, group: str = "", limit: int = 65_536) -> Subscription:
        """Hear what is said on these subjects from now on; with a `group` shared with the others of that name.

        One's own messages are heard too. When this returns, the carrier knows. Raises InvalidInputError for a bad
        pattern and for two that overlap (a message would come twice), MessageBusError if the carrier doesn't let us.
        """
        ...

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
        """Read a stream under a durable name: the place is kept by the carrier, and several that use one name share.

        `subjects` leaves out the others (default: all of the stream's). What isn't acknowledged within
        `redeliver_seconds` comes again, at most `max_deliveries` times (-1: for ever). `start` is the sequence that a
        new name begins with (0: all that is kept; -1: what is appended from now on). Declares the stream if it isn't
        there, and both again when the carrier has lost them. At most `limit` messages are fetched ahead.
        """
        ...

    async def declare(self, stream: Stream) -> None:
        """Have a stream; one that is there is brought to these settings. It is made again when it is lost."""
        ...

    async def read(self, stream: Stream, after: int = 0, limit: int = 100) -> list[Delivery]:
        """Return kept messages with a sequence above `after`, in order, without consuming them."""
        ...

    async def remove(self, stream: Stream, sequence: int) -> bool:
        """Delete one kept message; False if it isn't there."""
        ...

    async def promises(self) -> Promises:
        """Return what this carrier, as it is set up, promises."""
        ...
