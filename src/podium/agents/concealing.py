"""What is said by tasks without the secrets in it: each value, in the ways that it is commonly written, by its name.

An error's text or a line of a log that was cut may have only the begin of a value, or its end; next to the mark of a
cut those are concealed too. Results are never cut, and a part of a value is nothing secret there. What a task makes of
a value otherwise (a hash, a sum, another encoding) is not known here.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterable
from typing import Any, Final
from urllib.parse import quote, quote_plus
from weakref import WeakValueDictionary

import msgspec
from msgspec import Raw

SHORTEST: Final = 4  # characters of a value: what is shorter is in every text
MOST_VALUES: Final = 4_096  # remembered beyond those that attempts have; a value that changes is another one
_SHORTEST_PART: Final = 6  # characters of a value that was cut, of a line of several
_LOOKED_FOR: Final = 6  # characters that a value begins with, by which it is found
_CUT: Final = re.compile(r"(…|\.\.\.)")  # Podium's own mark, and that of libraries
_BEFORE_A_CUT: Final = " [("  # between what is left and the mark
_BEHIND_A_CUT: Final = " ])"
_ESCAPES: Final = re.compile("%[0-9A-F]{2}")
_NOT_AS_ENCODED: Final = re.compile(rb"\\[u/]")  # written in another way than msgspec would


class Known:
    """A value that is concealed for as long as somebody holds this, and for some time after that."""

    __slots__ = ("__weakref__", "name", "value", "ways")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.value = value
        self.ways = _ways_to_write(value)


class Concealer:
    """Knows values, and conceals them; from any thread."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, Known] = WeakValueDictionary()  # by value
        self._newest: dict[str, Known] = {}  # of those, in the order in which they were learnt last
        self._ways: _Ways | None = None  # of those values; made when it is first asked for
        self._lock = threading.Lock()

    @property
    def knows_any(self) -> bool:
        """Whether there is a value to conceal."""
        return bool(self._newest)

    def learn(self, name: str, value: str) -> Known:
        """Conceal this value from now on; of very many that nobody holds the oldest is forgotten."""
        with self._lock:
            known = self._known.get(value)
            if known is None:
                known = self._known[value] = Known(name, value)
                self._ways = None
            self._newest.pop(value, None)
            self._newest[value] = known
            while len(self._newest) > MOST_VALUES:
                del self._newest[next(iter(self._newest))]
            return known

    def conceal(self, text: str) -> str:
        """Return a text that may have been cut with the names of secrets in place of their values."""
        if not self._newest or not text:
            return text
        ways = self._all_ways()
        return ways.conceal_parts(ways.conceal(text))

    def conceal_json(self, value: Raw) -> Raw:
        """Return a JSON value without the secrets in its texts and keys: the very same if there are none."""
        if not self._newest:
            return value
        ways = self._all_ways()
        try:
            if not ways.any_in(_as_encoded(value)):
                return value
            plain = msgspec.json.decode(value)
            without = _without(plain, ways)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Raw(msgspec.json.encode(ways.conceal(bytes(value).decode("utf-8", "replace"))))
        return value if without == plain else Raw(msgspec.json.encode(without))

    def _all_ways(self) -> _Ways:
        with self._lock:
            if self._ways is None:
                self._ways = _Ways(list(self._known.values()))
            return self._ways


class _Ways:
    """All ways to write some values. What finding one costs doesn't depend on how many there are."""

    def __init__(self, known: Iterable[Known]) -> None:
        self._names = {way: one.name for one in known for way in one.ways}
        self._longest = max(map(len, self._names), default=0)
        lengths: dict[str, set[int]] = {}
        for way in self._names:
            lengths.setdefault(way[:SHORTEST], set()).add(len(way))
        self._lengths = {begin: sorted(found, reverse=True) for begin, found in lengths.items()}
        self._begin = re.compile(_any_of({way[:_LOOKED_FOR] for way in self._names}))
        self._by_begin: dict[str, list[str]] = {}
        self._by_end: dict[str, list[str]] = {}
        for way in self._names:
            if len(way) > _SHORTEST_PART:
                self._by_begin.setdefault(way[:_SHORTEST_PART], []).append(way)
                self._by_end.setdefault(way[-_SHORTEST_PART:], []).append(way)

    def any_in(self, text: str) -> bool:
        """Whether there is a value in a text."""
        return self._first(text, 0) is not None

    def conceal(self, text: str) -> str:
        """Return the text with names in place of values."""
        parts: list[str] = []
        done = 0
        while (found := self._first(text, done)) is not None:
            at, way = found
            parts += (text[done:at], concealed(self._names[way]))
            done = at + len(way)
        return "".join((*parts, text[done:])) if parts else text

    def conceal_parts(self, text: str) -> str:
        """Conceal what a cut has left of a value before its mark and behind it."""
        pieces = _CUT.split(text)  # every second one is a mark
        if len(pieces) == 1:
            return text
        last = len(pieces) - 1
        for at in range(0, last + 1, 2):
            if at != last:
                pieces[at] = self._without_end(pieces[at])
            if at != 0:
                pieces[at] = self._without_begin(pieces[at])
        return "".join(pieces)

    def _first(self, text: str, start: int) -> tuple[int, str] | None:
        """Return where the first value from there on is, and how it is written: the longest one of several."""
        while (begin := self._begin.search(text, start)) is not None:
            at = begin.start()
            for length in self._lengths[text[at : at + SHORTEST]]:
                if (way := text[at : at + length]) in self._names:
                    return at, way
            start = at + 1
        return None

    def _without_end(self, piece: str) -> str:
        """Return a piece without the begin of a value that it ends with."""
        body = piece.rstrip(_BEFORE_A_CUT)
        for at in range(max(0, len(body) - self._longest), len(body) - _SHORTEST_PART + 1):
            for way in self._by_begin.get(body[at : at + _SHORTEST_PART], ()):
                if way.startswith(body[at:]):
                    return body[:at] + concealed(self._names[way]) + piece[len(body) :]
        return piece

    def _without_begin(self, piece: str) -> str:
        """Return a piece without the end of a value that it begins with."""
        body = piece.lstrip(_BEHIND_A_CUT)
        for end in range(min(len(body), self._longest), _SHORTEST_PART - 1, -1):
            for way in self._by_end.get(body[end - _SHORTEST_PART : end], ()):
                if way.endswith(body[:end]):
                    return piece[: len(piece) - len(body)] + concealed(self._names[way]) + body[end:]
        return piece


def concealed(name: str) -> str:
    """Return what stands in place of a secret's value."""
    return f"[secret {name}]"


def _without(value: Any, ways: _Ways) -> Any:
    if isinstance(value, str):
        return ways.conceal(value)
    if isinstance(value, list):
        return [_without(item, ways) for item in value]
    if isinstance(value, dict):
        return {ways.conceal(key): _without(item, ways) for key, item in value.items()}
    return value


def _as_encoded(value: Raw) -> str:
    """Return JSON in which a text is quoted as `_ways_to_write` quotes it."""
    encoded = bytes(value)
    if _NOT_AS_ENCODED.search(encoded) is not None:
        encoded = msgspec.json.encode(msgspec.json.decode(encoded))
    return encoded.decode("utf-8")


def _any_of(begins: Collection[str]) -> str:
    """Return a pattern of what begins with one of these: a tree by their characters, as that is found fastest."""
    if "" in begins:
        return ""
    rests: dict[str, set[str]] = {}
    for begin in begins:
        rests.setdefault(begin[0], set()).add(begin[1:])
    branches = [re.escape(first) + _any_of(rest) for first, rest in sorted(rests.items())]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _ways_to_write(value: str) -> frozenset[str]:
    """Return a value as it is, quoted as JSON, Python and URLs quote, and its lines where there are several."""
    in_urls = {quote(value, safe=""), quote(value), quote_plus(value)}
    ways = {value, value.strip(), *in_urls, *(_ESCAPES.sub(lambda escape: escape[0].lower(), url) for url in in_urls)}
    ways |= {json.dumps(value)[1:-1], repr(value)[1:-1], ascii(value)[1:-1]}
    lines = {line.strip() for line in value.splitlines()}
    ways = {way for way in ways if len(way) >= SHORTEST} | {line for line in lines if len(line) >= _SHORTEST_PART}
    for _ in range(2):  # JSON in JSON, too
        ways |= {msgspec.json.encode(way).decode()[1:-1] for way in ways}
    return frozenset(ways)
