"""Schemas that agents send: read within bounds, refused by name, put together for the agents of a type."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from podium.agents.sdk import agent, definition_of, task
from podium.agents.signatures import schemas_of, schemas_text, signatures_of
from podium.exceptions import InvalidInputError
from podium.fleet.descriptor import AgentDescriptor
from podium.workflow.typed import Signature, type_problems
from podium.workflow.typed.received import MAX_SCHEMAS_BYTES, UNKNOWN, known_schemas, signatures_offered
from podium.workflow.typed.shapes import kinds, misfit, shape_of
from podium.workflow.yaml import load_workflow


class Page(Struct):
    url: str
    words: int = 0
    parent: Page | None = None


@agent("reader")
class Reader:
    @task
    def read(self, url: str, depth: int = 1) -> Page:
        return Page(url, depth)

    @task
    def join(self, first: Page, second: list[Page], **more: int) -> None: ...

    @task
    def any(self, what): ...


def text_of(schemas: Any) -> bytes:
    return json.dumps(schemas).encode()


def signature(given: Any, result: Any = None) -> Signature:
    return known_schemas(text_of({"f": {"input": given, "result": result}})).signatures["f"]


def test_what_own_agents_send_says_what_their_hints_say():
    definition = definition_of(Reader)
    assert definition is not None
    received, own = known_schemas(schemas_text(definition)).signatures, signatures_of(definition)
    assert list(received) == ["read", "join", "any"]
    for name, sent in own.items():
        assert (received[name].required, list(received[name].arguments)) == (sent.required, list(sent.arguments))
        assert received[name].result == sent.result
    assert received["read"] == own["read"]
    shape = shape_of(received["join"].arguments["first"])
    assert misfit({"url": "x"}, shape, lambda _: None) == ""
    assert "3 as 'url'" in misfit({"url": 3}, shape, lambda _: None)
    schema = schemas_of(definition)["join"]["input"]
    assert list(schema["$defs"]) == ["Page"]  # where references to it lead
    assert "$defs" not in schema["properties"]["first"]


def test_schemas_by_hand_are_as_open_as_json_schema_is():
    found = signature({"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url", "depth"]})
    assert found == Signature({"url": {"type": "string"}, "depth": {}}, frozenset({"url", "depth"}), others={})
    assert signature({"type": "object", "additionalProperties": False}).others is None
    assert signature({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "required": ["a"]}}}).required == {"a"}
    for unknown in (None, True, {}, {"anyOf": [{"type": "object"}]}, {"$ref": "https://example.org/x.json"}):
        assert signature(unknown, True) == UNKNOWN
    bomb = {"type": "string", "pattern": "(a+)+$"}
    assert misfit("a" * 64 + "!", shape_of(signature(None, bomb).result), lambda _: None) == ""  # it is never tried


DEEP: Any = {}
for _ in range(70):
    DEEP = {"items": DEEP}
MANY = {str(at): {"type": "string", "description": "x" * 200} for at in range(200)}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "text"}, 'schemas.f.input: there is no type "text"'),
        ({"type": ["object"] * 9}, "none is said twice"),
        ({"type": {"a": 1}}, "there is no type"),
        ({"type": "array"}, "arguments are a mapping of names"),
        ({"properties": [1]}, "schemas.f.input: properties is a mapping of schemas"),
        ({"properties": {"a": {"items": 3}}}, "schemas.f.input.properties.a.items: a schema is a mapping"),
        ({"anyOf": {}}, "anyOf is a list of schemas"),
        ({"required": 3}, "required is a list of names"),
        ({"required": ["\x1b[2J"]}, r'the name "\x1b[2J" is long, or has a control character'),
        ({"properties": {"a\nb": {}}}, r'the name "a\nb" is long, or has a control character'),
        ({"enum": 3}, "enum is a list of values"),
        ({"$ref": 3}, "$ref is a text"),
        (DEEP, "nested more than 64 deep"),
        ({"default": [[[DEEP]]]}, "nested more than 64 deep"),
        ({"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"anyOf": [{"$ref": "#/$defs/A"}]}}}, "stands for itself"),
        ({"properties": MANY}, f"at most {MAX_SCHEMAS_BYTES:,} are taken"),
    ],
)
def test_hostile_schemas_are_refused_at_the_registration(schema, says):
    with pytest.raises(InvalidInputError) as refusal:
        AgentDescriptor("a", schemas={"f": {"input": schema}})
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "schemas", [b"[1]", b"{", b'{"f": 3}', b"[" * 5_000, {str(n): {} for n in range(257)}, {1j: 2}]
)
def test_what_are_no_schemas_at_all_is_refused(schemas):
    with pytest.raises(InvalidInputError, match="schemas"):
        AgentDescriptor("a", schemas=schemas)


def test_a_type_that_refers_to_itself_through_its_parts_is_taken():
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}}
    result = signature(None, {"$ref": "#/$defs/Tree", "$defs": {"Tree": tree}}).result
    assert kinds(shape_of(result)) == frozenset({"object"})
    assert AgentDescriptor("a", schemas=text_of({"f": {"result": result}})).schemas_text


def test_a_descriptor_keeps_its_schemas_on_its_way_between_registries():
    said = {"f": {"input": {"type": "object"}}}
    descriptor = AgentDescriptor("a", schemas=said)
    assert json.loads(descriptor.schemas_text) == said
    for way in (msgspec.json, msgspec.msgpack):
        assert way.decode(way.encode(descriptor), type=AgentDescriptor) == descriptor
    assert AgentDescriptor("a", schemas={}).schemas_text == b""


def test_alternatives_within_each_other_take_no_longer_than_is_worth_it():
    either = [{"type": "array", "items": {"$ref": "#/$defs/A"}}] * 60
    given = signature({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"anyOf": either}}})
    value: Any = 1
    for _ in range(20):
        value = [value]
    assert misfit(value, shape_of(given.arguments["a"]), lambda _: None) == ""  # 60 ** 20 ways


READ_V1 = {"read": {"input": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"],
                              "additionalProperties": False},
                    "result": {"type": "object", "properties": {"words": {"type": "integer"}},
                               "additionalProperties": False}}}  # fmt: skip
READ_V2 = {"read": {"input": {"type": "object", "properties": {"url": {"type": "integer"}, "depth": {}},
                              "additionalProperties": False},
                    "result": {"type": "object", "properties": {"size": {"type": "integer"}},
                               "additionalProperties": False}}}  # fmt: skip


def rules(task_input: str, *offers: tuple[tuple[str, ...], Any]) -> list[str]:
    known = signatures_offered((functions, text_of(schemas)) for functions, schemas in offers)
    assert known is not None
    workflow = load_workflow(
        f"name: w\ntasks:\n  - {{id: read, agent_type: reader, input: {{{task_input}}}}}\n"
        "  - {id: next, agent_type: x, depends_on: [read], input: {n: '${tasks.read.result.words}'}}\n"
    )
    return [problem.rule for problem in type_problems(workflow, {"reader": known})]


def test_what_one_agent_of_a_type_takes_is_taken():
    one, two = (("read",), READ_V1), (("read",), READ_V2)
    assert rules("url: x", one) == []
    assert rules("url: x", two) == ["argument-type", "result-field"]
    assert rules("url: x", one, two, one) == []
    assert rules("url: 3", one, two) == []
    assert rules("depth: 1", one) == ["unknown-argument", "missing-argument"]
    assert rules("depth: 1", one, two) == []
    assert rules("url: [], more: 1", one, two) == ["argument-type", "unknown-argument"]
    assert rules("url: [], more: 1", one, two, (("read",), {})) == []  # one says nothing of it
    assert rules("url: [], more: 1", one, ((), {})) == []
    assert rules("url: x", (("write",), {})) == ["unknown-function"]
    assert rules("url: x", (("write",), {}), one) == []


def test_of_a_type_without_agents_or_with_too_many_different_ones_nothing_is_known():
    assert signatures_offered([]) is None
    assert (
        signatures_offered((("f",), msgspec.json.encode({"f": {"result": {"enum": [n]}}})) for n in range(65)) is None
    )
