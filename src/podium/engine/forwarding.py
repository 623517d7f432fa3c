"""Inputs that reached the wrong replica: they go to the inbox of their shard, and its owner is woken by that.

An agent is told that its result is recorded once the inbox has it: from then on no crash loses it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from podium.clock import Clock
from podium.engine.arrivals import Arrival
from podium.engine.changes import PLACING, Change, encode_changes
from podium.engine.codec import encode_input
from podium.engine.dispatch import Dispatcher
from podium.engine.intake import Intake
from podium.engine.waiting import WaitingRoom
from podium.exceptions import ExecutionNotFoundError, PodiumError, ShardMovedError, UnstorableError
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
        intake: Intake,
        dispatcher: Dispatcher,
        waiting_room: WaitingRoom,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
        reject: Callable[[Arrival, PodiumError], None],
    ) -> None:
        """`reject` is told of what no execution is there for."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._intake = intake
        self._dispatcher = dispatcher
        self._waiting_room = waiting_room
        self._spawn = spawn
        self._reject = reject
        self._waiting: list[Arrival] = []
        self._changes: list[Change] = []
        self._busy = False
        self._tenants: OrderedDict[str, str] = OrderedDict()
        self.delivered: Callable[[], None] = lambda: None  # told once one lies in its inbox, which may be ours by now

    def __len__(self) -> int:
        return len(self._waiting)

    def forward(self, arrival: Arrival) -> None:
        """An input of an execution that isn't ours goes to its owner soon, if nobody here or there has it already."""
        self._waiting_room.gone(arrival.execution)
        if arrival.inbox_id or arrival.renewable:  # it lies there already, or follows from the history
            self._intake.reject(arrival, _moved(arrival))
            self._dispatcher.confirm(arrival, accepted=True)
        elif arrival.waiter is not None or not arrival.agent:
            self._intake.reject(arrival, _moved(arrival))
        else:
            self._intake.known[arrival.key] = arrival
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
                    await self._intake.retrying(partial(self._store.post, row))
                await asyncio.gather(*(self._take_or_reject(arrival) for arrival in some))
        finally:
            self._busy = False

    async def _take_or_reject(self, arrival: Arrival) -> None:
        try:
            await self._take(arrival)
        except UnstorableError as error:
            self._reject(arrival, error)

    async def _take(self, arrival: Arrival) -> None:
        tenant = await self._tenant_of(arrival.execution)
        if tenant is None:
            self._reject(arrival, ExecutionNotFoundError(f"there is no execution {arrival.execution}"))
            return
        now_us = self._clock.now_us()
        blobs = [Blob(tenant, digest, content) for digest, content in arrival.blobs]
        if blobs:
            await self._intake.retrying(partial(self._store.put, blobs, now_us))
        row = InboxRow(
            arrival.execution,
            arrival.input_id,
            tenant,
            shard_of(arrival.execution),
            str(arrival.given.__struct_config__.tag),
            encode_input(arrival.given),
            now_us,
        )
        await self._intake.retrying(partial(self._store.post, row))
        self._intake.settle(arrival, [])
        self._dispatcher.confirm(arrival, accepted=True)
        self.delivered()

    async def _tenant_of(self, execution: str) -> str | None:
        """Return whose an execution is; None if there is none."""
        known = self._tenants.get(execution)
        if known is not None:
            return known
        row = await self._intake.retrying(partial(self._store.execution, execution))
        if row is None:
            return None
        self._tenants[execution] = row.tenant
        if len(self._tenants) > TENANTS_KEPT:
            self._tenants.popitem(last=False)
        return str(row.tenant)


def _moved(arrival: Arrival) -> ShardMovedError:
    return ShardMovedError(f"execution {arrival.execution} is another replica's now")
