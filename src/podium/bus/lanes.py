"""The four priority lanes: which of the things that wait goes next. Pure.

What is more urgent goes first, but never all of it: in each round a lane has as many turns as its weight, so that
whatever waits moves on within fifteen turns. Within a lane the order is kept.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Any, Generic, TypeVar

from podium.bus.message import Priority
from podium.exceptions import InvalidInputError

T = TypeVar("T")


class Lane(IntEnum):
    """The lanes, the most urgent first. The name is the last word of a topic's subject."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3

    @property
    def word(self) -> str:
        """Its name in a subject."""
        return self.name.lower()


WEIGHTS = (8, 4, 2, 1)  # turns in a round, by lane
ROUND = sum(WEIGHTS)
_WORDS = {lane.word: lane for lane in Lane}


def lane_of(priority: Any) -> Lane:
    """Return the lane of a priority: that of the nearest name (LOW 25, NORMAL 50, HIGH 75, CRITICAL 100).

    Raises InvalidInputError for what is no priority.
    """
    if not isinstance(priority, int) or not 0 <= priority <= 100:
        raise InvalidInputError(
            f"{priority!r} is no priority; it is a number from 0 to 100, or one of {', '.join(Priority.__members__)}"
        )
    return (
        Lane.CRITICAL if priority > 87 else Lane.HIGH if priority > 62 else Lane.NORMAL if priority > 37 else Lane.LOW
    )


def lane_in(subject: str) -> Lane:
    """Return the lane that a subject names with its last word; NORMAL where it names none."""
    return _WORDS.get(subject.rpartition(".")[2], Lane.NORMAL)


class Lanes(Generic[T]):
    """What waits, in four lanes."""

    def __init__(self) -> None:
        self._waiting: tuple[deque[T], ...] = tuple(deque() for _ in Lane)
        self._turns = list(WEIGHTS)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, lane: int, thing: T) -> None:
        """Let it wait, behind what waits in its lane."""
        self._waiting[lane].append(thing)
        self._count += 1

    def take(self) -> T | None:
        """Return what goes next; None if nothing waits."""
        if not self._count:
            return None
        while True:
            for lane, waiting in enumerate(self._waiting):
                if waiting and self._turns[lane]:
                    self._turns[lane] -= 1
                    self._count -= 1
                    return waiting.popleft()
            self._turns = list(WEIGHTS)

    def clear(self) -> list[T]:
        """Take all of it at once, the most urgent first."""
        found = [thing for waiting in self._waiting for thing in waiting]
        for waiting in self._waiting:
            waiting.clear()
        self._count = 0
        return found
