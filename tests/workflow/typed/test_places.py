"""Types wherever `${…}` may stand: waits, keys, outputs, child workflows, people's answers."""

from __future__ import annotations

import pytest

from podium.workflow.typed import Signature, type_problems
from podium.workflow.yaml import load_workflow

PAGE = {
    "type": "object",
    "properties": {"url": {"type": "string"}, "words": {"type": "integer"}, "links": {"type": "array"}},
    "additionalProperties": False,
}
SIGNATURES = {
    "reader": {
        "read": Signature({"url": {"type": "string"}}, frozenset({"url"}), result=PAGE),
        "drop": Signature({"url": {"type": "string"}}, frozenset({"url"})),
    }
}
READ = "  - {id: read, agent_type: reader, input: {url: x}}\n"


def found(tasks: str, head: str = "") -> list[str]:
    workflow = load_workflow(f"name: w\n{head}\ntasks:\n{tasks}")
    return [f"{problem.rule}: {problem.message}" for problem in type_problems(workflow, SIGNATURES)]


PLACES = [
    "type: wait, for: '${tasks.read.result.%s}'",
    "type: wait, until: '${tasks.read.result.%s}'",
    "type: wait, execution: '${tasks.read.result.%s}'",
    "type: wait, signal: s, accept: 'signal.value.a == tasks.read.result.%s'",
    "type: human, assignee: '${tasks.read.result.%s}'",
    "type: human, escalation: {after: 1h, to: '${tasks.read.result.%s}'}",
    "type: human, input: {shown: '${tasks.read.result.%s}'}",
    "agent_type: other, for_each: '${tasks.read.result.%s}'",
    "agent_type: other, for_each: ['${tasks.read.result.%s}', 2]",
    "agent_type: other, when: 'tasks.read.result.%s'",
    "agent_type: other, concurrency: {limit: 1, key: 'k ${tasks.read.result.%s}'}",
    "agent_type: other, rate_limit: {limit: 1, per: 1s, key: '${tasks.read.result.%s}'}",
    "agent_type: other, cache: {key: '${tasks.read.result.%s}'}",
    "agent_type: other, compensation: {agent_type: x, function: f, input: {a: '${tasks.read.result.%s}'}}",
    "workflow: {name: c, tasks: [{id: t, agent_type: other}]}, input: {a: '${tasks.read.result.%s}'}",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_reference_that_leads_nowhere_is_said_wherever_it_stands(place):
    (problem,) = found(f"{READ}  - {{id: next, depends_on: [read], {place % 'word'}}}\n")
    assert problem == (
        'result-field: task "next" reads tasks.read.result.word, but tasks.read.result has no field "word"'
    )
    field = "links" if "for_each: '" in place else "url"
    assert found(f"{READ}  - {{id: next, depends_on: [read], {place % field}}}\n") == []


@pytest.mark.parametrize(
    ("said", "what"), [("output: {a: '${tasks.read.result.word}'}", "the output"),
                       ("publish: {a: ['at ${tasks.read.result.word}']}", "what is published")]
)  # fmt: skip
def test_the_output_and_what_is_published_are_checked(said, what):
    (problem,) = found(READ, said)
    assert problem.startswith(f"result-field: {what} reads tasks.read.result.word, but")
    assert found(READ, said.replace("word", "words")) == []


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("type: wait, for: '${tasks.read.result.links}'", "how long it waits is a duration, not a list"),
        ("type: wait, until: '${tasks.read.result.words}'", "until when it waits is a text with a time, not a number"),
        ("type: wait, execution: '${tasks.read.result.words}'", "waits for is a text with an id, not a number"),
        ("type: human, assignee: '${tasks.read.result}'", "its assignee is a text, not a mapping"),
        ("type: human, escalation: {after: 1h, to: '${tasks.read.result.words}'}", "to is a text, not a number"),
        ("agent_type: other, for_each: '${tasks.read.result.url}'", "for-each: task \"next\" goes over a list, not"),
        ("agent_type: other, input: {a: '${tasks.read.status.code}'}", "tasks.read.status is a text, so"),
        ("agent_type: other, input: {a: '${tasks.read.error.message}'}", "tasks.read.error is a text, so"),
        ("agent_type: other, for_each: [1], input: {a: '${index.a}'}", "index is a whole number"),
        ("agent_type: other, for_each: [1], input: {a: '${shard.size}'}", 'shard has no field "size"'),
    ],
)  # fmt: skip
def test_what_is_no_duration_no_name_and_no_list_is_said(said, says):
    (problem,) = found(f"{READ}  - {{id: next, depends_on: [read], {said}}}\n")
    assert says in problem


@pytest.mark.parametrize(
    "said",
    [
        "type: wait, for: '${tasks.read.result.words}'",
        "type: wait, for: '${tasks.read.result.words}s'",
        "type: wait, until: '${tasks.read.result.links[0]}'",
        "type: human, assignee: 'team ${tasks.read.result.words}'",
        "agent_type: other, for_each: '${tasks.read.result.links}'",
        "agent_type: other, for_each: '${input.any}'",
        "agent_type: other, for_each: [1], input: {a: '${shard.index}', b: '${index}', c: '${item.x.y}'}",
        "agent_type: other, input: {a: '${execution.id}', b: '${tasks.read.error}'}",
    ],
)
def test_what_may_be_right_is_left_alone(said):
    assert found(f"{READ}  - {{id: next, depends_on: [read], {said}}}\n") == []


def test_what_another_run_is_given_is_checked():
    head = "inputs: {n: {type: integer}}\ncontinue_as_new: {when: '%s', input: {n: '${tasks.read.result.%s}'}}"
    assert found(READ, head % ("tasks.read.result.words > 3", "words")) == []
    assert found(READ, head % ("tasks.read.result.word > 3", "url")) == [
        'result-field: continue_as_new reads tasks.read.result.word, but tasks.read.result has no field "word"',
        'input-type: continue_as_new: the input "n" of the workflow "w" is a whole number, not a text',
    ]


def test_keys_of_roles_are_checked():
    head = (
        "inputs: {who: {type: string}}\n"
        "agents: {r: {type: reader, concurrency: {limit: 1, key: '${input.who.name}'}}}\n"
    )
    assert found("  - {id: read, agent: r, input: {url: x}}\n", head) == [
        'result-field: the role "r" reads input.who.name, but input.who is a text, so there is no .name in it'
    ]


def test_a_call_that_undoes_is_checked_as_any_other():
    undo = "  - {id: a, agent_type: other, compensation: {agent_type: reader, function: drop, input: {%s}}}\n"
    assert found(undo % "url: '${tasks.a.result.url}'") == []
    assert found(undo % "uri: 3") == [
        'unknown-argument: task "a", compensation: reader.drop has no argument "uri"',
        'missing-argument: task "a", compensation: reader.drop needs "url"',
    ]
    assert found(undo.replace("drop", "undo") % "") == [
        'unknown-function: task "a", compensation: the agent type "reader" has no function "undo"'
    ]


def test_a_form_says_what_an_answer_has():
    ask = "  - {id: ask, type: human, form: {type: object, properties: {ok: {type: boolean}}%s}}\n"
    read = (
        "  - {id: next, agent_type: reader, function: read, depends_on: [ask],"
        " input: {url: '${tasks.ask.result.%s}'}}\n"
    )
    assert found(ask % "" + read % "more") == []  # an answer may say more than is asked for
    assert found(ask % "" + read % "ok") == [
        'argument-type: task "next": the argument "url" of reader.read is a text, not a boolean'
    ]
    assert "has no field" in found(ask % ", additionalProperties: false" + read % "more")[0]


def test_a_wait_for_a_time_gives_nothing():
    wait = (
        "  - {id: wait, type: wait, %s}\n"
        "  - {id: next, agent_type: o, depends_on: [wait], input: {a: '${tasks.wait.result.x}'}}\n"
    )
    assert "tasks.wait.result is nothing (null)" in found(wait % "for: 1s")[0]
    assert found(wait % "signal: s") == []


CHILD = (
    "  - id: child\n    input: {%s}\n    workflow:\n      name: c\n"
    "      inputs: {url: {type: string}, n: {type: integer, default: 1}}\n"
    "      tasks:\n        - {id: read, agent_type: reader, input: {url: '${input.url}'}}\n"
    "      output: {page: '${tasks.read.result}', n: '${input.n + 1}', text: 'of ${input.n}'}\n"
    "  - {id: next, agent_type: reader, function: read, depends_on: [child],"
    " input: {url: '${tasks.child.result.%s}'}}\n"
)


def test_child_workflows_are_checked_inside_and_where_they_meet_their_parent():
    assert found(CHILD % ("url: x", "page.url")) == []
    assert found(CHILD % ("url: x, n: '${input.any}'", "n")) == []
    assert found(CHILD % ("url: 3", "text")) == [
        'input-type: task "child": the input "url" of the workflow "c" is a text, not 3'
    ]
    assert "is a text, not a number" in found(CHILD % ("url: x", "page.words"))[0]
    assert 'tasks.child.result has no field "nothing"' in found(CHILD % ("url: x", "nothing"))[0]
    inside = CHILD.replace("agent_type: reader, input: {url: '${input.url}'}", "agent_type: reader, input: {uri: 1}")
    problems = type_problems(load_workflow(f"name: w\ntasks:\n{inside % ('url: x', 'page')}"), SIGNATURES)
    assert [(problem.rule, problem.path) for problem in problems] == [
        ("unknown-argument", ("tasks", 0, "workflow", "tasks", 0, "payload", "uri")),
        ("missing-argument", ("tasks", 0, "workflow", "tasks", 0, "payload")),
        ("argument-type", ("tasks", 1, "payload", "url")),
    ]


@pytest.mark.parametrize(
    "condition",
    [
        "'word' in tasks.read.result and tasks.read.result.word == 'b'",
        "input.n or tasks.read.result.word",
        "tasks.read.result.word if input.n else 3",
        "3 if input.n else tasks.read.result.word",
        "0 < input.n < tasks.read.result.word",
        "not (input.n and [len(tasks.read.result.word)])",
    ],
)
def test_what_may_never_be_read_is_not_complained_of(condition):
    head = "inputs: {n: {type: integer}}"
    for said in (f'when: "{condition}"', f'input: {{a: "x ${{{condition}}}"}}'):
        assert found(f"{READ}  - {{id: next, agent_type: other, depends_on: [read], {said}}}\n", head) == []


@pytest.mark.parametrize(
    "condition",
    [
        "tasks.read.result.word and input.n",
        "3 if tasks.read.result.word else 4",
        "input.n < tasks.read.result.word < 3",
        "len(str(tasks.read.result.word)) > 2",
        "(input.n and 3) == tasks.read.result.word",
    ],
)
def test_what_is_read_in_any_case_is(condition):
    (problem,) = found(
        f'{READ}  - {{id: next, agent_type: other, depends_on: [read], when: "{condition}"}}\n',
        "inputs: {n: {type: integer}}",
    )
    assert "reads tasks.read.result.word" in problem
