"""The transport over NATS. Its twin is `podium.bus.memory`; what JetStream is asked for stands in `streams`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from nats import errors

from podium.bus import subjects as rules
from podium.bus.arrivals import Said
from podium.bus.nats.asking import NO_RESPONDERS, Answer, ConnectionLost, Questions
from podium.bus.nats.client import MAX_PENDING_BYTES, PodiumClient
from podium.bus.nats.connecting import connect, inbox_prefix
from podium.bus.nats.consuming import Consuming
from podium.bus.nats.settings import NatsSettings
from podium.bus.nats.streams import Streams, sequence_of
from podium.bus.nats.subscriptions import Listening
from podium.bus.nats.wire import MESSAGE_ID, headers_of, publishing
from podium.bus.transport import Capabilities, Delivery, Happening, Heard, Promises, Stream, Subscription
from podium.exceptions import (
    BackpressureError,
    InvalidInputError,
    MessageBusError,
    NotSupported,
    RequestTimeoutError,
    TransportClosedError,
    TransportUnavailableError,
)
from podium.ids import IdSource
from podium.telemetry.logs import get_logger

_log = get_logger(__name__)
_MEND_SECONDS = 0.25  # before lost streams are tried again, twice as long each time up to
_MEND_MOST_SECONDS = 4.0
_LOOK_SECONDS = 10.0  # between two looks at the streams: of those that nobody reads here the loss would go unnoticed
_DEFAULT_SYNC_SECONDS = 120.0  # of a nats-server that isn't told otherwise


class NatsTransport:
    """One connection to a NATS server or cluster."""

    name = "nats"

    def __init__(
        self, settings: NatsSettings | None = None, heard: Heard | None = None, *, sync_seconds: float | None = None
    ) -> None:
        """`sync_seconds` is the server's sync_interval if it is known: clients can't ask for it."""
        self.settings = settings or NatsSettings()
        self.capabilities = Capabilities(durable=True, ordered=True, groups=True, replay=True)
        self.connected = False
        self._heard = heard
        self._sync_seconds = sync_seconds
        self._answer_seconds = self.settings.answer_timeout_ms / 1_000
        self._starting = asyncio.Lock()
        self._stopping: asyncio.Task[None] | None = None
        self._link: PodiumClient | None = None
        self._questions: Questions
        self._streams: Streams
        self._inbox = ""
        self._consumers = 0
        self._up = asyncio.Event()
        self._listening: set[Listening] = set()
        self._consuming: set[Consuming] = set()
        self._declared: dict[str, tuple[Stream, str]] = {}  # by name, and when the server made it
        self._mending: asyncio.Task[None] | None = None
        self._mend_once_more = False
        self._looking: asyncio.Task[None] | None = None

    # --- the connection --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect."""
        async with self._starting:
            if self._stopping is not None:
                raise TransportClosedError(f"the transport to {self.settings.address} was stopped")
            if self._link is not None:
                return
            link = await connect(self.settings, self._disconnected, self._reconnected, self._closed, self._failed)
            self._inbox = f"{inbox_prefix(self.settings)}.{IdSource().token()}"
            self._questions = Questions(link, f"{self._inbox}.q")
            self._streams = Streams(
                self._questions, self.settings.address, self._answer_seconds, self.settings.replicas
            )
            durable = bool(link._server_info.get("jetstream"))
            self.capabilities = Capabilities(
                durable=durable, ordered=True, groups=True, replay=durable, max_payload=link.max_payload
            )
            self._link = link
            self.connected = True
            self._up.set()
            self._looking = asyncio.create_task(self._look_at_streams(), name="NATS streams are looked at")
            self._tell(Happening.CONNECTED, self.settings.address)

    async def stop(self, drain_seconds: float = 5.0) -> None:
        """Send what was published, let subscriptions return what has arrived, disconnect."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(drain_seconds), name="NATS transport stops")
        await asyncio.shield(self._stopping)

    async def _stop(self, drain_seconds: float) -> None:
        async with self._starting:
            pass
        if self._link is None:
            return
        for task in (self._mending, self._looking):
            if task is not None:
                task.cancel()
        listenings, consumings = list(self._listening), list(self._consuming)
        subscriptions: list[Listening | Consuming] = [*listenings, *consumings]
        await asyncio.gather(*(subscription.stop() for subscription in subscriptions))
        read = [subscription.arrivals.emptied() for subscription in subscriptions if subscription.arrivals.read]
        try:
            async with asyncio.timeout(drain_seconds):
                await asyncio.gather(*read)
        except TimeoutError:
            _log.warning("a transport stops with messages that nobody took", transport=self.settings.address)
        for consuming in consumings:
            consuming.give_back()
        for listening in listenings:
            listening.arrivals.clear()
        if self._link.is_connected:
            await self._link.answered(max(0.1, drain_seconds))
        self.connected = False
        self._questions.lose("the transport was stopped")
        await self._link.end()
        self._tell(Happening.CLOSED, self.settings.address)

    async def promises(self) -> Promises:
        """Return what the server promises, as far as it says."""
        link = self._client
        await self._reachable()
        info = link._server_info
        replicas = min([await self._streams.replicas(name) for name in self._declared], default=self.settings.replicas)
        sync = _DEFAULT_SYNC_SECONDS if self._sync_seconds is None else self._sync_seconds
        assumed = " (the server's default; clients can't ask)" if self._sync_seconds is None else ""
        if replicas > 1:
            machine = f"streams survive: there are {replicas} replicas"
        elif sync == 0:
            machine = "what was acknowledged is on the disk; a lost disk loses it, there is one replica"
        else:
            lost = "the last second" if sync == 1 else f"the last {sync:g} seconds"
            machine = f"{lost} may be lost: sync_interval is {sync:g} s{assumed}, with one replica"
        return Promises(
            carrier=f"NATS {info.get('version', '?')} at {self.settings.address}",
            process_kill="streams survive: the server has written them to its files"
            if self.capabilities.durable
            else "nothing survives: JetStream isn't on",
            machine_loss=machine if self.capabilities.durable else "nothing survives: JetStream isn't on",
            amnesia="streams and consumers are made again, and what they held is made good from the store",
            replicas=replicas,
            sync_seconds=self._sync_seconds,
            notes=() if info.get("auth_required") else ("the server lets anybody in who reaches it",),
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
        link = self._client
        if link.pending_data_size + len(data) > MAX_PENDING_BYTES:
            await self._room(link, len(data))
        link.write_soon(publishing(subject, reply, data, headers))

    async def request(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, timeout_seconds: float = 5.0
    ) -> Delivery:
        """Say it and return the first answer."""
        rules.check_subject(subject)
        rules.check_size(data, headers, self.capabilities.max_payload)
        link = self._client
        if link.pending_data_size + len(data) > MAX_PENDING_BYTES:
            await self._room(link, len(data))
        try:
            answer = await self._questions.ask(subject, data, headers, timeout_seconds, fragile=False)
        except TimeoutError:
            raise RequestTimeoutError(f"no answer on {subject} within {timeout_seconds:g} s") from None
        if answer.status == NO_RESPONDERS:
            raise RequestTimeoutError(f"nobody listens on {subject}")
        return Said(answer.subject, answer.data, headers_of(answer.headers), answer.reply)

    async def subscribe(self, subjects: str | tuple[str, ...], *, group: str = "", limit: int = 65_536) -> Subscription:
        """Hear what is said on these subjects from now on."""
        patterns = (subjects,) if isinstance(subjects, str) else tuple(subjects)
        rules.check_patterns(patterns)
        rules.check_limit(limit)
        if group:
            rules.check_name(group)
        link = self._client
        await self._reachable()
        listening = Listening(link, patterns, group, limit, self._tell, self._listening.discard, self._answer_seconds)
        self._listening.add(listening)
        if not await link.answered(self._answer_seconds) and not link.is_connected:
            await self._reachable()  # the client renews its subscriptions when it reconnects
        if listening.refused:
            listening.abandon()
            raise MessageBusError(f"NATS at {self.settings.address} doesn't let us hear {', '.join(patterns)}")
        return listening

    # --- streams ---------------------------------------------------------------------------------------------------

    async def append(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, message_id: str = ""
    ) -> int:
        """Say it on a subject of a stream, and return its sequence there once the server has kept it."""
        rules.check_subject(subject)
        rules.check_size(data, headers, self.capabilities.max_payload - len(message_id) - 64 * bool(message_id))
        if message_id:
            headers = {**(headers or {}), MESSAGE_ID: rules.check_message_id(message_id)}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._answer_seconds
        while True:
            try:
                answer = await self._append_once(subject, data, headers, deadline - loop.time())
            except TimeoutError:
                raise TransportUnavailableError(
                    f"{self.settings.address} didn't say within {self._answer_seconds:g} s that it kept a message on "
                    f"{subject}; it may have"
                ) from None
            except ConnectionLost:
                if not message_id:  # with one, a second time changes nothing
                    raise
                continue
            if answer.status != NO_RESPONDERS:
                return sequence_of(answer.data, subject)
            if not self._is_declared(subject):
                raise TransportUnavailableError(f"no stream keeps {subject!r}; declare one before")
            await self._mended()

    async def _append_once(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout_seconds: float
    ) -> Answer:
        if timeout_seconds <= 0:
            raise TimeoutError
        if not self._up.is_set() or self._stopping is not None:
            await self._reachable()
        link = self._client
        if link.pending_data_size + len(data) > MAX_PENDING_BYTES:
            await self._room(link, len(data))
        return await self._questions.ask(subject, data, headers, timeout_seconds)

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
        self._consumers += 1
        consuming = Consuming(
            self._client,
            self._streams,
            f"{self._inbox}.c{self._consumers}",
            stream,
            name,
            subjects,
            limit,
            redeliver_seconds,
            max_deliveries,
            self._mend,
            self._consuming.discard,
        )
        await consuming.begin(start)
        self._consuming.add(consuming)
        return consuming

    async def declare(self, stream: Stream) -> None:
        """Have a stream."""
        rules.check_stream(stream)
        await self._reachable()
        self._declared[stream.name] = (stream, await self._streams.declare(stream))

    async def read(self, stream: Stream, after: int = 0, limit: int = 100) -> list[Delivery]:
        """Return kept messages above a sequence."""
        await self._reachable()
        return [*await self._streams.read(stream, after, limit)]

    async def remove(self, stream: Stream, sequence: int) -> bool:
        """Delete one kept message."""
        await self._reachable()
        return await self._streams.remove(stream, sequence)

    # --- what the client tells -------------------------------------------------------------------------------------

    async def _disconnected(self) -> None:
        self._up.clear()
        if self._link is not None:
            self._questions.lose(f"the connection to {self.settings.address} was lost before the answer came")
        if self.connected and self._stopping is None:
            self.connected = False
            self._tell(Happening.DISCONNECTED, self.settings.address)

    async def _reconnected(self) -> None:
        self._up.set()
        self._mend()

    async def _closed(self) -> None:
        if self._stopping is None and self._link is not None:  # the given number of reconnections is used up
            self.connected = False
            for listening in self._listening:
                listening.arrivals.close()
            for consuming in self._consuming:
                consuming.arrivals.close()
            self._tell(Happening.CLOSED, f"{self.settings.address}: reconnecting was given up")

    async def _failed(self, error: Exception) -> None:
        words = str(error) or type(error).__name__
        if isinstance(error, OSError | errors.UnexpectedEOF | errors.StaleConnectionError):
            _log.debug("connection", transport=self.settings.address, error=words)  # its loss is told as such
            return
        if "permissions violation" in words:
            subject = words.split('"')[1] if '"' in words else ""
            if "subscription" in words:
                for listening in self._listening:
                    listening.refuse(subject)
            else:
                self._questions.refuse(subject, MessageBusError(f"NATS doesn't let us speak on {subject}"))
        self._tell(Happening.ERROR, words)

    # --- mending ---------------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        """Look, in a task, whether all streams and consumers are there; those that aren't are made again."""
        if self._stopping is not None:
            return
        if self._mending is not None and not self._mending.done():
            self._mend_once_more = True
            return
        self._mending = asyncio.create_task(self._mend_all(), name="NATS streams are mended")

    async def _mended(self) -> None:
        self._mend()
        if self._mending is not None:
            await asyncio.wait({self._mending}, timeout=self._answer_seconds)

    async def _mend_all(self) -> None:
        wait_seconds = _MEND_SECONDS
        while self._up.is_set() and self._stopping is None:
            self._mend_once_more = False
            try:
                lost = await self._make_again()
            except (MessageBusError, NotSupported) as error:
                # A server that has just started, or a cluster without a leader; each try is a look again.
                _log.warning("streams can't be looked after yet", transport=self.settings.address, error=str(error))
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(_MEND_MOST_SECONDS, wait_seconds * 2)
                continue
            for what in lost:
                self._tell(Happening.AMNESIA, f"{self.settings.address} had lost {what}; it was made again")
            if not self._up.is_set():
                return
            if not self.connected:
                self.connected = True
                self._tell(Happening.RECONNECTED, self.settings.address)
            if not self._mend_once_more:
                return

    async def _look_at_streams(self) -> None:
        """Have the streams made again that somebody has deleted while the connection stood."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not self._declared or not self._up.is_set():
                continue
            try:
                found = {name: await self._streams.made(name) for name in list(self._declared)}
            except (MessageBusError, NotSupported) as error:
                _log.debug("streams can't be looked at", transport=self.settings.address, error=str(error))
                continue
            if any(found[name] != self._declared[name][1] for name in found):
                self._mend()

    async def _make_again(self) -> list[str]:
        lost = []
        for name, (stream, before) in list(self._declared.items()):
            try:
                created = await self._streams.declare(stream)
            except InvalidInputError as error:  # somebody has made another stream of that name: not ours to delete
                self._tell(Happening.ERROR, str(error))
                continue
            self._declared[name] = (stream, created)
            if created != before:
                lost.append(f"stream {name}")
        for consuming in list(self._consuming):
            try:
                again = await consuming.restore()
            except InvalidInputError as error:
                self._tell(Happening.ERROR, str(error))
                continue
            if again and f"stream {consuming.stream.name}" not in lost:
                lost.append(f"a consumer of stream {consuming.stream.name}")
        return lost

    def _is_declared(self, subject: str) -> bool:
        patterns = [pattern for stream, _ in self._declared.values() for pattern in stream.subjects]
        return any(rules.matches(pattern, subject) for pattern in patterns)

    # --- small things ----------------------------------------------------------------------------------------------

    @property
    def _client(self) -> PodiumClient:
        if self._link is None or self._stopping is not None:
            raise TransportClosedError(f"the transport to {self.settings.address} isn't started, or was stopped")
        if self._link.is_closed:
            raise TransportUnavailableError(f"reconnecting to {self.settings.address} was given up")
        return self._link

    async def _reachable(self) -> None:
        """Wait for the connection. Raises TransportUnavailableError when it stays away."""
        self._client  # noqa: B018 - raises when it is closed
        try:
            async with asyncio.timeout(self.settings.connection_timeout_ms / 1_000):
                await self._up.wait()
        except TimeoutError:
            raise TransportUnavailableError(
                f"NATS at {self.settings.address} can't be reached within {self.settings.connection_timeout_ms} ms"
            ) from None

    async def _room(self, link: PodiumClient, size: int) -> None:
        while link.pending_data_size and link.pending_data_size + size > MAX_PENDING_BYTES:
            if not link.is_connected:
                raise BackpressureError(
                    f"{self.settings.address} is away, and {link.pending_data_size:,} bytes wait for it"
                )
            await link.written()

    def _tell(self, happening: Happening, details: str) -> None:
        # Who is told says it in words of its own; where nobody is, this line is all there is.
        quiet = self._heard is not None or happening in (Happening.CONNECTED, Happening.CLOSED)
        (_log.debug if quiet else _log.warning)(f"the bus: {happening.value}", details=details)
        if self._heard is not None:
            self._heard(happening, details)
