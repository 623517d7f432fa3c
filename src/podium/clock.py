"""The clock: the only module that reads the system's time.

Pure code gets `now_us` (microseconds since the epoch) as an argument; the shell asks a `Clock`. A virtual clock
moves only when it is told to, so tests and simulations never sleep.
"""

from __future__ import annotations

import time
from typing import Protocol

MICROSECOND = 1
MILLISECOND = 1_000
SECOND = 1_000_000


class Clock(Protocol):
    """Where the shell gets its time from.

    `now_us` never goes backwards within a process: it is the wall's time at the start plus the monotonic time since.
    """

    def now_us(self) -> int:
        """Return microseconds since the epoch, never less than the last answer."""
        ...


class SystemClock:
    """The wall's time when it was made, moved on by the monotonic clock: a wall that jumps changes nothing."""

    def __init__(self) -> None:
        self._offset_us = time.time_ns() // 1_000 - time.monotonic_ns() // 1_000

    def now_us(self) -> int:
        """Return microseconds since the epoch."""
        return time.monotonic_ns() // 1_000 + self._offset_us


class VirtualClock:
    """A clock that stands still until it is advanced."""

    def __init__(self, now_us: int = 1_700_000_000 * SECOND) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        """Return the virtual time in microseconds since the epoch."""
        return self._now_us

    def advance(self, by_us: int) -> None:
        """Move on by so many microseconds (never backwards)."""
        if by_us < 0:
            raise ValueError("time doesn't go backwards")
        self._now_us += by_us


def seconds_to_us(seconds: float) -> int:
    """Turn seconds into whole microseconds."""
    return round(seconds * SECOND)
