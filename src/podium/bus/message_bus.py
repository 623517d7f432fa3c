"""The message bus of document 003: messages on topics, over whichever transport a URL names.

`publish` and `subscribe` are all that most need; `request` and `reply` are built of them. Over a transport that keeps
streams the bus is durable: what was published is kept until it is too old, and each group of subscribers gets it all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from podium.bus.codec import JSON_HEADERS, encode_json, topic_of
from podium.bus.dead_letters import DeadLetters
from podium.bus.message import DEFAULT_TOPIC, Message, MessageType
from podium.bus.metering import Meter
from podium.bus.opening import transport_for
from podium.bus.replies import PREFIX, Replies
from podium.bus.sending import Limits, Outgoing, Sending, Source
from podium.bus.subjects import check_name
from podium.bus.subscription import BusSubscription, Links
from podium.bus.topics import STREAM, distinct_topics, place_name, wanted
from podium.bus.transport import Happening, Subscription, Transport
from podium.bus.unheard import Unheard
from podium.clock import Clock, SystemClock
from podium.exceptions import InvalidInputError, MessageBusError, TransportClosedError
from podium.ids import IdSource
from podium.settings import Settings, bus_url, load_settings
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics

_log = get_logger(__name__)

_PLAIN_LIMIT = 8_192  # frames that wait at a subscription without a stream


class MessageBus:
    """Messages between agents: `await bus.initialize()`, then `publish` and `subscribe`; `await bus.shutdown()` last.

    Without a URL the bus is the one of the settings (`PODIUM_BUS`, podium.yaml, …), else it is in memory, and shared by
    all buses of the process. A `transport` that is given is started and stopped with the bus.

    With `durable` (the default where the transport is), messages go to the stream PODIUM_BUS: a message that was
    published is delivered to every group at least once, even if it wasn't there; `flush` waits until it is kept.
    Otherwise, and to subscribers without a group, at most once; what they miss is counted.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        transport: Transport | None = None,
        durable: bool | None = None,
        batch_size: int = 64,
        limits: Limits | None = None,
        settings: Settings | None = None,
        metrics: Metrics | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
    ) -> None:
        """Nothing is connected before `initialize`. `batch_size` is the number of messages of a full frame."""
        given = settings or (Settings() if transport is not None else load_settings())
        self._transport = transport or transport_for(url or bus_url(given) or "memory://", given, self._heard)
        self._durable = durable
        self._limits = limits or Limits(
            batch_size=batch_size, batch_bytes=given.message_bus_batch_size, message_bytes=given.max_message_bytes
        )
        self._clock = clock or SystemClock()
        self._ids = ids or IdSource(self._clock)
        self._incarnation = self._ids.token()
        self._metrics = metrics or Metrics()
        self._meter = Meter(self._metrics, self._clock)
        self._replies = Replies(self._transport, self._incarnation)
        self._unheard = Unheard()
        self._subscriptions: set[BusSubscription] = set()
        self._letters_made = 0
        self._watches: list[Any] = []
        self._starting = asyncio.Lock()
        self._stopping: asyncio.Task[None] | None = None
        self._sending: Sending | None = None
        self.dead_letters = DeadLetters(self._transport, self._clock, self._metrics)

    # --- lifetime --------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Connect. Once more changes nothing. Raises TransportUnavailableError, naming the address."""
        async with self._starting:
            if self._stopping is not None:
                raise TransportClosedError("this bus has been shut down; make another one")
            if self._sending is not None:
                return
            await self._transport.start()
            if self.durable:
                await self._transport.declare(STREAM)
            sending = Sending(
                self._transport, self._incarnation, self._clock, self._limits, self.durable, self._note_sent
            )
            sending.start()
            self._sending = sending
            self._watches = [
                self._metrics.watch("message_bus_connections", lambda: float(self._transport.connected)),
                self._metrics.watch("stream_throughput", lambda: {STREAM.name: self._throughput()}),
                self._metrics.refresh_with(self._refresh_lag),
            ]

    async def shutdown(self, drain_seconds: float = 5.0) -> None:
        """Send what was published, close the subscriptions, disconnect. Safe twice."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(
                self._shut_down(drain_seconds), name="podium bus shuts down"
            )
        await asyncio.shield(self._stopping)

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    @property
    def durable(self) -> bool:
        """Whether what is published on topics is kept in a stream."""
        return self._transport.capabilities.durable if self._durable is None else self._durable

    @property
    def transport(self) -> Transport:
        """What carries the messages."""
        return self._transport

    # --- publishing ------------------------------------------------------------------------------------------------

    async def publish(self, message: Message, topic: str | None = None, *, wait: bool = True) -> None:
        """Publish a message on a topic: the one given, else the message's own, else `agent.messages`.

        When it returns the bus has it; `flush` waits until it has left. Waits while too much waits already, and raises
        BackpressureError if that doesn't get better, or at once without `wait`. Raises InvalidInputError for what
        can't be sent, PayloadTooLargeError, TransportClosedError after the shutdown.
        """
        sending = self._sending or self._not_initialised()
        if sending.blocked:
            await sending.room(wait)
        sending.put(message, sending.topics, topic or message.topic or DEFAULT_TOPIC)

    async def flush(self) -> None:
        """Wait until all that was published has left; in a durable bus: until the stream keeps it.

        Raises MessageBusError if some of it couldn't be sent.
        """
        await (self._sending or self._not_initialised()).flush()

    # --- subscribing -----------------------------------------------------------------------------------------------

    def subscribe(
        self,
        topics: str | Iterable[str] = DEFAULT_TOPIC,
        *,
        group: str = "",
        from_start: bool = False,
        max_deliveries: int = 5,
        prefetch: int = 256,
        redeliver_seconds: float = 60.0,
    ) -> BusSubscription:
        """Return the messages of these topics as an async iterator; `*` stands for a word, a last `>` for the rest.

        Of the subscribers with one `group` one gets each message; in a durable bus the group's place is kept, and one
        that is new begins with what is published from now on, or with all that is kept (`from_start`). Without a group
        each subscriber gets all that is published while it listens. A message that isn't dealt with after
        `max_deliveries` becomes a dead letter. What this bus publishes after this call is heard.

        In a durable bus a group's frames (of up to 64 messages) are fetched ahead, `prefetch` of them, and go to others
        of the group when they aren't dealt with within `redeliver_seconds`: who is slow fetches fewer.
        """
        sending = self._sending or self._not_initialised()
        if self._stopping is not None:
            raise TransportClosedError("this bus has been shut down")
        if from_start and not (group and self.durable):
            raise InvalidInputError("from_start needs a durable bus and a group, whose place in the stream is kept")
        if group:
            check_name(group)
        names = distinct_topics(topics)

        async def listen(subjects: tuple[str, ...]) -> Subscription:
            if not group or not self.durable:
                return await self._transport.subscribe(subjects, group=group, limit=_PLAIN_LIMIT)
            place = place_name(group, subjects)
            return await self._transport.consume(
                STREAM,
                place,
                subjects=subjects,
                limit=prefetch,
                redeliver_seconds=redeliver_seconds,
                start=0 if from_start else -1,
            )

        links = Links(
            clock=self._clock,
            listen=listen,
            letter=self._letter,
            new_source=self._new_source,
            taken=self._note_taken,
            dealt=self._note_dealt,
            closed=self._subscriptions.discard,
        )
        early = [] if group else self._unheard.take(names, self._clock.now_us())
        subscription = BusSubscription(
            names, group, links, max_deliveries=max_deliveries, prefetch=prefetch, early=[*early]
        )
        self._subscriptions.add(subscription)
        sending.openings.add(subscription.opening)
        subscription.opening.add_done_callback(self._opened)
        return subscription

    # --- request and reply -----------------------------------------------------------------------------------------

    async def request(self, message: Message, topic: str | None = None, *, timeout_seconds: float = 5.0) -> Message:
        """Publish a request and return the first answer, which may be of type ERROR.

        Raises RequestTimeoutError when none comes in time, and what `publish` raises.
        """
        self._sending or self._not_initialised()

        async def publish(asking: Message) -> None:
            await self.publish(asking, topic)

        return await self._replies.ask(message, publish, timeout_seconds)

    async def reply(
        self, request: Message, payload: Mapping[str, Any], *, message_type: MessageType = MessageType.RESPONSE
    ) -> None:
        """Answer a request. To others than Podium's buses the answer is a JSON object on the request's `reply_to`.

        Raises InvalidInputError when nobody awaits an answer, and what `publish` raises.
        """
        if not request.reply_to:
            raise InvalidInputError(f"message {request.message_id} has no reply_to: nobody awaits an answer")
        answer = Message(
            sender_id=request.recipient_id,
            recipient_id=request.sender_id,
            message_type=message_type,
            payload=dict(payload),
            priority=request.priority,
            correlation_id=request.correlation_id or request.message_id,
        )
        sending = self._sending or self._not_initialised()
        if sending.blocked:
            await sending.room(wait=True)
        if request.reply_to.startswith(PREFIX):
            sending.put(answer, sending.subjects, request.reply_to)
        else:
            await self._transport.publish(request.reply_to, encode_json(answer), JSON_HEADERS)

    # --- looking ---------------------------------------------------------------------------------------------------

    async def get_metrics(self) -> dict[str, Any]:
        """Return what passes here: `throughput_per_second` (of the last ten seconds), `active_consumers`, messages
        `sent`, `received`, `lost`, `failed`, `dead_letters`, frames that wait (`consumer_lag`; None while the
        carrier can't say), and the latency's percentiles in milliseconds (upper bounds of their buckets).
        """
        sending = self._sending
        return {
            **self._meter.figures(),
            "active_consumers": len(self._subscriptions),
            "lost": sum(subscription.lost for subscription in self._subscriptions),
            "failed": sending.failed if sending is not None else 0,
            "waiting_frames": sending.waiting_frames if sending is not None else 0,
            "consumer_lag": await self._lag(),
            "connected": self._transport.connected,
            "transport": self._transport.name,
            "durable": self.durable,
        }

    # --- the inside ------------------------------------------------------------------------------------------------

    def _not_initialised(self) -> Sending:
        if self._stopping is not None:
            raise TransportClosedError("this bus has been shut down")
        raise MessageBusError("the bus isn't initialised; `await bus.initialize()` before")

    async def _shut_down(self, drain_seconds: float) -> None:
        async with self._starting:
            if self._sending is not None:
                await self._sending.stop(drain_seconds)
            for subscription in tuple(self._subscriptions):
                await subscription.aclose()
            await self._replies.stop()
            for end in self._watches:
                end()
            await self._transport.stop(drain_seconds)

    def _note_sent(self, source: Source, types: Mapping[MessageType, int], frame: Outgoing) -> None:
        self._meter.count_sent(source.topic, types, frame.count)
        if not source.topic.startswith(PREFIX) and not self._heard_here(source.topic):
            self._unheard.add(frame.subject, frame.data, source.began_us)

    def _heard_here(self, topic: str) -> bool:
        return any(wanted(subscription.topics, topic) for subscription in self._subscriptions)

    def _note_taken(self, subject: str, count: int, way_ms: float) -> None:
        self._meter.count_received(count, way_ms)

    def _note_dealt(self, subject: str, count: int, each_ms: float) -> None:
        self._meter.count_dealt_with(topic_of(subject), count, each_ms)

    async def _letter(self, reason: str, subject: str, headers: dict[str, str], data: bytes, message_id: str) -> int:
        letter = await self.dead_letters.put(reason, subject, headers, data, message_id=message_id)
        self._meter.dead_letters += 1
        return letter

    def _new_source(self) -> str:
        self._letters_made += 1
        return f"{self._incarnation}.d{self._letters_made}"

    def _opened(self, opening: asyncio.Task[None]) -> None:
        if self._sending is not None:
            self._sending.openings.discard(opening)
        if not opening.cancelled() and (error := opening.exception()) is not None:
            _log.error("a subscription can't be made", reason=repr(error))

    def _throughput(self) -> float:
        return self._meter.figures()["throughput_per_second"]

    async def _lag(self) -> int | None:
        """Return how many frames wait for the subscribers; None while the carrier can't say."""
        try:
            return sum([await subscription.lag() for subscription in tuple(self._subscriptions)])
        except MessageBusError:
            return None

    async def _refresh_lag(self) -> None:
        for subscription in tuple(self._subscriptions):
            name = subscription.group or ",".join(subscription.topics)
            self._metrics.gauge("consumer_lag", name).set(float(await subscription.lag()))

    def _heard(self, happening: Happening, details: str) -> None:
        if happening is Happening.RECONNECTED:
            self._metrics.counter("podium_bus_reconnects_total").inc()
