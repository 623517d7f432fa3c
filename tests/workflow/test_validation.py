"""The rules that every workflow keeps, wherever it comes from."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from podium.exceptions import WorkflowInvalidError
from podium.workflow.graph import DependencyGraph
from podium.workflow.model import (
    AgentGroup,
    CircuitBreaker,
    Constraint,
    ConstraintType,
    Coordination,
    FailureAction,
    FaultTolerance,
    InputParameter,
    OnFailure,
    ResourceRequirements,
    RetryPolicy,
    Task,
    Workflow,
    WorkflowConfig,
)
from podium.workflow.problems import Problem, did_you_mean, problems_in, quoted, raise_problems, shown_path
from podium.workflow.validation import is_of_type, problems_of, validate
from tests.workflow.cpu_time import cpu_seconds

ROLES = {"workers": AgentGroup("workers", "worker", 2, resources=ResourceRequirements(cpu_cores=2, memory_mb=1000))}


def task(task_id: str = "a", *dependencies: str, **fields) -> Task:
    return Task(id=task_id, **({"agent": "workers"} | fields), dependencies=dependencies)


def workflow(*tasks: Task, **fields) -> Workflow:
    return Workflow(name="w", tasks=tasks or (task(),), **({"agents": ROLES} | fields))


def found(*tasks: Task, **fields) -> list[tuple[str, str]]:
    return [(problem.rule, shown_path(problem.path)) for problem in problems_of(workflow(*tasks, **fields))]


def test_a_valid_workflow_has_no_problems():
    assert problems_of(workflow()) == []


@pytest.mark.parametrize(
    ("fields", "rule", "place"),
    [
        ({"id": ""}, "empty-text", "tasks[0].id"),
        ({"id": "a b"}, "id-form", "tasks[0].id"),
        ({"id": "a:b"}, "id-form", "tasks[0].id"),
        ({"id": "a[1]"}, "id-form", "tasks[0].id"),
        ({"id": "a/b"}, "id-form", "tasks[0].id"),
        ({"id": "a\n"}, "id-form", "tasks[0].id"),
        ({"id": ".a"}, "id-form", "tasks[0].id"),
        ({"id": "é"}, "id-form", "tasks[0].id"),
        ({"id": "a" * 201}, "too-long", "tasks[0].id"),
        ({"name": " "}, "empty-text", "tasks[0].name"),
        ({"name": "a\x1b[0m"}, "control-character", "tasks[0].name"),
        ({"function": "f" * 201}, "too-long", "tasks[0].function"),
        ({"agent": ""}, "missing-agent", "tasks[0].agent"),
        ({"agent": "worker"}, "unknown-agent", "tasks[0].agent"),
        ({"agent_type": "other"}, "agent-mismatch", "tasks[0].agent_type"),
        ({"agent": "", "agent_type": "a.b"}, "id-form", "tasks[0].agent_type"),
        ({"agent": "", "agent_type": ">"}, "id-form", "tasks[0].agent_type"),
        ({"timeout": 0}, "out-of-range", "tasks[0].timeout"),
        ({"timeout": -1.0}, "out-of-range", "tasks[0].timeout"),
        ({"deadline": 1e12}, "out-of-range", "tasks[0].deadline"),
        ({"estimated_duration": -1.0}, "out-of-range", "tasks[0].estimated_duration"),
        ({"estimated_duration": float("nan")}, "out-of-range", "tasks[0].estimated_duration"),
        ({"priority": 101}, "out-of-range", "tasks[0].priority"),
        ({"priority": -1}, "out-of-range", "tasks[0].priority"),
        ({"retries": -1}, "out-of-range", "tasks[0].retries"),
        ({"retry": RetryPolicy(max_attempts=0)}, "out-of-range", "tasks[0].retry.max_attempts"),
        ({"retry": RetryPolicy(jitter=1.1)}, "out-of-range", "tasks[0].retry.jitter"),
        ({"retry": RetryPolicy(jitter=-0.1)}, "out-of-range", "tasks[0].retry.jitter"),
        ({"retry": RetryPolicy(multiplier=0)}, "out-of-range", "tasks[0].retry.multiplier"),
        ({"retry": RetryPolicy(initial_delay_seconds=-1)}, "out-of-range", "tasks[0].retry.initial_delay_seconds"),
        ({"retry": RetryPolicy(max_delay_seconds=-1)}, "out-of-range", "tasks[0].retry.max_delay_seconds"),
        ({"retry": RetryPolicy(non_retryable=("",))}, "empty-text", "tasks[0].retry.non_retryable[0]"),
        ({"parallel": True, "for_each": [1]}, "parallel-and-for-each", "tasks[0].parallel"),
        ({"parallel": True, "agent": "", "agent_type": "x"}, "parallel-without-group", "tasks[0].parallel"),
        ({"parallel": True, "max_parallel": 0}, "out-of-range", "tasks[0].max_parallel"),
        ({"max_parallel": 2}, "max-parallel-alone", "tasks[0].max_parallel"),
        ({"for_each": [0] * 200_001}, "too-many-tasks", "tasks[0].for_each"),
        ({"for_each": "[1]"}, "for-each", "tasks[0].for_each"),
        ({"for_each": ["${oops}"]}, "expression", "tasks[0].for_each[0]"),
        ({"resources": ResourceRequirements(cpu_cores=-1)}, "out-of-range", "tasks[0].resources.cpu_cores"),
        ({"resources": ResourceRequirements(cpu_cores=3)}, "never-fits", "tasks[0].resources.cpu_cores"),
        ({"resources": ResourceRequirements(gpu_count=1)}, "never-fits", "tasks[0].resources.gpu_count"),
        (
            {"resources": ResourceRequirements(custom_resources={"x": 1})},
            "never-fits",
            "tasks[0].resources.custom_resources.x",
        ),
        ({"when": "1 +"}, "expression", "tasks[0].when"),
        ({"when": "().__class__"}, "expression", "tasks[0].when"),
        ({"payload": {"x": ["${9 ** 9 ** 9}"]}}, "expression", "tasks[0].payload.x[0]"),
        ({"payload": {"x": "${tasks}"}}, "expression", "tasks[0].payload.x"),
        ({"payload": {"x": "${tasks.b.result}"}}, "unknown-reference", "tasks[0].payload.x"),
        ({"payload": {"x": "${tasks.a.result}"}}, "unknown-reference", "tasks[0].payload.x"),
        ({"payload": {"x": "${item}"}}, "unknown-reference", "tasks[0].payload.x"),
        ({"payload": {"x": "${shard.index}"}}, "unknown-reference", "tasks[0].payload.x"),
        ({"parallel": True, "payload": {"x": "${index}"}}, "unknown-reference", "tasks[0].payload.x"),
        ({"for_each": [1], "when": "index > 1"}, "unknown-reference", "tasks[0].when"),
        ({"on_failure": OnFailure(FailureAction.FALLBACK)}, "missing-field", "tasks[0].on_failure"),
        ({"on_failure": OnFailure(FailureAction.FALLBACK, "x")}, "unknown-fallback", "tasks[0].on_failure"),
        ({"on_failure": OnFailure(FailureAction.FALLBACK, "a")}, "fallback-cycle", "tasks[0].on_failure"),
        ({"on_failure": OnFailure(FailureAction.FAIL, "a")}, "fallback", "tasks[0].on_failure"),
        ({"payload": {"x": object()}}, "not-json", "tasks[0].payload.x"),
        ({"payload": {"x": math.nan}}, "not-json", "tasks[0].payload.x"),
        ({"payload": {"x": 2**64}}, "not-json", "tasks[0].payload.x"),
        ({"payload": {"x": "\ud800"}}, "not-json", "tasks[0].payload.x"),
        ({"payload": {1: 2}}, "not-json", "tasks[0].payload"),
        ({"payload": {"x": {"\udfff": 2}}}, "not-json", "tasks[0].payload.x"),
        ({"timeout": "30s"}, "wrong-type", "tasks[0].timeout"),
    ],
)
def test_a_task_that_breaks_a_rule_has_a_problem_at_that_field(fields, rule, place):
    assert found(replace(task(), **fields)) == [(rule, place)]


@pytest.mark.parametrize(
    ("fields", "rule", "place"),
    [
        ({"name": ""}, "empty-text", "name"),
        ({"name": "a\u2028b"}, "control-character", "name"),
        ({"version": " "}, "empty-text", "version"),
        ({"id": "x" * 300}, "too-long", "id"),
        ({"tasks": ()}, "no-tasks", "tasks"),
        ({"metadata": {"description": "x" * 10_001}}, "too-long", "metadata.description"),
        ({"metadata": {"x": datetime.now(UTC)}}, "not-json", "metadata.x"),
        ({"config": WorkflowConfig(timeout=0)}, "out-of-range", "config.timeout"),
        ({"config": WorkflowConfig(priority=-1)}, "out-of-range", "config.priority"),
        ({"config": WorkflowConfig(max_parallel_tasks=0)}, "out-of-range", "config.max_parallel_tasks"),
        ({"config": WorkflowConfig(max_concurrent_executions=0)}, "out-of-range", "config.max_concurrent_executions"),
        ({"config": WorkflowConfig(max_crashes=0)}, "out-of-range", "config.max_crashes"),
        ({"constraints": (Constraint(ConstraintType.MAX_PARALLEL, 0),)}, "out-of-range", "constraints[0].value"),
        ({"coordination": Coordination("telepathic")}, "wrong-value", "coordination.type"),
        (
            {"fault_tolerance": FaultTolerance(CircuitBreaker(failure_threshold=0))},
            "out-of-range",
            "fault_tolerance.circuit_breaker.failure_threshold",
        ),
        ({"inputs": (InputParameter("a"), InputParameter("a"))}, "duplicate-id", "inputs.a"),
        ({"inputs": (InputParameter("a", "text"),)}, "wrong-value", "inputs.a.type"),
        ({"inputs": (InputParameter("a", "string", default=3),)}, "wrong-default", "inputs.a.default"),
        ({"inputs": tuple(InputParameter(f"i{n}") for n in range(1001))}, "too-many-names", "inputs"),
        ({"output": "${tasks.x.result}"}, "unknown-reference", "output"),
        ({"output": {"a": "${item}"}}, "unknown-reference", "output.a"),
        ({"output": {"a": "${"}}, "expression", "output.a"),
        ({"agents": {"*": AgentGroup("*", "worker")} | ROLES}, "id-form", 'agents["*"]'),
        ({"agents": {"a.b": AgentGroup("a.b", "worker")} | ROLES}, "id-form", 'agents["a.b"]'),
        ({"agents": {"a\r\n": AgentGroup("a\r\n", "worker")} | ROLES}, "id-form", r'agents["a\r\n"]'),
        ({"agents": {"": AgentGroup("", "worker")} | ROLES}, "empty-text", 'agents[""]'),
        ({"agents": {"r" * 10_000: AgentGroup("r" * 10_000, "worker")} | ROLES}, "too-long", f"agents.{'r' * 10_000}"),
        ({"agents": {"x": AgentGroup("y", "worker")} | ROLES}, "agent-mismatch", "agents.x"),
        ({"agents": {"x": AgentGroup("x", "")} | ROLES}, "missing-field", "agents.x.type"),
        ({"agents": {"x": AgentGroup("x", "a>b")} | ROLES}, "id-form", "agents.x.type"),
        ({"agents": {"x": AgentGroup("x", "y", 0)} | ROLES}, "out-of-range", "agents.x.count"),
        ({"agents": {"x": AgentGroup("x", "y", capabilities=("",))} | ROLES}, "empty-text", "agents.x.capabilities[0]"),
        (
            {"agents": {"x": AgentGroup("x", "y", resources=ResourceRequirements(cpu_cores=math.inf))} | ROLES},
            "wrong-type",
            "agents",
        ),
    ],
)
def test_a_workflow_that_breaks_a_rule_has_a_problem_at_that_field(fields, rule, place):
    problems = problems_of(replace(workflow(), **fields))
    assert [(problem.rule, shown_path(problem.path)) for problem in problems] == [(rule, place)]


def test_a_role_that_says_nothing_of_resources_may_have_any():
    agents = {"workers": AgentGroup("workers", "worker")}
    assert found(task(resources=ResourceRequirements(cpu_cores=64)), agents=agents) == []


def test_a_value_that_holds_itself_or_is_too_deep_is_refused():
    deep: list = []
    for _ in range(70):
        deep = [deep]
    circle: dict = {}
    circle["circle"] = circle
    assert found(task(payload={"x": deep})) == [("too-large", "tasks[0].payload")]
    assert found(task(payload=circle)) == [("too-large", "tasks[0].payload")]


# --- order -----------------------------------------------------------------------------------------------------------


def test_unknown_repeated_and_own_dependencies_are_problems():
    assert found(task("a", "b"), task("c", "c"), task("d", "a", "a")) == [
        ("unknown-dependency", "tasks[0].dependencies[0]"),
        ("self-dependency", "tasks[1].dependencies[0]"),
        ("duplicate-dependency", "tasks[2].dependencies"),
    ]


def test_two_tasks_can_not_have_one_id():
    assert found(task("a"), task("a")) == [("duplicate-id", "tasks[1].id")]


def test_each_cycle_is_named_once_as_a_path():
    tasks = [task("a", "c"), task("b", "a"), task("c", "b", "x"), task("x", "y"), task("y", "x"), task("behind", "a")]
    messages = [problem.message for problem in problems_of(workflow(*tasks))]
    assert messages == ["tasks wait for each other: a -> b -> c -> a", "tasks wait for each other: x -> y -> x"]


def test_a_long_cycle_is_shown_in_short():
    tasks = [task(f"t{n}", f"t{(n - 1) % 5_000}") for n in range(5_000)]
    (problem,) = problems_of(workflow(*tasks))
    assert "t0 -> t1 -> t2" in problem.message
    assert len(problem.message) < 200


EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda edge: edge[0] != edge[1]), max_size=16)


@given(EDGES)
def test_a_cycle_is_found_exactly_when_there_is_one(edges):
    tasks = [task(f"t{n}", *sorted({f"t{b}" for a, b in edges if a == n})) for n in range(8)]
    expected = DependencyGraph.of(workflow(*tasks)).cycle() is not None
    assert any(problem.rule == "cycle" for problem in problems_of(workflow(*tasks))) == expected


@settings(max_examples=200)
@given(EDGES, st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12), st.integers(1, 8))
def test_a_task_may_read_exactly_its_ancestors(edges, reads, block):
    from podium.workflow import reference_rules

    tasks = [
        task(
            f"t{n}",
            *sorted({f"t{min(e)}" for e in edges if max(e) == n}),
            payload={"x": [f"${{tasks.t{target}.result}}" for reader, target in reads if reader == n]},
        )
        for n in range(8)
    ]
    whole = workflow(*tasks)
    graph = DependencyGraph.of(whole)
    allowed = all(f"t{target}" in graph.ancestors(f"t{reader}") for reader, target in reads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_rules, "_BLOCK", block)
        assert (problems_of(whole) == []) == allowed


def test_a_result_is_read_only_after_waiting_for_it():
    (problem,) = problems_of(workflow(task("a"), task("b", payload={"x": "${tasks.a.result}"})))
    assert str(problem) == (
        'reference-without-dependency: task "b" reads the result of "a", but doesn\'t wait for it; '
        'add "a" to the depends_on of "b"'
    )


def test_the_output_may_read_every_task_and_inputs_only_if_declared():
    tasks = (task("a", payload={"x": "${input.q}", "all": "${input}", "e": "${execution}"}), task("b"))
    output = {"a": "${tasks.a.result}", "b": "${tasks.b.status}"}
    assert found(*tasks, output=output) == []
    assert found(*tasks, inputs=(InputParameter("q"),)) == []
    assert found(*tasks, inputs=(InputParameter("question"),)) == [("undeclared-input", "tasks[0].payload.x")]


def test_an_instance_knows_its_item_and_shard():
    payload = {"x": "${item} ${index} ${shard.count}"}
    assert found(task(for_each="input.items", payload=payload)) == []
    assert found(task(parallel=True, payload={"x": "${shard.index}"})) == []


def test_a_task_whose_id_is_no_name_is_read_in_brackets():
    tasks = (task("a-b"), task("c", "a-b", payload={"x": "${tasks['a-b'].result}"}))
    assert found(*tasks) == []
    (problem,) = problems_of(workflow(task("a-b"), task("c", "a-b", payload={"x": "${tasks.a-b.result}"})))
    assert problem.hint == "in an expression this task is written tasks['a-b']"


# --- fallbacks -------------------------------------------------------------------------------------------------------


def falls_back_to(name: str) -> OnFailure:
    return OnFailure(FailureAction.FALLBACK, name)


def test_a_fallback_may_read_why_its_primary_failed_and_may_have_a_fallback_itself():
    tasks = (
        task("first"),
        task("a", "first", on_failure=falls_back_to("b")),
        task("b", on_failure=falls_back_to("c"), payload={"x": "${tasks.a.error} ${tasks.first.result}"}),
        task("c", payload={"x": "${tasks.b.error}"}),
        task("end", "a"),
    )
    assert found(*tasks) == []


def test_a_fallback_does_not_wait_for_its_primary_nor_for_what_waits_for_it():
    a = task("a", on_failure=falls_back_to("b"))
    assert found(a, task("b", "a")) == [("fallback-depends-on-primary", "tasks[1].dependencies[0]")]
    assert found(a, task("after", "a"), task("b", "after")) == [("fallback-cycle", "tasks[2].dependencies")]


def test_the_last_of_a_chain_of_fallbacks_waits_for_none_of_those_it_may_stand_in_for():
    a, b = task("a", on_failure=falls_back_to("b")), task("b", on_failure=falls_back_to("c"))
    assert found(a, b, task("c", "a")) == [("fallback-depends-on-primary", "tasks[2].dependencies[0]")]
    assert [rule for rule, _ in found(a, b, task("after", "a"), task("c", "after"))] == ["fallback-cycle"]
    assert [rule for rule, _ in found(a, task("b", "c", on_failure=falls_back_to("c")), task("c"))] == [
        "fallback-cycle"
    ]
    assert found(a, b, task("c"), task("after", "a", "b", "c")) == []


def test_fallbacks_are_not_shared_and_do_not_go_round():
    a, b = task("a", on_failure=falls_back_to("b")), task("b", on_failure=falls_back_to("a"))
    assert [rule for rule, _ in found(a, b)] == ["fallback-cycle"]
    c = task("c", on_failure=falls_back_to("b"))
    assert found(a, task("b"), c) == [("fallback-shared", "tasks[2].on_failure")]


def test_what_waits_for_a_fallback_is_not_a_loop():
    a = task("a", on_failure=falls_back_to("b"))
    assert found(a, task("b"), task("after", "b"), task("end", "a", "after")) == []


# --- validate --------------------------------------------------------------------------------------------------------


def test_validate_returns_what_yaml_would_have_given():
    tasks: Any = [task(timeout=30, payload={"x": (1, 2)})]
    given = Workflow(name="w", tasks=tasks, agents=ROLES)
    valid = validate(given)
    assert valid.tasks[0].agent_type == "worker"
    assert (valid.tasks[0].payload, type(valid.tasks[0].timeout)) == ({"x": [1, 2]}, float)
    assert validate(valid) == valid


def test_validate_raises_with_every_problem():
    with pytest.raises(WorkflowInvalidError) as caught:
        validate(workflow(task("a", "b"), task("c", "d")))
    assert [problem.rule for problem in problems_in(caught.value)] == ["unknown-dependency"] * 2


def test_too_many_tasks_or_edges_are_refused_without_looking_at_each():
    many = tuple(task(f"t{n}") for n in range(200_001))
    assert found(*many) == [("too-many-tasks", "tasks")]
    names = tuple(f"t{n}" for n in range(1_001))
    assert found(*(task(name, *names) for name in names)) == [("too-many-edges", "tasks")]


def test_far_references_over_20_000_tasks_are_checked_quickly():
    tasks = [
        task(f"t{n}", *{f"t{max(0, n - back)}" for back in (1, 7, 50)}, payload={"x": f"${{tasks.t{n // 2}.result}}"})
        for n in range(1, 20_000)
    ]
    problems = []
    assert cpu_seconds(lambda: problems.append(found(task("t0"), *tasks)), times=1) < 5
    assert problems == [[]]


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "candidates", "expected"),
    [
        ("dependson", ["depends_on", "agent"], 'did you mean "depends_on"?'),
        ("Max-Parallel", ["max_parallel"], 'did you mean "max_parallel"?'),
        ("colour", ["timeout", "retry"], ""),
        ("", ["a"], ""),
        ("x" * 101, ["x" * 100], ""),
        ("t50001x", [f"t{n}" for n in range(100_000)], 'did you mean "t50001"?'),
    ],
)
def test_the_nearest_word_is_suggested(word, candidates, expected):
    assert did_you_mean(word, candidates) == expected


def test_a_problem_is_one_line_with_place_rule_and_hint():
    problem = Problem("unknown-field", "tasks[1] has no field", ("tasks", 1), 'did you mean "x"?', 12, 7, "w.yaml")
    assert str(problem) == 'w.yaml:12:7: unknown-field: tasks[1] has no field; did you mean "x"?'
    assert str(replace(problem, file="")) == '<text>:12:7: unknown-field: tasks[1] has no field; did you mean "x"?'
    assert str(replace(problem, line=0, file="", hint="")) == "unknown-field: tasks[1] has no field"
    assert problems_in(ValueError()) == ()
    with pytest.raises(WorkflowInvalidError, match="unknown-field"):
        raise_problems([problem])


def test_what_is_quoted_is_short_and_harmless():
    assert quoted('a"b\\') == '"a\\"b\\\\"'
    assert quoted("\x1b[31m\u2028") == '"\\x1b[31m\\u2028"'
    assert len(quoted("x" * 1_000)) == 62
    assert shown_path(("tasks", 1, "a b")) == 'tasks[1]["a b"]'


@pytest.mark.parametrize(
    ("kind", "value"),
    [("string", "a"), ("integer", 1), ("number", 1.5), ("boolean", True), ("array", []), ("object", {}), ("any", None)],
)
def test_types_of_inputs_are_those_of_json_schema(kind, value):
    assert is_of_type(value, kind)
    assert kind == "any" or not is_of_type(object(), kind)
