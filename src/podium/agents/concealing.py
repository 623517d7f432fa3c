"""What is said by tasks without the secrets in it: each value, in the ways that it is commonly written, by its name.

A text that was cut may have only the begin of a value, or its end; at a cut those are concealed too. What a task makes
of a value otherwise (a hash, a sum, another encoding) is not known here.
"""

from __future__ import annotations

import json
import re
import threading
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Raw

SHORTEST: Final = 4  # characters of a value: what is shorter is in every text
MOST_VALUES: Final = 256  # remembered; a value that changes is another one
_SHORTEST_PART: Final = 6  # characters of a value that was cut, of a line of several
_CUT: Final = "…"


class Concealer:
    """Knows values, and conceals them; from any thread."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # by value
        self._ways: _Ways | None = None  # of those values; made when it is first asked for
        self._lock = threading.Lock()

    def learn(self, name: str, value: str) -> None:
        """Conceal this value from now on; of very many the oldest is forgotten."""
        if value in self._names:
            return
        with self._lock:
            names = {**self._names, value: name}
            while len(names) > MOST_VALUES:
                del names[next(iter(names))]
            self._names, self._ways = names, None

    def conceal(self, text: str) -> str:
        """Return the text with the names of secrets in place of their values."""
        if not self._names or not text:
            return text
        with self._lock:
            names = self._names
            ways = self._ways = self._ways or _Ways(names)
        return _conceal_parts(ways.conceal(text), names)

    def conceal_json(self, value: Raw) -> Raw:
        """Return a JSON value without the secrets in its texts and keys: the very same if there are none."""
        if not self._names:
            return value
        try:
            plain = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            return Raw(msgspec.json.encode(self.conceal(bytes(value).decode("utf-8", "replace"))))
        without = self._without(plain)
        return value if without == plain else Raw(msgspec.json.encode(without))

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.conceal(value)
        if isinstance(value, list):
            return [self._without(item) for item in value]
        if isinstance(value, dict):
            return {self.conceal(key): self._without(item) for key, item in value.items()}
        return value


class _Ways:
    """All ways to write some values, as one pattern."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = {way: name for value, name in names.items() for way in _ways_to_write(value)}
        longest_first = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def conceal(self, text: str) -> str:
        """Return the text with names in place of values."""
        return self._pattern.sub(lambda found: concealed(self._names[found[0]]), text)


def concealed(name: str) -> str:
    """Return what stands in place of a secret's value."""
    return f"[secret {name}]"


def _conceal_parts(text: str, names: dict[str, str]) -> str:
    """Conceal what is left of a value at the text's begin and end, and on both sides of a cut."""
    pieces = text.split(_CUT)
    for value, name in names.items():
        pieces = [_without_begin(_without_end(piece, value, name), value, name) for piece in pieces]
    return _CUT.join(pieces)


def _without_end(text: str, value: str, name: str) -> str:
    """Return a text without the begin of a value that it ends with (and a space, which a cut has before its mark)."""
    body = text.rstrip(" ")
    at = body.find(value[:_SHORTEST_PART], max(0, len(body) - len(value)))
    while at >= 0 and len(value) > _SHORTEST_PART:
        if value.startswith(body[at:]):
            return body[:at] + concealed(name) + text[len(body) :]
        at = body.find(value[:_SHORTEST_PART], at + 1)
    return text


def _without_begin(text: str, value: str, name: str) -> str:
    """Return a text without the end of a value that it begins with."""
    end = value[-_SHORTEST_PART:]
    at = text.find(end, 0, len(value))
    while at >= 0 and len(value) > _SHORTEST_PART:
        if value.endswith(text[: at + len(end)]):
            return concealed(name) + text[at + len(end) :]
        at = text.find(end, at + 1, len(value))
    return text


def _ways_to_write(value: str) -> set[str]:
    """Return a value as it is, quoted as JSON, Python and URLs quote, and its lines where there are several."""
    ways = {value, value.strip(), quote(value, safe="")}
    ways |= {msgspec.json.encode(value).decode()[1:-1], json.dumps(value)[1:-1], repr(value)[1:-1], ascii(value)[1:-1]}
    lines = {line.strip() for line in value.splitlines()}
    return {way for way in ways if len(way) >= SHORTEST} | {line for line in lines if len(line) >= _SHORTEST_PART}
