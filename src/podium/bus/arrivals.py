"""What has arrived at a subscription and wasn't taken yet: a bounded queue with one price for all transports.

It may be filled from any thread (memory's transports can live on several loops); it is read on the loop it was made on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from msgspec import Struct, field

from podium.exceptions import TransportClosedError

MAX_BYTES = 64 << 20  # of data that wait at one subscription


class Sized(Protocol):
    """Something with bytes in it."""

    data: bytes


Item = TypeVar("Item", bound=Sized)


class Said(Struct):
    """A message of plain subjects: a Delivery on which `ack`, `nack` and `reject` do nothing."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: str = ""
    attempt: int = 1
    sequence: int = 0
    published_us: int = 0

    def ack(self) -> None:
        """Nothing: no carrier waits for it."""

    def nack(self, delay_seconds: float = 0.0) -> None:
        """Nothing: it doesn't come again."""

    def reject(self) -> None:
        """Nothing: it doesn't come again."""


class Arrivals(Generic[Item]):
    """A queue with a limit of messages and of bytes, and an end."""

    def __init__(self, limit: int, taken: Callable[[], None] | None = None, max_bytes: int = MAX_BYTES) -> None:
        """`taken` is called, on the reader's loop, when room has been made."""
        self.limit = limit
        self.max_bytes = max_bytes
        self.bytes = 0
        self.read = False  # somebody has asked at least once
        self.closed = False
        self._taken = taken
        self._items: deque[Item] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        self.loop = asyncio.get_running_loop()
        self._emptied = asyncio.Event()
        self._lock = threading.Lock()  # of items and bytes

    def __len__(self) -> int:
        return len(self._items)

    def has_room(self) -> bool:
        """Tell whether one more would probably fit."""
        return not self.closed and len(self._items) < self.limit and self.bytes < self.max_bytes

    def offer(self, item: Item) -> bool:
        """Take one in; False, and nothing is changed, if it doesn't fit or the end has come."""
        size = len(item.data)
        with self._lock:
            if self.closed or len(self._items) >= self.limit or (self._items and self.bytes + size > self.max_bytes):
                return False
            self._items.append(item)
            self.bytes += size
        if self._waiters:
            self._wake()
        return True

    async def take(self, limit: int) -> list[Item]:
        """Wait for at least one, return at most so many; raise TransportClosedError after the end."""
        self.read = True
        while not self._items:
            if self.closed:
                raise TransportClosedError("this subscription has ended")
            waiter = self.loop.create_future()
            self._waiters.append(waiter)
            if self._items:  # another thread was in between
                self._waiters.clear()
                break
            await waiter
        with self._lock:
            items = self._items
            took = [items.popleft() for _ in range(min(max(1, limit), len(items)))]
            self.bytes -= sum(len(item.data) for item in took)
        if not items and self.closed:
            self._emptied.set()
        if self._taken is not None:
            self._taken()
        return took

    def close(self) -> None:
        """Take nothing more in; what is here can still be taken."""
        self.closed = True
        if not self._items:
            self._emptied.set()
        self._wake()

    def clear(self) -> list[Item]:
        """Throw away, and return, what wasn't taken."""
        with self._lock:
            gone = list(self._items)
            self._items.clear()
            self.bytes = 0
        if self.closed:
            self._emptied.set()
        return gone

    async def emptied(self) -> None:
        """Wait until it is closed and all is taken."""
        await self._emptied.wait()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        if not waiters:
            return
        if _running() is self.loop:
            _release(waiters)
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(_release, waiters)


def _release(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
