"""What people decide about an execution's tasks: said here, decided by whoever runs the execution.

A task's name is looked up before anything is recorded, so that a slip of the pen is told the nearest name.
"""

from __future__ import annotations

from typing import Any

from podium.app.delivering import Delivering
from podium.app.finding import Finding
from podium.app.said import MAX_NAME, check_texts, encoded
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.asking import DECISIONS, SKIP, why_not_resolved
from podium.engine.continuing import why_passed
from podium.engine.state import State
from podium.engine.steering import Rerun, rerun_of, why_not_from, why_not_retried
from podium.engine.values import value_of
from podium.exceptions import ConflictError, InvalidInputError, TaskNotFoundError
from podium.settings import Settings
from podium.store.protocol import Blob
from podium.workflow.problems import did_you_mean


class Steering:
    """Takes people's decisions to one tenant's executions."""

    def __init__(self, settings: Settings, delivering: Delivering, finding: Finding) -> None:
        self._settings = settings
        self._delivering = delivering
        self._finding = finding

    async def skip(
        self, execution: str, task: str, *, reason: str = "", by: str = "", input_id: str | None = None, run: int = 0
    ) -> list[ev.Event]:
        """Decide that a task isn't to be done. Raises TaskNotFoundError, ConflictError."""
        check_texts(by, reason)
        present = await self._known(execution, task)
        return await self._delivering.command(execution, inp.Skip(task, reason, by, run or present), input_id)

    async def complete(
        self,
        execution: str,
        task: str,
        value: Any,
        *,
        reason: str = "",
        by: str = "",
        input_id: str | None = None,
        run: int = 0,
    ) -> list[ev.Event]:
        """Give a task's result. Raises TaskNotFoundError, ConflictError, InvalidInputError for what is no JSON."""
        check_texts(by, reason)
        present = await self._known(execution, task)
        kept, content = value_of(encoded(value))
        blobs = [Blob(self._settings.tenant, kept.blob, content)] if content is not None and kept.blob else []
        return await self._delivering.command(
            execution, inp.Complete(task, kept, reason, by, run or present), input_id, blobs
        )

    async def resolve(
        self,
        execution: str,
        task: str,
        decision: str,
        *,
        reason: str = "",
        by: str = "",
        input_id: str | None = None,
        run: int = 0,
    ) -> list[ev.Event]:
        """Decide what becomes of a task that has failed and asks. Raises TaskNotFoundError, ConflictError,
        InvalidInputError for what is no decision.
        """
        if decision not in DECISIONS:
            raise InvalidInputError(f"a decision is one of {', '.join(DECISIONS)}, not {decision[:MAX_NAME]!r}")
        check_texts(by, reason)
        state = (await self._finding.follower(execution)).state
        _check_known(state, task)
        run = run or state.run
        given: inp.Input = inp.Resolve(task, decision, reason, by, run)
        if decision == SKIP:
            refusal = why_passed(state, run) or why_not_resolved(state, task)
            if refusal:
                raise ConflictError(refusal)
            given = inp.Skip(task, reason, by, run)
        return await self._delivering.command(execution, given, input_id)

    async def retry(
        self, execution: str, from_task: str = "", *, by: str = "", input_id: str | None = None
    ) -> list[ev.Event]:
        """Have an ended execution go on. Raises TaskNotFoundError, ConflictError."""
        check_texts(by)
        if from_task:
            await self._known(execution, from_task)
        return await self._delivering.command(execution, inp.Retry(from_task, by), input_id)

    async def rerun(self, execution: str, from_task: str = "") -> Rerun:
        """Return what `retry` would do. Raises as that does."""
        state = (await self._finding.follower(execution)).state
        if from_task:
            _check_known(state, from_task)
        refusal = why_not_from(state, from_task) if from_task else why_not_retried(state)
        if refusal:
            raise ConflictError(refusal)
        return rerun_of(state, from_task)

    async def _known(self, execution: str, task: str) -> int:
        """Return in which run an execution is that has this task. Raises TaskNotFoundError."""
        state = (await self._finding.follower(execution)).state
        _check_known(state, task)
        return state.run


def _check_known(state: State, task: str) -> None:
    """Raise TaskNotFoundError, with the nearest name, unless there is such a task; of instances, the fan-out."""
    tasks = state.tasks or state.definition.tasks  # none has begun where the execution waits for room
    if task in tasks or task.partition("[")[0] in tasks:
        return
    hint = did_you_mean(task, tasks) or f"`podium status {state.id[:13]}` lists its tasks"
    raise TaskNotFoundError(f"the execution has no task {task!r}; {hint}")
