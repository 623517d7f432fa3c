"""Scripts of SQL beside the code: this loads them and splits them into statements."""

from __future__ import annotations

import re
import sqlite3
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_MIGRATION = re.compile(r"^(\d{4})_\w+\.sql$")


def _store() -> Traversable:
    return files("podium.store")


@cache
def script(file: str) -> tuple[str, ...]:
    """Return the statements of `sql/<file>` in order."""
    return split_statements((_store() / "sql" / file).read_text(encoding="utf-8"))


@cache
def migrations(adapter: str) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return the numbered migrations of an adapter, each with its statements, in order."""
    found = []
    for entry in (_store() / "migrations" / adapter).iterdir():
        match = _MIGRATION.match(entry.name)
        if match:
            found.append((int(match[1]), split_statements(entry.read_text(encoding="utf-8"))))
    return tuple(sorted(found))


def split_statements(text: str) -> tuple[str, ...]:
    """Split a script where SQLite sees the end of a statement (a trigger's body is part of its statement)."""
    statements = []
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending.strip())
            pending = ""
    if re.sub(r"--.*", "", pending).strip():
        raise ValueError(f"a statement isn't finished: {pending.strip()[:80]}")
    return tuple(statements)
