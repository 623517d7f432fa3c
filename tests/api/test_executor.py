"""Document 002's `TaskExecutor`: one task, several side by side, one after the other, or within a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

import pytest

from podium import Orchestrator, OrchestratorConfig, Task, TaskExecutor, TaskStatus, Workflow, agent, task
from podium.exceptions import AgentBindingError, InvalidInputError, WorkflowInvalidError
from podium.workflow.model import FailureAction, OnFailure

COMPLETED, FAILED, SKIPPED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED


@task
async def add(a: int, b: int) -> int:
    return a + b


@task
async def boom() -> None:
    raise ValueError("boom")


@agent(type="clerk", slots=3)
class Clerk:
    @task
    async def file(self, title: str) -> str:
        return f"filed {title}"


class Counting:
    """Tasks that end only when so many run at once, or never more than so many."""

    def __init__(self, together: int) -> None:
        self.running = self.most = 0
        self.all_here = asyncio.Event()

        @task(name="*")
        async def count() -> int:
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == together:
                self.all_here.set()
            await self.all_here.wait()
            self.running -= 1
            return self.most

        self.task = count


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def sum_of(task_id: str, *dependencies: str, **more: Any) -> Task:
    payload = {"a": 1, "b": 2}
    return Task(id=task_id, agent_type="fn", function="add", payload=payload, dependencies=dependencies, **more)


def failing(task_id: str, **more: Any) -> Task:
    return Task(id=task_id, agent_type="fn", function="boom", payload={}, **more)


def test_the_methods_are_those_of_document_002():
    expected = {
        "execute": ["task", "agent"],
        "execute_parallel": ["tasks", "max_workers"],
        "execute_sequential": ["tasks"],
        "execute_with_timeout": ["task", "timeout"],
    }
    for name, parameters in expected.items():
        method = getattr(TaskExecutor, name)
        assert list(inspect.signature(method).parameters)[1:] == parameters
        assert inspect.iscoroutinefunction(method)


def test_a_task_is_executed_on_the_agent_that_is_given():
    async def whole() -> None:
        async with TaskExecutor(agents=[add]) as executor:
            filed = await executor.execute(Task(id="t", payload={"title": "x"}), Clerk)
            assert (filed.task_id, filed.status, filed.result) == ("t", COMPLETED, "filed x")
            again = Task(id="t", function="file", payload={"title": "y"})
            assert (await executor.execute(again, "clerk-1")).result == "filed y"
            registered = executor.orchestrator.agents()[0]
            assert (await executor.execute(again, registered)).result == "filed y"
            assert (await executor.execute(Task(id="n", payload={"a": 1, "b": 1}), add)).result == 2
            assert (await executor.execute(sum_of("own"))).result == 3
            assert (await executor.execute(Task(id="e", payload={"k": 1}), "podium.agents.builtin:Echo")).result == {
                "k": 1
            }
            assert [info.agent_id for info in executor.orchestrator.agents() if "clerk" in info.agent_id] == ["clerk-1"]
            with pytest.raises(InvalidInputError, match="no agent clerk-9"):
                await executor.execute(again, "clerk-9")
            with pytest.raises(AgentBindingError):
                await executor.execute(again, "podium.agents.builtin:Nobody")

    run(whole())


def test_a_failure_is_returned_and_what_cant_be_is_raised():
    async def whole() -> None:
        async with TaskExecutor(agents=[boom]) as executor:
            ended = await executor.execute(failing("f"))
            assert (ended.status, ended.error, ended.attempts) == (FAILED, "ValueError: boom", 1)
            with pytest.raises(WorkflowInvalidError):
                await executor.execute(Task(id="t", agent_type="fn", function="boom", priority=1_000))

    run(whole())


def test_side_by_side_a_failure_stops_only_what_depends_on_it():
    async def whole() -> None:
        async with TaskExecutor(agents=[add, boom]) as executor:
            found = await executor.execute_parallel([sum_of("a"), failing("b"), sum_of("c", "b"), sum_of("d", "a")])
            assert [(r.task_id, r.status) for r in found] == [
                ("a", COMPLETED), ("b", FAILED), ("c", SKIPPED), ("d", COMPLETED)
            ]  # fmt: skip
            assert await executor.execute_parallel([]) == []
            with pytest.raises(InvalidInputError, match="max_workers is 0"):
                await executor.execute_parallel([sum_of("a")], 0)
            with pytest.raises(WorkflowInvalidError, match="nope"):
                await executor.execute_parallel([sum_of("a", "nope")])

    run(whole())


@pytest.mark.parametrize(("max_workers", "most"), [(None, 4), (2, 2), (1, 1)])
def test_no_more_than_max_workers_go_on_at_once(max_workers, most):
    async def whole() -> None:
        counting = Counting(most)
        config = OrchestratorConfig(max_concurrent_tasks=8)
        async with Orchestrator(config, agents=[counting.task]) as orchestrator, TaskExecutor(orchestrator) as executor:
            found = await executor.execute_parallel(
                [Task(id=f"t{n}", agent_type="fn", payload={}) for n in range(4)], max_workers
            )
            assert [result.status for result in found] == [COMPLETED] * 4
            assert counting.most == most

    run(whole())


def test_one_after_the_other_until_one_fails():
    async def whole() -> None:
        counting = Counting(1)
        async with TaskExecutor(agents=[counting.task]) as executor:
            tasks = [Task(id=f"t{n}", agent_type="fn", payload={}) for n in range(4)]
            assert [r.result for r in await executor.execute_sequential(tasks)] == [1, 1, 1, 1]
        async with TaskExecutor(agents=[add, boom]) as executor:
            found = await executor.execute_sequential([sum_of("a"), failing("b"), sum_of("c"), sum_of("d")])
            assert [result.status for result in found] == [COMPLETED, FAILED, SKIPPED, SKIPPED]
            assert found[3].error == "ValueError: boom"
            lenient = failing("b", on_failure=OnFailure(FailureAction.CONTINUE))
            found = await executor.execute_sequential([sum_of("a"), lenient])
            assert [result.status for result in found] == [COMPLETED, FAILED]

    run(whole())


def test_what_takes_longer_than_it_may_has_failed():
    async def whole() -> None:
        async with TaskExecutor() as executor:
            sleeping = Task(id="s", agent_type="sleep", payload={"seconds": 60}, retries=3)
            ended = await executor.execute_with_timeout(sleeping, 0.1)
            assert ended.status is FAILED
            assert "0.1 s" in (ended.error or "")
            quick = Task(id="q", agent_type="noop")
            assert (await executor.execute_with_timeout(quick, 30)).status is COMPLETED
            with pytest.raises(InvalidInputError, match="timeout is 0"):
                await executor.execute_with_timeout(quick, 0)

    run(whole())


def test_it_executes_on_an_orchestrator_that_is_lent_and_leaves_it_running():
    async def whole() -> None:
        async with Orchestrator(agents=[add]) as orchestrator:
            async with TaskExecutor(orchestrator) as executor:
                assert (await executor.execute(sum_of("a"))).result == 3
            workflow = Workflow(name="w", tasks=(sum_of("a"),))
            assert (await orchestrator.execute_workflow(await orchestrator.submit_workflow(workflow))).result == 3

    run(whole())
