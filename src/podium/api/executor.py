"""The `TaskExecutor` of document 002: tasks are executed, one, one after the other, or side by side, and it is awaited.

Each call is an execution of a workflow on the one engine: with time-outs, retries, resources and a history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from podium.agents.sdk import AgentDefinition
from podium.api.lending import WithOrchestrator
from podium.exceptions import InvalidInputError
from podium.fleet.member import AgentInfo
from podium.workflow.model import (
    ExecutionStatus,
    FailureAction,
    OnFailure,
    Task,
    TaskResult,
    TaskStatus,
    Workflow,
    WorkflowConfig,
    WorkflowResult,
)

Agent: TypeAlias = AgentDefinition | AgentInfo | type | str | Callable[..., Any]
"""Who executes a task, in each of the ways in which it can be said; `TaskExecutor.execute` has them."""

_UNBEGUN = {TaskStatus.PENDING, TaskStatus.READY, TaskStatus.RETRYING, TaskStatus.WAITING}


class TaskExecutor(WithOrchestrator):
    """Executes tasks on the agents of an orchestrator. Use `async with TaskExecutor(agents=[…])`, or `close` it.

    Without an orchestrator it has one of its own, in memory, with these agents. A task that fails is returned, not
    raised; what can't be executed at all raises WorkflowInvalidError, InvalidInputError or AgentBindingError.
    """

    def __init__(self, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more)
        self._hired: list[tuple[Any, AgentDefinition]] = []

    async def execute(self, task: Task, agent: Agent | None = None) -> TaskResult:
        """Execute a task and return how it ended.

        `agent` is who does it: an agent class, a task function or a spec (`module:Name`), which becomes an agent of
        this process; or a registered one, by its id or its AgentInfo, which gets it if it is free, else another one of
        its type. None: whoever the task's own `agent_type` says.
        """
        await self.start()
        if agent is None:
            return (await self._executed(task.name, [task]))[0]
        agent_id = agent if isinstance(agent, str) and ":" not in agent else getattr(agent, "agent_id", None)
        if agent_id is not None:
            known = next((info for info in self._orchestrator.agents() if info.agent_id == agent_id), None)
            if known is None:
                raise InvalidInputError(f"there is no agent {agent_id}")
            task = msgspec.structs.replace(task, agent="", agent_type=known.descriptor.agent_type)
            return (await self._executed(task.name, [task], preferred_agent=agent_id))[0]
        definition = await self._hire(agent)
        names = list(definition.functions)
        function = task.function or (names[0] if len(names) == 1 and task.id not in names and names != ["*"] else "")
        task = msgspec.structs.replace(task, agent="", agent_type=definition.type, function=function)
        return (await self._executed(task.name, [task]))[0]

    async def execute_parallel(self, tasks: Iterable[Task], max_workers: int | None = None) -> list[TaskResult]:
        """Execute tasks side by side, at most so many at once, and return how each ended, in the order given.

        Dependencies between them hold. One that fails stops none but those that depend on it, which are skipped.
        """
        if max_workers is not None and max_workers < 1:
            raise InvalidInputError(f"max_workers is {max_workers}; expected at least 1")
        goes_on = OnFailure(FailureAction.CONTINUE)
        apart = [
            msgspec.structs.replace(task, on_failure=goes_on) if task.on_failure == OnFailure() else task
            for task in tasks
        ]
        return await self._executed("parallel", apart, WorkflowConfig(max_parallel_tasks=max_workers))

    async def execute_sequential(self, tasks: Iterable[Task]) -> list[TaskResult]:
        """Execute tasks one after the other, in the order given, and return how each ended.

        When one fails, those behind it are skipped, unless its own `on_failure` lets them go on.
        """
        chain: list[Task] = []
        for task in tasks:
            if chain and chain[-1].id not in task.dependencies:
                task = msgspec.structs.replace(task, dependencies=(*task.dependencies, chain[-1].id))
            chain.append(task)
        return await self._executed("sequential", chain)

    async def execute_with_timeout(self, task: Task, timeout: float) -> TaskResult:  # noqa: ASYNC109 - document 002's
        """Execute a task within so many seconds, retries included; one that takes longer has failed."""
        if timeout <= 0:
            raise InvalidInputError(f"timeout is {timeout}; expected seconds, more than 0")
        deadline = timeout if task.deadline is None else min(timeout, task.deadline)
        return (await self._executed(task.name, [msgspec.structs.replace(task, deadline=deadline)]))[0]

    # --- inside ------------------------------------------------------------------------------------------------

    async def _executed(
        self, name: str, tasks: Sequence[Task], config: WorkflowConfig = WorkflowConfig(), **options: Any
    ) -> list[TaskResult]:
        if not tasks:
            return []
        await self.start()
        fresh = [msgspec.structs.replace(task, status=TaskStatus.PENDING, result=None) for task in tasks]
        workflow = Workflow(name=name, tasks=tuple(fresh), config=config)
        ended = await self._orchestrator.podium.run(workflow, **options)
        return [_result_of(task.id, ended) for task in tasks]

    async def _hire(self, agent: Any) -> AgentDefinition:
        """Return what an agent is, and have one; the same object is had once."""
        for known, definition in self._hired:
            if known is agent:
                return definition
        from podium.api.orchestrator import as_definitions

        definitions = as_definitions(agent)
        await self._orchestrator.podium.hire(definitions)
        self._hired.append((agent, definitions[0]))
        return definitions[0]


def _result_of(task_id: str, ended: WorkflowResult) -> TaskResult:
    """Return how a task ended; one that never began, since the whole had ended before, was skipped."""
    found = ended.tasks.get(task_id, TaskResult(task_id, TaskStatus.PENDING))
    if found.status not in _UNBEGUN:
        return found
    cancelled = ended.status is ExecutionStatus.CANCELLED
    status = TaskStatus.CANCELLED if cancelled else TaskStatus.SKIPPED
    return msgspec.structs.replace(found, status=status, error=found.error or ended.error)
