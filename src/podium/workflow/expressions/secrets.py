"""Secrets in texts: `${secret.NAME}`, put in as it is by whoever runs the task, and known to nobody before.

An expression that has a secret in it consists of nothing else: what is computed with a value would be computed where
the value must not be. So a text with secrets is a row of parts: plain text, other expressions, names of secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from podium.workflow.expressions.compiler import Expression
from podium.workflow.expressions.problems import ExpressionProblem
from podium.workflow.expressions.references import Reference, Scope
from podium.workflow.expressions.templates import formatted, pieces_of

ROOT = "secret"

Path = tuple[str | int, ...]


class SecretName(Struct, frozen=True):
    """The place of a secret's value in a text."""

    name: str


class SecretText(Struct, frozen=True):
    """A text with secrets in it, and where it stands in a task's arguments."""

    path: Path
    source: str
    pieces: tuple[str | Expression | SecretName, ...]

    def parts(self, scope: Scope) -> tuple[str | SecretName, ...]:
        """Return the text's parts with all in place that is no secret. ExpressionProblem as for a template."""
        return tuple(
            formatted(self.source, piece, scope) if isinstance(piece, Expression) else piece for piece in self.pieces
        )


def secrets_in(text: str) -> tuple[str, ...]:
    """Return the names of the secrets in a text, each once. ExpressionProblem where one isn't alone in its `${…}`."""
    if "${" not in text or ROOT not in text:
        return ()
    named = (piece.name for piece in _pieces(text) if isinstance(piece, SecretName))
    return tuple(dict.fromkeys(named))


def without_secrets(value: Any) -> tuple[Any, tuple[SecretText, ...]]:
    """Return a JSON-like value whose secrets are plain text that says their names, and the texts that have some."""
    found: list[SecretText] = []
    replaced = _replaced(value, (), found)
    return (replaced, tuple(found)) if found else (value, ())


def _replaced(value: Any, path: Path, found: list[SecretText]) -> Any:
    """The depth of values is bounded before they come here."""
    if isinstance(value, str):
        if "${" not in value or not secrets_in(value):
            return value
        text = SecretText(path, value, tuple(_pieces(value)))
        found.append(text)
        return "".join(_written(piece) for piece in text.pieces)
    if isinstance(value, Mapping):
        return {key: _replaced(part, (*path, key), found) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(part, (*path, at), found) for at, part in enumerate(value)]
    return value


def _written(piece: str | Expression | SecretName) -> str:
    match piece:
        case SecretName(name):
            return f"$${{{ROOT}.{name}}}"
        case str():
            return piece.replace("${", "$${")
        case _:
            return f"${{{piece.source}}}"


def _pieces(text: str) -> list[str | Expression | SecretName]:
    pieces: list[str | Expression | SecretName] = []
    for piece in pieces_of(text):
        if isinstance(piece, str) or not any(reference.root == ROOT for reference in piece.references):
            pieces.append(piece)
            continue
        alone = next(iter(piece.references)) if len(piece.references) == 1 else None
        if alone is None or not _is_name(alone) or piece.source.strip() != str(alone):
            rule = "a secret is put in as it is: write ${secret.NAME}, and nothing else in the braces"
            raise ExpressionProblem(text, max(text.find(ROOT), 0) + 1, rule)
        pieces.append(SecretName(str(alone.path[0])))
    return pieces


def _is_name(reference: Reference) -> bool:
    return len(reference.path) == 1 and isinstance(reference.path[0], str)
