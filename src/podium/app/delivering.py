"""How what people say to executions reaches them: decided here where they are run here, else left in the inbox.

Who waits for what comes of it takes over, should nobody run them any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from podium.app.owning import Owning
from podium.clock import Clock
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.posting import Posting
from podium.exceptions import ConflictError, ShardMovedError, StoreError
from podium.ids import IdSource
from podium.settings import Settings
from podium.store.owners import Owners
from podium.store.protocol import Blob, Store
from podium.telemetry.logs import get_logger

_log = get_logger("podium")


class Delivering:
    """Gives inputs to executions, wherever they are run."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        ids: IdSource,
        owners: Owners,
        posting: Posting,
        owning: Owning,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._ids = ids
        self._owners = owners
        self._posting = posting
        self._owning = owning

    async def command(
        self, execution: str, given: inp.Input, input_id: str | None = None, blobs: Sequence[Blob] = ()
    ) -> list[ev.Event]:
        """Give an execution an input and return what it caused, once that is on disk; again under the same id: nothing.

        `blobs` are the large values that it holds. Raises ConflictError, with the reason, when the execution ignored
        it.
        """
        if self._owning.engine is None:
            await self._owning.try_to_own()
        input_id = input_id or f"{given.__struct_config__.tag}:{self._ids.token()}"
        try:
            engine, large = self._owning.runs(execution), [(blob.hash, blob.content) for blob in blobs]
            events = None if engine is None else await engine.command(execution, given, input_id, large)
        except ShardMovedError:
            events = None
        if events is None:
            if blobs:
                await self._store.put(blobs, self._clock.now_us())
            events = await self.post(execution, input_id, given)
        if events and isinstance(events[0], ev.InputIgnored):
            raise ConflictError(events[0].reason)
        return events

    async def post(self, execution: str, input_id: str, given: inp.Input) -> list[ev.Event]:
        """Write an input to the inbox, wake the owner, await the log. Takes over if the owner is gone meanwhile."""
        posted = await self._posting.write(execution, input_id, given)
        waking = asyncio.create_task(self.wake_owner(), name="podium-wake")  # not waited for: it may get no answer
        try:
            return await self._posting.recorded(posted, self._take_over_posted)
        finally:
            waking.cancel()
            await asyncio.wait({waking})

    async def _take_over_posted(self) -> None:
        """Should nobody run the executions any more, run them here, beginning with what is in the inbox."""
        if await self._owning.try_to_own() and self._owning.engine is not None:
            self._owning.engine.look_into_inbox()

    async def wake_owner(self) -> None:
        """Tell the owner that there is something in the inbox. Without an answer it looks by itself soon.

        Replicas on PostgreSQL are woken by the store, as soon as it is written.
        """
        if self._settings.on_postgres:
            return
        try:
            await self._owners.ask({"op": "wake"})
        except StoreError as error:
            _log.debug("the owner can't be woken", error=str(error))
