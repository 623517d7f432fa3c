"""What an expression refers to: a root and a path of keys, known before anything runs.

Also the look-up of such a path in a scope, and the sentence that says which part of it was missing and what was there.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from podium.workflow.expressions.limits import Meter
from podium.workflow.expressions.problems import ExpressionProblem, did_you_mean, kind, listed

Scope = Mapping[str, Any]
Run = Callable[[Scope, Meter], Any]

ROOTS: tuple[str, ...] = ("input", "tasks", "item", "index", "shard", "execution", "signal", "secret")

# One alternative a kind of step, each told by its first characters: linear in the source.
_PLAIN = re.compile(
    r"(input|tasks|item|index|shard|execution)"
    r"((?:\.[A-Za-z][A-Za-z0-9_]*|\[(?:0|[1-9][0-9]{0,8})\]|\['[ -&(-\[\]-~]*'\])*)"
)
_STEP = re.compile(r"\.([A-Za-z][A-Za-z0-9_]*)|\[([0-9]+)\]|\['([^']*)'\]")
_LONGEST_PLAIN = 256

_MISSING = (KeyError, IndexError, TypeError)


class Reference(Struct, frozen=True):
    """A value of an execution: `tasks.research.result.items[0]` is root "tasks" and path ("research", "result", …)."""

    root: str
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return self.root + "".join(shown_key(key) for key in self.path)


def plain_reference(source: str) -> Reference | None:
    """Return the reference that a source is, if it is one in the plainest form; most are, and need no parser.

    None says nothing: the source may be a reference in another form, any other expression, or none at all.
    """
    found = _PLAIN.fullmatch(source) if len(source) <= _LONGEST_PLAIN else None
    if found is None:
        return None
    path: list[str | int] = []
    for name, place, key in _STEP.findall(found[2]):
        if keyword.iskeyword(name):
            return None
        path.append(name or (int(place) if place else key))
    if found[1] == "tasks" and not (path and isinstance(path[0], str)):
        return None
    return Reference(found[1], tuple(path))


def look_up(reference: Reference, source: str, column: int) -> Run:
    """Return the closure that reads a reference from a scope; the commonest lengths have one without a loop."""
    root, path = reference.root, reference.path

    def missing(scope: Scope) -> ExpressionProblem:
        return ExpressionProblem(source, column, missing_part(scope, reference))

    def run_one(scope: Scope, meter: Meter) -> Any:
        try:
            return scope[root][first]
        except _MISSING:
            raise missing(scope) from None

    def run_three(scope: Scope, meter: Meter) -> Any:
        try:
            return scope[root][first][second][third]
        except _MISSING:
            raise missing(scope) from None

    def run(scope: Scope, meter: Meter) -> Any:
        try:
            value = scope[root]
            for key in path:
                value = value[key]
        except _MISSING:
            raise missing(scope) from None
        return value

    match path:
        case (first,):
            return run_one
        case (first, second, third):
            return run_three
        case _:
            return run


def shown_key(key: object) -> str:
    """Return a key as an expression writes it: `.count`, `['fetch-data']`, `[0]`."""
    if isinstance(key, str) and key.isascii() and key.isidentifier() and not key.startswith("_"):
        return f".{key}"
    text = repr(key)
    return f"[{text if len(text) <= 40 else text[:39] + '…'}]"


def missing_part(scope: Mapping[str, Any], reference: Reference) -> str:
    """Return the sentence that says which part of a reference isn't there, and what is."""
    if reference.root not in scope:
        return f"there is no '{reference.root}' here; there is: {listed(scope)}"
    value = scope[reference.root]
    for at, key in enumerate(reference.path):
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return missing_key(str(Reference(reference.root, reference.path[:at])), value, key)
    return f"{reference} could not be read"


def missing_key(shown: str, value: object, key: object) -> str:
    """Return the sentence that says why a value, shown by its source, has no such key."""
    match value:
        case Mapping():
            near = did_you_mean(key, value) if isinstance(key, str) else ""
            return f"{shown} has no key {_short(key)}{near or '; it has: ' + listed(value)}"
        case list() | tuple() | str() if isinstance(key, int):
            what = "characters" if isinstance(value, str) else "items"
            return f"{shown} has {len(value)} {what}, so there is no [{_short(key)}]"
        case list() | tuple():
            return f"{shown} is a list of {len(value)} items; it is indexed by numbers, not by {_short(key)}"
        case _:
            return f"{shown} is {kind(value)}, so it has no key {_short(key)}"


def _short(key: object) -> str:
    text = repr(key) if isinstance(key, (str, int, float, type(None))) else kind(key)
    return text if len(text) <= 60 else f"{text[:59]}…"
