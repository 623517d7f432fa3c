"""Texts, lists and mappings with `${…}` in them, and conditions, which may be written with or without `${…}`.

A text that is one `${expression}` and nothing else keeps the expression's type; inside other text a value is formatted:
texts as they are, all else as compact JSON. `$${` stands for `${`. The keys of mappings are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from podium.workflow.expressions.compiler import Expression, compile_expression
from podium.workflow.expressions.limits import BUDGET, charge_value
from podium.workflow.expressions.problems import ExpressionProblem, Refusal
from podium.workflow.expressions.reading import end_of_braces
from podium.workflow.expressions.references import Reference, Scope

MAX_RENDERED = 10_000_000  # characters of a text with values in it
MAX_PLACES = 1_000  # of `${…}` in one text
MAX_TEMPLATE_DEPTH = 100  # of lists and mappings
_COMPILED = 16_384  # texts kept

Render = Callable[[Scope], Any]
_encode = msgspec.json.Encoder().encode


class Template:
    """A compiled value with `${…}` in its texts: what it refers to, and its value in a scope."""

    __slots__ = ("_render", "constant", "references", "source")

    def __init__(self, source: Any, references: frozenset[Reference], constant: bool, render: Render) -> None:
        self.source = source
        self.references = references
        self.constant = constant  # nothing in it is evaluated: it renders to itself, or to its texts without `$${`
        self._render = render

    def render(self, scope: Scope) -> Any:
        """Return the value; what is constant is not copied. ExpressionProblem as for an expression."""
        return self._render(scope)

    def __repr__(self) -> str:
        return f"Template({self.source!r})"


def compile_template(value: Any) -> Template:
    """Return the template that a JSON-like value is; ExpressionProblem for the first of its texts that is none."""
    return _compile(value, 0)


def compile_condition(text: str) -> Expression:
    """Return the expression of a `when` or `for_each`: `tasks.x.result.n > 3`, or the same in one `${…}`."""
    stripped = text.strip()
    if not stripped.startswith("${"):
        return compile_expression(text)
    end = end_of_braces(stripped, 2)
    if end is None:
        raise ExpressionProblem(text, text.index("${") + 1, "'${' is never closed")
    if end != len(stripped) - 1:
        rule = "a condition is one expression; put one ${…} around the whole of it, or none"
        raise ExpressionProblem(text, text.index("${") + end + 2, rule)
    return compile_expression(stripped[2:-1])


def _compile(value: Any, depth: int) -> Template:
    if isinstance(value, str):
        return _compile_text(value) if "${" in value else _constant(value, value)
    if not isinstance(value, (list, tuple, Mapping)):
        return _constant(value, value)
    if depth == MAX_TEMPLATE_DEPTH:
        raise ExpressionProblem("", 1, f"lists and mappings are nested more than {MAX_TEMPLATE_DEPTH} deep")
    if isinstance(value, Mapping):
        parts = {key: _compile(part, depth + 1) for key, part in value.items()}
        return _compound(value, list(parts.values()), lambda scope: {key: parts[key].render(scope) for key in parts})
    items = [_compile(part, depth + 1) for part in value]
    return _compound(value, items, lambda scope: [item.render(scope) for item in items])


def _constant(source: Any, value: Any) -> Template:
    return Template(source, frozenset(), True, lambda scope: value)


def _compound(source: Any, parts: list[Template], render: Render) -> Template:
    if all(part.constant for part in parts):
        value = render({})
        return _constant(source, source if value == source else value)
    references = frozenset(reference for part in parts for reference in part.references)
    return Template(source, references, False, render)


@lru_cache(maxsize=_COMPILED)
def _compile_text(text: str) -> Template:
    pieces = pieces_of(text)
    expressions = [piece for piece in pieces if isinstance(piece, Expression)]
    references = frozenset(reference for expression in expressions for reference in expression.references)
    if not expressions:
        return _constant(text, "".join(piece for piece in pieces if isinstance(piece, str)))
    if len(pieces) == 1:
        return Template(text, references, False, expressions[0].evaluate)

    def render(scope: Scope) -> str:
        parts = [piece if isinstance(piece, str) else formatted(text, piece, scope) for piece in pieces]
        size = sum(map(len, parts))
        if size > MAX_RENDERED:
            raise ExpressionProblem(text, 1, f"the text would have {size:,} characters; the limit is {MAX_RENDERED:,}")
        return "".join(parts)

    return Template(text, references, False, render)


def pieces_of(text: str) -> list[str | Expression]:
    """Return a text's plain pieces and its expressions, in order; plain pieces that are empty are left out."""
    pieces: list[str | Expression] = []
    plain = ""
    at = 0
    places = 0
    while (place := text.find("${", at)) >= 0:
        if place > at and text[place - 1] == "$":
            plain += text[at : place - 1] + "${"
            at = place + 2
            continue
        plain += text[at:place]
        if plain:
            pieces.append(plain)
            plain = ""
        end = end_of_braces(text, place + 2)
        if end is None:
            raise ExpressionProblem(text, place + 1, "'${' is never closed; a plain '${' is written '$${'")
        pieces.append(_expression(text, place + 2, end))
        places += 1
        if places > MAX_PLACES:
            raise ExpressionProblem(text, place + 1, f"the text has more than {MAX_PLACES} places ${{…}}")
        at = end + 1
    plain += text[at:]
    return [*pieces, plain] if plain else pieces


def _expression(text: str, start: int, end: int) -> Expression:
    """Compile the expression between two places of a text, with its problems' columns in the whole text."""
    try:
        return compile_expression(text[start:end])
    except ExpressionProblem as problem:
        raise ExpressionProblem(text, start + problem.column, problem.rule) from None


def formatted(text: str, expression: Expression, scope: Scope) -> str:
    """Return an expression's value as it is put into a text."""
    value = expression.evaluate(scope)
    if isinstance(value, str):
        return value
    try:
        charge_value([BUDGET], value)
        return _encode(value).decode()
    except (Refusal, TypeError, ValueError, RecursionError) as error:
        rule = f"the value of ${{{expression.source[:60]}}} can't be put into a text: {error}"
        raise ExpressionProblem(text, 1, rule) from None
