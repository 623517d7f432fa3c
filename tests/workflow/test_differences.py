"""What differs between two versions of a workflow, and what of it a running execution could take."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.workflow.differences import (
    AGENT_FIELDS,
    INPUT_FIELDS,
    TASK_FIELDS,
    WORKFLOW_FIELDS,
    Change,
    differences,
)
from podium.workflow.hashing import content_hash
from podium.workflow.model import AgentGroup, InputParameter, Task, Workflow
from podium.workflow.yaml import load_workflow

BASE = """
name: w
inputs: {x: {type: integer, default: 1}, y: string}
agents: {crew: {type: worker, count: 2}}
tasks:
  - {id: a, agent: crew, input: {x: "${input.x}"}}
  - {id: b, agent: crew, parallel: true, depends_on: [a], input: {}}
  - {id: c, agent: crew, depends_on: [a, b], timeout: 5m, retry: {max_attempts: 3}}
"""


def found(*changes: tuple[str, str]) -> list[tuple[str, str, str, bool]]:
    """The differences after replacing texts of the base: change, kind and name, field, compatible."""
    text = BASE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return [
        (one.change.value, f"{one.kind} {one.name}".strip(), one.field, one.compatible)
        for one in differences(load_workflow(BASE), load_workflow(text))
    ]


def test_each_field_of_the_model_is_judged():
    told_otherwise = {"id", "inputs", "agents", "tasks", "dependencies", "created_at", "checkpoints"}
    assert set(WORKFLOW_FIELDS) | told_otherwise == set(Workflow.__struct_fields__)
    assert set(TASK_FIELDS) | {"id", "dependencies", "status", "result"} == set(Task.__struct_fields__)
    assert set(AGENT_FIELDS) | {"name"} == set(AgentGroup.__struct_fields__)
    assert set(INPUT_FIELDS) | {"name"} == set(InputParameter.__struct_fields__)


def test_the_same_in_another_order_differs_in_nothing():
    assert found(("depends_on: [a, b]", "depends_on: [b, a]")) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("name: w", "name: v")], [("changed", "workflow", "name", False)]),
        ([("name: w", "name: w\nversion: '2'")], [("changed", "workflow", "version", True)]),
        ([("name: w", "name: w\nconfig: {timeout: 1h}")], [("changed", "workflow", "config.timeout", True)]),
        ([("timeout: 5m", "timeout: 6m")], [("changed", "task c", "timeout", True)]),
        ([("max_attempts: 3", "max_attempts: 4")], [("changed", "task c", "retry.max_attempts", True)]),
        ([("input: {}", "input: {z: 1}")], [("changed", "task b", "input", False)]),
        ([("parallel: true, ", "")], [("changed", "task b", "parallel", False)]),
        ([("timeout: 5m", "timeout: 5m, when: input.x > 1")], [("changed", "task c", "when", False)]),
        ([("count: 2", "count: 3")], [("changed", "agent crew", "count", False)]),
        ([("type: worker", "type: other")], [
            ("changed", "agent crew", "type", False),
            *[("changed", f"task {id}", "agent_type", False) for id in "abc"],
        ]),
        ([("depends_on: [a, b]", "depends_on: [b]")], [("removed", "edge a -> c", "", False)]),
        ([("parallel: true, depends_on: [a], ", "parallel: true, ")], [("removed", "edge a -> b", "", True)]),
        ([
            ("{id: a, agent: crew,", "{id: a, agent: crew, depends_on: [d],"),
            ("\n  - {id: b", "\n  - {id: d, agent: crew}\n  - {id: b"),
        ], [
            ("added", "edge d -> a", "", False),
            ("added", "task d", "", True),
        ]),
        ([("\n  - {id: b", "\n  - {id: d, agent: crew, depends_on: [a]}\n  - {id: b")], [
            ("added", "task d", "", True),
            ("added", "edge a -> d", "", True),
        ]),
        ([("default: 1", "default: 2")], [("changed", "input x", "default", False)]),
        ([("y: string", "y: string, z: string")], [("added", "input z", "", False)]),
        ([("y: string", "y: string, z: 3")], [("added", "input z", "", True)]),
        ([(", y: string", "")], [("removed", "input y", "", True)]),
        ([("y: string", "y: {type: string, required: false}")], [("changed", "input y", "required", True)]),
        ([("type: integer", "type: number")], [("changed", "input x", "type", False)]),
    ],
)  # fmt: skip
def test_single_changes(changes, expected) -> None:
    assert found(*changes) == expected


def test_a_removed_task_may_have_run():
    before = load_workflow(BASE)
    after = load_workflow(BASE[: BASE.index("  - {id: c")])
    kinds = [(one.change, one.kind, one.name, one.why) for one in differences(before, after)]
    assert kinds[0] == (Change.REMOVED, "task", "c", "it may run, or have run")
    assert [name for _, kind, name, _ in kinds if kind == "edge"] == ["a -> c", "b -> c"]


def test_an_input_that_becomes_required_may_be_missing():
    before = load_workflow("name: w\ninputs: {x: {type: string, required: false}}\ntasks: [{id: a, agent: noop}]")
    after = load_workflow("name: w\ninputs: {x: {type: string}}\ntasks: [{id: a, agent: noop}]")
    assert [one.why for one in differences(before, after)] == ["an execution may have been started without it"]


VALUES = {
    "name": st.sampled_from(["", "title"]),
    "function": st.sampled_from(["", "f"]),
    "payload": st.sampled_from([None, {}, {"x": 1}, {"x": 1.0}, {"x": True}, {"x": "1"}]),
    "timeout": st.sampled_from([None, 1.0, 2.0]),
    "priority": st.sampled_from([None, 0, 50]),
    "parallel": st.booleans(),
    "dependencies": st.sampled_from([(), ("z",), ("y",), ("y", "z"), ("z", "y")]),
}


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries(VALUES), st.fixed_dictionaries(VALUES))
def test_there_are_differences_exactly_where_the_hashes_differ(one, other):
    def workflow(values) -> Workflow:
        others = (Task(id="y", agent_type="n"), Task(id="z", agent_type="n"))
        return Workflow(name="w", tasks=(*others, Task(id="a", agent_type="n", **values)))

    before, after = workflow(one), workflow(other)
    assert (differences(before, after) == ()) == (content_hash(before) == content_hash(after))
    assert differences(before, before) == ()
    assert msgspec.json.encode(differences(before, after))
