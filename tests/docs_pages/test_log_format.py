"""`docs/log-format.md` is law: every table, column, input, event and field is there, as the code has it."""

import re
import sqlite3
import typing
from importlib.resources import files

import msgspec
import pytest
from msgspec import Struct

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import UPCASTERS
from podium.engine.values import INLINE_LIMIT, Value
from podium.fleet.messages import ErrorInfo
from podium.ids import SHARDS
from podium.store.protocol import FORMAT
from podium.store.sqlite.connection import APPLICATION_ID
from podium.store.sqlite.queries import migrations
from tests.docs_pages.markdown import page, section, tables

PAGE = page("log-format.md")
ON_POSTGRESQL = {"INTEGER": ("bigint", "integer"), "TEXT": ("text",), "BLOB": ("bytea",)}
Line = tuple[str, str, str, str]  # kind or event, field, type, default


@pytest.mark.parametrize(("title", "first", "union"), [("Inputs", "kind", inp.Input), ("Events", "event", ev.Event)])
def test_each_input_and_event_is_listed_with_all_its_fields(title: str, first: str, union: typing.Any) -> None:
    (rows,) = tables(section(PAGE, title))
    said, tag = [], ""
    for row in rows:
        tag = row[first] or tag
        if row["field"] != "–":
            assert row["meaning"], f"{tag}.{row['field']} has no meaning"
        said.append((tag, row["field"], row["type"], row["default"]))
    assert said == [line for struct in typing.get_args(union) for line in lines_of(struct)]


@pytest.mark.parametrize(("at", "struct"), [(0, Value), (1, ErrorInfo)])
def test_the_parts_of_values_and_errors_are_listed(at: int, struct: type[Struct]) -> None:
    rows = tables(section(PAGE, "Values and errors"))[at]
    said = [(row["field"], row["type"], row["default"]) for row in rows]
    assert said == [line[1:] for line in lines_of(struct)]


def test_a_granted_slot_is_the_array_that_the_page_says() -> None:
    assert "JSON array: " + ", ".join(inp.Granted.__struct_fields__) in PAGE
    assert inp.Granted.__struct_config__.array_like


def test_each_table_and_column_is_listed() -> None:
    (rows,) = tables(section(PAGE, "Tables"))
    said = [(row["table"], row["column"], row["type"]) for row in rows if row["column"]]
    assert said == columns_of_the_schema()
    named = [row["table"].strip("*`") for row in rows if not row["column"]]
    assert named == list(dict.fromkeys(table for table, _, _ in said))
    assert all(row["meaning"] for row in rows)


def test_what_is_different_on_postgresql_is_listed_and_nothing_else_is() -> None:
    (rows,) = tables(section(PAGE, "On PostgreSQL"))
    said = {(row["table"], row["column"]): row["type"] for row in rows if row["column"]}
    assert all(row["meaning"] for row in rows)
    there = columns_on_postgresql()
    same = {(table, column): kind.partition(",")[0] for table, column, kind in columns_of_the_schema()}
    for place, kind in same.items():
        if said.get(place) == "–":
            assert place not in there
        else:
            assert there[place] in ON_POSTGRESQL[kind] or there[place] == said[place], place
    more = {place: kind for place, kind in there.items() if place not in same}
    assert more == {place: kind for place, kind in said.items() if place not in same}
    assert all(said[place] in (there.get(place, "–"), "–") for place in said)


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert f"0x{APPLICATION_ID:X}" in PAGE
    assert f"up to {INLINE_LIMIT:,} bytes" in PAGE
    assert f"mod {SHARDS}" in PAGE
    assert f"all {SHARDS} shards" in PAGE
    assert f"It is {FORMAT} for all that this version writes" in PAGE


def test_the_page_speaks_of_upcasters_as_they_are() -> None:
    """With the first upcaster the page has to name it."""
    assert ("There are none yet" in PAGE) == (not UPCASTERS)
    assert all(f"`{event}`" in PAGE for event in UPCASTERS)


def lines_of(struct: type[Struct]) -> list[Line]:
    tag = str(struct.__struct_config__.tag or "")
    fields = msgspec.structs.fields(struct)
    if not fields:
        return [(tag, "–", "", "")]
    return [(tag, field.name, struct.__annotations__[field.name], default_of(field)) for field in fields]


def default_of(field: typing.Any) -> str:
    if field.required:
        return "required"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(default, Value):
        return bytes(default.json).decode()
    if isinstance(default, msgspec.Raw):
        return "empty" if not bytes(default) else bytes(default).decode()
    return msgspec.json.encode(default).decode()


def columns_on_postgresql() -> dict[tuple[str, str], str]:
    """Return the columns of the migrations' tables and their types, as the SQL says them."""
    found = {}
    for file in sorted((files("podium.store") / "migrations" / "postgres" / "versions").iterdir(), key=str):
        if file.name.endswith(".up.sql"):
            for table, body in re.findall(
                r"^CREATE (?:UNLOGGED )?TABLE (\w+) \((.*?)^\)", file.read_text(), re.M | re.S
            ):
                for column, kind in re.findall(r"^    ([a-z_]+) +([a-z]+)\b", body, re.M):
                    found[table, column] = {"bigserial": "bigint"}.get(kind, kind)
    return found


def columns_of_the_schema() -> list[tuple[str, str, str]]:
    schema = sqlite3.connect(":memory:")
    for _, statements in migrations("sqlite"):
        for statement in statements:
            schema.execute(statement)
    names = (
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
    )
    found = []
    for (table,) in schema.execute(names).fetchall():
        for _, column, kind, not_null, _, key in schema.execute(f"PRAGMA table_info({table})"):
            found.append((table, column, kind if not_null or key else f"{kind}, may be null"))
    schema.close()
    return found
