"""The orchestrator's own agent that awaits executions: what a submitted task depends on, it waits for.

It costs a slot and a future for each that is awaited, nothing else. Its incarnation outlives the process, since a
restart loses nothing that it did: it is told again, and waits again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from podium.agents.sdk import AgentDefinition, function_agent, task
from podium.exceptions import ExecutionNotFoundError, NonRetryableError
from podium.workflow.model import ExecutionStatus, WorkflowResult

SLOTS = 100_000


class DependencyFailedError(NonRetryableError):
    """What this waited for ended without success."""


def awaiting_agent(type: str, result_of: Callable[[str], Awaitable[WorkflowResult]]) -> AgentDefinition:
    """Return an agent whose function `ended` returns the result of an execution once that has ended."""

    @task
    async def ended(execution: str) -> Any:
        try:
            result = await result_of(execution)
        except ExecutionNotFoundError as error:
            raise DependencyFailedError(f"there is no task {execution}") from error
        if result.status is not ExecutionStatus.COMPLETED:
            raise DependencyFailedError(f"the task {execution} is {result.status}: {result.error or 'no reason given'}")
        return result.result

    return function_agent(type, [ended], slots=SLOTS)
