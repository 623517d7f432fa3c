"""Values of a JSON document with their places, so that whatever is wrong is said with its JSON path.

A `Place` gives its parts as places again. What isn't as expected is noted, and reading goes on without it; all that was
noted is raised at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

from podium.exceptions import WorkflowInvalidError

T = TypeVar("T")
SHOWN: Final = 20
"""So many of the problems of a trace are listed; the rest are counted."""

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KINDS: Final = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


class Noted:
    """What is wrong with a document, in the order in which it was found."""

    def __init__(self, source: str) -> None:
        """`source` is what the document is called, a file's name."""
        self._source = source
        self._lines: list[str] = []
        self._seen: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, place: Place, problem: str) -> None:
        """Note a problem at a place, once."""
        line = f"{self._source}: {place}: {problem}"
        if line not in self._seen and len(self._lines) < SHOWN:
            self._lines.append(line)
        self._seen.add(line)

    def raise_if_any(self) -> None:
        """Raise WorkflowInvalidError with a line for each problem, if there is one."""
        if self._lines:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Raise WorkflowInvalidError with what was noted."""
        left_out = len(self._seen) - len(self._lines)
        more = [f"… and {left_out:,} more problems"] if left_out else []
        raise WorkflowInvalidError("\n".join([*self._lines, *more]))


class Place:
    """A value and where it stands."""

    __slots__ = ("_key", "_noted", "_parent", "value")

    def __init__(self, value: Any, noted: Noted, parent: Place | None = None, key: str | int = "") -> None:
        self.value = value
        self._noted = noted
        self._parent = parent
        self._key = key

    def __str__(self) -> str:
        if self._parent is None:
            return "$"
        if isinstance(self._key, int):
            return f"{self._parent}[{self._key}]"
        return f"{self._parent}.{self._key}" if _PLAIN_KEY.fullmatch(self._key) else f"{self._parent}[{self._key!r}]"

    def note(self, problem: str) -> None:
        """Note what is wrong here."""
        self._noted.add(self, problem)

    def expected(self, what: str) -> None:
        """Note that something else stands here than what is expected."""
        self.note(f"expected {what}, found {shown(self.value)}")

    # --- parts -----------------------------------------------------------------------------------------------------

    def part(self, key: str) -> Place | None:
        """Return an object's value under a key; None if there is none, or null, or this isn't an object (noted)."""
        if not isinstance(self.value, dict):
            self.expected("an object")
            return None
        value = self.value.get(key)
        return Place(value, self._noted, self, key) if value is not None else None

    def first(self, *keys: str) -> Place | None:
        """Return the value under the first of these keys that is there."""
        for key in keys:
            found = self.part(key)
            if found is not None or not isinstance(self.value, dict):
                return found
        return None

    def needed(self, key: str, what: str) -> Place | None:
        """Return the value under a key; note that it is missing if it is."""
        found = self.part(key)
        if found is None and isinstance(self.value, dict):
            self.note(f"{key} is missing: expected {what}")
        return found

    def items(self, key: str) -> list[Place]:
        """Return the places of a list under a key; none where there is no list."""
        found = self.part(key)
        if found is None:
            return []
        if not isinstance(found.value, list):
            found.expected("a list")
            return []
        return [Place(item, self._noted, found, at) for at, item in enumerate(found.value)]

    # --- values ----------------------------------------------------------------------------------------------------

    def text(self) -> str | None:
        """Return a text that isn't empty; None, noted, for anything else."""
        if isinstance(self.value, str) and self.value:
            return self.value
        self.expected("a text that isn't empty" if self.value == "" else "a text")
        return None

    def amount(self, parse: Callable[[Any], T], most: T | None = None) -> T | None:
        """Return what a parser of `units` makes of the value; None, noted, for what it refuses."""
        try:
            found = parse(self.value)
        except (TypeError, ValueError) as error:
            self.note(str(error))
            return None
        if most is not None and found > most:  # type: ignore[operator]
            self.note(f"{shown(self.value)} is too large: at most {most:g} is allowed")
            return None
        return found


def texts(owner: Place, key: str) -> list[str]:
    """Return the texts of a list under a key, each once, in order."""
    return list(dict.fromkeys(text for item in owner.items(key) if (text := item.text()) is not None))


def shown(value: Any) -> str:
    """Return a value as it is shown in a problem: its kind, and the value itself where it is short."""
    kind = _KINDS.get(type(value))
    if kind is not None and not isinstance(value, str):
        return kind
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
