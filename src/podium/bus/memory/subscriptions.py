"""Subscriptions of the memory transport: to plain subjects, and to a stream under a durable name."""

from __future__ import annotations

from collections.abc import Callable

from podium.bus.arrivals import Arrivals, Said
from podium.bus.memory.carrier import MemoryCarrier
from podium.bus.memory.consuming import Handed, Place, Reading
from podium.bus.transport import Delivery, Happening, Heard, Stream


class Listening:
    """Hears plain subjects; what doesn't fit is dropped and counted. `ended` is called when it has stopped."""

    def __init__(
        self,
        carrier: MemoryCarrier,
        patterns: tuple[str, ...],
        group: str,
        limit: int,
        tell: Heard,
        ended: Callable[[Listening], None],
    ) -> None:
        self.patterns = patterns
        self.group = group
        self.lost = 0
        self.arrivals: Arrivals[Said] = Arrivals(limit, self._taken)
        self._carrier = carrier
        self._tell = tell
        self._ended = ended
        self._overflowing = False
        carrier.listen(self)

    async def next(self, limit: int = 256) -> list[Delivery]:
        """Return what has arrived, at least one."""
        return [*await self.arrivals.take(limit)]

    async def lag(self) -> int:
        """Return how many wait."""
        return len(self.arrivals)

    async def stop(self) -> None:
        """Hear nothing new."""
        self._carrier.unlisten(self)
        self.arrivals.close()
        self._ended(self)

    def missed(self) -> None:
        """Count a message that didn't fit; told once for each time that the queue fills."""
        if self.arrivals.closed:
            return
        self.lost += 1
        if not self._overflowing:
            self._overflowing = True
            subjects = ", ".join(self.patterns)
            self.arrivals.loop.call_soon_threadsafe(
                self._tell,
                Happening.SLOW_CONSUMER,
                f"{subjects}: {self.arrivals.limit:,} messages wait, more are dropped",
            )

    def _taken(self) -> None:
        self._overflowing = False


class Consuming:
    """Reads a stream from the place of a durable name, and again from a new place when the carrier has lost it."""

    lost = 0

    def __init__(
        self,
        carrier: MemoryCarrier,
        stream: Stream,
        name: str,
        reading: Reading,
        start: int,
        limit: int,
        ended: Callable[[Consuming], None],
    ) -> None:
        """`ended` is called when it has stopped."""
        self.arrivals: Arrivals[Handed] = Arrivals(limit, self._taken)
        self.stream = stream
        self._carrier = carrier
        self._name = name
        self._reading = reading
        self._ended = ended
        self.place: Place = carrier.place(stream, name, reading, start)
        with carrier.lock:
            self.place.join(self.arrivals)

    async def next(self, limit: int = 256) -> list[Delivery]:
        """Return what has been fetched, at least one."""
        return [*await self.arrivals.take(limit)]

    async def lag(self) -> int:
        """Return how many wait, here and in the stream."""
        with self._carrier.lock:
            return len(self.arrivals) + self.place.waiting()

    async def stop(self) -> None:
        """Fetch nothing new."""
        with self._carrier.lock:
            self.arrivals.close()
            self.place.leave(self.arrivals)
        self._ended(self)

    def give_back(self) -> None:
        """Let others have what nobody has seen here."""
        with self._carrier.lock:
            self.place.give_back(self.arrivals.clear())

    def make_again(self) -> None:
        """Take a new place in the stream, which is a new one: what it holds is all new."""
        if not self.arrivals.closed:
            self.place = self._carrier.place(self.stream, self._name, self._reading, 0)
            self.place.join(self.arrivals)

    def _taken(self) -> None:
        with self._carrier.lock:
            if not self.arrivals.closed:
                self.place.hand_out()
