"""Dead letters: messages that nobody could deal with, kept with the reason and every byte, to be seen and tried again.

They lie in the stream PODIUM_DEAD under `podium.dead.` and the subject they came on. The body is the original's; the
original's headers are kept as they were, with what is added under `Podium-Dead-…`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from podium.bus.subjects import check_size, check_subject
from podium.bus.transport import Delivery, Stream, Transport
from podium.clock import Clock, SystemClock
from podium.exceptions import (
    DeadLetterNotFoundError,
    InvalidInputError,
    PayloadTooLargeError,
    TransportUnavailableError,
)
from podium.telemetry.metrics import Metrics

STREAM = Stream(name="PODIUM_DEAD", subjects=("podium.dead.>",), max_age_seconds=30 * 86_400.0, max_bytes=256 << 20)
_PREFIX = "podium.dead."
_REASON, _SUBJECT, _AT = "Podium-Dead-Reason", "Podium-Dead-Subject", "Podium-Dead-At"
_HEADERS, _PACKED = "Podium-Dead-Headers", "Podium-Dead-Packed"
_OURS = "podium-dead-"
_LONGEST_REASON = 500
_MOST_UNPACKED = 80 << 20
_MOST_HEADERS = 32 << 10  # bytes; JetStream takes 64 KiB


class DeadLetter(Struct, frozen=True):
    """One dead letter. `id` is its sequence in the stream, `dead_us` when it was set aside."""

    id: int
    reason: str
    subject: str
    dead_us: int
    headers: dict[str, str]
    data: bytes

    @property
    def size(self) -> int:
        """How many bytes the original had."""
        return len(self.data)


class DeadLetters:
    """The dead letters of a bus, over a transport that has streams."""

    def __init__(self, transport: Transport, clock: Clock | None = None, metrics: Metrics | None = None) -> None:
        """The transport is somebody else's to start and stop."""
        self._transport = transport
        self._clock = clock or SystemClock()
        self._metrics = metrics
        self._declared = False

    async def put(
        self, reason: str, subject: str, headers: Mapping[str, str] | None, data: bytes, *, message_id: str = ""
    ) -> int:
        """Set a message aside and return its id, once it is kept. With a `message_id` a repetition changes nothing.

        Raises what the transport raises; then it must be tried again, or the message is lost.
        """
        await self._declare()
        said = _line(reason)[:_LONGEST_REASON].strip() or "unknown"
        added = {_REASON: said, _SUBJECT: _line(subject), _AT: str(self._clock.now_us())}
        kept, body = self._fitted(added, dict(headers or {}), data)
        sequence = await self._transport.append(_subject_for(subject), body, kept, message_id)
        if self._metrics is not None:
            self._metrics.counter("podium_dead_letters_total", said.partition(":")[0][:40]).inc()
        return sequence

    async def list(self, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Return dead letters with an id above `after`, oldest first."""
        await self._declare()
        return [_letter(delivery) for delivery in await self._transport.read(STREAM, after, limit)]

    async def show(self, letter: int) -> DeadLetter:
        """Return one. Raises DeadLetterNotFoundError."""
        await self._declare()
        for delivery in await self._transport.read(STREAM, letter - 1, 1) if letter > 0 else ():
            if delivery.sequence == letter:
                return _letter(delivery)
        raise _not_found(letter)

    async def retry(self, letter: int) -> DeadLetter:
        """Say it again as it was, on its subject, and remove it once it is said. Raises DeadLetterNotFoundError."""
        found = await self.show(letter)
        check_subject(found.subject)
        sendable = {key: value for key, value in found.headers.items() if _can_be_sent(key, value)}
        try:
            await self._transport.append(found.subject, found.data, sendable, f"dead-{letter}-{found.dead_us}")
        except TransportUnavailableError:  # no stream has this subject
            await self._transport.publish(found.subject, found.data, sendable)
        await self._transport.remove(STREAM, letter)
        return found

    async def drop(self, letter: int) -> None:
        """Remove one for good. Raises DeadLetterNotFoundError."""
        await self._declare()
        if letter < 1 or not await self._transport.remove(STREAM, letter):
            raise _not_found(letter)

    async def _declare(self) -> None:
        if not self._declared:
            await self._transport.declare(STREAM)
            self._declared = True

    def _fitted(self, added: dict[str, str], headers: dict[str, str], data: bytes) -> tuple[dict[str, str], bytes]:
        """Return headers and body that the carrier takes: what it couldn't give back, or not hold, is packed."""
        plain = {key: value for key, value in headers.items() if _can_be_sent(key, value)}
        kept = {**plain, **added}
        if plain != headers:
            kept[_HEADERS] = msgspec.json.encode(headers).decode()
        most = self._transport.capabilities.max_payload
        candidates: tuple[tuple[str, dict[str, str], Callable[[], bytes]], ...] = (
            ("", kept, lambda: data),
            ("zlib", kept, lambda: zlib.compress(data)),
            ("zlib+headers", added, lambda: zlib.compress(msgspec.msgpack.encode((headers, data)), 9)),
        )
        for packed, given, packing in candidates:
            head, body = {**given, **({_PACKED: packed} if packed else {})}, packing()
            try:
                check_size(b"", head, _MOST_HEADERS)
                check_size(body, head, most)
            except PayloadTooLargeError:
                continue
            return head, body
        # As large as the carrier takes, and can't be packed: its beginning is better than nothing.
        room = most - 4_096
        return {**added, _PACKED: f"cut: the first {room} of {len(data)} bytes"}, data[:room]


def _letter(delivery: Delivery) -> DeadLetter:
    given = dict(delivery.headers)
    packed, data = given.get(_PACKED, ""), delivery.data
    headers = {key: value for key, value in given.items() if not key.lower().startswith(_OURS)}
    reason = given.get(_REASON, "unknown")
    try:
        if _HEADERS in given:
            headers = msgspec.json.decode(given[_HEADERS], type=dict[str, str])
        if packed == "zlib":
            data = _unpacked(data)
        elif packed == "zlib+headers":
            headers, data = msgspec.msgpack.decode(_unpacked(data), type=tuple[dict[str, str], bytes])
        elif packed:
            reason = f"{reason} ({packed})"
    except (zlib.error, msgspec.MsgspecError) as error:  # somebody else wrote here: shown as it is
        reason = f"{reason} (can't be unpacked: {error})"
    return DeadLetter(
        id=delivery.sequence,
        reason=reason,
        subject=given.get(_SUBJECT, delivery.subject.removeprefix(_PREFIX)),
        dead_us=int(given[_AT]) if given.get(_AT, "").isdigit() else delivery.published_us,
        headers=headers,
        data=data,
    )


def _unpacked(data: bytes) -> bytes:
    """Return what was packed; of what somebody else packed no more than any carrier could have brought."""
    return zlib.decompressobj().decompress(data, _MOST_UNPACKED)


def _line(text: str) -> str:
    """Return a text on one line, without what no header can hold."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _subject_for(subject: str) -> str:
    """Return where a message of a subject is kept; subjects that no carrier takes as they are lie under one name."""
    try:
        check_subject(_PREFIX + subject)
    except InvalidInputError:
        return f"{_PREFIX}unnamed"
    return _PREFIX + subject


def _can_be_sent(key: str, value: str) -> bool:
    if key.lower().startswith(_OURS):
        return False
    try:
        check_size(b"", {key: value}, 1 << 30)
    except InvalidInputError:
        return False
    return True


def _not_found(letter: int) -> DeadLetterNotFoundError:
    return DeadLetterNotFoundError(f"there is no dead letter {letter}; `podium dlq list` shows those there are")
