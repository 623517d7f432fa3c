"""`podium.run`: a whole workflow in one call, durable, from plain code and from inside an event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import podium
from podium import AgentGroup, OnFailure, ResourceRequirements, Task, TaskStatus, Workflow, agent, task
from podium.exceptions import (
    AgentBindingError,
    InvalidInputError,
    PayloadTooLargeError,
    WorkflowInvalidError,
    WorkflowSyntaxError,
)
from podium.workflow.model import ExecutionStatus, FailureAction, InputParameter

MEMORY = ":memory:"


@task
def double(number: int) -> int:
    return 2 * number


@task
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@agent(type="greeter")
class Greeter:
    @task
    def greet(self, name: str, polite: bool = False) -> str:
        return f"Good day, {name}" if polite else f"Hi {name}"


def fan_out() -> Workflow:
    return Workflow(
        name="doubles",
        tasks=(
            Task(id="double", agent_type="maths", for_each="${input.numbers}", payload={"number": "${item}"}),
            Task(
                id="total",
                agent_type="maths",
                payload={"numbers": "${tasks.double.result}"},
                dependencies=("double",),
            ),
        ),
    )


def test_functions_and_results_flow_through_a_fan_out() -> None:
    result = podium.run(fan_out(), {"numbers": [1, 2, 3]}, agents=[double, total], database=MEMORY)
    assert (result.status, result.result) == (ExecutionStatus.COMPLETED, 12)
    assert result.tasks["double"].result == [2, 4, 6]


def test_an_agent_class_gets_typed_arguments() -> None:
    workflow = Workflow(
        name="hello", tasks=(Task(id="greet", agent_type="greeter", payload={"name": "Ada", "polite": True}),)
    )
    assert podium.run(workflow, agents=[Greeter], database=MEMORY).result == "Good day, Ada"


def test_yaml_text_and_files_are_taken_as_workflows(tmp_path: Path) -> None:
    text = "name: echoes\ntasks:\n  - id: say\n    agent: echo\n    input: {words: '${input.words}'}\n"
    assert podium.run(text, {"words": "two words"}, database=MEMORY).result == {"words": "two words"}
    path = tmp_path / "echoes.yaml"
    path.write_text(text)
    assert podium.run(path, {"words": 7}, database=MEMORY).result == {"words": 7}


def test_it_works_inside_a_running_event_loop() -> None:
    async def cell() -> object:
        return podium.run(fan_out(), {"numbers": [4]}, agents=[double, total], database=MEMORY).result

    assert asyncio.run(cell()) == 8


def test_the_run_is_in_the_database_afterwards(tmp_path: Path) -> None:
    database = tmp_path / "state" / "podium.db"
    first = podium.run(fan_out(), {"numbers": [5]}, agents=[double, total], database=database, submission_id="monday")
    again = podium.run(fan_out(), {"numbers": [5]}, agents=[double, total], database=database, submission_id="monday")
    assert again == first


def test_the_same_submission_with_another_input_is_refused(tmp_path: Path) -> None:
    def submit(number: int) -> None:
        database = tmp_path / "podium.db"
        podium.run(fan_out(), {"numbers": [number]}, agents=[double, total], database=database, submission_id="monday")

    submit(5)
    with pytest.raises(podium.PodiumError, match="submission id was used before"):
        submit(6)


def test_a_failed_execution_is_returned_with_its_reason() -> None:
    workflow = Workflow(name="bad", tasks=(Task(id="x", agent_type="fail", payload={"message": "no luck"}),))
    result = podium.run(workflow, database=MEMORY)
    assert result.status is ExecutionStatus.FAILED
    assert "no luck" in (result.error or "")
    assert result.tasks["x"].status is TaskStatus.FAILED


def test_a_partial_result_says_so() -> None:
    workflow = Workflow(
        name="partial",
        tasks=(
            Task(id="bad", agent_type="fail", on_failure=OnFailure(FailureAction.CONTINUE)),
            Task(id="good", agent_type="echo", payload={"a": 1}),
        ),
    )
    result = podium.run(workflow, database=MEMORY)
    assert (result.status, result.partial) == (ExecutionStatus.COMPLETED, True)
    assert result.result == {"bad": None, "good": {"a": 1}}


@pytest.mark.parametrize(
    ("workflow", "given", "error", "says"),
    [
        ("tasks: [", None, InvalidInputError, "can't be read"),
        ("tasks: [\n", None, WorkflowSyntaxError, "1"),
        ("name: x\ntasks: []\n", None, WorkflowInvalidError, "task"),
        ("no/such/file.yaml", None, InvalidInputError, "can't be read"),
        (Workflow(name="w", tasks=(Task(id="a", agent_type="nobody"),)), None, AgentBindingError, "nobody"),
        (Workflow(name="w", tasks=(Task(id="a", agent_type="noop"),)), {1j}, InvalidInputError, "JSON"),
        (Workflow(name="w", tasks=(Task(id="a", agent_type="noop"),)), "x" * (65 << 20), PayloadTooLargeError, "bytes"),
        (
            Workflow(name="w", tasks=(Task(id="a", agent_type="noop"),), inputs=(InputParameter("city", "string"),)),
            {"cty": 1},
            InvalidInputError,
            "did you mean city",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_recorded(
    workflow: object, given: object, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        podium.run(workflow, given, database=MEMORY)  # type: ignore[arg-type]


def test_arguments_that_do_not_fit_the_hints_fail_the_task_at_once() -> None:
    workflow = Workflow(name="w", tasks=(Task(id="double", agent_type="maths", payload={"number": "many"}, retries=3),))
    result = podium.run(workflow, agents=[double], database=MEMORY)
    assert result.status is ExecutionStatus.FAILED
    assert "number" in (result.error or "")
    assert result.tasks["double"].attempts == 1


def test_each_shard_of_a_parallel_task_goes_to_an_agent_of_its_own() -> None:
    seen: set[str] = set()
    together = threading.Barrier(3, timeout=30)

    @agent(type="worker")
    class Worker:
        @task
        def work(self, index: int) -> int:
            together.wait()  # all three are at work at once
            seen.add(threading.current_thread().name)
            return index

    workflow = Workflow(
        name="shards",
        agents={"workers": AgentGroup("workers", "worker", count=3)},
        tasks=(Task(id="work", agent="workers", parallel=True, payload={"index": "${shard.index}"}),),
    )
    assert podium.run(workflow, agents=[Worker], database=MEMORY).result == [0, 1, 2]
    assert len(seen) == 3


def test_the_public_names_are_these() -> None:
    assert set(podium.__all__) <= set(dir(podium))
    for name in podium.__all__:
        assert getattr(podium, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = podium.nothing


def test_a_role_s_resources_are_what_its_agents_have_to_offer() -> None:
    most = [0]
    now = [0]

    @agent(type="cook", slots=10)
    class Cook:
        @task
        async def cook(self) -> None:
            now[0] += 1
            most[0] = max(most[0], now[0])
            for _ in range(100):
                await asyncio.sleep(0)
            now[0] -= 1

    stove = ResourceRequirements(custom_resources={"stove": 2})
    workflow = Workflow(
        name="kitchen",
        agents={"cooks": AgentGroup("cooks", "cook", resources=stove)},
        tasks=(
            Task(
                id="cook",
                agent="cooks",
                for_each=[1, 2, 3, 4, 5],
                payload={},
                resources=ResourceRequirements(custom_resources={"stove": 1}),
            ),
        ),
    )
    assert podium.run(workflow, agents=[Cook], database=MEMORY).status is ExecutionStatus.COMPLETED
    assert most == [2]


def test_a_role_that_asks_for_what_its_agent_cannot_do_is_refused() -> None:
    @agent(type="cook", capabilities=["boil"])
    class Cook:
        @task
        def cook(self) -> None: ...

    def kitchen(*capabilities: str) -> Workflow:
        role = AgentGroup("cooks", "cook", capabilities=capabilities)
        return Workflow(name="kitchen", agents={"cooks": role}, tasks=(Task(id="cook", agent="cooks", payload={}),))

    assert podium.run(kitchen("boil"), agents=[Cook], database=MEMORY).status is ExecutionStatus.COMPLETED
    with pytest.raises(AgentBindingError, match="asks for fry"):
        podium.run(kitchen("boil", "fry"), agents=[Cook], database=MEMORY)
    assert (
        podium.run(
            Workflow(
                name="w",
                agents={"any": AgentGroup("any", "noop", capabilities=("anything",))},
                tasks=(Task(id="x", agent="any"),),
            ),
            database=MEMORY,
        ).status
        is ExecutionStatus.COMPLETED
    )  # code that says nothing of what it can do is taken at the workflow's word


def test_what_is_no_workflow_is_refused_by_its_name() -> None:
    def plain(text: str) -> str:
        return text

    for given in (plain, 3):
        with pytest.raises(InvalidInputError, match="is no workflow; it is a Workflow, YAML, a path, or a function"):
            podium.run(given)  # type: ignore[arg-type]
