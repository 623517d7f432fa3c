"""The `Orchestrator` of document 002: submit, execute, pause, resume, cancel and look at workflows, over the one
engine.

Ids are executions' ids; a workflow's id stands for its newest execution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from os import PathLike
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from podium.api.agents import definitions_of
from podium.api.loading import workflow_from
from podium.app import Podium
from podium.engine import inputs as inp
from podium.engine.state import State
from podium.exceptions import ConflictError, EngineStoppedError, ExecutionNotFoundError
from podium.settings import load_settings
from podium.workflow.model import ExecutionStatus, TaskStatus, Workflow, WorkflowResult


class OrchestratorConfig(Struct, frozen=True, kw_only=True):
    """Where an orchestrator keeps what it remembers, and its bounds."""

    database: str | None = None  # a SQLite file; None is the setting's, `:memory:` keeps nothing
    lease_seconds: float | None = None
    drain_seconds: float | None = None


class WorkflowStatus(Struct, frozen=True, kw_only=True):
    """An execution as it stands: its status, each task's, and how many have ended."""

    workflow_id: str
    execution_id: str
    name: str
    status: ExecutionStatus
    tasks: dict[str, TaskStatus]
    total: int
    completed: int
    failed: int
    started_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    partial: bool = False


class Orchestrator:
    """Runs workflows. Use `async with Orchestrator(agents=[…]) as orchestrator`, or `start` and `shutdown`."""

    def __init__(
        self, config: OrchestratorConfig | None = None, *, agents: Iterable[str | type | Callable[..., Any]] = ()
    ) -> None:
        """`agents` are specs (`module:Name`), agent classes or task functions. Raises AgentBindingError."""
        self._config = config or OrchestratorConfig()
        self._agents = definitions_of(agents)
        self._podium: Podium | None = None

    async def start(self) -> None:
        """Open the store and, if no other process does, run what is in it. Once more changes nothing."""
        if self._podium is None:
            config = self._config
            settings = load_settings(
                database=config.database, lease_seconds=config.lease_seconds, drain_seconds=config.drain_seconds
            )
            specs, definitions = self._agents
            self._podium = await Podium.open(settings, agents=specs, definitions=definitions)

    async def shutdown(self) -> None:
        """Let live attempts finish, hand back the rest, close the store. Safe twice; the next start goes on."""
        podium, self._podium = self._podium, None
        if podium is not None:
            await podium.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    async def submit_workflow(
        self, workflow: Workflow | str | PathLike[str], input: Any = None, *, id: str | None = None
    ) -> str:
        """Start an execution of a workflow and return its id; when this returns, it is on disk.

        The same `id` with the same workflow and input starts it once, however often it is called. Raises
        WorkflowInvalidError, InvalidInputError or AgentBindingError before anything is recorded.
        """
        return await self._opened().submit(workflow_from(workflow), input, submission_id=id)

    async def execute_workflow(self, workflow_id: str) -> WorkflowResult:
        """Wait for a submitted workflow's end and return its result, whether it succeeded or not."""
        return await self._opened().result(await self._execution(workflow_id))

    async def cancel_workflow(self, workflow_id: str, force: bool = False) -> bool:
        """Cancel an execution; by force without waiting for its attempts. False if it has ended already."""
        return await self._commanded(workflow_id, inp.Cancel("cancelled over the API", force))

    async def pause_workflow(self, workflow_id: str) -> bool:
        """Let nothing new start; returns at once, while live attempts settle. False if it isn't running."""
        return await self._commanded(workflow_id, inp.Pause())

    async def resume_workflow(self, workflow_id: str) -> bool:
        """Let a paused execution go on. False if it isn't paused."""
        return await self._commanded(workflow_id, inp.Resume())

    async def get_workflow_status(self, workflow_id: str) -> WorkflowStatus:
        """Return an execution's status as committed."""
        follower = await self._opened().follower(await self._execution(workflow_id))
        return _status_of(follower.state)

    async def _commanded(self, workflow_id: str, given: inp.Input) -> bool:
        try:
            await self._opened().command(await self._execution(workflow_id), given)
        except ConflictError:
            return False
        return True

    async def _execution(self, workflow_id: str) -> str:
        """Return the execution with this id, or the newest one of the workflow with this id."""
        podium = self._opened()
        if await podium.store.execution(workflow_id) is not None:
            return workflow_id
        for row in await podium.store.executions(podium.settings.tenant, limit=1_000):
            if (await podium.workflow_of(row)).id == workflow_id:
                return row.id
        raise ExecutionNotFoundError(f"there is no execution or workflow {workflow_id}")

    def _opened(self) -> Podium:
        if self._podium is None:
            raise EngineStoppedError("the orchestrator isn't started; use `async with Orchestrator(…)` or call start()")
        return self._podium


def _status_of(state: State) -> WorkflowStatus:
    return WorkflowStatus(
        workflow_id=state.definition.workflow.id,
        execution_id=state.id,
        name=state.definition.workflow.name,
        status=state.status,
        tasks={task.path: task.status for task in state.tasks.values()},
        total=state.total,
        completed=state.counts[TaskStatus.COMPLETED],
        failed=state.counts[TaskStatus.FAILED],
        started_at=_time(state.created_us),
        finished_at=None if state.finished_us is None else _time(state.finished_us),
        error=f"{state.error.type}: {state.error.message}" if state.error else None,
        partial=state.partial,
    )


def _time(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC)
