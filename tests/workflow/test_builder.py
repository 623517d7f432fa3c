"""Workflows built in Python: segments that never change, and definitions that are those of YAML."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.exceptions import WorkflowInvalidError
from podium.testing.workflows import random_workflow
from podium.workflow.builder import Segment, WorkflowBuilder
from podium.workflow.hashing import content_hash
from podium.workflow.model import OnFailure, ResourceRequirements, RetryPolicy, RunIf, Task, Workflow
from podium.workflow.validation import validate
from podium.workflow.yaml import dump_workflow, load_workflow

GOOD = sorted((Path(__file__).parent / "yaml" / "good").glob("*.yaml"))
HERE = Path(__file__).name


def refused(build: Any) -> list[str]:
    with pytest.raises(WorkflowInvalidError) as refusal:
        build()
    return [str(problem) for problem in refusal.value.problems]


def test_a_fluent_definition_is_that_of_its_yaml():
    built = (
        WorkflowBuilder("report", version="2.0", config={"timeout": "1h"})
        .input("question", "string")
        .input("limit", default=3)
        .role("readers", "researcher", count=3)
        .task("fetch", agent="readers", input={"question": "${input.question}"}, timeout="30s", retry_policy="fixed")
        .map("score", over="${tasks.fetch.result}", agent="scorer_role", input={"row": "${item}"}, max_parallel=2)
        .role("scorer_role", "scorer")
        .when("len(tasks.score.result) > 1", "publish", agent="readers", on_failure="continue")
        .then("close", agent="readers", run_if="all_done", priority="high")
        .output({"scores": "${tasks.score.result}"})
        .build()
    )
    loaded = load_workflow("""
name: report
version: "2.0"
config: {timeout: 1h}
inputs:
  question: {type: string}
  limit: {type: any, default: 3}
agents:
  readers: {type: researcher, count: 3}
  scorer_role: {type: scorer}
tasks:
  - id: fetch
    agent: readers
    input: {question: "${input.question}"}
    timeout: 30s
    retry_policy: fixed
  - id: score
    agent: scorer_role
    depends_on: [fetch]
    for_each: ${tasks.fetch.result}
    max_parallel: 2
    input: {row: "${item}"}
  - {id: publish, agent: readers, depends_on: [score], when: "len(tasks.score.result) > 1", on_failure: continue}
  - {id: close, agent: readers, depends_on: [publish], run_if: all_done, priority: high}
output: {scores: "${tasks.score.result}"}
""")
    assert built == loaded
    assert content_hash(built) == content_hash(loaded)


@settings(deadline=None)
@given(st.integers(0, 100_000))
def test_yaml_builder_and_builder_calls_keep_the_hash(seed):
    workflow = validate(random_workflow(random.Random(seed)))
    digest = content_hash(workflow)
    written = dump_workflow(workflow)
    assert content_hash(load_workflow(written)) == digest
    assert content_hash(WorkflowBuilder.of(workflow).build()) == digest
    assert WorkflowBuilder.of(workflow).build() == workflow
    said = yaml.safe_load(written)["workflow"]
    by_values = WorkflowBuilder(said["name"], **{k: v for k, v in said.items() if k not in ("name", "tasks")})
    by_fields = by_values
    for task, fields in zip(workflow.tasks, said["tasks"], strict=True):
        by_values = by_values.task(task)
        by_fields = by_fields.task(fields["id"], **{key: value for key, value in fields.items() if key != "id"})
    assert content_hash(by_values.build()) == digest
    assert content_hash(by_fields.build()) == digest


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_every_good_file_can_be_said_by_the_builder(path):
    workflow = load_workflow(path.read_bytes())
    assert content_hash(WorkflowBuilder.of(workflow).build()) == content_hash(workflow)


def test_each_call_returns_a_new_value_and_changes_none():
    first = Segment().task("a", agent="noop")
    second, third = first.then("b", agent="noop"), first.then("c", agent="noop")
    assert [task.id for task in first.tasks] == ["a"]
    assert [task.id for task in second.tasks] == ["a", "b"]
    assert third.ends == ("c",)
    assert first == Segment().task("a", agent="noop") != second
    assert hash(first) == hash(Segment().task("a", agent="noop"))
    with pytest.raises(AttributeError, match="never changes"):
        first._ends = ()
    builder = WorkflowBuilder("w")
    assert builder.output(1) != builder
    assert repr(builder) == "<WorkflowBuilder: empty>"


def test_what_follows_waits_for_the_ends_of_what_is_there():
    segment = (
        Segment()
        .task("a", agent="noop")
        .task("b", agent="noop")
        .then("c", agent="noop")
        .parallel(Segment().task("d", agent="noop").then("e", agent="noop"), {"id": "f", "agent": "noop"})
        .then(Task(id="g", agent_type="noop"))
    )
    waits = {task.id: task.dependencies for task in segment.tasks}
    assert waits == {"a": (), "b": (), "c": ("a", "b"), "d": ("c",), "e": ("d",), "f": ("c",), "g": ("e", "f")}


def test_a_fallback_is_no_end_and_waits_for_nothing_of_its_own():
    segment = (
        Segment()
        .task("start", agent="noop")
        .then(Segment().task("ask", agent="noop", on_failure={"fallback": "guess"}).task("guess", agent="noop"))
        .then("tell", agent="noop")
    )
    waits = {task.id: task.dependencies for task in segment.tasks}
    assert waits == {"start": (), "ask": ("start",), "guess": (), "tell": ("ask",)}
    assert WorkflowBuilder("w").include(segment).build().task("tell").dependencies == ("ask",)


def test_a_condition_guards_a_whole_segment_and_otherwise_is_its_opposite():
    branch = (
        Segment()
        .task("a", agent="noop", when="input.x")
        .then("b", agent="noop")
        .then("c", agent="noop", run_if="all_done")
    )
    built = (
        WorkflowBuilder("w")
        .task("ask", agent="noop")
        .when("${tasks.ask.result > 1}", branch, otherwise={"id": "d", "agent": "noop"})
        .build()
    )
    assert {task.id: task.when for task in built.tasks} == {
        "ask": None,
        "a": "(tasks.ask.result > 1) and (input.x)",
        "b": None,
        "c": "${tasks.ask.result > 1}",
        "d": "not (tasks.ask.result > 1)",
    }


def test_a_segment_is_used_again_with_a_prefix():
    reading = (
        Segment()
        .task("fetch", agent="reader", input={"url": "${input.url}"})
        .then(
            "sum-up",
            agent="reader",
            when="tasks.fetch.result.ok and 'tasks.fetch' != 'ü'",
            input={"text": "a ${tasks.fetch.result.text} $${tasks.fetch} ${'é' + tasks['fetch'].result.text}"},
            on_failure={"fallback": "guess"},
        )
        .task("guess", agent="reader", name="Guess it")
    )
    built = (
        WorkflowBuilder("both")
        .parallel(reading.prefixed("left_"), reading.prefixed("right-"))
        .include(Segment().task("join", agent="noop", input={"x": ["${tasks.left_fetch.result}"]}), prefix="z_")
        .build()
    )
    left, right = built.task("left_sum-up"), built.task("right-sum-up")
    assert left.function == right.function == "sum-up"
    assert left.when == "tasks['left_fetch'].result.ok and 'tasks.fetch' != 'ü'"
    assert right.when == "tasks['right-fetch'].result.ok and 'tasks.fetch' != 'ü'"
    assert right.payload == {
        "text": "a ${tasks['right-fetch'].result.text} $${tasks.fetch} ${'é' + tasks['right-fetch'].result.text}"
    }
    assert right.on_failure == OnFailure(action=left.on_failure.action, task="right-guess")
    assert built.task("right-guess").name == "Guess it"
    assert built.task("z_join").dependencies == ("left_sum-up", "right-sum-up")
    assert built.task("z_join").payload == {"x": ["${tasks.left_fetch.result}"]}


def test_what_waits_outside_and_what_is_limited_get_other_ids_too():
    asking = (
        Segment()
        .task("draft", agent="noop", rate_limit={"limit": 3, "key": "${input.who}"}, cache={"key": "${input.who}"})
        .then(
            "approve",
            type="human",
            assignee="${tasks.draft.result.owner}",
            escalation={"after": "1h", "to": "${tasks.draft.result.boss}"},
        )
        .then("wait", type="wait", for_="${tasks.draft.result.pause}")
        .then("told", type="wait", signal="go", accept="signal.value == tasks.draft.result")
        .then("pay", agent="noop", compensation={"agent": "noop", "input": {"x": "${tasks.draft.result}"}})
        .then("hide", agent="noop", input={"key": "${secret.token}"})
    )
    built = WorkflowBuilder("w", secrets=["token"]).include(asking, prefix="a_").build()
    approve = built.task("a_approve")
    assert (approve.function, approve.assignee) == ("", "${tasks['a_draft'].result.owner}")
    assert approve.escalation is not None
    assert approve.escalation.to == "${tasks['a_draft'].result.boss}"
    assert built.task("a_wait").wait_for == "${tasks['a_draft'].result.pause}"
    assert built.task("a_told").accept == "signal.value == tasks['a_draft'].result"
    assert built.task("a_pay").compensation.payload == {"x": "${tasks['a_draft'].result}"}  # type: ignore[union-attr]


def test_a_workflow_can_be_included_too():
    inner = load_workflow("{name: inner, tasks: [{id: a, agent: noop}, {id: b, agent: noop, depends_on: [a]}]}")
    built = WorkflowBuilder("outer").task("first", agent="noop").include(inner, prefix="in_").build()
    assert built.dependencies == {"in_a": ("first",), "in_b": ("in_a",)}
    assert built.task("in_a").function == "a"


def test_values_of_the_model_stand_for_their_blocks():
    built = (
        WorkflowBuilder("w", timeout=timedelta(minutes=2))
        .task(
            "a",
            agent="noop",
            retry=RetryPolicy(),
            resources=ResourceRequirements(cpu_cores=2, custom_resources={"licence": 1}),
            on_failure=OnFailure(),
            run_if=RunIf.ALL_DONE,
        )
        .build()
    )
    task = built.task("a")
    assert built.config.timeout == 120
    assert (task.retry, task.run_if) == (RetryPolicy(), RunIf.ALL_DONE)
    assert task.resources == ResourceRequirements(cpu_cores=2, custom_resources={"licence": 1})


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Segment().task("a", agnt="noop"), 'task "a" has no field "agnt"; did you mean "agent"?'),
        (lambda: Segment().task("a", agent="noop", timeout="soon"), 'task "a".timeout'),
        (lambda: Segment().task("a", agent=3), 'task "a".agent must be a text, not the number 3'),
        (lambda: Segment().task("a b", agent="noop"), 'the task id "a b" can\'t be used'),
        (lambda: Segment().task("a"), 'task "a" has no agent'),
        (lambda: Segment().task("a", agent="noop", input={"x": object()}), 'task "a": input.x: a object has no place'),
        (lambda: Segment().task("a", agent="noop", input={1: 2}), "the key 1 is not a text"),
        (lambda: Segment().task("a", agent="noop", when="1 +"), "the expression can't be read"),
        (lambda: Segment().task("a", agent="noop").task("a", agent="noop"), 'two tasks have the id "a"'),
        (lambda: Segment().task({"agent": "noop"}), "the task has no id"),
        (lambda: Segment().then(3), "a int is no step"),  # type: ignore[arg-type]
        (lambda: Segment().then(Segment(), agent="noop"), "agent: a Segment of several tasks takes no fields"),
        (lambda: Segment().map(Segment(), over=[1]), "a segment can't be mapped"),  # type: ignore[arg-type]
        (lambda: Segment().when(3, "a", agent="noop"), "a condition is a text, not a int"),  # type: ignore[arg-type]
        (lambda: Segment().task(Task(id="a", agent_type="noop"), speed=3), 'a Task has no field "speed"'),
        (lambda: WorkflowBuilder("w", verion="1"), 'has no field "verion"; did you mean "version"?'),
        (lambda: WorkflowBuilder("w", tasks=[]), '"tasks" is a word of files; add tasks by task, then'),
        (lambda: WorkflowBuilder("w", metadata={"x": object()}), "a object has no place in a workflow"),
        (lambda: WorkflowBuilder("w").build(), "the workflow has no tasks"),
        (
            lambda: WorkflowBuilder("w").task("a", agent="noop", depends_on=["b"]).task("bb", agent="noop").build(),
            'task "a" depends on "b", which is no task',
        ),
        (
            lambda: WorkflowBuilder("w").task("a", agent="noop").task("b", agent="noop", when="tasks.a.result").build(),
            'task "b" reads the result of "a", but doesn\'t wait for it',
        ),
    ],
)
def test_what_is_wrong_is_refused_where_it_is_written(build, says):
    (problem,) = refused(build)
    assert says in problem
    line = build.__code__.co_firstlineno
    file, at, _ = problem.split(":", 2)
    assert (file, line <= int(at) <= line + 2) == (HERE, True)


def test_a_chain_of_two_thousand_steps_is_built():
    segment = Segment()
    for number in range(2_000):
        segment = segment.then(f"t{number}", agent="noop")
    assert len(WorkflowBuilder("w").include(segment).build().tasks) == 2_000


def test_a_workflow_with_the_same_ids_twice_is_no_segment():
    twice = Workflow(name="w", tasks=(Task(id="a", agent_type="x"), Task(id="a", agent_type="x")))
    assert 'two tasks have the id "a"' in refused(lambda: Segment().include(twice))[0]
