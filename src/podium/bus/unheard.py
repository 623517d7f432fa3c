"""What a bus has said on topics that nobody on this bus listened to: for a short while, in a bounded space. Pure.

Who publishes and subscribes then, as document 003's example does, misses nothing of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from podium.bus.arrivals import Said
from podium.bus.codec import FRAME_HEADERS, topic_of
from podium.bus.topics import wanted

SECONDS = 10
_MOST_FRAMES = 256
_MOST_BYTES = 1 << 20


class Unheard:
    """The last frames that a bus has sent."""

    def __init__(self) -> None:
        self._frames: deque[Said] = deque()
        self._bytes = 0

    def add(self, subject: str, data: bytes, now_us: int) -> None:
        """Remember a frame; the oldest ones are forgotten."""
        frames = self._frames
        frames.append(Said(subject, data, FRAME_HEADERS, published_us=now_us))
        self._bytes += len(data)
        while self._bytes > _MOST_BYTES or len(frames) > _MOST_FRAMES:
            self._bytes -= len(frames.popleft().data)

    def take(self, topics: Sequence[str], now_us: int) -> list[Said]:
        """Return, and forget, what was said on these topics lately."""
        fresh = [said for said in self._frames if said.published_us > now_us - SECONDS * 1_000_000]
        found = [said for said in fresh if wanted(topics, topic_of(said.subject))]
        self._frames = deque(said for said in fresh if not wanted(topics, topic_of(said.subject)))
        self._bytes = sum(len(said.data) for said in self._frames)
        return found
