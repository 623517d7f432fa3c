"""What happened lately: a rate and a share over a sliding window, in a fixed number of slices.

For the gauges that document 004 wants as rates; whoever counts asks its clock and says the time.
"""

from __future__ import annotations

from collections import deque

from podium.clock import SECOND


class Window:
    """Two counts over the last so many seconds; what is older falls out a slice at a time."""

    def __init__(self, seconds: float, slices: int = 15) -> None:
        self.seconds = seconds
        self._slice_us = round(seconds * SECOND / slices)
        self._slices: deque[list[int]] = deque(maxlen=slices + 1)  # number of the slice, all, of them good
        self._began_us: int | None = None

    def add(self, now_us: int, count: int = 1, good: int | None = None) -> None:
        """Count so many, of which so many were good (default: all)."""
        if self._began_us is None:
            self._began_us = now_us
        number = now_us // self._slice_us
        if not self._slices or self._slices[-1][0] != number:
            self._slices.append([number, 0, 0])
        self._slices[-1][1] += count
        self._slices[-1][2] += count if good is None else good

    def rate(self, now_us: int) -> float:
        """Return how many there were a second; in the beginning over the time that has passed."""
        counted, _ = self._sums(now_us)
        if self._began_us is None or not counted:
            return 0.0
        return counted / min(self.seconds, max((now_us - self._began_us) / SECOND, 1.0))

    def share(self, now_us: int) -> float | None:
        """Return which part of them was good, from 0.0 to 1.0; None when there were none."""
        counted, good = self._sums(now_us)
        return good / counted if counted else None

    def _sums(self, now_us: int) -> tuple[int, int]:
        first = (now_us - round(self.seconds * SECOND)) // self._slice_us + 1
        kept = [each for each in self._slices if each[0] >= first]
        return sum(each[1] for each in kept), sum(each[2] for each in kept)
