"""Arguments and results against type hints before anything runs: what can't fit is said, what might isn't."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Raw, Struct
from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, computed_field, model_validator

import podium
from podium import Context, agent, task
from podium.agents.errors import ArgumentError
from podium.agents.sdk import TaskFunction
from podium.agents.sdk import task_of as described_by
from podium.agents.signatures import known_signatures, signature_of
from podium.exceptions import AgentBindingError, PodiumError, WorkflowInvalidError
from podium.workflow.typed import Signature, shapes, type_problems
from podium.workflow.typed.shapes import Missing, Shape, items, kinds, misfit, one_of, part, shape_of
from podium.workflow.typed.signatures import Schema
from podium.workflow.yaml import load_workflow


class Link(Struct):
    url: str
    title: str | None = None


class Page(Struct, rename="camel"):
    page_text: str
    links: list[Link] = []
    parent: Page | None = None
    extra: dict[str, int] = {}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Model(BaseModel):
    size: int = 1


class Pair(NamedTuple):
    left: int
    right: str


class Options(TypedDict, total=False):
    deep: bool


@agent("reader")
class Reader:
    @task
    def read(self, context: Context, url: str, depth: int = 1, colour: Colour = Colour.RED) -> Page:
        return Page(url)

    @task
    def count(self, text: str, options: Options | None = None) -> int:
        return len(text)

    @task
    def pages(self, urls: list[str]) -> list[Page]:
        return [Page(url) for url in urls]

    @task
    def unknown(self, anything, model: Model, path: Path = Path()):
        return anything

    @task
    def open(self, name: str, **others: int) -> dict[str, Any]:
        return {name: others}

    @task
    def pair(self, model: Model) -> Pair:
        return Pair(1, "a")

    @task
    def model(self) -> Model:
        return Model()

    @task
    def nothing(self) -> None: ...


def task_of(function: Any) -> TaskFunction:
    described = described_by(function)
    assert described is not None
    return described


SIGNATURES, _ = known_signatures(["reader"], [f"{__file__}:Reader"])


def found(tasks: str, head: str = "") -> list[str]:
    workflow = load_workflow(f"name: w\n{head}\ntasks:\n{tasks}")
    return [f"{problem.rule}: {problem.message}; {problem.hint}" for problem in type_problems(workflow, SIGNATURES)]


READ = '  - {id: read, agent: reader, input: {url: "x"}}\n'


@pytest.mark.parametrize(
    "reference",
    [
        "tasks.read.result.pageText",
        "tasks.read.result.links[0].url",
        "tasks.read.result.links[-1].title",
        "tasks.read.result.parent.parent.pageText",
        "tasks.read.result.extra.anything",
        "tasks.read.result['pageText']",
        "tasks.read.result.get('nothing')",
        "tasks.read.result",
        "tasks.read.status",
        "tasks.read.result.pageText[0]",
        "tasks.read.result.parent",
    ],
)
def test_what_a_result_has_may_be_read(reference):
    count = f'  - {{id: note, agent: other, depends_on: [read], input: {{x: "${{{reference}}}"}}}}\n'
    assert found(READ + count) == []


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (
            "tasks.read.result.pagetext",
            'result-field: task "note" reads tasks.read.result.pagetext, but tasks.read.result has no field '
            '"pagetext"; did you mean "pageText"?',
        ),
        ("tasks.read.result.links.url", "tasks.read.result.links is a list, so there is no .url in it"),
        ("tasks.read.result.links[0].uri", 'tasks.read.result.links[0] has no field "uri"; it has url, title'),
        ("tasks.read.result.parent.text", 'has no field "text"'),
        ("tasks.read.result.extra.a.b", "tasks.read.result.extra.a is a whole number, so there is no .b in it"),
        ("tasks.read.result.pageText.size", "is a text, so there is no .size in it"),
    ],
)
@pytest.mark.parametrize(
    "form", ['input: {x: "${%s}"}', 'input: {x: ["a ${%s} b"]}', 'when: "%s == 1"', 'for_each: "${%s}"']
)
def test_what_a_result_has_not_is_said(reference, says, form):
    note = f"  - {{id: note, agent: other, depends_on: [read], {form % reference}}}\n"
    (problem,) = found(READ + note)
    assert says in problem


def test_the_place_in_the_file_is_said(tmp_path, capsys, monkeypatch):
    from podium.cli.main import main

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "w.yaml"
    file.write_text(
        "name: w\ntasks:\n  - id: read\n    agent: reader\n    input:\n      url: 3\n      dept: 1\n"
        "  - id: count\n    agent: reader\n    depends_on: [read]\n    input: {text: '${tasks.read.result.pageTxt}'}\n"
    )
    assert main(["validate", "w.yaml"]) == 0
    assert main(["validate", "w.yaml", "--agents", f"{__file__}:Reader"]) == 2
    said = capsys.readouterr().out.splitlines()[1:]
    assert said[0] == ('w.yaml:6:12: argument-type: task "read": the argument "url" of reader.read is a text, not 3')
    assert said[1].startswith(
        'w.yaml:7:13: unknown-argument: task "read": reader.read has no argument "dept"; did you mean'
    )
    assert said[2].startswith("w.yaml:11:")
    assert "result-field" in said[2]
    (tmp_path / "podium.yaml").write_text(f"agents: {{reader: '{__file__}:Reader'}}\n")
    assert main(["validate", "w.yaml"]) == 2
    (tmp_path / "podium.yaml").write_text("agents: {reader: 'no.such.module:Reader'}\n")
    assert main(["validate", "w.yaml"]) == 0
    assert main(["validate", "w.yaml", "--agents", "no.such.module:Reader"]) == 2


def test_a_run_is_refused_before_anything_is_submitted(tmp_path, capsys, monkeypatch):
    from podium.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.yaml").write_text(
        "name: w\ntasks:\n  - {id: count, agent: reader, input: {text: 3}}\n  - {id: raed, agent: reader}\n"
    )
    assert main(["run", "w.yaml", "--agents", f"{__file__}:Reader"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == 'w.yaml:3:46: argument-type: task "count": the argument "text" of reader.count is a text, not 3'
    assert said[1].startswith('w.yaml:4:10: unknown-function: task "raed"')
    assert said[1].endswith('did you mean "read"?')
    assert said[2].startswith("error: the workflow has 2 problems, nothing was started (--no-type-check goes on")
    assert not (tmp_path / ".podium").exists()
    command = ["run", "w.yaml", "--agents", f"{__file__}:Reader", "--no-type-check", "--database", ":memory:"]
    assert main(command) == 1  # the tasks fail at the agent
    assert "ArgumentError" in capsys.readouterr().out


def test_many_types_are_looked_up_together(monkeypatch):
    from importlib import metadata

    asked: list[str] = []

    def entry_points(group: str) -> list[Any]:
        asked.append(group)
        return []

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    types = [f"type-{at}" for at in range(50)]
    signatures, unknown = known_signatures(types, ["podium.agents.builtin", f"{__file__}:Reader"])
    assert (signatures, len(unknown)) == ({}, 50)
    asked.clear()
    signatures, _ = known_signatures(["echo", "sleep", "reader"], [f"{__file__}:Reader"])
    assert len(signatures) == 3
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (
            "id: raed, input: {}",
            'unknown-function: task "raed": the agent type "reader" has no function "raed"; did you',
        ),
        ("id: x, function: write", "unknown-function"),
        ("id: read, input: {}", 'missing-argument: task "read": reader.read needs "url"'),
        (
            "id: read, input: {url: x, depth: deep}",
            "the argument \"depth\" of reader.read is a whole number, not 'deep'",
        ),
        ("id: read, input: {url: x, depth: 1.5}", "is a whole number, not 1.5"),
        ("id: read, input: {url: x, colour: green}", "is one of 'blue', 'red', not 'green'"),
        ("id: read, input: {url: [x]}", 'the argument "url" of reader.read is a text, not a list'),
        ("id: read, input: {url: null}", "is a text, not null"),
        ("id: read, input: {url: x, context: 1}", 'has no argument "context"'),
        ("id: pages, input: {urls: [a, 3]}", "is a list, not a list with 3"),
        ("id: pages, input: {urls: 'x ${input.n}'}", "is a list, not a text"),
        ("id: count, input: {text: '${input.n}'}", "is a text, not a number"),
        ("id: count, input: {text: a, options: {deep: 3}}", "is a mapping or null, not a mapping with 3 as 'deep'"),
        ("id: open, input: {name: a, other: b}", "the argument \"other\" of reader.open is a whole number, not 'b'"),
    ],
)
def test_arguments_that_can_not_fit_are_said(said, says):
    (problem,) = found(f"  - {{agent: reader, {said}}}\n", "inputs: {n: {type: integer}}")
    assert says in problem


@pytest.mark.parametrize(
    "said",
    [
        "id: read",  # without input: what the function has no parameter for is left out
        "id: read, input: {url: '${input.n + 1}'}",
        "id: read, input: {url: '${input.free}', depth: '${input.n}'}",
        "id: read, input: {url: 'a ${input.n}', depth: 2.0, colour: red}",
        "id: read, input: {url: '${execution.id}', colour: '${input.free}'}",
        "id: count, input: {text: a, options: null}",
        "id: count, input: {text: a, options: {deep: true}}",
        "id: open, input: {name: a, b: 3, c: 4}",
        "id: unknown, input: {anything: {a: [1]}, model: {size: '3'}, path: /tmp}",
        "id: unknown, input: {anything: 1, model: 3}",
        "id: pages, for_each: [[a], [b]], input: {urls: '${item}'}",
        "id: pages, input: {urls: '${input.list}'}",
        "id: pages, input: {urls: ['${input.free}', 'b']}",
    ],
)
def test_arguments_that_may_fit_are_left_alone(said):
    head = "inputs: {n: {type: integer}, free: , list: {type: array}}"
    assert found(f"  - {{agent: reader, {said}}}\n", head) == []


def test_results_of_fan_outs_are_lists_and_their_items_are_followed():
    tasks = (
        "  - {id: pages, agent: reader, input: {urls: [a]}}\n"
        "  - {id: count, agent: reader, depends_on: [pages], for_each: '${tasks.pages.result}',"
        " input: {text: '${item.%s}'}}\n"
        "  - {id: note, agent: other, depends_on: [count], input: {x: '${tasks.count.result%s}'}}\n"
    )
    assert found(tasks % ("pageText", "[0]")) == []
    wrong = found(tasks % ("text", ".text"))
    assert [line.partition(":")[0] for line in wrong] == ["result-field", "result-field"]
    assert 'item has no field "text"' in wrong[0]
    assert "tasks.count.result is a list" in wrong[1]


def test_a_fallback_and_a_skipped_task_widen_what_a_result_may_be():
    tasks = (
        "  - {id: read, agent: reader, input: {url: x}, on_failure: {fallback: count}}\n"
        "  - {id: count, agent: reader, input: {text: x}}\n"
        "  - {id: open, agent: reader, depends_on: [read], input: {name: a, b: '${tasks.read.result}'}}\n"
        "  - {id: note, agent: other, depends_on: [read], input: {x: '${tasks.read.result.pageText}'}}\n"
    )
    assert found(tasks) == []
    assert found(tasks.replace("pageText", "nothing")) != []
    assert found(READ + "  - {id: note, agent: o, depends_on: [read], input: {x: '${tasks.read.result.x.y}'}}\n") != []


def test_what_has_no_schema_is_not_checked():
    tasks = (
        "  - {id: unknown, agent: reader, input: {anything: 1, model: {}}}\n"
        "  - {id: model, agent: reader, input: {}}\n"
        "  - {id: pair, agent: reader, input: {model: {}}}\n"
        "  - {id: other, agent: elsewhere, input: {}}\n"
        "  - {id: nothing, agent: reader, input: {}}\n"
        "  - id: note\n    agent: other\n    depends_on: [unknown, model, pair, other, nothing]\n"
        "    input: {a: '${tasks.unknown.result.x.y[3]}', b: '${tasks.model.result.size.x}',"
        " c: '${tasks.other.result.x}'}\n"
    )
    assert found(tasks) == []
    assert "tasks.nothing.result is nothing" in found(tasks.replace("unknown.result.x.y[3]", "nothing.result.x"))[0]
    assert "no field" in found(tasks.replace("model.result.size", "model.result.sise"))[0]
    assert "list of 2" in found(tasks.replace("unknown.result.x.y[3]", "pair.result[2]"))[0]


def test_signatures_say_what_functions_take():
    signature = signature_of(task_of(Reader.open))
    assert signature == Signature(
        arguments={"name": {"type": "string"}},
        required=frozenset({"name"}),
        others={"type": "integer"},
        result={"type": "object"},
    )
    assert signature.as_schema() == {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": {"type": "integer"},
    }
    assert Signature().as_schema() == {"type": "object", "properties": {}, "additionalProperties": False}
    signatures, unknown = known_signatures(["echo", "nowhere", "*"])
    assert list(signatures) == ["echo"]
    assert "no code behind agent type 'nowhere'" in unknown["nowhere"]


def test_a_workflow_is_validated_in_python_with_its_agents():
    text = f"name: w\ntasks:\n{READ}  - {{id: count, agent: any, input: {{text: 3}}}}\n"
    assert podium.validate(text, agents=[Reader]).name == "w"

    @task
    def count(text: str) -> int:
        return len(text)

    with pytest.raises(WorkflowInvalidError, match="is a text, not 3"):
        podium.validate(text, agents=[Reader, count])
    with pytest.raises(AgentBindingError):
        podium.validate(text, agents=["no.such.module"])

    @podium.workflow
    def flow(url: int):
        reader: Any = Reader()
        return reader.count(reader.read(url).pageTex)

    with pytest.raises(WorkflowInvalidError) as refusal:
        podium.validate(flow)
    assert sorted(problem.rule for problem in refusal.value.problems) == ["argument-type", "result-field"]


# --- what is wrong most likely ---------------------------------------------------------------------------------------


class Base(Struct):
    a: int


class Exact(Struct, forbid_unknown_fields=True):
    a: int


@dataclass
class Record:
    a: int


class Keys(TypedDict):
    a: int


def missing(hint: Any, key: str) -> Missing | None:
    found = part(shape_of(signature_of(task_of(function_with(hint))).result), key)
    return found if isinstance(found, Missing) else None


@pytest.mark.parametrize("hint", [Base, Record, Keys, Model, Base | None])
def test_a_result_may_have_more_fields_than_its_hint(hint):
    seen = missing(hint, "b")
    assert seen is not None
    assert not seen.certain


@pytest.mark.parametrize("hint", [Exact, Exact | None, list[Base], int, Pair])
def test_what_a_result_can_not_have_is_certain(hint):
    seen = missing(hint, "b") if hint is not Pair else part(shape_of(signature_of(task_of(Reader.pair)).result), 2)
    assert isinstance(seen, Missing)
    assert seen.certain


class Aliased(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True, alias_generator=AliasGenerator(serialization_alias=str.upper))
    my_name: int = Field(1, serialization_alias="myName")
    size: int = 2

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 4


class Own(BaseModel):
    a: int = 1

    def model_dump(self, **options: Any) -> dict[str, Any]:
        return {"b": 1}


class Accepting(BaseModel):
    a: int = 1

    @model_validator(mode="before")
    @classmethod
    def anything(cls, value: Any) -> Any:
        return {}


def test_a_model_has_the_fields_that_it_is_dumped_with():
    for name in Aliased(my_name=1).model_dump(mode="json"):
        assert missing(Aliased, name) is None
    assert missing(Aliased, "my_name") == Missing("a mapping", ("myName", "SIZE", "TWICE"), certain=False)
    for says_itself in (Own, Accepting):
        assert signature_of(task_of(function_with(says_itself))).result == {}


def test_what_most_likely_is_wrong_is_warned_of_and_run(tmp_path, capsys, monkeypatch):
    from podium.cli.checking import checked_workflow
    from podium.cli.main import main

    monkeypatch.chdir(tmp_path)
    note = "  - {id: note, agent: o, depends_on: [read], input: {x: '${tasks.read.result.y}'}}\n"
    text = f"name: w\ntasks:\n{READ}{note}"
    (tmp_path / "w.yaml").write_text(text)

    def check(workflow: Any) -> Any:
        return type_problems(workflow, SIGNATURES)

    assert checked_workflow("w.yaml", check).name == "w"
    said = capsys.readouterr()
    assert said.err.startswith("warning: w.yaml:4:57: result-field: ")
    assert not said.out
    assert main(["validate", "w.yaml", "--agents", f"{__file__}:Reader", "--json"]) == 2
    document = msgspec.json.decode(capsys.readouterr().out)
    assert [one["certain"] for one in document["files"][0]["problems"]] == [False]
    (tmp_path / "w.yaml").write_text(text.replace('url: "x"', "url: 3"))
    with pytest.raises(WorkflowInvalidError) as refusal:
        checked_workflow("w.yaml", check)
    assert [problem.rule for problem in refusal.value.problems] == ["argument-type"]
    assert capsys.readouterr().err.count("warning:") == 1


# --- no false alarms -------------------------------------------------------------------------------------------------

ATOMS: list[Any] = [
    int, float, str, bool, None, bytes, Decimal, datetime, timedelta, UUID, Any, Raw, object, Colour, Link, Page, Model,
    Pair, Options, Path, Literal["a", 1], Annotated[int, Meta(ge=3)], Annotated[str, Meta(pattern="a+")],
]  # fmt: skip
HINTS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: (
        inner.map(lambda hint: list[hint])  # type: ignore[valid-type]
        | inner.map(lambda hint: dict[str, hint])  # type: ignore[valid-type]
        | inner.map(lambda hint: tuple[hint, ...])  # type: ignore[valid-type]
        | inner.map(lambda hint: hint | None if hint is not None else None)
        | inner.map(lambda hint: set[hint])  # type: ignore[valid-type]
    ),
    max_leaves=3,
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-3, 3, allow_nan=False)
    | st.sampled_from([2.0, "", "a", "aaa", "red", "1.5", "P1D", "2026-01-01T00:00:00Z", "/tmp", "YWE="])
    | st.uuids().map(str),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["url", "title", "pageText", "links", "parent", "deep", "size"]), inner, max_size=2
        )
    ),
    max_leaves=5,
)


def function_with(hint: Any) -> Any:
    def take(value: Any) -> None: ...

    take.__annotations__ = {"value": hint, "return": hint}
    return task(take)


@settings(max_examples=200, deadline=None)
@given(HINTS, VALUES)
def test_what_a_function_would_take_is_never_complained_of(hint, value):
    try:
        described = task_of(function_with(hint))
        call = described.call
    except PodiumError:
        return  # a hint that can't be used is refused when the agent is loaded
    schema = signature_of(described).arguments["value"]
    complaint = misfit(value, shape_of(schema), lambda text: None)
    if not complaint:
        return
    with pytest.raises((ArgumentError, TypeError)):  # TypeError: a set of what has no hash
        call.arguments(Raw(msgspec.json.encode({"value": value})))


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    match value:
        case dict():
            for key, below in value.items():
                yield from paths(below, (*path, key))
        case list():
            for at, below in enumerate(value):
                yield from paths(below, (*path, at))
                yield (*path, at - len(value))


@settings(max_examples=200, deadline=None)
@given(HINTS, VALUES)
def test_what_a_result_holds_may_always_be_read(hint, value):
    try:
        described = task_of(function_with(hint))
        call = described.call
        converted = call.arguments(Raw(msgspec.json.encode({"value": value})))["value"]
        result = msgspec.json.decode(call.result(converted))
    except (PodiumError, TypeError):
        return
    whole = shape_of(signature_of(described).result)
    for path in paths(result):
        shape: Any = whole
        for key in path:
            shape = part(shape, key)
            assert not isinstance(shape, Missing), (hint, result, path)


def test_schemas_that_are_not_understood_allow_everything():
    for schema in (
        {"allOf": [{"type": "string"}]},
        {"$ref": "#/$defs/nowhere"},
        {"type": "new"},
        {"type": ["string", "new"]},
        {"anyOf": [{"type": "string"}, {}]},
        {"enum": [1, 2]},
    ):
        assert part(shape_of(schema), "x") == shape_of({})
    assert set(kinds(shape_of({"const": 3})) or ()) == {"number"}
    assert set(kinds(one_of([shape_of({"type": ["string", "null"]}), shape_of({"type": "array"})])) or ()) == {
        "string",
        "null",
        "array",
    }
    assert items(shape_of({"type": "string"})) == shape_of({})
    two = one_of([shape_of({"$ref": "#/$defs/A", "$defs": {"A": {"type": kind}}}) for kind in ("string", "integer")])
    assert set(kinds(two) or ()) == {"string", "number"}


def test_a_function_that_never_returns_has_no_result_to_check():
    def never() -> NoReturn:
        raise ValueError

    assert signature_of(task_of(task(never))).result == {}


def test_what_many_tasks_read_of_one_function_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out: list[Shape] = []
    found_out = shapes._alternatives

    def counted(shape: Shape) -> list[Schema] | None:
        worked_out.append(shape)
        return found_out(shape)

    monkeypatch.setattr(shapes, "_alternatives", counted)

    def taken(tasks: int) -> int:
        lines = ["name: wide", "inputs: {url: string, depth: 1}", "tasks:"]
        for at in range(tasks):
            lines += [f"  - id: t{at}", "    agent: reader", "    function: read", "    when: 'input.depth > 0'"]
            before = "${input.url}" if not at else f"${{tasks.t{at - 1}.result.page_text}}"
            lines += [f"    depends_on: [t{at - 1}]"] if at else []
            lines += ["    input:", f'      url: "{before}"', "      depth: ${input.depth}"]
        workflow = load_workflow("\n".join(lines))
        worked_out.clear()
        assert not type_problems(workflow, {"reader": {"read": SIGNATURE}})
        return len(worked_out)

    taken(2)  # the kinds of inputs are worked out once a process
    assert 0 < taken(100) == taken(10)


SIGNATURE = Signature(
    arguments={"url": {"type": "string"}, "depth": {"type": "integer"}},
    required=frozenset({"url"}),
    result={"type": "object", "properties": {"page_text": {"type": "string"}}},
)
