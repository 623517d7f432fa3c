"""Following an execution from the outside: a state of one's own, brought up to what is committed, as often as one
likes.

It reads the store only, so that it works the same in the owner's process and in any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Self, TypeVar

from podium.engine.assignments import execution_result
from podium.engine.codec import decode_input, decode_row
from podium.engine.events import Event
from podium.engine.evolve import evolve
from podium.engine.grown import regrown
from podium.engine.inputs import Start
from podium.engine.recovery import Definitions, load_texts, restore
from podium.engine.scope import BlobMissing, decoded, result_text, scope_for
from podium.engine.state import State, TaskState
from podium.engine.whereabouts import recorded_or_posted
from podium.exceptions import CorruptHistoryError, ExecutionNotFoundError, ExpressionError
from podium.store.protocol import InboxRow, Store
from podium.workflow.model import ExecutionStatus, TaskResult, TaskStatus, WorkflowResult

_PAGE = 1_000
T = TypeVar("T")


class Follower:
    """One execution as committed."""

    def __init__(self, store: Store, definitions: Definitions, state: State) -> None:
        self._store = store
        self._definitions = definitions
        self.state = state

    @classmethod
    async def of(cls, store: Store, definitions: Definitions, execution: str) -> Self:
        """Return a follower at the execution's present. Raises ExecutionNotFoundError.

        The present of one that waits for room is its beginning, before any event.
        """
        found = await recorded_or_posted(store, execution, partial(restore, store, definitions, execution))
        if found is None:
            raise ExecutionNotFoundError(f"there is no execution {execution}")
        state = await _at_its_beginning(found, definitions) if isinstance(found, InboxRow) else found.state
        return cls(store, definitions, state)

    def rewound(self) -> Follower:
        """Return another follower of the same execution, at its beginning."""
        state = State(self.state.id, self.state.tenant, regrown(self.state.definition, ()))
        return Follower(self._store, self._definitions, state)

    async def catch_up(self, heard: Callable[[Event, int], None] | None = None, ended_us: int = 0) -> bool:
        """Bring the state up to what is committed now, or to its end at that time; return whether anything was new.

        `heard` is told of each event and its time once the state has it.
        """
        new = False
        while rows := await self._store.history(self.state.id, self.state.sequence, _PAGE):
            new = True
            for row in rows:
                payload = await self._store.get(row.tenant, row.payload_blob) if row.payload_blob else None
                for event in decode_row(row, payload)[1]:
                    evolve(self.state, event, row.now_us)
                    if heard is not None:
                        heard(event, row.now_us)
                if ended_us and self.state.finished_us == ended_us:
                    return new
            if len(rows) < _PAGE:
                break
            await asyncio.sleep(0)
        return new

    async def result(self) -> WorkflowResult:
        """Return how the execution ended, or how far it is, with its tasks' results."""
        state = self.state
        result, problem = None, None
        if state.status is ExecutionStatus.COMPLETED:
            try:
                result = decoded(await self._text(None))
            except ExpressionError as refusal:
                problem = f"its output can't be made: {refusal}"
        tasks = {t.path: await self._task_result(t) for t in state.tasks.values() if t.parent is None}
        error = f"{state.error.type}: {state.error.message}" if state.error else problem
        return WorkflowResult(
            execution_id=state.id,
            workflow_id=state.definition.workflow.id,
            status=state.status,
            result=result,
            error=error,
            tasks=tasks,
            partial=state.partial,
            duration_seconds=((state.finished_us or state.updated_us) - state.created_us) / 1e6,
        )

    async def published(self) -> Any:
        """Return what the execution shows as its status: the workflow's `publish`, else what a task published last.

        None where neither says anything; a template that can't be made yet gives {"error": …}.
        """
        state, template = self.state, self.state.definition.publish
        try:
            if template is None or not state.tasks:
                return None if state.published is None else decoded(bytes(state.published.value.json))
            return await self._loading(lambda: template.render(scope_for(state, template.references)))
        except ExpressionError as error:
            return {"error": str(error)}

    async def output(self) -> bytes:
        """Return the execution's result as JSON. Raises ExpressionError if it has none."""
        return await self._text(None)

    async def _task_result(self, task: TaskState) -> TaskResult:
        duration = (task.finished_us - task.started_us) / 1e6 if task.finished_us and task.started_us else 0.0
        result, error = None, f"{task.error.type}: {task.error.message}" if task.error else _why_none(task)
        if self.state.succeeded(task):
            try:
                result = decoded(await self._text(task))
            except ExpressionError as refusal:
                error = f"its result can't be shown: {refusal}"
        return TaskResult(
            task_id=task.path,
            status=task.status,
            result=result,
            error=error,
            attempts=self.state.attempts_of(task),
            duration_seconds=duration,
        )

    async def _text(self, task: TaskState | None) -> bytes:
        """Return a task's result, or the execution's, as JSON."""
        return await self._loading(
            lambda: execution_result(self.state) if task is None else result_text(self.state, task)
        )

    async def _loading(self, read: Callable[[], T]) -> T:
        """Return what is read of the state; large values are loaded and let go again."""
        before = set(self.state.loaded)
        try:
            while True:
                try:
                    return read()
                except BlobMissing as missing:
                    await load_texts(self._store, self.state, missing.digests)
        finally:
            for digest in set(self.state.loaded) - before:
                del self.state.loaded[digest]


def _why_none(task: TaskState) -> str | None:
    """Return why a task has no result, where that is no error; of one that a person has completed, nothing."""
    return None if task.status is TaskStatus.COMPLETED else task.reason or None


async def _at_its_beginning(row: InboxRow, definitions: Definitions) -> State:
    """Return the state of an execution whose start isn't recorded. Raises CorruptHistoryError."""
    start = decode_input(row.payload)
    if not isinstance(start, Start):
        raise CorruptHistoryError(f"execution {row.execution} begins with an input of another kind: {row.kind}")
    state = State(row.execution, row.tenant, await definitions.get(row.tenant, start.definition))
    state.created_us = state.updated_us = row.posted_us
    return state
