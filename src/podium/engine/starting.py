"""How an execution begins at a door: its start is decided at once, or waits on the disk until there is room for it.

A submission counts once: its id gives the execution's, and a start that is there already is compared with the new one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from podium.clock import Clock
from podium.engine import inputs as inp
from podium.engine.admission import Admission, counts, waiting_room
from podium.engine.arrivals import Arrival
from podium.engine.codec import encode_input
from podium.engine.definition import Definition
from podium.engine.intake import Intake, check_same_start
from podium.engine.posting import given_in
from podium.engine.recovery import Definitions
from podium.engine.shards import OwnedShards
from podium.engine.values import value_of
from podium.engine.waiting import WaitingRoom
from podium.engine.whereabouts import START, recorded_or_posted
from podium.exceptions import ConflictError
from podium.ids import IdSource, execution_id_for, shard_of
from podium.store.protocol import Blob, InboxRow, LogRow, Store
from podium.workflow.model import Workflow


class Starting:
    """Starts executions for who asks for it in this process."""

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        clock: Clock,
        ids: IdSource,
        intake: Intake,
        shards: OwnedShards,
        admission: Admission,
        room: WaitingRoom,
    ) -> None:
        self._store = store
        self._definitions = definitions
        self._clock = clock
        self._ids = ids
        self._intake = intake
        self._shards = shards
        self._admission = admission
        self._room = room

    def new_id(self) -> str:
        """Return an id for a new execution: of a shard that is ours, so that it needn't go elsewhere."""
        execution = self._ids.uuid7()
        while self._shards.ours and not self._shards.owns(execution):
            execution = self._ids.uuid7()
        return execution

    async def submit(
        self,
        workflow: Workflow,
        given: bytes,
        *,
        tenant: str,
        submission_id: str | None,
        execution: str | None,
        bindings: dict[str, str] | None,
        priority: int | None,
        timeout_seconds: float | None,
        **more: Any,
    ) -> str:
        """Start an execution, as `Engine.submit` says."""
        definition, encoded = self._definitions.compile(workflow)
        if submission_id is not None:
            execution = execution_id_for(tenant, submission_id)
        execution = execution or self.new_id()
        self._shards.check_ours(execution)
        value, content = value_of(given)
        start = inp.Start(
            workflow.name,
            workflow.version,
            definition.digest,
            self._ids.seed(),
            value,
            bindings or {},
            priority,
            timeout_seconds,
            **more,
        )
        if submission_id is not None and await self._is_submitted(execution, start):
            return execution
        blobs = [(definition.digest, encoded)]
        if content is not None and value.blob is not None:
            blobs.append((value.blob, content))
        if counts(workflow):
            if self._admission.full:
                await self._wait_for_room(execution, start, tenant, definition, blobs)
                return execution
            self._admission.take(execution)
        arrival = Arrival(execution, START, start, tenant, blobs)
        arrival.definition = definition
        if not await self._intake.decided(arrival):
            await self._is_submitted(execution, start)  # somebody else's start counts: is it the same?
        return execution

    async def _wait_for_room(
        self, execution: str, start: inp.Start, tenant: str, definition: Definition, blobs: list[tuple[str, bytes]]
    ) -> None:
        """Have a start wait on the disk until fewer executions are at work."""
        limit = definition.workflow.config.max_concurrent_executions
        if limit is not None and await self._store.counter(tenant, f"workflow:{definition.workflow.name}") >= limit:
            raise ConflictError(f"{definition.workflow.name} has {limit} executions already, as many as it may have")
        now_us, shard = self._clock.now_us(), waiting_room(shard_of(execution))
        await self._store.put([Blob(tenant, digest, content) for digest, content in blobs], now_us)
        row = InboxRow(execution, START, tenant, shard, "start", encode_input(start), now_us)
        await self._room.enter(row)
        known = await recorded_or_posted(self._store, execution, partial(self._first_row, execution))
        if known is not None:  # somebody else's may have been there before
            check_same_start(await given_in(self._store, known), start)

    async def _is_submitted(self, execution: str, start: inp.Start) -> bool:
        row = await self._first_row(execution)
        under_way = self._intake.known.get((execution, START))
        if under_way is not None:
            check_same_start(under_way.given, start)
            await self._intake.joined(under_way)
            return True
        if row is None:
            return False
        check_same_start(await given_in(self._store, row), start)
        return True

    async def _first_row(self, execution: str) -> LogRow | None:
        return next(iter(await self._store.history(execution, limit=1)), None)
