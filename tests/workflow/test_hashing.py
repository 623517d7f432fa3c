"""The content hash says what a workflow means: all of it, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.exceptions import WorkflowInvalidError
from podium.workflow.hashing import content_hash, decode_workflow, encode_workflow
from podium.workflow.model import (
    AgentGroup,
    CachePolicy,
    Checkpoint,
    CircuitBreaker,
    Compensation,
    ConcurrencyLimit,
    Constraint,
    ConstraintType,
    ContinueAsNew,
    Coordination,
    Escalation,
    FailureAction,
    FaultTolerance,
    InputParameter,
    OnFailure,
    OrchestrationPattern,
    ParentClose,
    RateLimit,
    ResourceRequirements,
    RetryPolicy,
    RunIf,
    SagaPattern,
    Secret,
    Task,
    TaskStatus,
    TaskType,
    Workflow,
    WorkflowConfig,
)
from podium.workflow.schedules.spec import ScheduleSpec
from tests.workflow.cpu_time import cpu_seconds

NOW = datetime(2025, 9, 27, 12, tzinfo=UTC)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
IDS = st.text("abc-", min_size=1, max_size=3)
SECONDS = st.none() | st.integers(0, 100) | st.floats(0, 100)
RESOURCES = st.builds(
    ResourceRequirements,
    cpu_cores=st.integers(0, 4) | st.floats(0, 4),
    memory_mb=st.integers(0, 4000),
    gpu_count=st.none() | st.integers(0, 2),
    custom_resources=st.dictionaries(IDS, st.integers(0, 3), max_size=2),
)
TASKS = st.builds(
    Task,
    id=IDS,
    type=st.sampled_from(TaskType),
    payload=st.none() | st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    resources=RESOURCES,
    priority=st.none() | st.integers(0, 100),
    timeout=SECONDS,
    retries=st.integers(0, 3),
    retry=st.none() | st.builds(RetryPolicy, max_attempts=st.integers(1, 3), jitter=st.floats(0, 1)),
    dependencies=st.lists(IDS, max_size=3, unique=True).map(tuple),
    for_each=st.none() | st.just("${input.l}") | st.lists(JSON, max_size=2),
    run_if=st.sampled_from(RunIf),
    on_failure=st.builds(OnFailure, action=st.sampled_from(FailureAction), task=st.none() | IDS),
    status=st.sampled_from(TaskStatus),
    result=JSON,
)
WORKFLOWS = st.builds(
    Workflow,
    name=IDS,
    tasks=st.lists(TASKS, max_size=4, unique_by=lambda task: task.id).map(tuple),
    agents=st.dictionaries(IDS, st.builds(AgentGroup, name=IDS, type=IDS, resources=RESOURCES), max_size=2),
    inputs=st.lists(st.builds(InputParameter, name=IDS, default=JSON), max_size=2).map(tuple),
    output=JSON,
    config=st.builds(WorkflowConfig, timeout=SECONDS),
    metadata=st.dictionaries(IDS, JSON, max_size=2),
    created_at=st.none() | st.just(NOW),
)


@given(WORKFLOWS)
def test_what_is_stored_is_read_back_and_keeps_its_hash(workflow):
    digest = content_hash(workflow)
    again = decode_workflow(encode_workflow(workflow), digest)
    assert again == workflow
    assert content_hash(again) == digest
    assert len(digest) == 64


def _reversed(value: Any) -> Any:
    match value:
        case dict():
            return {key: _reversed(value[key]) for key in reversed(value)}
        case list():
            return [_reversed(item) for item in value]
        case _:
            return value


@given(WORKFLOWS)
def test_the_order_of_tasks_dependencies_and_keys_is_no_meaning(workflow):
    replace = msgspec.structs.replace
    tasks = [
        replace(task, dependencies=task.dependencies[::-1], payload=_reversed(task.payload)) for task in workflow.tasks
    ]
    other = replace(
        workflow,
        tasks=tuple(tasks[::-1]),
        dependencies={},
        agents=_reversed(workflow.agents),
        metadata=_reversed(workflow.metadata),
    )
    assert content_hash(other) == content_hash(workflow)


TASK_CHANGES: dict[str, Any] = {
    "idempotent": False,
    "cache": CachePolicy("k"),
    "compensation": Compensation(task="b"),
    "id": "other",
    "name": "a name",
    "type": TaskType.IO,
    "agent_type": "x",
    "agent": "x",
    "function": "x",
    "payload": {},
    "resources": ResourceRequirements(memory_mb=1),
    "priority": 50,
    "timeout": 1,
    "deadline": 0.5,
    "estimated_duration": 2.5,
    "retries": 1,
    "retry": RetryPolicy(),
    "dependencies": ("b",),
    "when": "input.a",
    "for_each": [],
    "parallel": True,
    "max_parallel": 1,
    "run_if": RunIf.ALL_DONE,
    "on_failure": OnFailure(FailureAction.FALLBACK, "b"),
    "grows": True,
    "rate_limit": RateLimit(10),
    "concurrency": ConcurrencyLimit(3),
    "signal": "x",
    "accept": "signal.value",
    "wait_for": 3.0,
    "until": "2030-01-01T00:00:00Z",
    "execution": "x",
    "form": {},
    "assignee": "x",
    "escalation": Escalation(3.0, "x"),
    "workflow": Workflow(name="child", tasks=(Task(id="x"),)),
    "parent_close": ParentClose.ABANDON,
}
WORKFLOW_CHANGES: dict[str, Any] = {
    "name": "other",
    "secrets": (Secret("token"),),
    "tasks": (Task(id="a"),),
    "version": "2",
    "orchestration_pattern": OrchestrationPattern.SUPERVISOR,
    "agents": {"a": AgentGroup(name="a", type="b")},
    "inputs": (InputParameter(name="a"),),
    "output": "${input.a}",
    "publish": "${input.a}",
    "continue_as_new": ContinueAsNew(),
    "config": WorkflowConfig(max_parallel_tasks=1),
    "coordination": Coordination(),
    "fault_tolerance": FaultTolerance(circuit_breaker=CircuitBreaker(), saga_pattern=SagaPattern()),
    "metadata": {"a": None},
    "constraints": (Constraint(ConstraintType.MAX_PARALLEL, 3),),
    "scheduled_at": NOW,
}
NO_MEANING: dict[type[msgspec.Struct], dict[str, Any]] = {
    Task: {"status": TaskStatus.FAILED, "result": 5},
    Workflow: {
        "id": "x",
        "created_at": NOW,
        "checkpoints": (Checkpoint("a", "b", 1, NOW),),
        "dependencies": {},
        "schedule": ScheduleSpec(cron="@daily"),
    },
}
TASKS_OF = Workflow(name="w", tasks=(Task(id="a"), Task(id="b")))


def with_task(**changes: Any) -> Workflow:
    task = msgspec.structs.replace(Task(id="a"), **changes)
    return Workflow(name="w", tasks=(task, Task(id="b")))


@pytest.mark.parametrize("field", Task.__struct_fields__)
def test_each_field_of_a_task_counts_unless_it_belongs_to_an_execution(field):
    if field in NO_MEANING[Task]:
        assert content_hash(with_task(**{field: NO_MEANING[Task][field]})) == content_hash(TASKS_OF)
    else:
        assert content_hash(with_task(**{field: TASK_CHANGES[field]})) != content_hash(TASKS_OF)


@pytest.mark.parametrize("field", Workflow.__struct_fields__)
def test_each_field_of_a_workflow_counts_unless_it_belongs_to_an_execution(field):
    if field in NO_MEANING[Workflow]:
        changed = msgspec.structs.replace(TASKS_OF, **{field: NO_MEANING[Workflow][field]})
        assert content_hash(changed) == content_hash(TASKS_OF)
    else:
        changed = msgspec.structs.replace(TASKS_OF, **{field: WORKFLOW_CHANGES[field]})
        assert content_hash(changed) != content_hash(TASKS_OF)


def test_a_change_deep_inside_counts():
    def nested(n: Any) -> str:
        return content_hash(with_task(payload={"a": [{"b": n}]}))

    values: tuple[Any, ...] = (0, 1, 1.0, True, None, "1", [])
    assert len({nested(value) for value in values}) == len(values)


def test_saying_a_default_is_saying_nothing():
    said = Workflow(
        name="w",
        config=WorkflowConfig(priority=50, timeout=None),
        tasks=(
            Task(id="a", name="a", resources=ResourceRequirements(cpu_cores=0, custom_resources={}), retries=0),
            Task(id="b", on_failure=OnFailure(FailureAction.FAIL)),
        ),
    )
    assert content_hash(said) == content_hash(TASKS_OF)


def test_whole_seconds_are_the_same_however_they_are_written():
    assert content_hash(with_task(timeout=30)) == content_hash(with_task(timeout=30.0))


def test_the_hash_of_a_known_workflow_never_changes():
    workflow = Workflow(
        name="multi_agent_research",
        orchestration_pattern=OrchestrationPattern.SUPERVISOR,
        agents={"supervisor": AgentGroup(name="supervisor", type="supervisor_agent", capabilities=("x",))},
        tasks=(
            Task(id="decompose", agent="supervisor", timeout=300, payload={"question": "${input.question}"}),
            Task(id="research", agent="researchers", parallel=True, dependencies=("decompose",)),
        ),
    )
    # Written down once. If this fails, stored definitions can't be loaded any more: don't change the number.
    assert content_hash(workflow) == "0b790ffaf2640fae2ba151ae723c7e74199e43d23b803d29860266694bf2f7d9"


def test_what_was_changed_on_disk_is_not_loaded():
    data = encode_workflow(TASKS_OF)
    digest = content_hash(TASKS_OF)
    for broken in (data.replace(b'"a"', b'"c"'), data[:-1], b"", b"[]", b"\xff", b'{"tasks": 1}'):
        with pytest.raises(WorkflowInvalidError):
            decode_workflow(broken, digest)
    with pytest.raises(WorkflowInvalidError, match="was changed after it was stored"):
        decode_workflow(data, "0" * 64)


@pytest.mark.parametrize("value", [object(), {1, object()}, "\ud800"])
def test_what_json_cannot_hold_is_refused(value):
    workflow = with_task(payload={"a": value})
    for write in (content_hash, encode_workflow):
        with pytest.raises(WorkflowInvalidError, match="JSON can't hold"):
            write(workflow)


def test_ten_thousand_tasks_are_hashed_quickly():
    tasks = tuple(
        Task(id=f"t{n}", timeout=30, payload={"n": n}, dependencies=tuple(f"t{m}" for m in range(max(0, n - 5), n)))
        for n in range(10_000)
    )
    workflow = Workflow(name="w", tasks=tasks)

    assert cpu_seconds(lambda: content_hash(workflow)) < 0.15
