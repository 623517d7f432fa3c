"""Whether a pattern is found in a text: all ways through it at once, as a set of places that is one number.

The places are those of Glushkov's construction (V. M. Glushkov, 1961): one for each set of characters, with the places
that may follow it. Code points are cut into stretches that the same places take. A character costs a search among at
most twice `MAX_RANGES` stretches, whatever the sets are, and at most as many steps as there are places.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from operator import xor
from typing import Final, NamedTuple

from podium.workflow.patterns.reading import (
    MAX_PLACES,
    Characters,
    Choice,
    Node,
    Repetition,
    Sequence,
    alternatives_of,
)

MAX_MATCHED: Final = 4_096  # characters of a text; a longer one fits no pattern
_MAX_STEPS: Final = 40 * MAX_PLACES  # of building: what is repeated may be empty, and so go on anywhere
_REMEMBERED: Final = 4_096  # sets of places, of one pattern


class _Part(NamedTuple):
    """A part of a pattern: the places it may begin and end at, and whether it may be empty."""

    first: int
    last: int
    empty: bool


_EMPTY: Final = _Part(0, 0, True)


class Pattern:
    """A pattern that texts are held against."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, with the place, for what can't be used."""
        self.text = text
        self._taking: defaultdict[Characters, int] = defaultdict(int)  # the places that each distinct set has
        self._follow: list[int] = []
        self._steps = 0
        self._begin = self._always = self._end = self._anywhere = 0  # places: at first, at each character; last ones
        self._fits_all = self._fits_empty = False
        for alternative in alternatives_of(text):
            part = self._built(alternative.node)
            self._begin |= part.first
            self._end |= part.last
            if not alternative.from_begin:
                self._always |= part.first
            if not alternative.to_end:
                self._anywhere |= part.last
            self._fits_empty |= part.empty
            self._fits_all |= part.empty and not (alternative.from_begin and alternative.to_end)
        self._reached: dict[int, int] = {}
        self._begins, self._takers = self._stretches()

    @property
    def places(self) -> int:
        """How many sets of characters it has: a character of a text costs as many steps at most."""
        return len(self._follow)

    def found_in(self, text: str) -> bool:
        """Return whether the pattern is found in a text; in one of more than `MAX_MATCHED` characters it isn't."""
        if len(text) > MAX_MATCHED:
            return False
        if self._fits_all or (self._fits_empty and not text):
            return True
        active, entered = 0, self._begin
        for character in text:
            active = (self._after(active) | entered) & self._places(character)
            if active & self._anywhere:
                return True
            entered = self._always
            if not active and not entered:
                return False
        return bool(active & self._end)

    def _after(self, active: int) -> int:
        """Return the places that may follow these."""
        found = self._reached.get(active)
        if found is None:
            found = 0
            for place in _places_in(active):
                found |= self._follow[place]
            if len(self._reached) >= _REMEMBERED:
                self._reached.clear()
            self._reached[active] = found
        return found

    def _places(self, character: str) -> int:
        """Return the places that take a character."""
        return self._takers[bisect_right(self._begins, ord(character))]

    # --- building ----------------------------------------------------------------------------------------------------

    def _built(self, node: Node) -> _Part:
        self._step()
        match node:
            case Characters():
                return self._place(node)
            case Sequence(parts):
                found = _EMPTY
                for part in parts:
                    found = self._joined(found, self._built(part))
                return found
            case Choice(options):
                built = [self._built(option) for option in options]
                return _Part(_union(p.first for p in built), _union(p.last for p in built), any(p.empty for p in built))
            case Repetition(part, least, most):
                return self._repeated(part, least, most)

    def _place(self, characters: Characters) -> _Part:
        place = len(self._follow)
        if place >= MAX_PLACES:
            raise ValueError(f"it has more than {MAX_PLACES:,} characters, those that repeat counted each time")
        self._taking[characters] |= 1 << place
        self._follow.append(0)
        return _Part(1 << place, 1 << place, False)

    def _repeated(self, part: Node, least: int, most: int | None) -> _Part:
        found = _EMPTY
        for _ in range(least if most is not None else max(least - 1, 0)):
            found = self._joined(found, self._built(part))
        if most is None:
            again = self._built(part)
            self._lead(again.last, again.first)
            return self._joined(found, _Part(again.first, again.last, again.empty or not least))
        rest = _EMPTY
        for _ in range(most - least):  # (x(x(x)?)?)?: each but the first may only stand after another one
            rest = self._joined(self._built(part), rest)._replace(empty=True)
        return self._joined(found, rest)

    def _joined(self, one: _Part, other: _Part) -> _Part:
        self._lead(one.last, other.first)
        return _Part(
            one.first | other.first if one.empty else one.first,
            one.last | other.last if other.empty else other.last,
            one.empty and other.empty,
        )

    def _lead(self, from_places: int, to_places: int) -> None:
        for place in _places_in(from_places):
            self._step()
            self._follow[place] |= to_places

    def _stretches(self) -> tuple[list[int], list[int]]:
        """Return the code points at which stretches begin, and the places that take one: before the first, from each.

        The ranges of a set don't touch: at a range's begin its places come in, behind its end they go out.
        """
        changes: defaultdict[int, int] = defaultdict(int)
        for characters, places in self._taking.items():
            for low, high in characters.ranges:
                changes[low] ^= places
                changes[high + 1] ^= places
        begins = sorted(changes)
        return begins, list(accumulate((changes[begin] for begin in begins), xor, initial=0))

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise ValueError("it repeats too much of what may be empty")


def _places_in(places: int) -> Iterator[int]:
    while places:
        lowest = places & -places
        yield lowest.bit_length() - 1
        places ^= lowest


def _union(places: Iterator[int]) -> int:
    found = 0
    for one in places:
        found |= one
    return found


@lru_cache(maxsize=256)
def pattern_of(text: str) -> Pattern:
    """Return a pattern, read once. Raises ValueError, with the place, for one that can't be used."""
    return Pattern(text)
