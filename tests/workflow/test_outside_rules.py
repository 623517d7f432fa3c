"""What a task of type `wait` or `human` may say, in YAML and in Python."""

from __future__ import annotations

import jsonschema
import msgspec
import pytest

from podium.workflow.differences import differences
from podium.workflow.hashing import content_hash
from podium.workflow.model import Escalation, Task, TaskType, Workflow
from podium.workflow.plan import plan
from podium.workflow.validation import problems_of
from podium.workflow.yaml import check_workflow, dump_workflow, load_workflow
from podium.workflow.yaml.schema import workflow_schema

ALL = """
name: waits
inputs: {who: ann, seconds: 5}
tasks:
  - {id: a, agent: echo}
  - {id: sig, type: wait, signal: go, accept: "signal.value.n > tasks.a.result.n", depends_on: [a], timeout: 1h}
  - {id: rest, type: wait, for: 90s}
  - {id: read, type: wait, for: "${input.seconds}"}
  - {id: day, type: wait, until: "2030-01-01T00:00:00Z"}
  - {id: other, type: WAIT, execution: "${input.who}"}
  - id: ask
    type: human
    name: May it?
    assignee: ${input.who}
    input: {text: "${tasks.a.result}"}
    depends_on: [a]
    form: {type: object, properties: {ok: {type: boolean}}}
    escalation: {after: 1h, to: bob}
"""


def problems(tasks: str) -> list[str]:
    workflow, found = check_workflow(f"name: w\ninputs: {{go: 1}}\ntasks:\n{tasks}")
    assert (workflow is None) == bool(found)
    assert all(one.line == 4 and one.column > 1 for one in found)
    return [one.message for one in found]


def test_yaml_gives_the_model_and_comes_back():
    workflow = load_workflow(ALL)
    assert workflow.task("rest").wait_for == 90.0
    assert workflow.task("ask").escalation == Escalation(3600.0, "bob")
    assert workflow.agent_counts() == {"echo": 1}
    again = load_workflow(dump_workflow(workflow))
    assert again == workflow
    assert content_hash(again) == content_hash(workflow)
    jsonschema.validate(msgspec.yaml.decode(ALL.encode()), workflow_schema())


def test_a_task_of_an_agent_has_the_hash_that_it_had():
    assert msgspec.to_builtins(Task(id="a", agent_type="echo")) == {"id": "a", "agent_type": "echo", "name": "a"}


def test_a_plan_takes_a_wait_for_as_long_as_it_is():
    assert plan(load_workflow(ALL)).durations["rest"] == 90.0


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("{id: a, type: wait}", 'task "a" waits for nothing'),
        ("{id: a, type: wait, signal: x, for: 3s}", 'task "a" waits for signal and for'),
        ("{id: a, type: wait, for: 0}", 'task "a": it waits for 0 seconds'),
        ("{id: a, type: wait, until: tomorrow}", 'task "a": until: "tomorrow" is no time'),
        ('{id: a, type: wait, until: "2030-01-01T00:00:00"}', 'task "a": until: "2030-01-01T00:00:00" has no'),
        ("{id: a, type: wait, for: 3s, accept: 'True'}", 'task "a" has accept, but no signal'),
        ("{id: a, type: wait, signal: x, accept: 'signal.value >'}", 'task "a": '),
        ("{id: a, type: wait, signal: x, accept: 'tasks.b.result'}", 'task "a" reads tasks.b.result, but "b"'),
        ("{id: a, type: wait, signal: x, agent: echo}", 'task "a" is of type wait: "agent" means nothing'),
        ("{id: a, type: wait, signal: x, retries: 2}", 'task "a" is of type wait: "retries" means nothing'),
        ("{id: a, type: wait, signal: x, input: {b: 1}}", 'task "a" is of type wait: "input" means nothing'),
        ("{id: a, type: human, signal: x}", 'task "a" is of type human: "signal" means nothing there'),
        ("{id: a, type: human, for_each: [1]}", 'task "a" is of type human: "for_each" means nothing there'),
        ("{id: a, type: human, form: {typ: x}}", 'task "a": form.typ: a form can\'t say "typ"'),
        ("{id: a, type: human, escalation: {after: 1h}}", "tasks[0].escalation needs after and to"),
        ("{id: a, type: human, timeout: 1h, escalation: {after: 2h, to: b}}", 'task "a" fails (timeout) before'),
        ("{id: a, agent: echo, signal: x}", 'task "a": "signal" belongs to a task of type wait'),
        ("{id: a, agent: echo, assignee: x}", 'task "a": "assignee" belongs to a task of type human'),
        ("{id: a, agent: echo, when: signal.value}", 'task "a": there is no "signal" here'),
        ("{id: a, type: wait, for: '${input.gone}'}", 'task "a" reads input.gone, but the input'),
        ("{id: a, type: wait, for: soon}", "tasks[0].for: "),
    ],
)
def test_what_means_nothing_is_refused_at_its_place(task: str, said: str):
    (found,) = problems(f"  - {task}")
    assert found.startswith(said)


def test_a_workflow_made_in_python_keeps_to_the_same_rules():
    def of(**about: object) -> list[str]:
        return [p.message for p in problems_of(Workflow(name="w", tasks=(Task(id="a", **about),)))]  # type: ignore[arg-type]

    assert of(type=TaskType.WAIT, wait_for=5.0) == []
    assert of(type=TaskType.WAIT, wait_for="5m") == []
    assert of(type=TaskType.WAIT, wait_for="5 parsecs")[0].startswith('task "a": for: "5 parsecs" is not understood')
    assert of(type=TaskType.WAIT, signal="\n") == ['task "a": the signal is no name: "\\n"']
    assert of(type=TaskType.HUMAN, assignee="x" * 201)[0].startswith('task "a": the assignee has 201 characters')
    assert of(type=TaskType.HUMAN, escalation=Escalation(0, "b"))[0].startswith('task "a": the escalation is after 0')
    assert of(type=TaskType.HUMAN, form={"x": {1, 2}})[0].startswith("a set can't be kept as JSON")


def test_what_a_task_waits_for_is_no_compatible_change():
    one = load_workflow("name: w\ntasks: [{id: a, type: wait, for: 3s}]")
    two = load_workflow("name: w\ntasks: [{id: a, type: wait, for: 4s}]")
    (found,) = differences(one, two)
    assert (found.field, found.before, found.after, found.compatible) == ("for", 3.0, 4.0, False)
