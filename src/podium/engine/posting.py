"""Inputs for executions that aren't run here: written to the inbox, and awaited in the log.

All that one process awaits is looked up together, so that a thousand waiters ask the store no more often than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import Struct

from podium.clock import Clock
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import check_input, decode_input, decode_row, encode_input
from podium.engine.whereabouts import posted_input, recorded_or_posted, waits_for_room
from podium.exceptions import ConflictError, ExecutionNotFoundError, PodiumError
from podium.ids import shard_of
from podium.store.keys import check_key
from podium.store.protocol import ExecutionRow, InboxRow, LogRow, Store

LOOK_SECONDS = 0.02
LOOK_LATER_SECONDS = 0.25  # once it takes longer than usual
DOUBT_SECONDS = 0.2  # after so long it may have been refused: is it in the inbox still?
DOUBT_LATER_SECONDS = 1.0
_PAGE = 1_000

Key = tuple[str, str]  # execution and input id


class Posted(Struct, frozen=True):
    """An input in the inbox, and where its execution's history was before."""

    row: InboxRow
    sequence: int

    @property
    def key(self) -> Key:
        """What it is known by in the log."""
        return self.row.execution, self.row.input_id


class Posting:
    """Posts inputs of one tenant and awaits them."""

    def __init__(self, store: Store, tenant: str, clock: Clock) -> None:
        self._store = store
        self._tenant = tenant
        self._clock = clock
        self._awaited: dict[Key, list[asyncio.Future[None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._pause = LOOK_SECONDS

    async def write(self, execution: str, input_id: str, given: inp.Input) -> Posted:
        """Write an input to the inbox. Raises ExecutionNotFoundError, InvalidInputError for one that can't be kept."""
        check_key("an execution's id", execution)
        check_key("an input's id", input_id)
        check_input(given)
        before = await recorded_or_posted(self._store, execution, partial(self._store.execution, execution))
        if before is None and not isinstance(given, inp.Start):
            raise ExecutionNotFoundError(f"there is no execution {execution}")
        kind, now_us = str(given.__struct_config__.tag), self._clock.now_us()
        row = InboxRow(
            execution, input_id, self._tenant, shard_of(execution), kind, encode_input(given), now_us
        )  # fmt: skip
        await self._store.post(row)
        return Posted(row, before.sequence if isinstance(before, ExecutionRow) else 0)

    async def recorded(self, posted: Posted, meanwhile: Callable[[], Awaitable[object]]) -> list[ev.Event]:
        """Return what an input caused, once it is in the log; of a start that waits for room, nothing yet.

        `meanwhile` is called now and again until it is: it takes over from an owner that is gone. Raises ConflictError
        when the owner refused it.
        """
        recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._await(posted.key, recorded)
        try:
            await self._until(recorded, posted, meanwhile)
        finally:
            self._forget(posted.key, recorded)
            recorded.cancel()
            if not recorded.cancelled():
                recorded.exception()  # the store may have failed twice, and the other failure is raised
        return await self._caused_by(posted)

    async def close(self) -> None:
        """Look for nothing any more. Safe twice."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait({looking})

    async def _until(
        self, recorded: asyncio.Future[None], posted: Posted, meanwhile: Callable[[], Awaitable[object]]
    ) -> None:
        pause = DOUBT_SECONDS
        while True:
            await meanwhile()
            done, _ = await asyncio.wait({recorded}, timeout=pause)
            if done:
                return recorded.result()
            found = await posted_input(self._store, *posted.key)
            if found is not None and waits_for_room(found):
                return None  # its turn comes when fewer executions are at work
            if found is None and not await self._store.recorded([posted.key]):  # in this order: one commit moves it
                await self._store.load(posted.row.execution)  # if its history can't be read, that is why
                raise ConflictError(
                    f"the owner refused the {posted.row.kind} of {posted.row.execution}: a limit of concurrent "
                    f"executions is reached, or the execution's history can't be read; its log says which"
                )
            pause = min(pause * 1.5, DOUBT_LATER_SECONDS)

    async def _caused_by(self, posted: Posted) -> list[ev.Event]:
        after = posted.sequence
        while rows := await self._store.history(posted.row.execution, after, _PAGE):
            for row in rows:
                if row.input_id == posted.row.input_id:
                    payload = await self._store.get(row.tenant, row.payload_blob) if row.payload_blob else None
                    return decode_row(row, payload)[1]
            after = rows[-1].sequence
        return []

    # --- looking for all of them -------------------------------------------------------------------------------

    def _await(self, key: Key, recorded: asyncio.Future[None]) -> None:
        self._awaited.setdefault(key, []).append(recorded)
        self._pause = LOOK_SECONDS
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="podium-awaits-inputs")

    def _forget(self, key: Key, recorded: asyncio.Future[None]) -> None:
        waiting = self._awaited.get(key, [])
        if recorded in waiting:
            waiting.remove(recorded)
        if not waiting:
            self._awaited.pop(key, None)

    async def _look(self) -> None:
        """Ask for everything that is awaited, again and again, until nothing is."""
        while self._awaited:
            keys = list(self._awaited)
            for at in range(0, len(keys), _PAGE):
                await self._look_for(keys[at : at + _PAGE])
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 1.2, LOOK_LATER_SECONDS)

    async def _look_for(self, keys: list[Key]) -> None:
        try:
            found = await self._store.recorded(keys)
        except PodiumError as error:
            for recorded in self._waiting_for(keys):
                recorded.set_exception(error)
            return
        for recorded in self._waiting_for([key for key in keys if key in found]):
            recorded.set_result(None)

    def _waiting_for(self, keys: list[Key]) -> list[asyncio.Future[None]]:
        return [each for key in keys for each in self._awaited.get(key, ()) if not each.done()]


async def given_in(store: Store, row: LogRow | InboxRow) -> inp.Input:
    """Return the input that a row of the log records, or one of the inbox holds."""
    blob = row.payload_blob if isinstance(row, LogRow) else None
    return decode_input(await store.get(row.tenant, blob) if blob else row.payload)
