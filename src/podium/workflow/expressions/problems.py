"""How an expression is refused: a sentence with the text, the column, the rule and, for names, the nearest known one.

Operations raise `Refusal`, which knows no place; the compiler turns it into `ExpressionProblem`, which does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from podium.exceptions import ExpressionError

_SHOWN_CHARACTERS = 60
_SHOWN_NAMES = 8


class ExpressionProblem(ExpressionError):
    """The expression can't be used, and this is where and why."""

    def __init__(self, source: str, column: int, rule: str) -> None:
        super().__init__(f"{rule} (column {column} of `{excerpt(source, column)}`)")
        self.source = source
        self.column = column  # of the source, 1-based, in characters
        self.rule = rule

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.column, self.rule)


class Refusal(Exception):
    """An operation was refused; its one argument is the rule."""


def excerpt(source: str, column: int) -> str:
    """Return the part of a source around a column, on one line, short enough for a message."""
    start = max(0, min(column - 1 - _SHOWN_CHARACTERS // 2, len(source) - _SHOWN_CHARACTERS))
    shown = source[start : start + _SHOWN_CHARACTERS]
    before = "…" if start else ""
    after = "…" if start + _SHOWN_CHARACTERS < len(source) else ""
    line = "".join(character if character.isprintable() else "·" for character in shown)
    return f"{before}{line}{after}"


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """Return "; did you mean 'x'?" for the nearest known name, or nothing."""
    from difflib import get_close_matches  # only those who mistype pay for its import

    names = {str(candidate).lower(): str(candidate) for candidate in known}
    near = get_close_matches(name[:_SHOWN_CHARACTERS].lower(), names, n=1)
    return f"; did you mean '{names[near[0]]}'?" if near else ""


def listed(names: Iterable[object]) -> str:
    """Return the first names, separated by commas, and how many more there are."""
    texts = [str(name)[:_SHOWN_CHARACTERS] for name in names]
    more = len(texts) - _SHOWN_NAMES
    return ", ".join(texts[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "") if texts else "nothing"


def kind(value: object) -> str:
    """Return what a value is, in the language's words."""
    match value:
        case None:
            return "nothing (None)"
        case bool():
            return "True or False"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a mapping"
        case _:
            return "a value of an unknown kind"


def failed(source: str, column: int, error: Exception) -> ExpressionProblem:
    """Return a failed operation's error with its place."""
    match error:
        case Refusal():
            rule = str(error)
        case ZeroDivisionError():
            rule = "division by zero"
        case OverflowError():
            rule = "the result is too large a number"
        case RecursionError():
            rule = "the value is nested too deeply"
        case _:
            rule = str(error)[:200]
    return ExpressionProblem(source, column, rule)
