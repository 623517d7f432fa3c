"""Tasks that are workflows: how they are written, what is refused, and that a round trip keeps them."""

from __future__ import annotations

import pytest

from podium.workflow.hashing import content_hash, decode_workflow, encode_workflow
from podium.workflow.model import AgentGroup, ParentClose, Task, TaskType, Workflow
from podium.workflow.validation import MAX_CHILDREN, problems_of, validate
from podium.workflow.yaml import check_workflow, load_workflow
from podium.workflow.yaml.dumper import dump_workflow
from podium.workflow.yaml.formatting import formatted

ORDER = """
name: order
tasks:
  - {id: check, agent: echo}
  - id: pack
    depends_on: [check]
    input: {items: "${tasks.check.result}"}
    parent_close: abandon
    workflow:
      name: packing
      inputs: {items: array}
      agents: {hands: {type: packer, count: 3}}
      tasks:
        - {id: wrap, agent: hands, for_each: "${input.items}"}
        - {id: more, depends_on: [wrap], workflow: {name: inner, tasks: [{id: z, agent: noop}]}}
"""
INNER = "workflow: {name: inner, tasks: [{id: z, agent: noop}]}"


def nested(depth: int) -> Workflow:
    inner = Workflow(name="w0", tasks=(Task(id="a", agent_type="noop"),))
    for level in range(depth):
        inner = Workflow(name=f"w{level + 1}", tasks=(Task(id="a", workflow=inner),))
    return inner


def test_a_child_is_read_with_its_roles_and_children():
    workflow = load_workflow(ORDER)
    pack = workflow.task("pack")
    assert (pack.type, pack.parent_close, pack.needs_agent) == (TaskType.WORKFLOW, ParentClose.ABANDON, False)
    assert pack.workflow is not None
    assert pack.workflow.task("wrap").agent_type == "packer"
    assert workflow.agent_counts() == {"echo": 1, "packer": 3, "noop": 1}


def test_a_round_trip_keeps_children_and_the_hash():
    workflow = load_workflow(ORDER)
    assert load_workflow(dump_workflow(workflow)) == workflow
    assert decode_workflow(encode_workflow(workflow), content_hash(workflow)) == workflow
    text, problems = formatted(ORDER)
    assert not problems
    assert text is not None
    assert load_workflow(text) == workflow


def test_the_hash_is_over_what_the_child_means():
    def with_child(child: Workflow) -> Workflow:
        return Workflow(name="w", tasks=(Task(id="a", workflow=child),))

    one = Workflow(name="c", tasks=(Task(id="x", agent_type="n"), Task(id="y", agent_type="n")))
    other = Workflow(name="c", id="another", tasks=(one.tasks[1], one.tasks[0]))
    assert content_hash(with_child(one)) == content_hash(with_child(other))
    assert content_hash(with_child(one)) != content_hash(with_child(Workflow(name="c", tasks=one.tasks[:1])))


def test_roles_of_a_child_written_in_python_get_their_types():
    child = Workflow(name="c", agents={"r": AgentGroup("r", "kind")}, tasks=(Task(id="x", agent="r"),))
    found = validate(Workflow(name="w", tasks=(Task(id="a", workflow=child),))).tasks[0].workflow
    assert found is not None
    assert found.tasks[0].agent_type == "kind"


@pytest.mark.parametrize(
    ("change", "line", "expected"),
    [
        (('"${tasks.check.result}"', '"${tasks.chek.result}"'), 7, 'did you mean "check"?'),
        (("items: array", "thing: array"), 7, '"items" is no input of the workflow "packing"'),
        (("for_each: \"${input.items}\"", "for_each: \"${input.itms}\""), 14, 'did you mean "items"?'),
        (("agent: hands", "agent: hand"), 14, 'did you mean "hands"?'),
        (("depends_on: [wrap]", "depends_on: [warp]"), 15, 'did you mean "wrap"?'),
        (("parent_close: abandon", "parent_close: abandn"), 8, "abandon"),
        (("parent_close: abandon", "agent: echo"), 8, "is a workflow of its own"),
        ((INNER, "type: workflow"), 15, "but names none"),
        ((INNER, "workflow: inner.yaml"), 15, "this text isn't a file's"),
        ((INNER, "workflow: [inner.yaml]"), 15, "or the path of its"),
        ((INNER, "workflow: {file: a.yaml}"), 15, "write workflow: a"),
        (("{id: check, agent: echo}", "{id: check, agent: echo, parent_close: abandon}"), 4, "belongs to a task"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_line(change, line, expected):
    text = ORDER.replace(*change)
    assert text != ORDER
    workflow, problems = check_workflow(text)
    assert workflow is None
    assert any(expected in str(problem) and problem.line == line for problem in problems), problems


def test_a_missing_input_is_named():
    text = ORDER.replace('input: {items: "${tasks.check.result}"}', "input: {}")
    assert any('needs the input "items"' in str(problem) for problem in check_workflow(text)[1])


def test_each_item_of_a_list_may_be_a_workflow():
    text = ORDER.replace(
        'input: {items: "${tasks.check.result}"}', 'for_each: "${tasks.check.result}"\n    max_parallel: 3'
    )
    assert any("what of an item is the input" in str(problem) for problem in check_workflow(text)[1])
    text = text.replace("max_parallel: 3", 'max_parallel: 3\n    input: {items: "${item}"}')
    workflow = load_workflow(text)
    assert workflow.task("pack").fans_out
    assert load_workflow(dump_workflow(workflow)) == workflow
    text = text.replace('for_each: "${tasks', 'parallel: true  # "${tasks')
    assert any('"parallel" means nothing there' in str(problem) for problem in check_workflow(text)[1])


def test_workflows_lie_inside_each_other_up_to_a_depth():
    assert problems_of(nested(MAX_CHILDREN)) == []
    assert any(
        f"more than {MAX_CHILDREN} workflows" in problem.message for problem in problems_of(nested(MAX_CHILDREN + 1))
    )
