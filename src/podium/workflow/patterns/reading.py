"""From a pattern's text to its tree, and what of regular expressions can't be said: refused with its place and a hint.

The tree knows sets of characters, sequences, choices and repetitions, no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from msgspec import Struct

MAX_PATTERN: Final = 1_000  # characters
MAX_PLACES: Final = 500  # sets of characters, what is repeated counted so often as it may stand there
MAX_RANGES: Final = 2_000  # of characters, in all sets that differ
MAX_NESTED: Final = 50  # groups

Range: TypeAlias = tuple[int, int]  # of code points, both ends included
Ranges: TypeAlias = tuple[Range, ...]


class Characters(Struct, frozen=True, cache_hash=True):
    """One character of a set. The ranges are in order and don't touch."""

    ranges: Ranges


class Sequence(Struct, frozen=True):
    """One after the other."""

    parts: tuple[Node, ...]


class Choice(Struct, frozen=True):
    """One of them."""

    options: tuple[Node, ...]


class Repetition(Struct, frozen=True):
    """So often at least, and at most; None: without end."""

    part: Node
    least: int
    most: int | None


Node: TypeAlias = Characters | Sequence | Choice | Repetition


class Alternative(Struct, frozen=True):
    """What stands between two `|` outside of groups, and whether it is held to the text's ends."""

    node: Node
    from_begin: bool
    to_end: bool


_LAST: Final = 0x10FFFF
_DIGITS: Final[Ranges] = ((48, 57),)
_WORD: Final[Ranges] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACES: Final = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"
_SPACE: Final[Ranges] = (*((ord(one), ord(one)) for one in _SPACES), (0x2000, 0x200A))
_LINE_ENDS: Final[Ranges] = ((10, 10), (13, 13), (0x2028, 0x2029))
_CONTROLS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_SYNTAX: Final = frozenset("^$\\.*+?()[]{}|/-")
_INSTEAD: Final = {
    "b": "word boundaries aren't there; write which characters may stand there",
    "B": "word boundaries aren't there; write which characters may stand there",
    "p": "classes by Unicode property aren't there; write the characters",
    "P": "classes by Unicode property aren't there; write the characters",
    "k": "back-references aren't there: they can take for ever",
}


def merged(ranges: Iterable[Range]) -> Ranges:
    """Return ranges in order, those that touch as one."""
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def all_but(ranges: Iterable[Range]) -> Ranges:
    """Return what isn't in ranges."""
    found: list[Range] = []
    begin = 0
    for low, high in merged(ranges):
        if begin < low:
            found.append((begin, low - 1))
        begin = high + 1
    return (*found, (begin, _LAST)) if begin <= _LAST else tuple(found)


_CLASSES: Final = {"d": _DIGITS, "w": _WORD, "s": merged(_SPACE)}
_NO_LINE_END: Final = all_but(_LINE_ENDS)
_CLASSES_OF: Final = {**_CLASSES, **{name.upper(): all_but(ranges) for name, ranges in _CLASSES.items()}}


def alternatives_of(pattern: str) -> tuple[Alternative, ...]:
    """Return what a pattern says. Raises ValueError, with the place, for one that can't be used."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"it has {len(pattern):,} characters; at most {MAX_PATTERN:,} are allowed")
    return _Reader(pattern).whole()


class _Reader:
    """Reads one pattern from its beginning to its end."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0
        self._sets: dict[Ranges, Characters] = {}
        self._ranges = 0

    def whole(self) -> tuple[Alternative, ...]:
        found = [self._alternative()]
        while self._take("|"):
            found.append(self._alternative())
        if self._at < len(self._text):
            raise self._wrong(f"{self._next} closes nothing", "write \\) for the character")
        return tuple(found)

    def _alternative(self) -> Alternative:
        from_begin = self._take("^")
        node = self._sequence()
        to_end = self._take("$")
        if to_end and self._next not in ("|", ""):
            raise self._wrong("$ must be the last of an alternative", "write \\$ for the character")
        return Alternative(node, from_begin, to_end)

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._next and self._next not in "|)":
            if self._next == "$" and not self._depth:
                break
            parts.append(self._repeated(self._one()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _one(self) -> Node:
        begin = self._at
        one = self._pop()
        match one:
            case "(":
                return self._group()
            case "[":
                return self._characters(self._set(), begin)
            case ".":
                return self._characters(_NO_LINE_END, begin)
            case "\\":
                return self._characters(self._escaped(), begin)
            case "^" | "$":
                place = "first" if one == "^" else "last"
                hint = f"outside of groups, as the {place} of an alternative; or write \\{one} for the character"
                raise self._wrong(f"{one} can't stand here", hint, begin)
            case "*" | "+" | "?" | "{":
                raise self._wrong(f"{one} repeats nothing", f"write \\{one} for the character", begin)
            case "]" | "}":
                raise self._wrong(f"{one} closes nothing", f"write \\{one} for the character", begin)
            case _:
                return self._characters(((ord(one), ord(one)),), begin)

    def _group(self) -> Node:
        begin = self._at - 1
        if self._take("?") and not self._take(":"):
            what = self._text[self._at : self._at + 2]
            if what[:1] in ("=", "!") or what in ("<=", "<!"):
                raise self._wrong("looking ahead or back isn't there", "say it with two inputs, or an enum", begin)
            raise self._wrong("only ( and (?: begin groups", "names and flags aren't there", begin)
        self._depth += 1
        if self._depth > MAX_NESTED:
            raise self._wrong(f"groups are nested more than {MAX_NESTED} deep", "", begin)
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        if not self._take(")"):
            raise self._wrong("this group isn't closed", "write \\( for the character", begin)
        self._depth -= 1
        return options[0] if len(options) == 1 else Choice(tuple(options))

    # --- repetitions -------------------------------------------------------------------------------------------------

    def _repeated(self, part: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return part
        self._take("?")  # as few as possible: the same for whether it is found at all
        if self._next and self._next in "*+?{":
            raise self._wrong(f"{self._next} repeats a repetition", "put the first one into a group: (?:…)")
        return Repetition(part, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        begin = self._at
        if self._take("*"):
            return 0, None
        if self._take("+"):
            return 1, None
        if self._take("?"):
            return 0, 1
        if not self._take("{"):
            return None
        least, most = self._count(), None
        if self._take(","):
            most = self._count()
        else:
            most = least
        if least is None or not self._take("}"):
            raise self._wrong("a count is {2}, {2,} or {2,5}", "write \\{ for the character", begin)
        if most is not None and most < least:
            raise self._wrong(f"{{{least},{most}}} is the wrong way round", "", begin)
        return least, most

    def _count(self) -> int | None:
        begin = self._at
        while self._next.isdecimal() and self._next.isascii():
            self._at += 1
        digits = self._text[begin : self._at]
        if digits and (len(digits) > 6 or int(digits) > MAX_PLACES):
            raise self._wrong(f"{digits} is too often; at most {MAX_PLACES:,}", "", begin)
        return int(digits) if digits else None

    # --- sets of characters ------------------------------------------------------------------------------------------

    def _characters(self, ranges: Ranges, begin: int) -> Characters:
        """Return a set, the same one each time that it is written."""
        found = self._sets.get(ranges)
        if found is None:
            self._ranges += len(ranges)
            if self._ranges > MAX_RANGES:
                why = f"its sets have more than {MAX_RANGES:,} characters and ranges, equal sets counted once"
                raise self._wrong(why, "write fewer sets that differ", begin)
            found = self._sets[ranges] = Characters(ranges)
        return found

    def _set(self) -> Ranges:
        begin = self._at - 1
        negated = self._take("^")
        found: list[Range] = []
        while self._next != "]":
            if not self._next:
                raise self._wrong("this set isn't closed", "write \\[ for the character", begin)
            found += self._item()
        self._at += 1
        if not found:
            raise self._wrong("this set is empty", "", begin)
        return all_but(found) if negated else merged(found)

    def _item(self) -> Ranges:
        begin = self._at
        first = self._member()
        if self._next != "-" or self._text[self._at + 1 : self._at + 2] in ("]", ""):
            return first
        self._at += 1
        last = self._member()
        if not _single(first) or not _single(last):
            raise self._wrong("a range is from one character to another", "write \\- for the character", begin)
        if last[0][0] < first[0][0]:
            raise self._wrong(f"the range {self._text[begin : self._at]} is the wrong way round", "", begin)
        return ((first[0][0], last[0][0]),)

    def _member(self) -> Ranges:
        one = self._pop()
        return self._escaped() if one == "\\" else ((ord(one), ord(one)),)

    def _escaped(self) -> Ranges:
        begin = self._at - 1
        one = self._pop()
        if not one:
            raise self._wrong("\\ stands before nothing", "write \\\\ for the character", begin)
        if one in _CLASSES_OF:
            return _CLASSES_OF[one]
        if one in _CONTROLS:
            return ((_CONTROLS[one], _CONTROLS[one]),)
        if one in ("x", "u"):
            digits = self._text[self._at : self._at + (2 if one == "x" else 4)]
            if len(digits) == (2 if one == "x" else 4) and all(digit in "0123456789abcdefABCDEF" for digit in digits):
                self._at += len(digits)
                return ((int(digits, 16), int(digits, 16)),)
            raise self._wrong("write \\x41 or \\u0041", "", begin)
        if one.isdecimal():
            raise self._wrong("back-references aren't there: they can take for ever", "", begin)
        if one not in _SYNTAX and (one.isalnum() or one == "_"):
            raise self._wrong(f"there is no \\{one}", _INSTEAD.get(one, ""), begin)
        return ((ord(one), ord(one)),)

    # --- the text ----------------------------------------------------------------------------------------------------

    @property
    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _pop(self) -> str:
        one = self._next
        self._at += len(one)
        return one

    def _take(self, wanted: str) -> bool:
        if self._next != wanted:
            return False
        self._at += 1
        return True

    def _wrong(self, why: str, hint: str, at: int | None = None) -> ValueError:
        place = min(self._at if at is None else at, len(self._text)) + 1
        return ValueError(f"{why} (character {place}){f'; {hint}' if hint else ''}")


def _single(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]
