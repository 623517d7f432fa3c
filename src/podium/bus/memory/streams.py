"""A stream in memory: what it keeps, for how long, and which `message_id`s it knows.

It is the carrier's; nothing here knows transports, and every call happens under the carrier's lock.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from podium.bus.memory.consuming import Place
from podium.bus.subjects import matches
from podium.bus.transport import Stream
from podium.clock import seconds_to_us
from podium.exceptions import BackpressureError

_OVERHEAD = 64  # bytes that a kept message costs besides its text


class Kept(Struct, frozen=True):
    """A message that a stream holds."""

    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str]
    published_us: int

    @property
    def size(self) -> int:
        """Bytes it counts for."""
        return (
            _OVERHEAD
            + len(self.subject)
            + len(self.data)
            + sum(len(key) + len(value) for key, value in self.headers.items())
        )


class Log:
    """One stream: kept messages by sequence, oldest first, and the places of those who read it."""

    def __init__(self, settings: Stream) -> None:
        self.settings = settings
        self.kept: dict[int, Kept] = {}
        self.last = 0
        self.places: dict[str, Place] = {}
        self._bytes = 0
        self._known: dict[str, tuple[int, int]] = {}  # message_id: sequence, and when it was said; oldest first

    def keeps(self, subject: str) -> bool:
        """Tell whether a subject is one of this stream's."""
        return any(matches(pattern, subject) for pattern in self.settings.subjects)

    def append(self, subject: str, data: bytes, headers: Mapping[str, str], message_id: str, now_us: int) -> int:
        """Keep it, and return its sequence; that of the first one for a `message_id` that is known.

        Raises BackpressureError when this is a work stream and full.
        """
        self.forget_old(now_us)
        if message_id in self._known:
            return self._known[message_id][0]
        kept = Kept(self.last + 1, subject, data, headers, now_us)
        if self.settings.work and self._bytes + kept.size > self.settings.max_bytes:
            raise BackpressureError(
                f"stream {self.settings.name} is full: it holds {self._bytes:,} of {self.settings.max_bytes:,} bytes"
            )
        self.last += 1
        self.kept[self.last] = kept
        self._bytes += kept.size
        if message_id:
            self._known[message_id] = (self.last, now_us)
        self._forget_excess()
        return self.last

    def remove(self, sequence: int) -> bool:
        """Let go of one; False if it isn't there."""
        kept = self.kept.pop(sequence, None)
        if kept is None:
            return False
        self._bytes -= kept.size
        return True

    def settle(self, settings: Stream, now_us: int) -> None:
        """Change what it keeps from now on."""
        self.settings = settings
        self.forget_old(now_us)
        self._forget_excess()

    def forget_old(self, now_us: int) -> None:
        """Let go of what is older than the stream's times."""
        oldest = now_us - seconds_to_us(self.settings.max_age_seconds)
        while self.kept:
            first = next(iter(self.kept.values()))
            if first.published_us > oldest:
                break
            self.remove(first.sequence)
        remembered = now_us - seconds_to_us(self.settings.duplicate_seconds)
        while self._known:
            message_id, (_, said_us) = next(iter(self._known.items()))
            if said_us > remembered:
                break
            del self._known[message_id]

    def _forget_excess(self) -> None:
        while self._bytes > self.settings.max_bytes and not self.settings.work and len(self.kept) > 1:
            self.remove(next(iter(self.kept)))
