"""The `Orchestrator` of document 002 over a real store, and what two processes' views of one store do to each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podium import Orchestrator, OrchestratorConfig, Task, Workflow, task
from podium.app import Podium
from podium.engine import inputs as inp
from podium.exceptions import (
    ConflictError,
    EngineStoppedError,
    ExecutionNotFoundError,
    NotTheOwnerError,
    WorkflowInvalidError,
)
from podium.settings import Settings
from podium.workflow.model import ExecutionStatus, TaskStatus, WorkflowConfig


class Gate:
    """A task that waits until the test lets it through; made in the loop that uses it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered = asyncio.Event()

        @task(name="*")
        async def through() -> str:
            self.entered.set()
            await self.open.wait()
            return "through"

        self.task = through


def gated() -> Workflow:
    return Workflow(
        name="gated",
        tasks=(
            Task(id="first", agent_type="gate", payload={}),
            Task(id="second", agent_type="echo", payload={"got": "${tasks.first.result}"}, dependencies=("first",)),
        ),
    )


@asynccontextmanager
async def orchestrating(tmp_path: Path) -> AsyncIterator[tuple[Orchestrator, Gate]]:
    gate = Gate()
    config = OrchestratorConfig(database=str(tmp_path / "podium.db"), drain_seconds=0.1)
    async with Orchestrator(config, agents=[gate.task]) as orchestrator:
        yield orchestrator, gate


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


def test_a_submitted_workflow_is_executed_to_its_result(tmp_path: Path) -> None:
    async def story() -> None:
        async with orchestrating(tmp_path) as (orchestrator, gate):
            execution = await orchestrator.submit_workflow(gated())
            await gate.entered.wait()
            status = await orchestrator.get_workflow_status(execution)
            assert (status.status, status.tasks["first"]) == (ExecutionStatus.RUNNING, TaskStatus.RUNNING)
            gate.open.set()
            result = await orchestrator.execute_workflow(execution)
            assert result.result == {"got": "through"}
            assert (await orchestrator.get_workflow_status(gated().id)).status is ExecutionStatus.COMPLETED

    run(story())


def test_pause_lets_live_attempts_settle_and_starts_nothing_until_resumed(tmp_path: Path) -> None:
    async def story() -> None:
        async with orchestrating(tmp_path) as (orchestrator, gate):
            execution = await orchestrator.submit_workflow(gated())
            await gate.entered.wait()
            assert await orchestrator.pause_workflow(execution)
            assert (await orchestrator.get_workflow_status(execution)).status is ExecutionStatus.PAUSING
            assert not await orchestrator.pause_workflow(execution)
            gate.open.set()
            status = await orchestrator.get_workflow_status(execution)
            while status.status is not ExecutionStatus.PAUSED:
                await asyncio.sleep(0)
                status = await orchestrator.get_workflow_status(execution)
            assert status.tasks["second"] is TaskStatus.READY
            assert await orchestrator.resume_workflow(execution)
            assert (await orchestrator.execute_workflow(execution)).status is ExecutionStatus.COMPLETED
            assert not await orchestrator.resume_workflow(execution)

    run(story())


@pytest.mark.parametrize("force", [False, True])
def test_cancel_ends_the_execution_and_its_live_attempt(tmp_path: Path, force: bool) -> None:
    async def story() -> None:
        async with orchestrating(tmp_path) as (orchestrator, gate):
            execution = await orchestrator.submit_workflow(gated())
            await gate.entered.wait()
            assert await orchestrator.cancel_workflow(execution, force=force)
            result = await orchestrator.execute_workflow(execution)
            assert result.status is ExecutionStatus.CANCELLED
            assert {t.status for t in result.tasks.values()} == {TaskStatus.CANCELLED}
            assert not await orchestrator.cancel_workflow(execution)

    run(story())


def test_what_was_handed_back_at_a_stop_goes_on_at_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        async with orchestrating(tmp_path) as (orchestrator, gate):
            execution = await orchestrator.submit_workflow(gated())
            await gate.entered.wait()
        async with orchestrating(tmp_path) as (orchestrator, gate):
            gate.open.set()
            result = await orchestrator.execute_workflow(execution)
            assert result.status is ExecutionStatus.COMPLETED

    run(story())


def test_the_same_id_starts_a_workflow_once_even_at_the_same_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with orchestrating(tmp_path) as (orchestrator, gate):
            gate.open.set()
            ids = await asyncio.gather(*(orchestrator.submit_workflow(gated(), id="one") for _ in range(20)))
            assert len(set(ids)) == 1
            with pytest.raises(ConflictError, match="used before"):
                await orchestrator.submit_workflow(gated(), {"other": 1}, id="one")

    run(story())


def test_unknown_ids_invalid_workflows_and_a_stopped_orchestrator_say_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with orchestrating(tmp_path) as (orchestrator, _):
            with pytest.raises(ExecutionNotFoundError):
                await orchestrator.get_workflow_status("nothing")
            with pytest.raises(WorkflowInvalidError):
                await orchestrator.submit_workflow(
                    Workflow(name="w", tasks=(Task(id="a", agent_type="noop", priority=101),))
                )
        with pytest.raises(EngineStoppedError):
            await orchestrator.submit_workflow(gated())
        await orchestrator.shutdown()

    run(story())


def test_a_limit_of_concurrent_executions_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with orchestrating(tmp_path) as (orchestrator, gate):
            limited = Workflow(name="limited", tasks=gated().tasks, config=WorkflowConfig(max_concurrent_executions=2))
            answers = await asyncio.gather(
                *(orchestrator.submit_workflow(limited) for _ in range(5)), return_exceptions=True
            )
            started = [a for a in answers if isinstance(a, str)]
            assert len(started) == 2
            assert all(isinstance(a, ConflictError) for a in answers if not isinstance(a, str))
            gate.open.set()
            for execution in started:
                await orchestrator.execute_workflow(execution)
            await orchestrator.execute_workflow(await orchestrator.submit_workflow(limited))

    run(story())


def test_a_guest_submits_commands_and_explains_through_the_owner(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(database=str(tmp_path / "podium.db"), drain_seconds=0.1)
        slow = Workflow(name="slow", tasks=(Task(id="x", agent_type="sleep", payload={"seconds": 600}),))
        async with await Podium.open(settings) as owner, await Podium.open(settings) as guest:
            assert (owner.owner, guest.owner) == (True, False)
            with pytest.raises(NotTheOwnerError, match="process"):
                await Podium.open(settings, must_own=True)
            execution = await guest.submit(slow)
            headline, tasks = await guest.explain(execution)
            assert headline.startswith("running")
            assert tasks[0].task == "x"
            await guest.command(execution, inp.Cancel("enough"))
            assert await guest.finished(execution) is ExecutionStatus.CANCELLED
            with pytest.raises(ConflictError, match="cancelled"):
                await guest.command(execution, inp.Pause())
            with pytest.raises(ExecutionNotFoundError):
                await guest.command("nothing", inp.Pause())

    run(story())


def test_a_guest_that_follows_a_run_takes_over_when_the_owner_leaves(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(database=str(tmp_path / "podium.db"), drain_seconds=0.05)
        short = Workflow(name="short", tasks=(Task(id="x", agent_type="sleep", payload={"seconds": 0.3}),))
        owner = await Podium.open(settings)
        async with await Podium.open(settings) as guest:
            execution = await guest.submit(short)
            await owner.close()
            await owner.close()
            assert await guest.finished(execution) is ExecutionStatus.COMPLETED
            assert guest.owner

    run(story())


def test_one_that_does_not_work_decides_inputs_and_starts_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(database=str(tmp_path / "podium.db"), drain_seconds=0.05)
        async with await Podium.open(settings) as owner:
            execution = await owner.submit(gated_by_sleep())
        async with await Podium.open(settings, own=False, works=False) as commander:
            await commander.command(execution, inp.Pause("lunch"))
            follower = await commander.follower(execution)
            assert follower.state.status is ExecutionStatus.PAUSED
            headline, _ = await commander.explain(execution)
            assert "lunch" in headline

    run(story())


def gated_by_sleep() -> Workflow:
    return Workflow(name="long", tasks=(Task(id="x", agent_type="sleep", payload={"seconds": 600}),))


@pytest.mark.parametrize(
    ("hours", "own", "expected"),
    [("24", None, 86_400.0), ("0.5", None, 1_800.0), ("24", 60.0, 60.0), ("0", None, None)],
)
def test_an_execution_that_names_no_deadline_gets_document_004s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: str, own: float | None, expected: float | None
) -> None:
    monkeypatch.setenv("WORKFLOW_TIMEOUT_HOURS", hours)

    async def story() -> None:
        async with orchestrating(tmp_path) as (orchestrator, gate):
            gate.open.set()
            workflow = gated() if own is None else msgspec.structs.replace(gated(), config=WorkflowConfig(timeout=own))
            execution = await orchestrator.submit_workflow(workflow)
            await orchestrator.execute_workflow(execution)
        async with await Podium.open(Settings(database=str(tmp_path / "podium.db")), own=False) as podium:
            state = (await podium.follower(execution)).state
            deadline_us = state.deadline_us
            if expected is None:
                assert deadline_us is None
            else:
                assert deadline_us is not None
                assert deadline_us - state.created_us == expected * 1_000_000

    run(story())


def test_podium_run_gives_no_deadline(tmp_path: Path) -> None:
    async def story() -> None:
        async with await Podium.open(Settings(database=str(tmp_path / "podium.db"))) as podium:
            execution = await podium.submit(Workflow(name="w", tasks=(Task(id="a", agent_type="noop"),)))
            await podium.finished(execution)
            assert (await podium.follower(execution)).state.deadline_us is None

    run(story())


def test_a_workflow_beyond_the_limit_has_a_status_begins_when_there_is_room_and_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_WORKFLOWS", "1")

    async def story() -> None:
        async with orchestrating(tmp_path) as (orchestrator, gate):
            first, second, third = [await orchestrator.submit_workflow(gated()) for _ in range(3)]
            await gate.entered.wait()
            status = await orchestrator.get_workflow_status(second)
            assert (status.status, status.tasks) == (ExecutionStatus.RUNNING, {})
            assert await orchestrator.cancel_workflow(third)
            assert (await orchestrator.execute_workflow(third)).status is ExecutionStatus.CANCELLED
            gate.open.set()
            for execution in (first, second):
                assert (await orchestrator.execute_workflow(execution)).status is ExecutionStatus.COMPLETED

    run(story())
