"""The tree that a YAML text is read into: three kinds of node, each with the line and column where it begins.

`resolved` gives a plain scalar its meaning by the core schema of YAML 1.2: only null, true, false, integers and
floats are more than text. `yes`, `on`, `12:30`, `2024-01-01` and `0777` don't become what YAML 1.1 made of them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import Struct

_WORDS: Final[dict[str, bool | None]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_FIRST_OF_A_NUMBER: Final = frozenset("0123456789+-.")
_DECIMAL: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_OCTAL: Final = re.compile(r"0o[0-7]+", re.ASCII)
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_INFINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)

MAX_DIGITS: Final = 400
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


class Scalar(Struct, gc=False):
    """A single value: what it means, and the text as it was written (so that version 1.10 stays "1.10")."""

    value: str | int | float | bool | None
    text: str
    line: int
    column: int


class Sequence(Struct):
    """A list."""

    items: list[Node]
    line: int
    column: int


class Mapping(Struct):
    """A mapping of texts, with the node of each key for its place; merge keys are already resolved."""

    entries: dict[str, tuple[Scalar, Node]]
    line: int
    column: int

    def get(self, key: str) -> Node | None:
        """Return the value of a key, or None if it isn't there."""
        entry = self.entries.get(key)
        return None if entry is None else entry[1]


Node = Scalar | Sequence | Mapping


def resolved(text: str) -> str | int | float | bool | None:
    """Return what a plain scalar means.

    Raises ValueError, with a sentence, for a number that can't be kept exactly in a log of JSON: not finite, too
    large for 64 bits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST_OF_A_NUMBER:
        return text
    if _DECIMAL.fullmatch(text):
        return _integer(text, 10)
    if _OCTAL.fullmatch(text):
        return _integer(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return _integer(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return _float(text)
    if _INFINITE.fullmatch(text):
        raise ValueError(f"the number {text} can't be kept: only finite numbers can")
    return text


def _integer(digits: str, base: int) -> int:
    number = int(digits, base) if len(digits) <= MAX_DIGITS else _LARGEST + 1
    if not _SMALLEST <= number <= _LARGEST:
        raise ValueError("the number is too large for 64 bits")
    return number


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("the number is too large for a float")
    return number


def plain_value(node: Node) -> Any:
    """Return the node as plain dicts, lists and scalars. The reader has bounded its depth."""
    if type(node) is Scalar:
        return node.value
    if type(node) is Mapping:
        return {key: plain_value(value) for key, (_, value) in node.entries.items()}
    assert isinstance(node, Sequence)
    return [plain_value(item) for item in node.items]


def kind_of(node: Node) -> str:
    """Return what an author would call this node: `a list`, `the number 3`, `the text "x"`."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool()):
            return f"the boolean {node.text}"
        case Scalar(value=int() | float()):
            return f"the number {node.text[:40]}"
        case Scalar():
            shown = node.text if len(node.text) <= 40 else node.text[:39] + "…"
            return f'the text "{shown}"' if shown.isprintable() else f"the text {shown!a}"
