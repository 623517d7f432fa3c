"""A subscription to plain subjects of NATS. What doesn't fit is dropped and counted."""

from __future__ import annotations

from collections.abc import Callable

from podium.bus.arrivals import Arrivals, Said
from podium.bus.nats.client import PodiumClient
from podium.bus.nats.wire import headers_of
from podium.bus.transport import Delivery, Happening, Heard


class Listening:
    """Hears plain subjects. `ended` is called when it has stopped."""

    def __init__(
        self,
        client: PodiumClient,
        patterns: tuple[str, ...],
        group: str,
        limit: int,
        tell: Heard,
        ended: Callable[[Listening], None],
        patience_seconds: float,
    ) -> None:
        self.patterns = patterns
        self.lost = 0
        self.refused = False  # the server doesn't let us
        self.arrivals: Arrivals[Said] = Arrivals(limit, self._taken)
        self._client = client
        self._tell = tell
        self._ended = ended
        self._patience_seconds = patience_seconds
        self._overflowing = False
        self._sids = [client.listen(pattern, group, self._arrived) for pattern in patterns]

    async def next(self, limit: int = 256) -> list[Delivery]:
        """Return what has arrived, at least one."""
        return [*await self.arrivals.take(limit)]

    async def lag(self) -> int:
        """Return how many wait."""
        return len(self.arrivals)

    async def stop(self) -> None:
        """Hear nothing new; what the server has sent by now still arrives."""
        if self.arrivals.closed:
            return
        for sid in self._sids:
            self._client.unlisten(sid)
        if self._client.is_connected:
            await self._client.answered(self._patience_seconds)
        self.abandon()

    def refuse(self, subject: str) -> None:
        """Note that the server doesn't let us hear a subject (which it writes in small letters)."""
        if subject in (pattern.lower() for pattern in self.patterns):
            self.refused = True

    def abandon(self) -> None:
        """Hear nothing, at once."""
        for sid in self._sids:
            self._client.unlisten(sid)
            self._client.forget(sid)
        self.arrivals.close()
        self._ended(self)

    def _arrived(self, subject: str, reply: str, data: bytes, headers: bytes) -> None:
        if self.arrivals.offer(Said(subject, data, headers_of(headers), reply)) or self.arrivals.closed:
            return
        self.lost += 1
        if not self._overflowing:
            self._overflowing = True
            subjects = ", ".join(self.patterns)
            self._tell(Happening.SLOW_CONSUMER, f"{subjects}: {len(self.arrivals):,} messages wait, more are dropped")

    def _taken(self) -> None:
        self._overflowing = False
