"""Executions, wherever they are run: by the beginning of their ids, as they are now, and when they have ended."""

from __future__ import annotations

import asyncio
from functools import partial

from podium.app.owning import Owning
from podium.engine.following import Follower
from podium.engine.whereabouts import posted_input, recorded_or_posted, row_of_start, waiting_starts
from podium.exceptions import EngineStoppedError, ExecutionNotFoundError, ShardMovedError
from podium.settings import Settings
from podium.store.protocol import ExecutionRow, Store
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, Workflow

GUEST_POLL_SECONDS = 0.1
GUEST_POLL_LATER_SECONDS = 1.0  # of what takes long


class Finding:
    """Reads one store's executions, and awaits them."""

    def __init__(self, settings: Settings, store: Store, owning: Owning) -> None:
        self._settings = settings
        self._store = store
        self._owning = owning

    async def find(self, beginning: str) -> ExecutionRow:
        """Return the execution whose id begins so. Raises ExecutionNotFoundError, also if several do."""
        begun = partial(self._store.executions, self._settings.tenant, prefix=beginning, limit=3)
        rows = await begun() or await self.waiting(3, beginning)
        if not rows and await posted_input(self._store, beginning) is not None:
            raise ExecutionNotFoundError(
                f"execution {beginning} hasn't begun: its start waits for an orchestrator; `podium up` starts one"
            )
        rows = rows or await begun()  # it may begin between two looks
        exact = [row for row in rows if row.id == beginning]
        if exact or len(rows) == 1:
            return (exact or rows)[0]
        if not rows:
            raise ExecutionNotFoundError(f"there is no execution {beginning}")
        raise ExecutionNotFoundError(f"several executions begin with {beginning}: {', '.join(r.id for r in rows)} …")

    async def waiting(self, limit: int, prefix: str = "") -> list[ExecutionRow]:
        """Return executions that haven't begun, since as many are at work as may be; the oldest first.

        Their rows are what they would be at the beginning, with the sequence 0; the store has none of them yet.
        """
        found: list[ExecutionRow] = []
        async for row, start in waiting_starts(self._store, self._settings.tenant):
            if row.execution.startswith(prefix):
                found.append(row_of_start(row, start, await self._owning.definitions.get(row.tenant, start.definition)))
            if len(found) == limit:
                break
        return found

    async def workflow_of(self, row: ExecutionRow) -> Workflow:
        """Return the definition that an execution runs, without its history."""
        return (await self._owning.definitions.get(row.tenant, row.definition)).workflow

    async def follower(self, execution: str) -> Follower:
        """Return the execution's committed state, to be brought up to date as often as one likes."""
        return await Follower.of(self._store, self._owning.definitions, execution)

    async def finished(self, execution: str) -> ExecutionStatus:
        """Wait for an execution's end. A guest takes over if the owner goes away before."""
        pause = GUEST_POLL_SECONDS
        while True:
            if (engine := self._owning.runs(execution)) is not None:
                try:
                    return await engine.finished(execution)
                except EngineStoppedError:
                    if self._owning.closed or engine.failure is not None:
                        raise
                except ShardMovedError:
                    pause = GUEST_POLL_SECONDS
            row = await recorded_or_posted(self._store, execution, partial(self._store.execution, execution))
            if row is None:
                raise ExecutionNotFoundError(f"there is no execution {execution}")
            if isinstance(row, ExecutionRow) and ExecutionStatus(row.status) in FINAL_EXECUTION:
                return ExecutionStatus(row.status)
            await self._owning.try_to_own()
            await asyncio.sleep(pause)
            pause = min(pause * 1.1, GUEST_POLL_LATER_SECONDS)
