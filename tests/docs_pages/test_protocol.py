"""`docs/protocol.md` is all that a stranger has: its examples are messages, and it has every field of every type."""

import json
import re
from typing import Any

import msgspec
import pytest
import yaml

from podium.fleet import asyncapi, wire
from podium.fleet.link import RESULTS
from podium.service.announcing import events_stream
from podium.settings import Settings
from tests.docs_pages.markdown import ROOT, page, section, tables
from tests.docs_pages.wire_fields import TYPES, lines_of

PAGE = page("protocol.md")
_EXAMPLE = re.compile(r"^<!-- example: (\w+) -->\n```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES: list[tuple[str, str]] = _EXAMPLE.findall(PAGE)
_OF_ASSIGNMENTS = {"executionId", "taskName", "attempt", "idempotencyKey", "leaseMs", "checkpoint", "secrets"}


def test_each_json_block_says_what_it_is() -> None:
    assert PAGE.count("```json") == len(EXAMPLES)
    messages = {name for name, kind in TYPES.items() if issubclass(kind, wire.NatsMessage)} - {"NatsMessage"}
    assert {name for name, _ in EXAMPLES} == messages | {"event"}


@pytest.mark.parametrize(("name", "text"), [pair for pair in EXAMPLES if pair[0] != "event"])
def test_an_example_is_such_a_message_and_would_be_written_so(name: str, text: str) -> None:
    message: Any = wire.decoded(text.encode(), TYPES[name])
    given, written = json.loads(text), json.loads(wire.encoded(message))
    assert unknown_in(given, TYPES[name]) == []
    assert says(written, given), f"{written} has not all that {given} has"


@pytest.mark.parametrize("name", TYPES)
def test_each_field_is_listed_with_its_type_and_default(name: str) -> None:
    if name == "NatsMessage":
        rows = tables(section(PAGE, "What every message has"))[0]
    else:
        within = section(PAGE, "Submitting") if name == "AgentTask" else PAGE  # there is a part of it elsewhere
        found = re.search(rf"^`{name}`[^\n]*\n\n((?:\|[^\n]*\n)+)", within, re.MULTILINE)
        rows = tables(found[1])[0] if found else []
    assert [(row["field"], row["type"], row["default"]) for row in rows] == lines_of(TYPES[name])
    assert all(row["meaning"] for row in rows)


def test_the_fields_of_an_assignment_are_listed_where_it_is_told() -> None:
    (rows,) = (table for table in tables(section(PAGE, "Assignments")) if table[0]["field"] == "taskId")
    assert {row["field"] for row in rows} == _OF_ASSIGNMENTS | {"taskId", "taskType", "payload", "timeoutMs"}


@pytest.mark.parametrize(
    ("title", "column", "words"),
    [
        ("Notices", "notice", wire.Notice),
        ("Results", "status", wire.ResultStatus),
    ],
)
def test_each_word_is_listed(title: str, column: str, words: Any) -> None:
    rows = [row for table in tables(section(PAGE, title)) for row in table if column in row]
    assert [row[column] for row in rows] == [str(word) for word in words]


def test_each_system_event_has_its_example() -> None:
    shown = [json.loads(text)["eventType"] for name, text in EXAMPLES if name == "SystemEventMessage"]
    assert shown == [str(event) for event in wire.SystemEventType]


def test_each_event_of_a_workflow_has_its_example_with_all_fields() -> None:
    shown = {json.loads(text)["event"]: json.loads(text) for name, text in EXAMPLES if name == "event"}
    schemas = asyncapi.described()["components"]["schemas"]
    assert shown.keys() == asyncapi.EVENTS.keys()
    for name, example in shown.items():
        assert list(example) == schemas[name]["required"]
        assert f"`podium.event.{name}`" in PAGE


def test_each_subject_is_listed() -> None:
    (rows,) = tables(section(PAGE, "Subjects"))
    listed = {row["subject"] for row in rows}
    assert {c.address for c in asyncapi.CHANNELS if not c.event} == listed - {"podium.event.>"}
    assert events_stream(1.0).name in PAGE
    assert RESULTS.name in PAGE


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    defaults, rows = Settings(), tables(section(PAGE, "Limits"))[0]
    said = {row["setting of the orchestrator"]: row["at most"] for row in rows}
    assert said["max_message_bytes"] == f"{defaults.max_message_bytes >> 20} MiB"
    assert said["max_concurrent_agents"] == f"{defaults.max_concurrent_agents:,}"
    assert said["max_queued_tasks"] == f"{defaults.max_queued_tasks:,}"
    assert said["max_task_seconds"] == f"{defaults.max_task_seconds * 1_000:,.0f}"


# --- the AsyncAPI document -------------------------------------------------------------------------------------------


def test_the_asyncapi_document_is_as_the_code_makes_it() -> None:
    assert (ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8") == asyncapi.document(), "run: make asyncapi"


def test_the_asyncapi_document_has_the_parts_that_version_3_asks_for() -> None:
    whole = yaml.safe_load(asyncapi.document())
    assert whole["asyncapi"] == "3.0.0"
    assert whole["info"]["title"]
    assert whole["info"]["version"]
    assert all({"host", "protocol"} <= server.keys() for server in whole["servers"].values())
    key = re.compile(r"[A-Za-z0-9._-]+")
    for part in ("channels", "operations"):
        assert all(key.fullmatch(name) for name in whole[part])
    assert all(key.fullmatch(name) for part in whole["components"].values() for name in part)
    for channel in whole["channels"].values():
        address = channel["address"] or ""
        assert set(re.findall(r"\{(\w+)\}", address)) == channel.get("parameters", {}).keys()
        assert channel["messages"]
    for operation in whole["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/"), "an operation's messages are its channel's"


def test_all_that_the_asyncapi_document_refers_to_is_in_it() -> None:
    whole = yaml.safe_load(asyncapi.document())
    for reference in references(whole):
        assert reference.startswith("#/")
        found = whole
        for step in reference[2:].split("/"):
            found = found[step]


def test_each_type_of_the_wire_is_in_the_asyncapi_document_with_all_its_fields() -> None:
    schemas = asyncapi.described()["components"]["schemas"]
    for name, kind in TYPES.items():
        properties = schemas[name]["properties"]
        assert set(properties) == {field.encode_name for field in msgspec.structs.fields(kind)}, name


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return here + [each for inner in value.values() for each in references(inner)]
    if isinstance(value, list):
        return [each for inner in value for each in references(inner)]
    return []


def unknown_in(given: dict[str, Any], kind: Any) -> list[str]:
    """Fields of an example that its type hasn't: they would be passed over, and mislead."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    found = [name for name in given if name not in fields]
    for name, value in given.items():
        inner = wire._struct_in(fields[name].type) if name in fields else None
        if isinstance(value, dict) and inner is not None:
            found += unknown_in(value, inner)
    return found


def says(written: Any, given: Any) -> bool:
    """Whether all that is given is written too; what is written of itself may be more."""
    if isinstance(given, dict) and isinstance(written, dict):
        return all(says(written.get(name), value) for name, value in given.items() if value not in ([], None, {}))
    if isinstance(given, list) and isinstance(written, list):
        return len(given) == len(written) and all(says(w, g) for w, g in zip(written, given, strict=True))
    return bool(written == given)
