"""Inputs that reached the wrong replica: they go to the inbox of their shard, and its owner is woken by that.

An agent is told that its result is recorded once the inbox has it: from then on no crash loses it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from podium.clock import Clock
from podium.engine.arrivals import Arrival
from podium.engine.changes import PLACING, Change, encode_changes
from podium.engine.codec import encode_input
from podium.exceptions import ExecutionNotFoundError, PodiumError
from podium.ids import PLACEMENT_SHARD, IdSource, shard_of
from podium.store.protocol import DEFAULT_TENANT, Blob, InboxRow, Store

TENANTS_KEPT = 20_000
AT_ONCE = 500


class Forwarding:
    """Takes inputs to other owners' inboxes, a batch at a time."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: IdSource,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
        retrying: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
        done: Callable[[Arrival], None],
        reject: Callable[[Arrival, PodiumError], None],
    ) -> None:
        """`done` is told of what the inbox has; `reject` of what no execution is there for."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._spawn = spawn
        self._retrying = retrying
        self._done = done
        self._reject = reject
        self._waiting: list[Arrival] = []
        self._changes: list[Change] = []
        self._busy = False
        self._tenants: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, arrival: Arrival) -> None:
        """Take an input there soon."""
        self._waiting.append(arrival)
        self._begin()

    def tell(self, change: Change) -> None:
        """Let the replica that places know what no input brings."""
        self._changes.append(change)
        self._begin()

    def _begin(self) -> None:
        if not self._busy:
            self._busy = True
            self._spawn(self._forward(), "podium-forward")

    async def _forward(self) -> None:
        try:
            while self._waiting or self._changes:
                some, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                changes, self._changes = self._changes, []
                if changes:
                    row = InboxRow(
                        PLACING, self._ids.token(), DEFAULT_TENANT, PLACEMENT_SHARD, PLACING,
                        encode_changes([("", 0, changes)]), self._clock.now_us(),
                    )  # fmt: skip
                    await self._retrying(partial(self._store.post, row))
                await asyncio.gather(*(self._take(arrival) for arrival in some))
        finally:
            self._busy = False

    async def _take(self, arrival: Arrival) -> None:
        tenant = await self._tenant_of(arrival.execution)
        if tenant is None:
            self._reject(arrival, ExecutionNotFoundError(f"there is no execution {arrival.execution}"))
            return
        now_us = self._clock.now_us()
        blobs = [Blob(tenant, digest, content) for digest, content in arrival.blobs]
        if blobs:
            await self._retrying(partial(self._store.put, blobs, now_us))
        row = InboxRow(
            arrival.execution,
            arrival.input_id,
            tenant,
            shard_of(arrival.execution),
            str(arrival.given.__struct_config__.tag),
            encode_input(arrival.given),
            now_us,
        )
        await self._retrying(partial(self._store.post, row))
        self._done(arrival)

    async def _tenant_of(self, execution: str) -> str | None:
        """Return whose an execution is; None if there is none."""
        known = self._tenants.get(execution)
        if known is not None:
            return known
        row = await self._retrying(partial(self._store.execution, execution))
        if row is None:
            return None
        self._tenants[execution] = row.tenant
        if len(self._tenants) > TENANTS_KEPT:
            self._tenants.popitem(last=False)
        return str(row.tenant)
