"""Tasks whose workflow stands in a file of its own: it means the same as if it were written where it is named."""

from __future__ import annotations

import posixpath

import pytest

from podium.exceptions import InvalidInputError, WorkflowInvalidError
from podium.workflow.hashing import content_hash
from podium.workflow.model import TaskType
from podium.workflow.yaml import Opened, check_workflow, dump_workflow, load_workflow
from podium.workflow.yaml.additions import read_additions
from podium.workflow.yaml.opening import MAX_DEPTH, MAX_FILES

PACKING = """
name: packing
inputs: {items: array}
defaults: {agent: hands, timeout: 30s}
agents: {hands: {type: packer, count: 3}}
include: parts/labels.yaml
tasks:
  - {id: wrap, for_each: "${input.items}"}
"""
LABELS = "tasks:\n  - {id: label, agent: hands, depends_on: [wrap]}\n"
ORDER = """
name: order
tasks:
  - {id: check, agent: echo}
  - {id: pack, depends_on: [check], input: {items: "${tasks.check.result}"}, workflow: flows/packing.yaml}
"""
INLINE = """
name: order
tasks:
  - {id: check, agent: echo}
  - id: pack
    depends_on: [check]
    input: {items: "${tasks.check.result}"}
    workflow:
      name: packing
      inputs: {items: array}
      agents: {hands: {type: packer, count: 3}}
      tasks:
        - {id: wrap, agent: hands, timeout: 30s, for_each: "${input.items}"}
        - {id: label, agent: hands, depends_on: [wrap]}
"""


def files(**texts: str):
    """Open files of a mapping, `__` standing for /, seen from where they are written."""
    known = {name.replace("__", "/") + ".yaml": text for name, text in texts.items()}

    def open_(path: str, within: Opened) -> Opened:
        name = posixpath.normpath(posixpath.join(posixpath.dirname(within.file), path))
        if name not in known:
            raise InvalidInputError(f"{name} can't be read: No such file or directory")
        return Opened(name, name, known[name].encode())

    return open_


def problems(main: str, /, **texts: str) -> list[str]:
    _, found = check_workflow(main, "main.yaml", opener=files(**texts))
    return [f"{p.file}:{p.line}: {p.rule}: {p.message}" for p in found]


def one(workflow: str) -> str:
    return f"name: m\ntasks:\n  - {{id: a, workflow: {workflow}}}\n"


def test_a_child_in_a_file_means_the_same_as_one_that_is_written_out():
    parts = {"flows__packing": PACKING, "flows__parts__labels": LABELS}
    by_file = load_workflow(ORDER, "main.yaml", files(**parts))
    inline = load_workflow(INLINE)
    assert by_file == inline
    assert content_hash(by_file) == content_hash(inline)
    assert load_workflow(dump_workflow(by_file)) == by_file
    wrapped = {**parts, "flows__packing": "workflow:\n" + "".join(f"  {line}\n" for line in PACKING.splitlines())}
    assert load_workflow(ORDER, "main.yaml", files(**wrapped)) == inline


def test_what_the_file_says_is_in_the_hash():
    child = "name: c\ntasks: [{id: x, agent: echo}]"
    before = load_workflow(one("c.yaml"), "main.yaml", files(c=child))
    after = load_workflow(one("c.yaml"), "main.yaml", files(c=child.replace("echo", "noop")))
    assert content_hash(before) != content_hash(after)
    assert (before.tasks[0].type, before.agent_counts()) == (TaskType.WORKFLOW, {"echo": 1})


def test_paths_lead_from_the_file_that_they_are_written_in():
    included = "tasks: [{id: part, workflow: child.yaml}]"
    main = "name: m\ninclude: {file: parts/f.yaml, prefix: p_}\ntasks: [{id: z, agent: echo}]"
    found = load_workflow(
        main, "main.yaml", files(parts__f=included, parts__child="name: c\ntasks: [{id: x, agent: n}]")
    )
    child = found.task("p_part").workflow
    assert child is not None
    assert child.name == "c"


def test_problems_are_told_with_the_lines_of_the_childs_files():
    child = "name: c\ndefaults: {timeout: 0}\ninclude: f.yaml\ntasks:\n- {id: x, agent: echo, depends_on: [y]}\n"
    child += "- {id: z, agnt: echo}\n"
    assert problems(one("flows/c.yaml"), flows__c=child, flows__f="tasks:\n- {id: f}") == [
        'flows/c.yaml:2: out-of-range: task "x": the timeout is 0 seconds; more than 0, at most ten years are allowed',
        'flows/c.yaml:5: unknown-dependency: task "x" depends on "y", which is no task',
        'flows/c.yaml:6: unknown-field: tasks[1] has no field "agnt"',
        'flows/f.yaml:2: missing-agent: task "f" has no agent',
    ]


def test_a_childs_inputs_are_held_against_what_its_task_says():
    main = one("c.yaml, input: {itms: [1]}")
    found = problems(main, c="name: c\ninputs: {items: array}\ntasks: [{id: x, agent: echo}]")
    assert 'main.yaml:3: undeclared-input: task "a": "itms" is no input of the workflow "c"' in found


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({}, "main.yaml:3: child: \"c.yaml\" can't be the task's workflow: c.yaml can't be read: No such file"),
        ({"c": "[1]"}, "c.yaml:1: wrong-type"),
        ({"c": "a: 1\na: 2"}, "c.yaml:2: duplicate-key"),
        ({"c": "tasks: [{id: x, agent: echo}]"}, "c.yaml:1: missing-field: the workflow has no name"),
        ({"c": "name: c"}, "c.yaml:1: no-tasks"),
        ({"c": one("d.yaml"), "d": "\n" + one("c.yaml")},
         "d.yaml:4: child-cycle: \"c.yaml\" can't be the task's workflow: it would be a child of itself: "
         "c.yaml → d.yaml → c.yaml"),
        ({"c": one("main.yaml"), "main": one("c.yaml")}, "main.yaml → c.yaml → main.yaml"),
        ({"c": "name: c\ninclude: d.yaml", "d": "tasks: [{id: x, workflow: c.yaml}]"}, "c.yaml → d.yaml → c.yaml"),
    ],
)  # fmt: skip
def test_what_cant_be_a_child_is_refused_with_its_place_and_nothing_else_is(texts, said):
    found = problems(one("c.yaml"), **texts)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("child", "said"),
    [
        ("name: c\ntasks:\n- {id: x, agnt: e, timeout: 0}", ["out-of-range", "unknown-field"]),
        ("name: c\nname: d\ntasks: [{id: x, agent: e}]", ["duplicate-key"]),
        ("[1]", ["wrong-type"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said_once_however_many_tasks_name_it(child, said):
    main = "name: m\ntasks:\n" + "".join(f"  - {{id: t{n}, workflow: c.yaml}}\n" for n in range(3))
    assert sorted(one.split(": ")[1] for one in problems(main, c=child)) == said


def test_depth_and_number_of_files_are_bounded():
    deep = {f"d{n}": one(f"d{n + 1}.yaml") for n in range(20)}
    (found,) = problems(one("d0.yaml"), **deep)
    assert f"d{MAX_DEPTH - 2}.yaml:3: child-depth" in found
    twice = "name: m\ntasks: [{id: a, workflow: b%d.yaml}, {id: b, workflow: b%d.yaml}, {id: c, workflow: b%d.yaml}]"
    bomb = {f"b{n}": twice % (n + 1, n + 1, n + 1) for n in range(6)} | {"b6": "name: c\ntasks: [{id: x, agent: echo}]"}
    (found,) = problems(one("b0.yaml"), **bomb)
    assert f"at most {MAX_FILES} files" in found


def test_a_task_that_is_written_once_and_named_twice_has_its_child_twice():
    main = "name: m\nx-task: &task {workflow: c.yaml}\ntasks: {a: *task, b: {<<: *task, depends_on: [a]}, c: *task}"
    child = "name: c\ndefaults: {agent: echo}\ntasks: [{id: x}]"
    assert {t.workflow.name for t in load_workflow(main, "main.yaml", files(c=child)).tasks if t.workflow} == {"c"}


def test_what_a_child_that_is_written_out_says_of_all_its_tasks_counts():
    child = one("{name: c, defaults: {agent: echo}, include: f.yaml, tasks: [{id: x}]}")
    found = load_workflow(child, "main.yaml", files(f="tasks: [{id: y, agent: noop}]")).tasks[0].workflow
    assert found is not None
    assert [task.agent_type for task in found.tasks] == ["echo", "noop"]
    assert "main.yaml:3: wrong-value" in problems(child.replace("agent: echo", "agent: echo, timeout: 1 parsec"))[0]


def test_a_child_of_an_added_task_is_written_out_with_all_that_a_workflow_may_say():
    child = {"name": "c", "defaults": {"agent": "echo"}, "tasks": [{"id": "x"}]}
    (added,), _ = read_additions([{"id": "a", "for_each": [1], "workflow": child}], None)
    assert added.workflow is not None
    assert added.workflow.task("x").agent_type == "echo"
    with pytest.raises(WorkflowInvalidError, match="this text isn't a file's"):
        read_additions([{"id": "a", "workflow": "c.yaml"}], None)
    with pytest.raises(WorkflowInvalidError, match="this text isn't a file's"):
        read_additions([{"id": "a", "workflow": {**child, "include": "c.yaml"}}], None)
