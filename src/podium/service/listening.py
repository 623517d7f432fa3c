"""Who hears document 000's system events within the process: callbacks, and async iterators over them.

Telling never waits for a listener. One that doesn't keep up loses the oldest events, and is told how many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec

from podium.fleet.wire import SystemEventMessage
from podium.telemetry.logs import get_logger

MOST_WAITING = 10_000  # events that one iterator may be behind
_log = get_logger("podium.service")

Hear = Callable[[SystemEventMessage], None]


class SystemEvents:
    """The listeners of one orchestrator; they stay over its restarts."""

    def __init__(self) -> None:
        self._callbacks: list[Hear] = []
        self._iterators: list[EventIterator] = []

    def tell(self, event: SystemEventMessage) -> None:
        """Have everybody hear an event. What a callback does wrong is logged, and the others hear it all the same."""
        if not self._callbacks and not self._iterators:
            return
        heard = msgspec.structs.replace(event, payload=msgspec.to_builtins(event.payload))
        for callback in tuple(self._callbacks):
            try:
                callback(heard)
            except Exception as error:  # noqa: BLE001 - a listener's mistake is not the orchestrator's
                _log.error("a listener of system events failed", event_type=str(event.event_type), exc_info=error)
        for iterator in tuple(self._iterators):
            iterator.put(heard)

    def on_event(self, callback: Hear) -> Callable[[], None]:
        """Have a function called with each event, on the loop; it must not block. Returns what ends it."""
        self._callbacks.append(callback)

        def end() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return end

    def listen(self) -> EventIterator:
        """Return the events from now on."""
        iterator = EventIterator(self._iterators)
        self._iterators.append(iterator)
        return iterator

    def end(self) -> None:
        """There will be no more: iterators end once they have given what they hold."""
        for iterator in tuple(self._iterators):
            iterator.end()


class EventIterator(AsyncIterator[SystemEventMessage]):
    """Events in their order, for one reader. `missed` is how many it was too slow for."""

    def __init__(self, among: list[EventIterator]) -> None:
        self._among = among
        self._waiting: deque[SystemEventMessage] = deque(maxlen=MOST_WAITING)
        self._wake = asyncio.Event()
        self._ended = False
        self.missed = 0

    def put(self, event: SystemEventMessage) -> None:
        """Take one more; the oldest gives way when there are too many."""
        if len(self._waiting) == MOST_WAITING:
            self.missed += 1
        self._waiting.append(event)
        self._wake.set()

    def end(self) -> None:
        """Nothing will follow."""
        self._ended = True
        self._wake.set()

    async def aclose(self) -> None:
        """Hear no more. Safe twice."""
        if self in self._among:
            self._among.remove(self)
        self.end()

    async def __anext__(self) -> SystemEventMessage:
        while not self._waiting:
            if self._ended:
                await self.aclose()
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()
