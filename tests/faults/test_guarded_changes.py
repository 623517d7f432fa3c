"""Every change of state in a store is one guarded statement: a new one without its guard fails here, and each guard is
needed: a store without it breaks a promise of the conformance suite.

A guard is one of these: a WHERE that names what must still hold, with a RAISE when nothing matched; a plain INSERT into
a table whose unique keys refuse a second one; an ON CONFLICT that only moves what is there from itself.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "podium"
STORE = PACKAGE / "store"

# What an update of the table must ask for in its WHERE, and the unique keys that its inserts rely on.
MUST_HOLD = {
    "log": (),  # nothing ever changes it
    "executions": ("id", "sequence"),
    "shards": ("shard", "fence", "position"),
    "counters": ("tenant", "key"),
}
UNIQUE = {
    "log": ({"execution", "input_id"}, {"execution", "sequence"}),
    "executions": ({"id"},),
    "shards": ({"shard"},),
    "counters": ({"tenant", "key"},),
    "inbox": ({"execution", "input_id"},),
}
FREE = {
    "inbox": "an input counts when it is in the log; who drains it names its id",
    "blobs": "named by their content",
    "snapshots": "derived from the log, and passed over when they are damaged",
    "cursors": "a reader's own place, which only grows",
    "models": "derived from the log, and changed together with their reader's place",
    "tenants": "names that are only added",
    "meta": "written by a migration",
}
_CHANGE = re.compile(
    r"\b(?:(INSERT)\s+(?:OR\s+\w+\s+)?INTO|(REPLACE)\s+INTO|(UPDATE)(?:\s+OR\s+\w+)?|(DELETE)\s+FROM)\s+(?:main\.)?\"?(\w+)",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"--[^\n]*")


def statements(sql: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield each change of a table: what, which table, the statement, and the one behind it (a RAISE may be there)."""
    parts = [" ".join(part.split()) for part in _COMMENT.sub("", sql).split(";")]
    for part, behind in zip(parts, [*parts[1:], ""], strict=True):
        for found in _CHANGE.finditer(part):
            if found[5].lower() in ("set", "on") or re.search(r"\bDO $", part[: found.start()], re.IGNORECASE):
                continue  # the UPDATE of an ON CONFLICT belongs to its INSERT
            if re.search(r"INSTEAD OF $", part[: found.start()], re.IGNORECASE):
                continue  # a trigger's head
            yield (
                (found[1] or found[2] or found[3] or found[4]).upper(),
                found[5].lower(),
                part[found.start() :],
                behind,
            )


def why_unguarded(what: str, table: str, statement: str, behind: str) -> str | None:
    """Return why a change of a guarded table isn't guarded, None if it is."""
    if table not in MUST_HOLD:
        return None
    raises = "RAISE(ABORT" in behind
    if what == "DELETE":
        return f"nothing is ever deleted from {table}"
    if what == "REPLACE" or re.match(r"INSERT\s+OR\s", statement, re.IGNORECASE):
        return "it overwrites or passes over what is there; use a plain INSERT, its unique key is the guard"
    if what == "UPDATE":
        where = statement.upper().partition(" WHERE ")[2].lower()
        asked = set(re.findall(r"(?:\w+\.)?(\w+)\s*=", where))
        missing = [column for column in MUST_HOLD[table] if column not in asked]
        if not MUST_HOLD[table]:
            return f"a row of {table} never changes"
        if missing:
            return f"its WHERE doesn't ask what {' and '.join(missing)} must still be"
        return None if raises else "nothing is raised behind it when no row matched: SELECT RAISE(ABORT, …)"
    if not re.search(r"\bON CONFLICT\b", statement, re.IGNORECASE):
        return None  # the unique keys are looked at below
    relative = {"shards": r"fence = fence \+ 1\b", "counters": r"value = value \+ excluded\.value\b"}.get(table)
    if relative is None or not re.search(relative, statement):
        return "its ON CONFLICT writes over what is there"
    if table == "counters" and not raises:
        return "nothing is raised behind it when the limit is passed"
    return None


def sql_files() -> list[Path]:
    return sorted([*STORE.glob("sql/*.sql"), *STORE.glob("migrations/**/*.sql")])


def sql_in_python() -> Iterator[tuple[str, str]]:
    """Yield where a text in the product's code changes a table of the store, and the text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "examples"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def problems(place: str, sql: str) -> list[str]:
    found = []
    for what, table, statement, behind in statements(sql):
        why = why_unguarded(what, table, statement, behind)
        if why is not None:
            found.append(f"{place}: an unguarded {what} of {table}: {why}\n    {statement[:200]}")
    return found


def test_no_statement_changes_state_without_its_guard():
    found = [each for path in sql_files() for each in problems(str(path.relative_to(ROOT)), path.read_text())]
    found += [each for place, text in sql_in_python() for each in problems(place, text)]
    assert not found, "\n".join(found)


def test_the_changes_are_found_at_all():
    changed = [(what, table) for path in sql_files() for what, table, _, _ in statements(path.read_text())]
    for expected in (("INSERT", "log"), ("INSERT", "executions"), ("UPDATE", "executions"), ("UPDATE", "shards"),
                     ("INSERT", "shards"), ("INSERT", "counters"), ("DELETE", "inbox")):  # fmt: skip
        assert expected in changed
    assert len(list(sql_in_python())) > 1_000


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE executions SET status = 'done' WHERE id = :id;",
        "UPDATE executions SET status = 'done';",
        "UPDATE executions SET status = 1 WHERE id = :id AND sequence = :expected;",
        "update shards set owner = :owner where shard = :shard; SELECT RAISE(ABORT, 'x') WHERE changes() = 0;",
        "UPDATE log SET events = x'' WHERE id = 1;",
        "DELETE FROM log WHERE execution = :e;",
        "DELETE FROM executions WHERE id = 1",
        "INSERT OR REPLACE INTO executions VALUES (1);",
        "INSERT OR IGNORE INTO log VALUES (1);",
        "REPLACE INTO counters VALUES (1);",
        "INSERT INTO executions VALUES (1) ON CONFLICT (id) DO UPDATE SET status = excluded.status;",
        "INSERT INTO counters VALUES (1) ON CONFLICT (tenant, key) DO UPDATE SET value = value + excluded.value;",
        "INSERT INTO log VALUES (1) ON CONFLICT DO NOTHING;",
    ],
)
def test_an_unguarded_statement_would_be_found(sql):
    (found,) = problems("new.sql", sql)
    assert found.startswith("new.sql: an unguarded ")


def test_every_table_is_guarded_or_says_why_it_needs_none():
    schema = "".join(path.read_text() for path in sorted(STORE.glob("migrations/**/*.sql")))
    tables = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", schema))
    unknown = tables - MUST_HOLD.keys() - FREE.keys()
    assert not unknown, f"new tables {sorted(unknown)}: say in MUST_HOLD what guards them, or in FREE why nothing need"


@pytest.mark.parametrize("adapter", sorted(path.name for path in (STORE / "migrations").iterdir() if path.is_dir()))
def test_the_unique_keys_that_inserts_rely_on_are_there(adapter):
    schema = _COMMENT.sub("", "".join(p.read_text() for p in sorted((STORE / "migrations" / adapter).glob("*.sql"))))
    keys: dict[str, list[set[str]]] = {}
    for table, columns in re.findall(r"CREATE UNIQUE INDEX \w+ ON (\w+) \(([^)]*)\)", schema):
        keys.setdefault(table, []).append({column.strip() for column in columns.split(",")})
    for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", schema, re.DOTALL):
        for columns in re.findall(r"(?:PRIMARY KEY|UNIQUE) \(([^)]*)\)", body):
            keys.setdefault(table, []).append({column.strip() for column in columns.split(",")})
        for column in re.findall(r"^\s*(\w+)\s[^,]*PRIMARY KEY", body, re.MULTILINE):
            keys.setdefault(table, []).append({column})
    for table, wanted in UNIQUE.items():
        for key in wanted:
            assert key in keys.get(table, []), f"{table} has no unique key over {sorted(key)} any more"


# --- each guard is needed --------------------------------------------------------------------------------------------

APPEND, SCHEMA, NAMED = "sql/sqlite_append.sql", "migrations/sqlite/0001_the_log.sql", "sql/sqlite.sql"
NOT_RECORDED = "WHERE NOT EXISTS (SELECT 1 FROM log WHERE execution = :execution AND input_id = :input_id)"
ONE_SEQUENCE = (SCHEMA, "CREATE UNIQUE INDEX log_sequence", "CREATE INDEX log_sequence")
Change = tuple[str, str, str]  # a file, what stands there, what stands there instead
GUARDS: dict[str, tuple[Change, ...]] = {
    "the fence": ((APPEND, " AND fence = new.b", ""),),
    "the position": ((APPEND, " AND position = coalesce(new.c, position)", ""),),
    "who has lost the shard is told": ((APPEND, "SELECT RAISE(ABORT, 'fence') WHERE changes() = 0;", ""),),
    "the expected sequence": ((APPEND, "WHERE id = new.a AND sequence = new.b", "WHERE id = new.a"),),
    "who is behind is told": ((APPEND, "SELECT RAISE(ABORT, 'sequence') WHERE changes() = 0;", ""),),
    # two keys guard this one; either is enough
    "an execution is created once": (
        ONE_SEQUENCE,
        (APPEND, "INSERT INTO executions", "INSERT OR REPLACE INTO executions"),
    ),
    "an input is recorded once": ((SCHEMA, "CREATE UNIQUE INDEX log_input", "CREATE INDEX log_input"),),
    "a limit": ((APPEND, "AND new.c > 0 AND value > new.d", "AND false"),),
    "a limit is reached, not undercut": ((APPEND, "AND new.c > 0 AND value > new.d", "AND value > new.d - 1"),),
    "a taking raises the fence": ((NAMED, "fence = fence + 1, owner", "owner"),),
    "an input in the log isn't posted again": ((NAMED, NOT_RECORDED, "WHERE true"),),
    "a cursor only grows": (
        (NAMED, "SET position = max(position, excluded.position)", "SET position = excluded.position"),
    ),
    "a read model is changed once for each place": (
        (
            NAMED,
            "SET position = excluded.position WHERE position < excluded.position",
            "SET position = excluded.position",
        ),
    ),
}
QUICK = ("the fence", "the expected sequence", "an input is recorded once")


@pytest.mark.parametrize("guard", [pytest.param(g, marks=() if g in QUICK else pytest.mark.slow) for g in GUARDS])
def test_a_store_without_the_guard_breaks_a_promise(tmp_path, guard):
    shutil.copytree(PACKAGE, tmp_path / "podium", ignore=shutil.ignore_patterns("__pycache__", "examples"))
    for file, text, instead in GUARDS[guard]:
        mutated = tmp_path / "podium" / "store" / file
        content = mutated.read_text()
        assert content.count(text) == 1, f"{guard!r} isn't in {file} as this test knows it: bring both together"
        mutated.write_text(content.replace(text, instead))
    tests = str(ROOT / "tests" / "store" / "test_conformance.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-k", "TestSqlite", "-p", "no:cacheprovider", tests],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, f"without {guard} the conformance suite passes:\n{done.stdout[-2_000:]}"
