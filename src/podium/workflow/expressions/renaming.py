"""Tasks under other names: the same expressions and templates, with the tasks that they read called otherwise.

Only `tasks.NAME` and `tasks['NAME']` are touched; everything else stays as its author wrote it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from podium.workflow.expressions.reading import end_of_braces, read_expression
from podium.workflow.expressions.references import plain_reference

_LINE = re.compile("(?<=\n)|(?<=\r)(?!\n)")


def renamed_template(value: Any, names: Mapping[str, str]) -> Any:
    """Return a JSON-like value whose `${…}` call tasks by their new names. ExpressionProblem for what can't be read."""
    if isinstance(value, str):
        return _renamed_text(value, names) if "${" in value else value
    if isinstance(value, Mapping):
        return {key: renamed_template(part, names) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [renamed_template(part, names) for part in value]
    return value


def renamed_condition(text: str, names: Mapping[str, str]) -> str:
    """Return a `when` or a `for_each` with the new names. ExpressionProblem for what can't be read."""
    return _renamed_text(text, names) if text.lstrip().startswith("${") else renamed_expression(text, names)


def renamed_expression(source: str, names: Mapping[str, str]) -> str:
    """Return an expression with the new names. ExpressionProblem for what can't be read."""
    plain = plain_reference(source)
    if plain is not None and not (plain.root == "tasks" and plain.path[0] in names):
        return source  # most of what the tasks of a large growth say: no parser is needed to see that it stays
    tree = read_expression(source)
    text = f"({source}\n)"
    encoded = text.encode()
    begins = [0]
    for line in _LINE.split(text)[:-1]:
        begins.append(begins[-1] + len(line.encode()))
    spots = []
    for node in ast.walk(tree):
        name = _task_read(node)
        if name in names and isinstance(node, (ast.Attribute, ast.Subscript)):
            start = begins[(node.value.end_lineno or 1) - 1] + (node.value.end_col_offset or 0)
            end = begins[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)
            spots.append((start, end, names[name]))
    for start, end, new in sorted(spots, reverse=True):
        encoded = encoded[:start] + f"[{new!r}]".encode() + encoded[end:]
    return encoded[1:-2].decode()


def _task_read(node: ast.AST) -> str:
    """Return the name in `tasks.NAME` or `tasks['NAME']`; empty for any other node."""
    match node:
        case ast.Attribute(value=ast.Name(id="tasks"), attr=name):
            return name
        case ast.Subscript(value=ast.Name(id="tasks"), slice=ast.Constant(value=str() as name)):
            return name
        case _:
            return ""


def _renamed_text(text: str, names: Mapping[str, str]) -> str:
    pieces: list[str] = []
    at = 0
    while (place := text.find("${", at)) >= 0:
        end = None if place and text[place - 1] == "$" else end_of_braces(text, place + 2)
        if end is None:  # a plain `$${`; or never closed, which who compiles it says
            pieces.append(text[at : place + 2])
            at = place + 2
            continue
        pieces += [text[at : place + 2], renamed_expression(text[place + 2 : end], names)]
        at = end
    return "".join([*pieces, text[at:]])
