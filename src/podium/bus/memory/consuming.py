"""The place of a durable consumer in a memory stream, and the subscriptions that share it.

A place hands each message to one of its readers with room, and again when it isn't acknowledged in time. Every call
happens under the carrier's lock; timers run on the loop of a reader.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from podium.bus.arrivals import Arrivals
from podium.bus.subjects import matches

if TYPE_CHECKING:
    from podium.bus.memory.carrier import MemoryCarrier
    from podium.bus.memory.streams import Kept, Log

MAX_UNACKNOWLEDGED = 65_536  # messages of one place that are out at a time


class Reading(Struct, frozen=True):
    """How a place is read."""

    subjects: tuple[str, ...]
    redeliver_seconds: float
    max_deliveries: int


class Handed(Struct):
    """A message of a stream as it came to a reader: a Delivery."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    attempt: int
    sequence: int
    published_us: int
    settle: Callable[[int, int, float | None], None]  # sequence, attempt, delay (None: it is done)
    reply: str = ""

    def ack(self) -> None:
        """It is dealt with."""
        self.settle(self.sequence, self.attempt, None)

    def nack(self, delay_seconds: float = 0.0) -> None:
        """It comes again, not before the delay."""
        self.settle(self.sequence, self.attempt, max(0.0, delay_seconds))

    def reject(self) -> None:
        """It never comes again."""
        self.settle(self.sequence, self.attempt, None)


class Place:
    """Where a durable name is in a stream: what is out at readers, what is due again, what comes next."""

    def __init__(self, carrier: MemoryCarrier, log: Log, reading: Reading, start: int) -> None:
        self.reading = reading
        self.readers: list[Arrivals[Handed]] = []
        self._carrier = carrier
        self._log = log
        self._next = log.last + 1 if start < 0 else max(1, start)
        # sequence: attempt, and when it is due again. In the order of handing out, so mostly of the second.
        self._out: dict[int, tuple[int, float]] = {}
        self._again: dict[int, int] = {}  # sequence: attempts so far, of what was given back
        self._due: list[tuple[float, int]] = []  # a heap of those: when, sequence
        self._timer: tuple[asyncio.TimerHandle, asyncio.AbstractEventLoop] | None = None

    def join(self, arrivals: Arrivals[Handed]) -> None:
        """Take in a reader."""
        self.readers.append(arrivals)
        self.hand_out()

    def leave(self, arrivals: Arrivals[Handed]) -> None:
        """Hand a reader nothing more. What it holds comes again when its time is over."""
        self.readers = [reader for reader in self.readers if reader is not arrivals]
        if self._timer is not None and self._timer[1] is arrivals.loop:
            self._timer[0].cancel()
            self._timer = None
        self._set_timer()

    def waiting(self) -> int:
        """Return how many kept messages were never handed out."""
        return sum(1 for sequence, kept in self._log.kept.items() if sequence >= self._next and self._wants(kept))

    def hand_out(self) -> None:
        """Give readers with room what is due again, then what comes next."""
        while self._carrier.up and (reader := self._reader_with_room()) is not None:
            found = self._due_again() or self._coming()
            if found is None:
                break
            kept, before = found
            handed = Handed(
                kept.subject,
                kept.data,
                dict(kept.headers),
                before + 1,
                kept.sequence,
                kept.published_us,
                self._settle,
            )
            if not reader.offer(handed):  # it has just ended, or holds its fill of bytes
                self._later(kept.sequence, before, 0.0)
                break
            self._out[kept.sequence] = (before + 1, _now() + self.reading.redeliver_seconds)
        self._set_timer()

    def give_back(self, unseen: list[Handed]) -> None:
        """Deliver at once to others what a reader took in and never saw: that was no attempt."""
        for one in unseen:
            if self._out.get(one.sequence, (0, 0.0))[0] == one.attempt:
                del self._out[one.sequence]
                self._later(one.sequence, one.attempt - 1, 0.0)
        self.hand_out()

    def _settle(self, sequence: int, attempt: int, delay_seconds: float | None) -> None:
        with self._carrier.lock:
            if not self._carrier.up:
                return
            if delay_seconds is None:  # by whichever attempt: it is dealt with
                self._out.pop(sequence, None)
                self._again.pop(sequence, None)
                if self._log.settings.work:
                    self._log.remove(sequence)
            elif self._out.get(sequence, (0, 0.0))[0] == attempt:
                del self._out[sequence]
                self._later(sequence, attempt, _now() + delay_seconds)
            self.hand_out()

    def _later(self, sequence: int, attempts: int, when: float) -> None:
        self._again[sequence] = attempts
        heapq.heappush(self._due, (when, sequence))

    def _due_again(self) -> tuple[Kept, int] | None:
        now = _now()
        while (found := self._pop_due(now)) is not None:
            sequence, attempts = found
            kept = self._log.kept.get(sequence)
            if kept is not None and not 0 <= self.reading.max_deliveries <= attempts:
                return kept, attempts
        return None

    def _pop_due(self, now: float) -> tuple[int, int] | None:
        while self._due and self._due[0][0] <= now:
            sequence = heapq.heappop(self._due)[1]
            if sequence in self._again:
                return sequence, self._again.pop(sequence)
        if self._out:
            sequence, (attempt, due) = next(iter(self._out.items()))
            if due <= now:
                del self._out[sequence]
                return sequence, attempt
        return None

    def _coming(self) -> tuple[Kept, int] | None:
        if len(self._out) + len(self._again) >= MAX_UNACKNOWLEDGED:
            return None
        log = self._log
        if self._next <= log.last and self._next not in log.kept:
            self._next = max(self._next, next(iter(log.kept), log.last + 1))  # the oldest may be far ahead
        while self._next <= log.last:
            kept = log.kept.get(self._next)
            self._next += 1
            if kept is not None and self._wants(kept):
                return kept, 0
        return None

    def _wants(self, kept: Kept) -> bool:
        subjects = self.reading.subjects
        return not subjects or any(matches(pattern, kept.subject) for pattern in subjects)

    def _reader_with_room(self) -> Arrivals[Handed] | None:
        for index, reader in enumerate(self.readers):
            if reader.has_room():
                self.readers.append(self.readers.pop(index))  # the next message is another's
                return reader
        return None

    def _set_timer(self) -> None:
        """Wake when the next one is due. A ring too early does no harm, so a timer is never moved to later."""
        if not self.readers or not (self._due or self._out):
            return
        if not self._carrier.up:
            return  # it hands out when it comes up; a timer that is due would ring again and again
        if not any(reader.has_room() for reader in self.readers):
            return  # whoever makes room hands out
        when = min(
            self._due[0][0] if self._due else float("inf"),
            next(iter(self._out.values()))[1] if self._out else float("inf"),
        )
        if self._timer is not None and self._timer[0].when() <= when and not self._timer[0].cancelled():
            return
        loop = self.readers[0].loop
        if asyncio.get_running_loop() is not loop:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._ring)
            return
        if self._timer is not None:
            self._timer[0].cancel()
        self._timer = (loop.call_at(when, self._ring), loop)

    def _ring(self) -> None:
        with self._carrier.lock:
            self._timer = None
            self.hand_out()


def _now() -> float:
    return asyncio.get_running_loop().time()
