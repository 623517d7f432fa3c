"""Which frames are new, and which messages never came: a high-water mark for each source and a window behind it. Pure.

A source numbers its messages from 1 without a gap, and its frames never overlap in part. What is above the mark is new;
in the window behind it only what is known to be missing is; what is below the window is delivered, since nobody knows
any more whether it was: losing is worse than repeating.
"""

from __future__ import annotations

from msgspec import Struct

WINDOW = 8_192  # messages of one source
SOURCES = 4_096
_GAPS = 64  # that are remembered of one source

Gap = tuple[int, int]  # the first and the last number that is missing


class _Mark(Struct, gc=False):
    """How far one source has come: `high` was seen, `floor` and below isn't known any more."""

    begin: int  # what is below was said before we listened: not missed
    high: int
    floor: int
    gaps: list[Gap]


class Marks:
    """The marks of all sources that were heard lately; the longest silent one is forgotten when there are too many."""

    def __init__(self, window: int = WINDOW, sources: int = SOURCES) -> None:
        self.missing = 0  # messages that were never seen, though later ones of their source were
        self._window = window
        self._sources = sources
        self._marks: dict[str, _Mark] = {}

    def __len__(self) -> int:
        return len(self._marks)

    def admit(self, source: str, first: int, count: int = 1) -> bool:
        """Take note of a frame; return whether it is to be delivered, False if it was before."""
        last = first + count - 1
        mark = self._marks.pop(source, None)
        if mark is None:
            self._begin(source, first, last)
            return True
        self._marks[source] = mark  # the last in the order of use
        if first > mark.high:
            if first > mark.high + 1:
                mark.gaps.append((mark.high + 1, first - 1))
                self.missing += first - 1 - mark.high
            mark.high = last
            if mark.gaps:
                self._forget_old(mark)
            return True
        if last <= max(mark.floor, mark.high - self._window):
            return True
        return self._fill(mark, first, last)

    def _begin(self, source: str, first: int, last: int) -> None:
        if len(self._marks) >= self._sources:
            del self._marks[next(iter(self._marks))]
        floor = max(0, first - 1 - self._window)
        gaps = [(floor + 1, first - 1)] if first - 1 > floor else []
        self._marks[source] = _Mark(first, last, floor, gaps)

    def _fill(self, mark: _Mark, first: int, last: int) -> bool:
        """Cut a frame out of the gaps; False if it touches none of them."""
        left: list[Gap] = []
        found = False
        for low, high in mark.gaps:
            if last < low or high < first:
                left.append((low, high))
                continue
            found = True
            self.missing -= max(0, min(last, high) - max(first, low, mark.begin) + 1)
            if low < first:
                left.append((low, first - 1))
            if last < high:
                left.append((last + 1, high))
        mark.gaps = left
        return found

    def _forget_old(self, mark: _Mark) -> None:
        """Let go of gaps below the window, and of the oldest where there are too many."""
        mark.floor = max(mark.floor, mark.high - self._window)
        if len(mark.gaps) > _GAPS:
            mark.floor = max(mark.floor, mark.gaps[-_GAPS - 1][1])
        if mark.gaps[0][0] <= mark.floor:
            mark.gaps = [(max(low, mark.floor + 1), high) for low, high in mark.gaps if high > mark.floor]
