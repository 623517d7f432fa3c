"""`continue_as_new`: how it is written in YAML and Python, what is refused, and that a round trip keeps it."""

from __future__ import annotations

import pytest

from podium.workflow.builder import WorkflowBuilder
from podium.workflow.differences import differences
from podium.workflow.hashing import content_hash, decode_workflow, encode_workflow
from podium.workflow.model import ContinueAsNew, Task, Workflow
from podium.workflow.yaml import check_workflow, load_workflow
from podium.workflow.yaml.dumper import dump_workflow
from podium.workflow.yaml.formatting import formatted

PAGES = """
name: pages
inputs: {cursor: {type: integer, default: 1}, token: string}
continue_as_new:
  when: ${tasks.page.result.more}
  input: {cursor: "${tasks.page.result.next}", token: "${input.token}"}
tasks:
  - {id: page, agent: echo}
"""


def test_it_is_read_from_a_file_and_said_by_a_builder():
    workflow = load_workflow(PAGES)
    given = {"cursor": "${tasks.page.result.next}", "token": "${input.token}"}
    assert workflow.continue_as_new == ContinueAsNew("${tasks.page.result.more}", given)
    built = (
        WorkflowBuilder("pages")
        .continue_as_new("${tasks.page.result.more}", given)
        .input("cursor", default=1, type="integer")
        .input("token", "string")
        .task("page", agent="echo")
        .build()
    )
    assert content_hash(built) == content_hash(workflow)
    assert WorkflowBuilder.of(workflow).build() == workflow


@pytest.mark.parametrize(
    "said",
    [
        ContinueAsNew(),
        ContinueAsNew("execution.run < 3"),
        ContinueAsNew(input={"n": 3.0}),
        ContinueAsNew(input="${tasks.a.result}"),
    ],
)
def test_a_round_trip_keeps_it_and_its_hash(said):
    workflow = Workflow(name="w", tasks=(Task(id="a", agent_type="echo"),), continue_as_new=said)
    text = dump_workflow(workflow)
    assert load_workflow(text) == workflow
    assert content_hash(load_workflow(text)) == content_hash(workflow)
    assert decode_workflow(encode_workflow(workflow), content_hash(workflow)) == workflow
    without = Workflow(name="w", tasks=workflow.tasks)
    assert content_hash(without) != content_hash(workflow)
    (found,) = differences(without, workflow)
    assert (found.field, found.compatible) == ("continue_as_new", True)


@pytest.mark.parametrize(("said", "meant"), [("true", ContinueAsNew()), ("{}", ContinueAsNew()), ("false", None)])
def test_in_short_it_is_a_word(said, meant):
    text = f"name: w\ncontinue_as_new: {said}\ntasks: [{{id: a, agent: echo}}]\n"
    assert load_workflow(text).continue_as_new == meant
    laid_out, problems = formatted(text)
    assert not problems
    assert laid_out is not None
    assert load_workflow(laid_out) == load_workflow(text)


@pytest.mark.parametrize(
    ("change", "line", "expected"),
    [
        (("result.more", "result.more >"), 5, "continue_as_new: "),
        (("tasks.page.result.more", "tasks.pge.result.more"), 5, 'did you mean "page"?'),
        (("tasks.page.result.more", "item.more"), 5, "item"),
        (("when:", "wen:"), 5, 'did you mean "when"?'),
        (('{cursor: "', '{cursr: "'), 6, 'did you mean "cursor"?'),
        (('token: "${input.token}"', "token: 3"), 6, "token must be of type string, not integer"),
        ((', token: "${input.token}"', ""), 6, 'doesn\'t give "token"'),
        (('"${input.token}"', '"${secret.token}"'), 6, "a secret"),
        (('{cursor: "${tasks.page.result.next}", token: "${input.token}"}', "3"), 6, "must be a mapping with"),
        (
            ('{cursor: "${tasks.page.result.next}", token: "${input.token}"}', '"${input}x"'),
            6,
            "must be a mapping with",
        ),
        (("result.next}", "result.next}x"), 6, "cursor must be of type integer, not string"),
        (
            ('"${tasks.page.result.next}"', '["${tasks.page.result.next}"]'),
            6,
            "cursor must be of type integer, not array",
        ),
        (("continue_as_new:", "continue_as_new: [yes]\nx-not:"), 4, "a mapping of fields"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_line(change, line, expected):
    workflow, problems = check_workflow(PAGES.replace(*change))
    assert workflow is None
    assert any(problem.line == line and expected in f"{problem.message} {problem.hint}" for problem in problems), (
        problems
    )


def test_an_input_as_a_whole_is_seen_when_the_run_has_ended():
    text = PAGES.replace('{cursor: "${tasks.page.result.next}", token: "${input.token}"}', "${tasks.page.result}")
    assert load_workflow(text).continue_as_new == ContinueAsNew("${tasks.page.result.more}", "${tasks.page.result}")


def test_a_workflow_without_declared_inputs_takes_any():
    load_workflow("name: w\ncontinue_as_new: {input: {any: 1}}\ntasks: [{id: a, agent: echo}]\n")
