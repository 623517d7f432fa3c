"""Document 002's `TaskScheduler`: what is scheduled is fetched by priority, done once, and as durable as anything."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from podium import (
    Constraint,
    ConstraintType,
    NonRetryableError,
    OnFailure,
    Orchestrator,
    OrchestratorConfig,
    ResourceRequirements,
    RetryPolicy,
    ScheduledTask,
    Task,
    TaskResult,
    TaskScheduler,
    TaskStatus,
)
from podium.exceptions import (
    ConflictError,
    InvalidInputError,
    NotTheOwnerError,
    TaskNotFoundError,
    WorkflowInvalidError,
)
from podium.workflow.model import FailureAction

LONG = 20.0


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


async def fetched(scheduler: TaskScheduler, *agent_types: str) -> Task:
    task = await scheduler.get_next_task(list(agent_types), LONG)
    assert task is not None
    return task


def done(task_id: str, value: Any = None) -> TaskResult:
    return TaskResult(task_id, TaskStatus.COMPLETED, value)


def test_the_methods_are_those_of_document_002():
    expected = {
        "schedule_task": ["task", "constraints"],
        "get_next_task": ["agent_capabilities"],
        "complete_task": ["task_id", "result"],
        "fail_task": ["task_id", "error"],
        "analyze_dependencies": ["tasks"],
    }
    for name, parameters in expected.items():
        found = list(inspect.signature(getattr(TaskScheduler, name)).parameters.values())[1:]
        assert [p.name for p in found if p.default is p.empty or p.name in parameters] == parameters
        assert inspect.iscoroutinefunction(getattr(TaskScheduler, name)) == (name != "analyze_dependencies")


def test_tasks_are_fetched_by_priority_and_only_by_whom_they_are_for():
    async def whole() -> None:
        async with TaskScheduler() as scheduler:
            scheduled = await scheduler.schedule_task(
                Task(id="low", agent_type="reader", priority=10, payload={"n": 1})
            )
            assert isinstance(scheduled, ScheduledTask)
            assert (scheduled.task_id, scheduled.status) == ("low", TaskStatus.READY)
            await scheduler.schedule_task(Task(id="high", agent_type="reader", priority=90, payload={"n": 2}))
            await scheduler.schedule_task(Task(id="other", agent_type="writer", priority=99))
            await scheduler.schedule_task(Task(id="anyone", priority=50))
            assert await scheduler.get_next_task(["nobody"]) is not None  # `anyone` is for anyone
            assert await scheduler.get_next_task(["nobody"]) is None
            first = await fetched(scheduler, "reader")
            assert (first.id, first.payload, first.status) == ("high", {"n": 2}, TaskStatus.RUNNING)
            assert (await fetched(scheduler, "reader", "writer")).id == "other"
            assert (await fetched(scheduler, "reader", "writer")).id == "low"
            assert await scheduler.get_next_task(["reader", "writer"]) is None
            await scheduler.complete_task("high", done("high", {"seen": 2}))
            assert (await scheduler.task_result("high")).result == {"seen": 2}

    run(whole())


def test_a_task_waits_for_its_dependencies_and_gets_their_results():
    async def whole() -> None:
        async with TaskScheduler() as scheduler:
            await scheduler.schedule_task(Task(id="a", agent_type="x"))
            await scheduler.schedule_task(Task(id="b", agent_type="x", dependencies=("a",), payload={"own": 1}))
            assert (await fetched(scheduler, "x")).id == "a"
            assert await scheduler.get_next_task(["x"]) is None
            await scheduler.complete_task("a", 7)
            assert (await fetched(scheduler, "x")).payload == {"own": 1, "dependencyResults": [7]}

    run(whole())


def test_a_failed_task_is_fetched_again_while_it_has_retries():
    async def whole() -> None:
        async with TaskScheduler() as scheduler:
            retry = RetryPolicy(max_attempts=2, initial_delay_seconds=0.01)
            await scheduler.schedule_task(Task(id="a", agent_type="x", retry=retry))
            await fetched(scheduler, "x")
            await scheduler.fail_task("a", ValueError("no luck"))
            await fetched(scheduler, "x")
            await scheduler.complete_task("a", TaskResult("a", TaskStatus.FAILED, error="still none"))
            ended = await scheduler.task_result("a")
            assert (ended.status, ended.attempts, ended.error) == (
                TaskStatus.FAILED,
                2,
                "podium.exceptions.AgentError: still none",
            )
            await scheduler.schedule_task(Task(id="b", agent_type="x", retry=retry))
            await fetched(scheduler, "x")
            await scheduler.fail_task("b", NonRetryableError("never"))
            assert (await scheduler.task_result("b")).attempts == 1

    run(whole())


def test_what_isnt_in_hand_cant_be_ended():
    async def whole() -> None:
        async with TaskScheduler() as scheduler:
            await scheduler.schedule_task(Task(id="a", agent_type="x"))
            for task_id in ("a", "nope"):
                with pytest.raises(TaskNotFoundError, match=f"'{task_id}' isn't in hand"):
                    await scheduler.complete_task(task_id, None)
            await fetched(scheduler, "x")
            await scheduler.complete_task("a", None)
            with pytest.raises(TaskNotFoundError):
                await scheduler.fail_task("a", ValueError("late"))

    run(whole())


def test_a_fetched_tasks_time_runs_out():
    async def whole() -> None:
        async with TaskScheduler() as scheduler:
            await scheduler.schedule_task(Task(id="a", agent_type="x", timeout=0.05))
            await fetched(scheduler, "x")
            ended = await scheduler.task_result("a")
            assert ended.status is TaskStatus.FAILED
            assert "0.05" in (ended.error or "")
            with pytest.raises(TaskNotFoundError):
                await scheduler.complete_task("a", 1)
            assert await scheduler.get_next_task(["x"]) is None

    run(whole())


def test_the_same_task_is_scheduled_once_and_another_one_of_its_id_is_refused():
    async def whole() -> None:
        async with TaskScheduler() as scheduler:
            task = Task(id="a", agent_type="x", payload={"n": 1})
            first = await scheduler.schedule_task(task)
            assert (await scheduler.schedule_task(task)).execution_id == first.execution_id
            with pytest.raises(ConflictError):
                await scheduler.schedule_task(Task(id="a", agent_type="x", payload={"n": 2}))
            await fetched(scheduler, "x")
            assert await scheduler.get_next_task(["x"]) is None

    run(whole())


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (Task(id="a", dependencies=("a",)), "depends on itself"),
        (Task(id="a", for_each=[1]), "'a' fans out"),
        (Task(id="a", when="input.x"), "'a' has a condition"),
        (Task(id="a", on_failure=OnFailure(FailureAction.FALLBACK, "b")), "'a' has a fallback"),
        (Task(id="a", priority=101), "priority"),
        (Task(id="a", agent_type="no spaces"), "agent type"),
    ],
)
def test_what_cant_be_scheduled_is_refused(task, says):
    async def whole() -> None:
        async with TaskScheduler() as scheduler:
            with pytest.raises(InvalidInputError, match=says):
                await scheduler.schedule_task(task)

    run(whole())


def test_many_who_fetch_at_once_get_each_task_once():
    async def whole() -> list[str]:
        async with TaskScheduler() as scheduler:
            await asyncio.gather(*(scheduler.schedule_task(Task(id=f"t{n}", agent_type="x")) for n in range(40)))

            async def one() -> list[str]:
                own = []
                while (task := await scheduler.get_next_task(["x"])) is not None:
                    own.append(task.id)
                    await scheduler.complete_task(task.id, None)
                return own

            found = await asyncio.gather(*(one() for _ in range(5)))
            results = [await scheduler.task_result(f"t{n}") for n in range(40)]
            assert all(result.status is TaskStatus.COMPLETED and result.attempts == 1 for result in results)
            return [task for own in found for task in own]

    assert sorted(run(whole())) == sorted(f"t{n}" for n in range(40))


def test_who_goes_away_while_fetching_leaves_the_task_to_the_next():
    async def whole() -> None:
        async with TaskScheduler() as scheduler:
            await scheduler.schedule_task(Task(id="a", agent_type="x"))
            task = None
            for steps in range(12):
                fetching = asyncio.create_task(scheduler.get_next_task(["x"]))
                for _ in range(steps):
                    await asyncio.sleep(0)
                fetching.cancel()
                task = (await asyncio.gather(fetching, return_exceptions=True))[0]
                if isinstance(task, Task):
                    break
            else:
                task = await fetched(scheduler, "x")
            assert task.id == "a"
            await scheduler.complete_task("a", 1)
            assert (await scheduler.task_result("a")).attempts == 1

    run(whole())


def test_tasks_outlive_the_process_and_what_was_in_hand_is_fetched_again(tmp_path: Path):
    config = OrchestratorConfig(database=str(tmp_path / "podium.db"), drain_seconds=0.1)

    async def before() -> None:
        async with Orchestrator(config) as orchestrator, TaskScheduler(orchestrator) as scheduler:
            resources = ResourceRequirements(gpu_count=1, memory_mb=10)
            await scheduler.schedule_task(
                Task(id="a", agent_type="x", payload={"n": 1}, retries=1, resources=resources),
                [Constraint(ConstraintType.MAX_PARALLEL, 2)],
            )
            await scheduler.schedule_task(Task(id="b", agent_type="x"))
            assert (await fetched(scheduler, "x")).id == "a"
            with pytest.raises(NotTheOwnerError):
                async with Orchestrator(config) as guest:
                    await TaskScheduler(guest).get_next_task(["x"])

    async def after() -> None:
        async with Orchestrator(config) as orchestrator, TaskScheduler(orchestrator) as scheduler:
            task = await fetched(scheduler, "x")
            assert (task.id, task.payload, task.resources.gpu_count) == ("a", {"n": 1}, 1)
            await scheduler.complete_task("a", 1)
            ended = await scheduler.task_result("a")
            assert (ended.status, ended.result) == (TaskStatus.COMPLETED, 1)
            assert await orchestrator.get_task_status("a") is TaskStatus.COMPLETED
            assert (await fetched(scheduler, "x")).id == "b"
            assert await orchestrator.cancel_task("b", force=True)
            assert [info.agent_id for info in orchestrator.agents()] == []

    run(before())
    run(after())


def test_an_orchestrator_may_end_before_its_scheduler():
    async def whole() -> None:
        orchestrator = Orchestrator(OrchestratorConfig(drain_seconds=0.05))
        await orchestrator.start()
        scheduler = TaskScheduler(orchestrator)
        await scheduler.schedule_task(Task(id="a", agent_type="x"))
        await fetched(scheduler, "x")
        await orchestrator.shutdown()
        await scheduler.close()
        await scheduler.close()

    run(whole())


def test_dependencies_are_analyzed_without_anything_running():
    scheduler = TaskScheduler()
    graph = scheduler.analyze_dependencies(
        [Task(id="a"), Task(id="b", dependencies=("a",)), Task(id="c", dependencies=("a",))]
    )
    assert graph.stages() == [["a"], ["b", "c"]]
    assert graph.critical_path() == ["a", "b"]
    with pytest.raises(WorkflowInvalidError, match="a -> b -> a"):
        scheduler.analyze_dependencies([Task(id="a", dependencies=("b",)), Task(id="b", dependencies=("a",))])
    with pytest.raises(WorkflowInvalidError, match="'b' depends on 'z'"):
        scheduler.analyze_dependencies([Task(id="b", dependencies=("z",))])
