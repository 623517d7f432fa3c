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


class WallClock:
    """The wall's time, as it is set at the moment: it may jump, forward and back. Only schedules ask it."""

    def now_us(self) -> int:
        """Return microseconds since the epoch."""
        return time.time_ns() // 1_000


class SlewedClock:
    """The time of a store that several processes share: taken over once, then moved on by our own monotonic clock.

    Later observations only slew it, by half a millisecond a second at most: should the store's clock jump, nothing is
    early. Never backwards, from the first observation on.
    """

    SLEW = 1 / 2_000

    def __init__(self, clock: Clock | None = None) -> None:
        """`clock` is what moves it on."""
        self._clock = clock or SystemClock()
        self._offset_us = 0  # to our own clock, at `_since_us`
        self._error_us = 0  # how much of it is still to be slewed away
        self._since_us = 0
        self._observed = False
        self._last_us = 0

    def observe(self, there_us: int, asked_us: int, answered_us: int) -> None:
        """The store said its time; we asked and had the answer at these times of `raw_us`."""
        middle_us = (asked_us + answered_us) // 2
        if not self._observed:
            self._observed, self._offset_us, self._since_us = True, there_us - middle_us, answered_us
            self._last_us = 0  # what our own clock said before doesn't count: it may be an hour ahead
            return
        self._offset_us += self._slewed_us(answered_us)
        self._since_us = answered_us
        error_us = there_us - middle_us - self._offset_us
        self._error_us = 0 if abs(error_us) <= (answered_us - asked_us) // 2 else error_us

    def raw_us(self) -> int:
        """Return the time by our own clock."""
        return self._clock.now_us()

    def now_us(self) -> int:
        """Return microseconds since the epoch, as the store has them; before the first observation our own."""
        raw_us = self._clock.now_us()
        self._last_us = max(raw_us + self._offset_us + self._slewed_us(raw_us), self._last_us)
        return self._last_us

    def _slewed_us(self, raw_us: int) -> int:
        most_us = int((raw_us - self._since_us) * self.SLEW)
        return max(-most_us, min(self._error_us, most_us))


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
