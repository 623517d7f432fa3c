"""Every change of state in a store is one guarded statement: a new one without its guard fails here, and each guard is
needed: a store without it breaks a promise of the conformance suite.

A guard is one of these: a WHERE that names what must still hold, with a RAISE when nothing matched; a plain INSERT into
a table whose unique keys refuse a second one; an ON CONFLICT that only moves what is there from itself, or passes over
it and raises. PostgreSQL's functions may ask before they change, of rows that they have locked.
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
from typing import NamedTuple

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
    "meta": "written by a migration; the format is raised under its row's lock",
    "definitions": "names that are only added",
    "replicas": "a lease says who may claim; the fences of shards guard all that it stands for",
    "attempt_logs": "bounded rings of text, which decide nothing",
}
_CHANGE = re.compile(
    r"\b(?:(INSERT)\s+(?:OR\s+\w+\s+)?INTO|(REPLACE)\s+INTO|(UPDATE)(?:\s+OR\s+\w+)?|(DELETE)\s+FROM)\s+(?:main\.)?\"?(\w+)",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"--[^\n]*")


class Change(NamedTuple):
    """A statement that changes a table, and what stands around it."""

    what: str  # INSERT, REPLACE, UPDATE, DELETE
    table: str
    statement: str
    before: str  # of the same function
    behind: list[str]  # the next two statements: a RAISE may be there


def changes(sql: str) -> Iterator[Change]:
    """Yield each change of a table."""
    parts = [" ".join(part.split()) for part in _COMMENT.sub("", sql).split(";")]
    begin = 0
    for at, part in enumerate(parts):
        begin = at if "CREATE FUNCTION" in part else begin
        for found in _CHANGE.finditer(part):
            if found[5].lower() in ("set", "on") or re.search(
                r"\b(DO|NO KEY|FOR) $", part[: found.start()], re.IGNORECASE
            ):
                continue  # the UPDATE of an ON CONFLICT belongs to its INSERT, that of a lock changes nothing
            if re.search(r"INSTEAD OF $", part[: found.start()], re.IGNORECASE):
                continue  # a trigger's head
            yield Change(
                what=(found[1] or found[2] or found[3] or found[4]).upper(),
                table=found[5].lower(),
                statement=part[found.start() :],
                before="; ".join([*parts[begin:at], part[: found.start()]]),
                behind=parts[at + 1 : at + 3],
            )


def why_unguarded(change: Change) -> str | None:
    """Return why a change of a guarded table isn't guarded, None if it is."""
    what, table, statement = change.what, change.table, change.statement
    if table not in MUST_HOLD:
        return None
    raises = "RAISE(ABORT" in "".join(change.behind[:1]) or "RAISE EXCEPTION" in "; ".join(change.behind)
    if what == "DELETE":
        never_taken = table == "shards" and re.search(r"\bWHERE\b.*\bfence = 0$", statement)
        return None if never_taken else f"nothing is ever deleted from {table}"
    if what == "REPLACE" or re.match(r"INSERT\s+OR\s", statement, re.IGNORECASE):
        return "it overwrites or passes over what is there; use a plain INSERT, its unique key is the guard"
    if what == "UPDATE":
        return (
            None if table == "shards" and is_guarded_by_its_function(change) else why_unguarded_update(change, raises)
        )
    if not re.search(r"\bON CONFLICT\b", statement, re.IGNORECASE):
        return None  # the unique keys are looked at below
    if re.search(r"\bON CONFLICT [^;]*DO NOTHING$", statement) and (
        raises or (table == "shards" and "SELECT shard, 0, 0, '' FROM" in statement)  # it says that nobody ever had it
    ):
        return None
    relative = {
        "shards": r"fence = (shards\.)?fence \+ 1\b",
        "counters": r"value = (counter\.)?value \+ excluded\.value\b",
    }.get(table)
    if relative is None or not re.search(relative, statement):
        return "its ON CONFLICT writes over what is there"
    if table == "counters" and not raises:
        return "nothing is raised behind it when the limit is passed"
    return None


def why_unguarded_update(change: Change, raises: bool) -> str | None:
    if not MUST_HOLD[change.table]:
        return f"a row of {change.table} never changes"
    where = change.statement.upper().partition(" WHERE ")[2].lower()
    asked = set(re.findall(r"(?:\w+\.)?(\w+)\s*=", where))
    missing = [column for column in MUST_HOLD[change.table] if column not in asked]
    if missing:
        return f"its WHERE doesn't ask what {' and '.join(missing)} must still be"
    return None if raises else "nothing is raised behind it when no row matched: SELECT RAISE(ABORT, …)"


def is_guarded_by_its_function(change: Change) -> bool:
    """Whether an UPDATE of shards in PostgreSQL is one of three: the locked rows were asked for fence and position and
    an error raised; a claim that asks for the fence and for the end of the owner's lease; a replica giving up its own.
    """
    sets, _, where = change.statement.partition(" SET ")[2].partition(" WHERE ")
    locked = "FROM shards WHERE" in change.before and "FOR NO KEY UPDATE" in change.before
    asked_before = (
        "shards.fence = asked.fence" in change.before
        and "shards.position = coalesce(asked.before, shards.position)" in change.before
        and "RAISE EXCEPTION" in change.before
    )
    if sets.startswith("position = asked.after "):
        return locked and asked_before
    if sets.startswith("fence = shards.fence + 1,"):
        return locked and "shards.fence = asked.fence AND NOT podium_lives_1(shards.owner)" in where
    return locked and sets.startswith("owner = ''") and bool(re.search(r"\bowner = p_replica\b", where))


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
    for change in changes(sql):
        why = why_unguarded(change)
        if why is not None:
            found.append(f"{place}: an unguarded {change.what} of {change.table}: {why}\n    {change.statement[:200]}")
    return found


def test_no_statement_changes_state_without_its_guard():
    found = [each for path in sql_files() for each in problems(str(path.relative_to(ROOT)), path.read_text())]
    found += [each for place, text in sql_in_python() for each in problems(place, text)]
    assert not found, "\n".join(found)


def test_the_changes_are_found_at_all():
    for adapter in ("sqlite", "postgres"):
        files = [path for path in sql_files() if adapter in str(path.relative_to(STORE))]
        changed = {(each.what, each.table) for path in files for each in changes(path.read_text())}
        for expected in (("INSERT", "log"), ("INSERT", "executions"), ("UPDATE", "executions"), ("UPDATE", "shards"),
                         ("INSERT", "shards"), ("INSERT", "counters"), ("DELETE", "inbox")):  # fmt: skip
            assert expected in changed, f"{expected} isn't found in {adapter}"
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
        "INSERT INTO executions VALUES (1) ON CONFLICT (id) DO NOTHING;",
        "DELETE FROM shards WHERE shard = ANY (p_shards);",
        "PERFORM FROM shards FOR NO KEY UPDATE; UPDATE shards SET position = asked.after FROM asked WHERE true;",
        "UPDATE shards SET owner = '' WHERE owner = p_replica;",
        "UPDATE shards SET fence = shards.fence + 1, owner = p_replica FROM asked WHERE shards.fence = asked.fence;",
        "PERFORM FROM shards WHERE true FOR NO KEY UPDATE; UPDATE shards SET owner = '' WHERE shard = 1;",
    ],
)
def test_an_unguarded_statement_would_be_found(sql):
    (found,) = problems("new.sql", sql)
    assert found.startswith("new.sql: an unguarded ")


def test_every_table_is_guarded_or_says_why_it_needs_none():
    schema = "".join(path.read_text() for path in sorted(STORE.glob("migrations/**/*.sql")))
    tables = set(re.findall(r"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)", schema))
    unknown = tables - MUST_HOLD.keys() - FREE.keys()
    assert not unknown, f"new tables {sorted(unknown)}: say in MUST_HOLD what guards them, or in FREE why nothing need"


@pytest.mark.parametrize("adapter", sorted(path.name for path in (STORE / "migrations").iterdir() if path.is_dir()))
def test_the_unique_keys_that_inserts_rely_on_are_there(adapter):
    schema = _COMMENT.sub("", "".join(p.read_text() for p in sorted((STORE / "migrations" / adapter).glob("**/*.sql"))))
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
Mutation = tuple[str, str, str]  # a file, what stands there, what stands there instead
GUARDS: dict[str, tuple[Mutation, ...]] = {
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
            "WHERE position < excluded.position AND position =",
            "WHERE position =",
        ),
    ),
}
POSTGRES = "migrations/postgres/versions/0001_the_log.up.sql"
NOT_LIVE = " AND NOT podium_lives_1(shards.owner)"
# What stands there, what stands there instead, the promise that is broken.
POSTGRES_GUARDS: dict[str, tuple[str, str, str]] = {
    "the fence": (
        "shards.shard = asked.shard AND shards.fence = asked.fence\n                            AND",
        "shards.shard = asked.shard\n                            AND",
        "a_fence_taken_over_refuses_the_old_owner",
    ),
    "the position": (
        "AND shards.position = coalesce(asked.before, shards.position)",
        "",
        "a_position_that_has_moved_is_refused",
    ),
    "the expected sequence": (
        " AND executions.sequence = moved.expected",
        "",
        "all_executions_that_have_moved_are_named",
    ),
    "an input is recorded once": (
        "CONSTRAINT log_input UNIQUE (execution, input_id)",
        "CHECK (true)",
        "an_input_is_recorded_once",
    ),
    "a limit": (
        "IF change.delta > 0 AND counted > change.most THEN",
        "IF false THEN",
        "a_counter_doesnt_pass_its_limit",
    ),
    "a claim asks for the fence": (
        "AND shards.fence = asked.fence" + NOT_LIVE,
        NOT_LIVE,
        "a_shard_whose_owners_lease_has_ended_is_claimed",
    ),
    "a claim asks for the end of the lease": (NOT_LIVE, "", "a_shard_whose_owners_lease_has_ended_is_claimed"),
    "a claim asks for its own lease": (
        "IF NOT podium_lives_1(p_replica) THEN",
        "IF false THEN",
        "a_replica_whose_own_lease_has_ended_gets_none",
    ),
    "a release asks who owns": (
        "\n          AND shards.owner = p_replica",
        "",
        "what_is_given_back_is_claimed_at_once",
    ),
    "an input in the log isn't posted again": (
        "WHERE log.execution = sorted.execution AND log.input_id = sorted.input_id",
        "WHERE false",
        "what_is_in_the_log_isnt_posted",
    ),
    "a read model is changed once for each place": (
        "WHERE cursors.position < excluded.position AND cursors.position =",
        "WHERE cursors.position =",
        "what_was_done_up_to_a_place_isnt_done_again",
    ),
}
QUICK = ("the fence",)


def conformance_without(package: Path, guards: tuple[Mutation, ...], suite: str, tests: str) -> tuple[int, str]:
    """Run the conformance suite on a copy of the product that lacks a guard; return its exit code and its words."""
    shutil.copytree(PACKAGE, package / "podium", ignore=shutil.ignore_patterns("__pycache__", "examples"))
    for file, text, instead in guards:
        mutated = package / "podium" / "store" / file
        content = mutated.read_text()
        assert content.count(text) == 1, f"{text!r} isn't in {file} as this test knows it: bring both together"
        mutated.write_text(content.replace(text, instead))
    wanted = ["-k", suite, "-m", "not slow", f"tests/store/{tests}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *wanted],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(package)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("guard", [pytest.param(g, marks=() if g in QUICK else pytest.mark.slow) for g in GUARDS])
def test_a_store_without_the_guard_breaks_a_promise(tmp_path, guard):
    code, said = conformance_without(tmp_path, GUARDS[guard], "TestSqlite", "test_conformance.py")
    assert code == 1, f"without {guard} the conformance suite passes:\n{said[-2_000:]}"


@pytest.mark.slow
@pytest.mark.usefixtures("podium_postgres")  # "not run: …" where there is no server
@pytest.mark.parametrize("guard", POSTGRES_GUARDS)
def test_a_postgresql_store_without_the_guard_breaks_a_promise(tmp_path, guard):
    text, instead, promise = POSTGRES_GUARDS[guard]
    code, said = conformance_without(tmp_path, ((POSTGRES, text, instead),), promise, "test_postgres_conformance.py")
    assert code == 1, f"without {guard} the conformance suite passes:\n{said[-2_000:]}"
