"""The YAML language: what is accepted, what is refused and how, and that nothing can make the reader misbehave."""

import gc
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.exceptions import WorkflowInvalidError, WorkflowSyntaxError
from podium.workflow.hashing import content_hash
from podium.workflow.model import (
    NAMED_RETRY_POLICIES,
    WITHOUT_AGENT,
    AgentGroup,
    CircuitBreaker,
    ConcurrencyLimit,
    Constraint,
    ConstraintType,
    Coordination,
    FailureAction,
    FaultTolerance,
    InputParameter,
    OnFailure,
    OrchestrationPattern,
    RateLimit,
    ResourceRequirements,
    RetryPolicy,
    RunIf,
    SagaPattern,
    Task,
    TaskType,
    Workflow,
    WorkflowConfig,
)
from podium.workflow.problems import Problem, problems_in
from podium.workflow.schedules.spec import Overlap, ScheduleSpec
from podium.workflow.validation import problems_of, validate
from podium.workflow.yaml import check_workflow, dump_workflow, load_workflow, loader, reader
from podium.workflow.yaml.nodes import resolved
from tests.workflow.cpu_time import cpu_seconds

HERE = Path(__file__).parent / "yaml"
BAD = sorted((HERE / "bad").glob("*.yaml"))
GOOD = sorted((HERE / "good").glob("*.yaml"))
EXAMPLE = HERE / "good" / "multi_agent_research.yaml"


def one_task(extra: str = "") -> str:
    return f"name: w\nagents: {{workers: {{type: worker, count: 2}}}}\ntasks:\n  - id: a\n    agent: workers\n{extra}"


def rules(text: str | bytes) -> list[str]:
    return [problem.rule for problem in check_workflow(text)[1]]


# --- what is accepted ------------------------------------------------------------------------------------------------


def test_the_example_of_document_004_is_accepted_as_written():
    workflow = load_workflow(EXAMPLE.read_bytes(), EXAMPLE.name)
    assert workflow.name == "multi_agent_research"
    assert workflow.version == "1.0"
    assert workflow.orchestration_pattern is OrchestrationPattern.SUPERVISOR
    supervisor, researchers = workflow.agents.values()
    assert supervisor == AgentGroup(
        name="supervisor",
        type="supervisor_agent",
        capabilities=("task_decomposition", "quality_assessment"),
        resources=ResourceRequirements(cpu_cores=2, memory_mb=4000),
    )
    assert (researchers.count, researchers.resources.memory_mb) == (3, 2000)
    decompose, research, synthesize = workflow.tasks
    assert decompose.retry == NAMED_RETRY_POLICIES["exponential_backoff"]
    assert (research.parallel, research.agent, research.agent_type) == (True, "researchers", "research_agent")
    assert (decompose.timeout, research.timeout, synthesize.timeout) == (300, 1800, 600)
    assert workflow.dependencies == {"research": ("decompose",), "synthesize": ("research",)}
    assert workflow.coordination == Coordination(
        "hybrid", ("agent_status", "data_updates"), ("task_flow", "dependencies")
    )
    assert workflow.fault_tolerance == FaultTolerance(CircuitBreaker(3, 30), SagaPattern(True, True))


def test_the_same_fields_may_stand_at_the_top():
    lines = EXAMPLE.read_text().splitlines()
    top = "\n".join(line.removeprefix("  ") for line in lines if line != "workflow:")
    assert load_workflow(top) == load_workflow(EXAMPLE.read_text())


def test_every_field_is_read():
    workflow = load_workflow((HERE / "good" / "everything.yaml").read_bytes())
    assert workflow.version == "1.10"
    assert workflow.config == WorkflowConfig(7200, 75, 10, 2, 5)
    assert workflow.metadata == {
        "owner": "somebody", "when": "12:30", "on": "2024-01-01", "no": 15, "description": "says it all",
    }  # fmt: skip
    assert workflow.inputs == (
        InputParameter("question", "string"),
        InputParameter("count", "number", False, 3),
        InputParameter("ratio", "number", False, 0.5),
        InputParameter("deep", "boolean", False, True),
        InputParameter("tags", "array", False, ["a", "b"]),
        InputParameter("greeting", "string", False, "Hello there"),
        InputParameter("free"),
        InputParameter("limits", "object", False, {"a": 1}, "of what there may be"),
        InputParameter("optional", "string", False),
    )
    assert workflow.output == {"answer": "${tasks.write.result}"}
    assert workflow.agents["readers"].resources == ResourceRequirements(2, 4000, 10000, 100, 1, {"licence": 2})
    split, read, everywhere, plan_b, write = workflow.tasks
    assert split == Task(
        id="split",
        name="Split the question",
        type=TaskType.COMPUTE,
        agent="writer",
        agent_type="writer",
        function="decompose",
        payload={"question": "${input.question}"},
        retry=RetryPolicy(5, 0.5, 3, 60, 0, ("ValueError",)),
        timeout=90,
        deadline=3600,
        estimated_duration=150,
        priority=90,
    )
    assert (read.for_each, read.max_parallel, read.when) == ("${tasks.split.result}", 4, "tasks.split.result")
    assert read.resources == ResourceRequirements(0.5, 512, custom_resources={"licence": 1})
    assert (read.on_failure, read.dependencies) == (OnFailure(FailureAction.CONTINUE), ("split",))
    assert (everywhere.retries, everywhere.retry, everywhere.retry_policy.max_attempts) == (2, None, 3)
    assert everywhere.on_failure == OnFailure(FailureAction.FALLBACK, "plan_b")
    assert (plan_b.agent, plan_b.agent_type) == ("", "writer")
    assert (write.run_if, write.when) == (RunIf.ALL_DONE, "True")
    assert workflow.constraints == (Constraint(ConstraintType.MAX_PARALLEL, 8),)
    assert workflow.scheduled_at == datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_what_is_dumped_loads_to_an_equal_workflow(file):
    workflow = load_workflow(file.read_bytes())
    again = load_workflow(dump_workflow(workflow))
    assert again == workflow
    assert content_hash(again) == content_hash(workflow)


@pytest.mark.parametrize(
    ("said", "retry", "retries"),
    [
        ("retries: 2", None, 2),
        ("retry_policy: fixed", NAMED_RETRY_POLICIES["fixed"], 0),
        ("retry_policy: fixed\n    retries: 9", NAMED_RETRY_POLICIES["fixed"], 9),
        ("retry: {max_attempts: 7}\n    retry_policy: fixed", RetryPolicy(max_attempts=7, multiplier=1), 0),
        ("retry: {jitter: 0}\n    retries: 4", RetryPolicy(max_attempts=5, jitter=0), 4),
        ("retry: {max_attempts: 2}", RetryPolicy(max_attempts=2), 0),
    ],
)
def test_a_retry_block_wins_over_a_policy_and_that_over_retries(said, retry, retries):
    task = load_workflow(one_task(f"    {said}\n")).tasks[0]
    assert (task.retry, task.retries) == (retry, retries)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("fail", OnFailure()),
        ("continue", OnFailure(FailureAction.CONTINUE)),
        ("{fallback: b}", OnFailure(FailureAction.FALLBACK, "b")),
        ("'fallback: b'", OnFailure(FailureAction.FALLBACK, "b")),
        ("{action: fallback, task: b}", OnFailure(FailureAction.FALLBACK, "b")),
        ("{action: continue}", OnFailure(FailureAction.CONTINUE)),
    ],
)
def test_on_failure_has_a_short_and_a_long_form(said, expected):
    text = one_task(f"    on_failure: {said}\n  - {{id: b, agent: workers}}\n")
    assert load_workflow(text).tasks[0].on_failure == expected


def test_tasks_may_be_a_mapping_of_ids():
    text = "name: w\ntasks:\n  a: {agent: worker}\n  b: {agent: worker, depends_on: a, id: b}\n"
    assert [task.id for task in load_workflow(text).tasks] == ["a", "b"]


@pytest.mark.parametrize(
    ("agents", "task", "agent", "agent_type"),
    [
        ("", "agent: worker", "", "worker"),
        ("agents: {role: {type: worker}}", "agent: role", "role", "worker"),
        ("agents: {role: {type: worker}}", "agent: worker", "", "worker"),
        ("agents: {role: {type: worker}}", "agent_type: other", "", "other"),
        ("agents: {role: {type: worker}}", "{agent: role, agent_type: worker}", "role", "worker"),
    ],
)
def test_an_agent_is_a_role_or_else_a_type(agents, task, agent, agent_type):
    fields = task.strip("{}")
    read = load_workflow(f"name: w\n{agents}\ntasks: [{{id: a, {fields}}}]").tasks[0]
    assert (read.agent, read.agent_type) == (agent, agent_type)


def test_a_field_without_a_value_is_as_if_it_were_not_there():
    assert load_workflow(one_task("    depends_on:\n    timeout: null\n    input:\n")) == load_workflow(one_task())


def test_anchors_and_merge_keys_work_within_the_limits():
    text = one_task(
        "    retry: &often {max_attempts: 9}\n    input: &base {x: 1, y: 2}\n"
        "  - {id: b, agent: workers, retry: *often, input: {<<: *base, y: 3}}\n"
        "  - {id: c, agent: workers, input: {<<: [{y: 4}, *base]}}\n"
        "  - {id: d, agent: workers}\n"
    )
    _, b, c, _ = load_workflow(text).tasks
    assert (b.retry, b.payload) == (RetryPolicy(max_attempts=9), {"x": 1, "y": 3})
    assert c.payload == {"x": 1, "y": 4}


def test_an_alias_may_be_a_key():
    text = "name: w\nmetadata: {a: &k word, *k : 1}\ntasks: [{id: a, agent: b}]"
    assert load_workflow(text).metadata == {"a": "word", "word": 1}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("null", None), ("~", None), ("", None), ("true", True), ("False", False), ("12", 12), ("-3", -3), ("+3", 3),
        ("0o17", 15), ("0x1F", 31), ("017", 17), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("-1.", -1.0),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("-", "-"), (".", "."), ("0b1", "0b1"), ("1e", "1e"), ("=", "="), ("٣", "٣"), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_the_core_schema_of_yaml_1_2_says(written, meant):
    assert resolved(written) == meant
    assert type(resolved(written)) is type(meant)


def test_standard_tags_say_what_is_meant():
    text = "name: w\nmetadata: {a: !!str 1, b: !!int '1', c: !!float 1, d: ! 2, e: !!null '', f: !!bool true}\n"
    text += "tasks: !!seq [!!map {id: a, agent: b}]"
    metadata = load_workflow(text).metadata
    assert metadata == {"a": "1", "b": 1, "c": 1.0, "d": "2", "e": None, "f": True}
    assert isinstance(metadata["c"], float)


def test_a_byte_order_mark_is_allowed():
    assert load_workflow(b"\xef\xbb\xbf" + one_task().encode()) == load_workflow(one_task())


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_each_bad_file_gets_the_problems_of_its_transcript(file):
    workflow, problems = check_workflow(file.read_bytes(), file.name)
    assert workflow is None
    assert "".join(f"{problem}\n" for problem in problems) == file.with_suffix(".txt").read_text()


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_the_python_parser_finds_the_same_as_the_c_parser(file, monkeypatch):
    expected = rules(file.read_bytes())
    monkeypatch.setattr(reader, "_Loader", yaml.SafeLoader)
    assert rules(file.read_bytes()) == expected


def test_what_can_not_be_parsed_and_what_is_invalid_are_two_exceptions():
    with pytest.raises(WorkflowSyntaxError) as syntax:
        load_workflow("name: [", "w.yaml")
    assert [problem.rule for problem in problems_in(syntax.value)] == ["syntax"]
    with pytest.raises(WorkflowSyntaxError):
        load_workflow("name: a\nname: b\n")
    with pytest.raises(WorkflowInvalidError) as invalid:
        load_workflow("name: w\ntasks: [{id: a, agnet: b}, {id: b}]", "w.yaml")
    assert [str(problem) for problem in problems_in(invalid.value)] == [
        'w.yaml:2:17: unknown-field: tasks[0] has no field "agnet"; did you mean "agent"?',
        'w.yaml:2:28: missing-agent: task "b" has no agent; write agent: a role, or agent_type: …',
    ]
    assert str(invalid.value).splitlines() == [str(problem) for problem in problems_in(invalid.value)]


def test_an_alias_bomb_is_refused_before_it_expands():
    bomb = "a: &a [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{chr(ord(name) - 1)}'] * 9)}]\n" for name in "bcdefghi"
    )
    assert rules(bomb) == ["alias-expansion"]  # expanded, it would be a million times its size


def test_aliases_can_not_make_a_tree_too_deep():
    text = "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 30 + "*a" + "]" * 30 + "\n"
    assert rules(text) == ["depth"]


def test_a_merged_mapping_weighs_what_it_holds():
    text = "x0: &x0 {a: 1}\n" + "".join(
        f"x{n}: &x{n} {{<<: [*x{n - 1}, *x{n - 1}], k{n}: [*x{n - 1}, *x{n - 1}]}}\n" for n in range(1, 60)
    )
    assert rules(text) == ["alias-expansion"]


@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader])
@pytest.mark.parametrize(
    "text", ["[" * 10_000, "{a: " * 10_000, "- " * 10_000, "? " * 10_000], ids=lambda text: text[:3]
)
def test_a_depth_of_10_000_is_refused(text, loader, monkeypatch):
    monkeypatch.setattr(reader, "_Loader", loader)
    assert rules(text) == ["depth"]


def test_20_megabytes_are_refused_and_one_huge_text_is_not_shown():
    assert rules(b"a" * 20_000_000) == ["file-size"]
    _, problems = check_workflow(f"name: {'x' * 1_000_000}\ntasks: [{{id: {'y' * 1_000_000}, agent: {'z' * 300}}}]")
    assert [problem.rule for problem in problems] == ["too-long"] * 3
    assert all(len(str(problem)) < 300 for problem in problems)


def test_too_many_values_are_refused(monkeypatch):
    monkeypatch.setattr(reader, "MAX_NODES", 100)
    assert rules("[" + "1," * 200 + "]") == ["nodes"]


def test_too_many_tasks_and_dependencies_are_refused():
    many = "name: w\ntasks:\n" + "- {}\n" * 200_001
    assert rules(many) == ["too-many-tasks"]
    mapping = "name: w\ntasks:\n" + "".join(f"  t{n}:\n" for n in range(200_001))
    assert rules(mapping) == ["too-many-tasks"]
    names = "[" + ",".join(f"t{n}" for n in range(1000)) + "]"
    edges = f"name: w\ntasks:\n  - {{id: a, agent: b, depends_on: &d {names}}}\n"
    edges += "".join(f"  - {{id: x{n}, agent: b, depends_on: *d}}\n" for n in range(1000))
    assert rules(edges) == ["too-many-edges"]
    assert rules(one_task("inputs: {" + ",".join(f"i{n}: 1" for n in range(1001)) + "}\n")) == ["too-many-names"]


def test_of_very_many_problems_the_first_are_listed_and_the_rest_counted():
    _, problems = check_workflow("name: w\ntasks:\n" + "- {x: 1}\n" * 2_000, "w.yaml")
    assert len(problems) == 1_001
    assert str(problems[-1]) == "w.yaml: more: at least 5,000 more problems are not listed"
    _, problems = check_workflow("name: w\ntasks:\n" + "".join(f"- {{id: a{n}}}\n" for n in range(2_000)))
    assert len(problems) == 1_001
    assert len(check_workflow("a: 1\n" * 2_000)[1]) == 1_001
    places = "".join(f"x{n}: '${{nope}}', " for n in range(2_000))
    assert len(check_workflow(one_task(f"    input: {{{places}}}\n    when: nope\n"))[1]) == 1_000


def test_a_python_escape_that_is_no_character_is_a_syntax_problem(monkeypatch):
    monkeypatch.setattr(reader, "_Loader", yaml.SafeLoader)
    assert rules('a: "\\UFFFFFFFF"') == ["syntax"]
    assert rules('name: "\\ud800"\ntasks: [{id: a, agent: b}]') == ["syntax"]


def test_a_problem_says_nothing_that_a_terminal_obeys():
    _, problems = check_workflow('name: w\ntasks: [{id: a, agent: "\\e[31mred\\r\\n"}]')
    assert all(str(problem).isprintable() for problem in problems)


# --- properties ------------------------------------------------------------------------------------------------------

SOUP = st.lists(
    st.sampled_from(
        [*"[]{}:,-?&*!|>'\"%@`#\n \t", ": ", "- ", "\n  ", "&a ", "*a", "<<: ", "!!str ", "---\n", "...\n", "id: a\n"]
    )
    | st.sampled_from(
        ["name: w\n", "tasks:\n", "  - id: x\n", "    agent: b\n", "    when: ", "${", "}", "tasks.x.result"]
    )
    | st.sampled_from(
        ["    for_each: ", "null", "1e999", ".nan", "0x", "\\", "é", "\ufeff", "\x85", "    retry: {}\n"]
    ),
    max_size=60,
).map("".join)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=300), SOUP, SOUP.map(str.encode), st.text(max_size=200)))
def test_any_text_gives_a_workflow_or_problems_and_nothing_else(source):
    workflow, problems = check_workflow(source, "any")
    assert (workflow is None) == bool(problems)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)
    if workflow is not None:
        assert load_workflow(dump_workflow(workflow)) == workflow


@settings(max_examples=200)
@given(at=st.integers(0, 2_000), cut=st.integers(0, 40), put=st.one_of(SOUP, st.text(max_size=10)))
def test_a_damaged_file_gives_a_workflow_or_problems(at, cut, put):
    text = (HERE / "good" / "everything.yaml").read_text()
    workflow, problems = check_workflow(text[:at] + put + text[at + cut :])
    assert (workflow is None) == bool(problems)
    if workflow is not None:
        assert load_workflow(dump_workflow(workflow)) == workflow


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TITLES = WORDS.map(lambda text: f"t{text}").filter(lambda text: text.isprintable())
NAMES = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True)
SECONDS = st.floats(0.001, 1e6)
RATE_SECONDS = st.floats(0.001, 86_400)
KEYS = st.sampled_from(["", "api", "of ${input.x}", "1"])
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False), WORDS
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
).map(lambda value: _without_templates(value))
RETRIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 9),
    initial_delay_seconds=SECONDS,
    multiplier=st.floats(0.1, 10),
    max_delay_seconds=SECONDS,
    jitter=st.floats(0, 1),
    non_retryable=st.lists(TITLES, max_size=2).map(tuple),
)
NEEDS = st.builds(
    ResourceRequirements,
    cpu_cores=st.floats(0, 64),
    memory_mb=st.integers(0, 10**6),
    disk_mb=st.integers(0, 10**6),
    network_bandwidth_mbps=st.none() | st.integers(0, 10**5),
    gpu_count=st.none() | st.integers(0, 8),
    custom_resources=st.dictionaries(NAMES, st.integers(0, 99), max_size=2),
)
ROLES = st.dictionaries(
    NAMES,
    st.builds(
        AgentGroup,
        name=st.just(""),
        type=NAMES,
        count=st.integers(1, 9),
        capabilities=st.lists(TITLES, max_size=2).map(tuple),
    ),
    max_size=3,
).map(
    lambda groups: {
        role: AgentGroup(role, group.type, group.count, group.capabilities) for role, group in groups.items()
    }
)


def _without_templates(value):
    if isinstance(value, str):
        return value.replace("${", "$")
    if isinstance(value, list):
        return [_without_templates(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_templates(item) for key, item in value.items()}
    return value


MOMENTS = st.none() | st.datetimes(timezones=st.just(UTC))
SCHEDULES = st.builds(
    ScheduleSpec,
    cron=st.sampled_from(["@daily", "*/5 9-17 * * mon-fri"]),
    time_zone=st.sampled_from(["UTC", "Europe/Zurich"]),
    starts_at=st.none() | st.just(datetime(2030, 1, 1, tzinfo=UTC)),
    max_firings=st.none() | st.integers(1, 9),
    overlap=st.sampled_from(Overlap),
    catch_up_seconds=st.none() | st.floats(0, 9_999),
    jitter_seconds=st.floats(0, 3_600),
)


@st.composite
def workflows(draw):
    agents = draw(ROLES)
    ids = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    tasks = []
    for at, task_id in enumerate(ids):
        role = draw(st.sampled_from(["", *agents]))
        for_each = draw(st.none() | st.lists(PLAIN.map(_without_templates), max_size=3))
        parallel = bool(role) and for_each is None and draw(st.booleans())
        tasks.append(
            Task(
                id=task_id,
                name=draw(st.just("") | TITLES),
                type=draw(st.sampled_from([kind for kind in TaskType if kind not in WITHOUT_AGENT])),
                agent=role,
                agent_type=agents[role].type if role else draw(NAMES),
                function=draw(st.just("") | TITLES),
                payload=draw(st.none() | st.dictionaries(WORDS, VALUES, max_size=3)),
                resources=draw(st.just(ResourceRequirements()) | NEEDS),
                priority=draw(st.none() | st.integers(0, 100)),
                timeout=draw(st.none() | SECONDS),
                deadline=draw(st.none() | SECONDS),
                estimated_duration=draw(st.none() | SECONDS),
                retries=draw(st.integers(0, 9)),
                retry=draw(st.none() | RETRIES),
                dependencies=tuple(draw(st.lists(st.sampled_from(ids[:at]), unique=True, max_size=3))) if at else (),
                when=draw(st.sampled_from([None, "input.x > 1", "True"])),
                for_each=for_each,
                parallel=parallel,
                max_parallel=draw(st.none() | st.integers(1, 9)) if parallel or for_each is not None else None,
                run_if=draw(st.sampled_from(RunIf)),
                on_failure=OnFailure(draw(st.sampled_from([FailureAction.FAIL, FailureAction.CONTINUE]))),
                rate_limit=draw(st.none() | st.builds(RateLimit, st.integers(1, 99), RATE_SECONDS, KEYS)),
                concurrency=draw(st.none() | st.builds(ConcurrencyLimit, st.integers(1, 99), KEYS)),
            )
        )
    return Workflow(
        name=draw(TITLES),
        version=draw(TITLES),
        orchestration_pattern=draw(st.sampled_from(OrchestrationPattern)),
        tasks=tuple(tasks),
        agents=agents,
        inputs=draw(
            st.just(()) | st.just((InputParameter("x", "any", draw(st.booleans()), draw(VALUES), draw(WORDS)),))
        ),
        output=draw(st.none() | VALUES),
        config=WorkflowConfig(
            draw(st.none() | SECONDS), draw(st.integers(0, 100)), draw(st.none() | st.integers(1, 9))
        ),
        coordination=draw(st.none() | st.just(Coordination("graph_based", ("a",)))),
        fault_tolerance=draw(st.none() | st.just(FaultTolerance(CircuitBreaker(2, 1.5)))),
        metadata=draw(st.dictionaries(WORDS.filter(lambda word: word != "description"), VALUES, max_size=3)),
        constraints=draw(st.just(()) | st.just((Constraint(ConstraintType.MAX_PARALLEL, 3),))),
        scheduled_at=None if (schedule := draw(st.none() | SCHEDULES)) else draw(MOMENTS),
        schedule=schedule,
    )


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(workflows())
def test_a_dumped_workflow_loads_to_an_equal_one_with_the_same_hash(workflow):
    assert [str(problem) for problem in problems_of(workflow)] == []
    again = load_workflow(dump_workflow(workflow))
    assert again == validate(workflow) == workflow
    assert content_hash(again) == content_hash(workflow)


# --- speed -----------------------------------------------------------------------------------------------------------


def test_10_000_tasks_are_read_and_validated():
    text = "name: w\nagents: {workers: {type: worker, count: 9}}\ntasks:\n" + "".join(
        f"  - id: t{n}\n    agent: workers\n    depends_on: [{f't{n - 1}' if n else ''}]\n    timeout: 30s\n"
        f"    input: {{value: '${{{f'tasks.t{n // 2}.result' if n else 'input'}}}'}}\n"
        for n in range(10_000)
    )
    found = []
    assert cpu_seconds(lambda: found.append(check_workflow(text)), times=1) < 3
    ((workflow, problems),) = found
    assert (workflow is not None, problems) == (True, [])


def test_a_large_file_without_aliases_passes():
    text = one_task("    input: {text: " + "x" * 15_000_000 + "}\n")
    assert load_workflow(text).tasks[0].payload == {"text": "x" * 15_000_000}


def test_the_collector_rests_while_a_file_is_read_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch):
    seen: list[bool] = []

    def further(workflow: Workflow) -> list[Problem]:
        seen.append(gc.isenabled())
        return []

    assert check_workflow(one_task(), further=further)[0] is not None
    assert (seen, gc.isenabled()) == ([False], True)

    monkeypatch.setattr(loader, "read_tree", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check_workflow(one_task())
    assert gc.isenabled()

    gc.disable()
    try:
        with pytest.raises(ZeroDivisionError):
            check_workflow(one_task())
        assert not gc.isenabled()
    finally:
        gc.enable()
