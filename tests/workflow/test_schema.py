"""The JSON Schema of workflows: it takes every workflow that is one, and refuses nothing that the reader takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from podium.workflow.problems import Problems
from podium.workflow.wfformat import read_trace, workflow_of
from podium.workflow.yaml import check_workflow, dump_workflow, language
from podium.workflow.yaml.fields import Field, Table
from podium.workflow.yaml.nodes import plain_value
from podium.workflow.yaml.reader import read_tree
from podium.workflow.yaml.schema import workflow_schema
from tests.docs.snippets import ROOT, blocks_of, is_workflow, pages
from tests.workflow.wfformat.traces import by_id, text

SCHEMA = workflow_schema()
VALIDATOR = Draft7Validator(SCHEMA)
HERE = Path(__file__).parent / "yaml"
FILES = [*sorted((ROOT / "src").rglob("*.yaml")), *sorted((HERE / "good").glob("*.yaml"))]
BLOCKS = [
    block
    for page in pages()
    for block in blocks_of(page.name, page.read_text(encoding="utf-8"))
    if block.kind in ("yaml", "yml") and is_workflow(block.text) and block.exit_code == 0
]
BAD = sorted((HERE / "bad").glob("*.yaml"))


def plain(content: str | bytes) -> Any:
    """A YAML text as an editor sees it: plain values, by YAML 1.2."""
    root = read_tree(content, "<text>", Problems())
    return None if root is None else plain_value(root)


def refusals(document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(document)]


def accepted(document: Any) -> bool:
    return check_workflow(yaml.safe_dump(document, allow_unicode=True))[0] is not None


# --- what is accepted ------------------------------------------------------------------------------------------------


def test_it_is_a_schema_of_draft_07_and_plain_json():
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA == workflow_schema()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_example_is_accepted(file: Path) -> None:
    assert refusals(plain(file.read_bytes())) == []


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_each_workflow_of_the_docs_is_accepted(block) -> None:
    assert refusals(plain(block.text)) == []


def test_imported_traces_are_accepted():
    trace = read_trace(text(by_id(["first", "then"], {"then": ["first"]})).encode(), "trace.json")
    assert refusals(plain(dump_workflow(workflow_of(trace)))) == []


def test_a_workflow_may_stand_under_its_key_alone():
    inner = {"name": "w", "tasks": [{"id": "a", "agent": "noop"}]}
    assert refusals({"workflow": inner}) == []
    assert refusals({"workflow": inner, "name": "w"})
    assert refusals({"workflow": None})


# --- the tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "table"),
    [("workflow", language.WORKFLOW), ("task", language.TASK), ("agent", language.AGENT), ("retry", language.RETRY)],
)
def test_each_field_stands_there_under_all_its_names_with_its_description(block: str, table: Table) -> None:
    properties = SCHEMA["definitions"][block]["properties"]
    assert {name: field.says for name, field in table.by_name.items()} == {
        name: property["description"] for name, property in properties.items()
    }


def test_a_reader_without_a_shape_is_a_mistake_that_is_named(monkeypatch):
    def unheard_of(reading, node, path):
        return node

    table = Table([Field("x", unheard_of, "something")])
    monkeypatch.setattr(language, "CONFIG", table)
    with pytest.raises(LookupError, match="no shape for the reader unheard_of"):
        workflow_schema()


# --- what is refused -------------------------------------------------------------------------------------------------

TASK = "tasks: [{id: a, agent: noop}]\n"
MISTAKES = [
    "[]",
    "name: w",
    "name: 3\n" + TASK,
    "tasks: [{id: a, agent: noop}]",
    "name: w\ntasks: []",
    "name: w\ntasks: {}",
    "name: w\ntasks: a",
    "name: w\ntasks: [a]",
    "name: w\ntasks: [{agent: noop}]",
    "name: w\ntasks: [{id: a}]",
    "name: w\ntasks: {a: {}}",
    "name: w\ntasks: {a:}",
    "name: w\ntasks: [{id: 1, agent: noop}]",
    "name: w\ntasks: [{id: a, agent: noop, depend_on: [b]}]",
    "name: w\ntasks: [{id: a, agent: noop, depends_on: [1]}]",
    "name: w\ntasks: [{id: a, agent: noop, input: [1]}]",
    "name: w\ntasks: [{id: a, agent: noop, input: {}, payload: {}}]",
    "name: w\ntasks: [{id: a, agent: noop, parallel: yes}]",
    "name: w\ntasks: [{id: a, agent: noop, retries: many}]",
    "name: w\ntasks: [{id: a, agent: noop, retries: 1.5}]",
    "name: w\ntasks: [{id: a, agent: noop, retry: 3}]",
    "name: w\ntasks: [{id: a, agent: noop, retry: {max_attempt: 3}}]",
    "name: w\ntasks: [{id: a, agent: noop, retry_policy: exponential}]",
    "name: w\ntasks: [{id: a, agent: noop, timeout: soon}]",
    "name: w\ntasks: [{id: a, agent: noop, timeout: -1}]",
    "name: w\ntasks: [{id: a, agent: noop, timeout: true}]",
    "name: w\ntasks: [{id: a, agent: noop, priority: urgent}]",
    "name: w\ntasks: [{id: a, agent: noop, type: timer}]",
    "name: w\ntasks: [{id: a, agent: noop, run_if: always}]",
    "name: w\ntasks: [{id: a, agent: noop, on_failure: aks}]",
    "name: w\ntasks: [{id: a, agent: noop, on_failure: {fallback: b, action: fail}}]",
    "name: w\ntasks: [{id: a, agent: noop, for_each: 3}]",
    "name: w\ntasks: [{id: a, agent: noop, when: 3}]",
    "name: w\ntasks: [{id: a, agent: noop, resources: {cpus: 2}}]",
    "name: w\ntasks: [{id: a, agent: noop, resources: {cpu: 2, cpu_cores: 2}}]",
    "name: w\ntasks: [{id: a, agent: noop, resources: {custom: {x: y}}}]",
    "name: w\nagents: [a]\n" + TASK,
    "name: w\nagents: {a: {count: 2}}\n" + TASK,
    "name: w\nagents: {a: {type: x, count: two}}\n" + TASK,
    "name: w\nagents: {a: {type: x, agent_type: x}}\n" + TASK,
    "name: w\ninputs: [a]\n" + TASK,
    "name: w\ninputs: {a: {type: text}}\n" + TASK,
    "name: w\ninputs: {a: {requred: true}}\n" + TASK,
    "name: w\nconfig: {timeout: later}\n" + TASK,
    "name: w\nconfig: {retry: 3}\n" + TASK,
    "name: w\nconfig: 3\n" + TASK,
    "name: w\nconstraints: 4\n" + TASK,
    "name: w\nconstraints: {max_paralel: 4}\n" + TASK,
    "name: w\nconstraints: [{type: max_parallel}]\n" + TASK,
    "name: w\ncoordination: {type: chaos}\n" + TASK,
    "name: w\nfault_tolerance: {circuit_breaker: {failure_threshold: few}}\n" + TASK,
    "name: w\norchestration_pattern: chaos\n" + TASK,
    "name: w\nversion: true\n" + TASK,
    "name: w\nmetadata: x\n" + TASK,
    "name: w\nschedule: daily\n" + TASK,
    "name: w\nsecrets: {a: b}\n" + TASK,
    "workflow: x",
    "workflow: {name: w, tasks: [{id: a, agent: noop}]}\nname: w",
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_typical_mistakes_are_refused_by_both(mistake: str) -> None:
    assert refusals(plain(mistake))
    assert check_workflow(mistake)[0] is None


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_files_that_an_editor_can_parse_are_never_called_good_for_their_structure(file: Path) -> None:
    document = plain(file.read_bytes())
    structural = {"unknown-field", "wrong-type", "not-yet"}
    found = {problem.rule for problem in check_workflow(file.read_bytes())[1]}
    if document is not None and found and found <= structural:
        assert refusals(document)


# --- whatever the schema refuses, the reader refuses -----------------------------------------------------------------

WHOLE = plain((HERE / "good" / "everything.yaml").read_bytes())
NAMES = sorted({name for table in vars(language).values() if isinstance(table, Table) for name in table.by_name})
VALUES = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 2.5, 50, [], {}, ["a"], {"a": "b"}, {"type": "noop"}]),
    st.sampled_from(["", "a", "noop", "fail", "fallback: a", "fallback:", "Fixed", "fixed", "5m", "2 cores", "HIGH"]),
    st.sampled_from(["Io", "event-driven", "Graph", "all-done", "max-parallel", "string", "${tasks}", "1.10"]),
    st.text(max_size=4),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    """The document with what lies at a path put through `change`."""
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], change)
    return copy


@st.composite
def documents(draw) -> Any:
    document = draw(st.sampled_from([WHOLE, {"name": "w", "tasks": {"a": {"agent": "noop"}}}]))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(places(document)))
        name, value = draw(st.sampled_from(NAMES)), draw(VALUES)

        def change(old: Any, name: str = name, value: Any = value) -> Any:
            return {**old, name: value} if isinstance(old, dict) else value

        document = changed(document, place, change)
    return document


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_what_the_schema_refuses_the_reader_refuses_too(document: Any) -> None:
    if refusals(document):
        assert not accepted(document)
