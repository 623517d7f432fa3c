"""A client in a process of its own, as Podium's guests are, that insists: it asks until it has an answer.

Its own submission ids and input ids make that harmless. What it was acknowledged goes into the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from podium.app import Podium
from podium.clock import SystemClock
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.posting import Posting
from podium.exceptions import ConflictError, PodiumError, StoreError
from podium.ids import execution_id_for
from podium.settings import Settings
from podium.store.protocol import Store
from podium.testing.soaking.history import History
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, Workflow

PAUSE_SECONDS = 0.25
LOOK_SECONDS = 0.4
PAGE = 500

T = TypeVar("T")


class Client:
    """A guest at the database. One look a moment serves all who await ends."""

    def __init__(self, guest: Podium, history: History) -> None:
        self._guest = guest
        self._history = history
        self._posting = Posting(guest.store, guest.settings.tenant, SystemClock())
        self._awaited: dict[str, asyncio.Future[str]] = {}
        self._looking = asyncio.create_task(self._look(), name="soak-looks-for-ends")

    @classmethod
    async def open(cls, database: str, history: History) -> Client:
        """Open a guest at a database."""
        settings = Settings(database=database)
        return cls(await Podium.open(settings, own=False, works=False, elsewhere=True, may_own=False), history)

    async def close(self) -> None:
        """Let go of the database."""
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        await self._posting.close()
        await self._guest.close()

    @property
    def store(self) -> Store:
        """The database."""
        return self._guest.store

    # --- what it asks for --------------------------------------------------------------------------------------

    async def submit(self, workflow: Workflow, given: Any, name: str) -> str:
        """Submit until that is acknowledged; return the execution's id."""
        execution = await self._insist(lambda: self._guest.submit(workflow, given, submission_id=name))
        if execution != execution_id_for(self._guest.settings.tenant, name):
            self._history.wrong("wrong", f"the submission {name} became {execution}")
        self._history.acknowledged(execution, workflow.name)
        return execution

    async def submit_once_more(self, workflow: Workflow, given: Any, name: str, execution: str) -> None:
        """Submit the same once more, as one does who has had no answer: that must change nothing."""
        again = await self._insist(lambda: self._guest.submit(workflow, given, submission_id=name))
        if again != execution:
            self._history.wrong("twice", f"the submission {name} became {execution}, then {again}")

    async def command(self, execution: str, given: inp.Input, name: str) -> str:
        """Give an input until it is recorded; return why it was ignored, or nothing."""
        input_id = f"{given.__struct_config__.tag}:{name}"
        events = await self._insist(lambda: self._given(execution, input_id, given))
        self._history.recorded(execution, input_id)
        return next((event.reason for event in events if isinstance(event, ev.InputIgnored)), "")

    async def _given(self, execution: str, input_id: str, given: inp.Input) -> list[ev.Event]:
        posted = await self._posting.write(execution, input_id, given)
        return await self._posting.recorded(posted, _nothing)

    async def end(self, execution: str) -> str:
        """Wait for the end, and note it."""
        waiter = self._awaited.get(execution)
        if waiter is None:
            waiter = self._awaited[execution] = asyncio.get_running_loop().create_future()
        status = await asyncio.shield(waiter)
        self._history.ended(execution, status)
        return status

    async def end_as_users_do(self, execution: str) -> str:
        """Wait for the end by Podium's own method."""
        status = str(await self._insist(lambda: self._guest.finished(execution)))
        self._history.ended(execution, status)
        return status

    async def result(self, execution: str) -> Any:
        """Return the result of an execution that has ended."""
        return (await self._insist(lambda: self._guest.result(execution))).result

    async def why(self, execution: str) -> str:
        """Return what is said of an execution that goes on."""
        try:
            async with asyncio.timeout(20):
                headline, tasks = await self._guest.explain(execution)
        except (PodiumError, TimeoutError) as error:
            return f"nothing can be said: {error!r}"
        return "; ".join([headline, *(f"{each.task} ({each.status}): {each.because}" for each in tasks)])

    # --- insisting ---------------------------------------------------------------------------------------------

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except StoreError as error:
                self._history.counts[f"asked again: {type(error).__name__}"] += 1
            except ConflictError as error:
                self._history.wrong("wrong", f"refused: {error}")
            await asyncio.sleep(PAUSE_SECONDS)

    async def _look(self) -> None:
        """Find out which of those that are awaited have ended."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look_at(list(self._awaited))
            except StoreError:
                continue

    async def _look_at(self, awaited: list[str]) -> None:
        """Ask for those that haven't ended; of the others, one by one."""
        if not awaited:
            return
        going = [str(status) for status in ExecutionStatus if status not in FINAL_EXECUTION]
        rows = await self._guest.store.executions(None, going, limit=10_000)
        under_way = {row.id for row in rows}
        for execution in awaited:
            if execution not in under_way:
                row = await self._guest.store.execution(execution)
                if row is not None and ExecutionStatus(row.status) in FINAL_EXECUTION:
                    self._awaited.pop(execution).set_result(row.status)


async def _nothing() -> None:
    """Nobody takes over: replicas are there."""
