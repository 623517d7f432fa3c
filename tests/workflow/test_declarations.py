"""Inputs with bounds, caches, compensations: read, checked, written back, and in no hash that was there before."""

import re

import pytest

from podium.exceptions import InvalidInputError
from podium.workflow.differences import differences
from podium.workflow.hashing import content_hash, decode_workflow, encode_workflow
from podium.workflow.inputs import check_input
from podium.workflow.model import CachePolicy, Compensation
from podium.workflow.yaml import check_workflow, dump_workflow, load_workflow

WHOLE = """
name: w
secrets: {token: {env: TOKEN, description: x}, key: {file: a/b.pem}, plain: }
inputs:
  size: {type: string, enum: [small, large], default: small}
  count: {type: integer, min: 1, max: 10}
  name: {type: string, minimum: 2, maximum: 5}
agents:
  r: {type: echo, env: {A: "1", TOKEN: "${secret.token}"}}
tasks:
  - id: book
    agent: r
    idempotent: false
    cache: {key: "book ${input.name}", ttl: 1h}
    compensation: unbook
  - {id: unbook, agent: r, depends_on: [book], input: {was: "${tasks.book.result}"}}
  - id: pay
    agent: r
    depends_on: [book]
    idempotent: true
    cache: "${tasks.book.result}"
    compensation:
      agent: echo
      function: refund
      input: {id: "${tasks.pay.result.id}", key: "${secret.key}"}
      timeout: 5s
"""


def problems(text):
    _, found = check_workflow(text, "w.yaml")
    return [f"{p.line}:{p.rule}: {p.message}" + (f"; {p.hint}" if p.hint else "") for p in found]


def test_all_of_it_is_read_and_written_back():
    workflow = load_workflow(WHOLE.replace("agent: echo", "agent_type: echo"))
    book, _, pay = workflow.tasks
    assert (book.idempotent, pay.idempotent) == (False, True)
    assert book.cache == CachePolicy("book ${input.name}", 3600.0)
    assert pay.cache == CachePolicy("${tasks.book.result}")
    assert book.compensation == Compensation(task="unbook")
    assert pay.compensation is not None
    assert pay.compensation.function == "refund"
    assert pay.compensation.timeout == 5.0
    again = load_workflow(dump_workflow(workflow))
    assert again == workflow
    assert content_hash(again) == content_hash(workflow)
    assert decode_workflow(encode_workflow(workflow), content_hash(workflow)) == workflow


def test_each_of_it_is_in_the_hash_and_told_by_diff():
    base = load_workflow(WHOLE.replace("agent: echo", "agent_type: echo"))
    for old, new, named in (
        ("idempotent: false", "idempotent: true", "idempotent"),
        ("ttl: 1h", "ttl: 2h", "cache.ttl_seconds"),
        ("function: refund", "function: return", "compensation.function"),
        ("max: 10", "max: 11", "maximum"),
        ("enum: [small, large]", "enum: [small, huge]", "enum"),
        ('A: "1"', 'A: "2"', "env"),
        ("file: a/b.pem", "file: c.pem", "secrets"),
    ):
        changed = load_workflow(WHOLE.replace("agent: echo", "agent_type: echo").replace(old, new))
        assert content_hash(changed) != content_hash(base)
        assert named in [found.field for found in differences(base, changed)], named


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"size": "larg", "count": 1, "name": "abc"},
            "size must be one of small, large, not larg; did you mean large?",
        ),
        ({"count": 0, "name": "abc"}, "count must be at least 1, not 0"),
        ({"count": 11, "name": "abc"}, "count must be at most 10, not 11"),
        ({"count": 1, "name": "a"}, "name must have at least 2 characters, not 1"),
        ({"count": 1, "name": "abcdef"}, "name must have at most 5 characters, not 6"),
        ({"count": True, "name": "abc"}, "count must be of type integer, not boolean"),
        ({"count": "three", "name": "abc"}, "count must be of type integer, not string"),
    ],
)
def test_an_input_beyond_its_bounds_is_refused(given, said):
    workflow = load_workflow(WHOLE.replace("agent: echo", "agent_type: echo"))
    with pytest.raises(InvalidInputError) as caught:
        check_input(workflow, given)
    assert said in str(caught.value)


def test_an_input_within_its_bounds_is_taken():
    workflow = load_workflow(WHOLE.replace("agent: echo", "agent_type: echo"))
    for given in ({"count": 1, "name": "ab"}, {"count": 10, "name": "abcde", "size": "large"}):
        check_input(workflow, given)


def test_a_text_that_doesn_t_fit_its_pattern_is_refused():
    inputs = 'inputs: {a: {type: string, pattern: "^[a-z]+$", required: false}}'
    workflow = load_workflow(f"name: w\n{inputs}\ntasks: [{{id: t, agent: echo}}]")
    check_input(workflow, {"a": "abc"})
    check_input(workflow, {"a": None})
    with pytest.raises(InvalidInputError, match=re.escape("a must fit the pattern ^[a-z]+$, not A")):
        check_input(workflow, {"a": "A"})
    with pytest.raises(InvalidInputError, match="at most 4096 characters, since it has a pattern, not 5000"):
        check_input(workflow, {"a": "a" * 5_000})
    assert load_workflow(dump_workflow(workflow)) == workflow


def test_patterns_are_bounded_in_number():
    inputs = ", ".join(f"i{at}: {{type: string, pattern: a}}" for at in range(101))
    (found,) = problems(f"name: w\ninputs: {{{inputs}}}\ntasks: [{{id: t, agent: echo}}]")
    assert "101 inputs have patterns; at most 100 may" in found
    (found,) = problems(
        'name: w\ninputs: {a: {type: string, pattern: "a{400}"}, b: {type: string, pattern: "b{400}"}, '
        'c: {type: string, pattern: "c{201}"}}\ntasks: [{id: t, agent: echo}]'
    )
    assert "the patterns of the inputs have 1,001 characters together" in found
    (found,) = problems(
        f"name: w\ninputs: {{a: {{type: string, pattern: a, enum: [{'a' * 4_097}]}}}}\ntasks: [{{id: t, agent: echo}}]"
    )
    assert "more than 4,096 characters in its enum" in found


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("{type: integer, min: 3, max: 1}", "the minimum 3 is above the maximum 1"),
        ("{type: boolean, min: 3}", "is of type boolean, which has no minimum"),
        ("{type: integer, enum: [1, two]}", "a value of its enum must be of type integer, not string"),
        ("{type: integer, enum: []}", "at least one"),
        ("{type: integer, enum: [1, 2], default: 3}", "must be one of 1, 2, not 3"),
        ("{type: string, max: 2, default: abc}", "must have at most 2 characters, not 3"),
        ("{type: string, maxi: 2}", "has no field"),
        ("{type: string, format: a}", "not in this version"),
        ("{type: integer, pattern: a}", "is of type integer; only a string has a pattern"),
        ('{type: string, pattern: "(a"}', "has a pattern that can't be used: this group isn't closed (character 1)"),
        ('{type: string, pattern: "^a$", default: b}', 'the default of the input "a" must fit the pattern ^a$, not b'),
        ('{type: string, pattern: "^a$", enum: [a, ab]}', "a value of its enum must fit the pattern ^a$, not ab"),
    ],
)
def test_bounds_that_contradict_themselves_are_refused(inputs, said):
    (found,) = problems(f"name: w\ninputs: {{a: {inputs}}}\ntasks: [{{id: t, agent: echo}}]")
    assert found.startswith("2:"), found
    assert said in found


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("compensation: b", 'compensation "b" is no task'),
        ("compensation: a", "is the task itself"),
        ("compensation: {function: f}", "has no agent"),
        ("compensation: {task: c, agent: echo}", "says for itself by whom"),
        ("compensation: {agent: echo, timeout: 0}", "timeout of 0 seconds"),
        ("compensation: {agent: echo, input: {x: '${tasks.c.result}'}}", "doesn't wait for it"),
        ("compensation: {agent: echo, fnction: f}", 'did you mean "function"?'),
        ("cache: {ttl: 3}", "has no key"),
        ("cache: {key: ''}", "key is empty"),
        ("cache: {key: x, ttl: 0}", "ttl is 0 seconds"),
        ("cache: '${tasks.nothing.result}'", "is no task"),
        ("idempotent: no", "write false"),
    ],
)
def test_what_is_wrong_with_a_task_is_said_with_its_line(fields, said):
    found = problems(f"name: w\ntasks:\n  - {{id: c, agent: echo}}\n  - {{id: a, agent: echo, {fields}}}\n")
    assert found[0].startswith("4:"), found
    assert said in found[0]


def test_nothing_else_counts_on_a_task_that_undoes_another_one():
    base = "name: w\ntasks:\n  - {id: a, agent: echo, compensation: u}\n"
    undo = "  - {id: u, agent: echo, depends_on: [a]}\n"
    assert problems(base + undo) == []
    assert "only compensates" in problems(base + undo + "  - {id: b, agent: echo, depends_on: [u]}\n")[0]
    assert "is a fallback too" in problems(base + undo + "  - {id: b, agent: echo, on_failure: {fallback: u}}\n")[0]
    assert "can't be compensated itself" in problems(base + undo.replace("}", ", compensation: {agent: echo}}"))[0]
