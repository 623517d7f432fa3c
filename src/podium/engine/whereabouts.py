"""Where an execution is found that may not have begun: its start lies in the inbox, perhaps in the waiting room then,
and at last in the log.

One commit takes it from each of these to the next, and never back. Who looks into the log first and then where starts
lie may miss one that begins between the two looks: hence one function for everybody who asks whether there is an
execution.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec

from podium.engine import inputs as inp
from podium.engine.admission import waiting_room
from podium.engine.codec import decode_input
from podium.engine.definition import Definition
from podium.engine.shards import ALL_SHARDS
from podium.exceptions import CorruptHistoryError
from podium.ids import shard_of
from podium.store.protocol import ExecutionRow, InboxRow, Store
from podium.workflow.model import ExecutionStatus

START = "start"  # the id of the input by which an execution begins
_PAGE = 1_000
T = TypeVar("T")


async def recorded_or_posted(
    store: Store, execution: str, recorded: Callable[[], Awaitable[T | None]]
) -> T | InboxRow | None:
    """Return what `recorded` finds of an execution in the log; of one that hasn't begun its start's row; else None."""
    return await recorded() or await posted_input(store, execution) or await recorded()


async def posted_input(store: Store, execution: str, input_id: str = START) -> InboxRow | None:
    """Return an input that isn't recorded, from the inbox or from the room where starts wait; None if it is in neither.

    Both are read at once: what is moved has a larger id then, so that it isn't passed over either.
    """
    shard = shard_of(execution)
    after, places = 0, [shard, waiting_room(shard)]
    while rows := await store.inbox(places, after, _PAGE):
        for row in rows:
            if row.execution == execution and row.input_id == input_id:
                return row
        after = rows[-1].id
    return None


def waits_for_room(row: InboxRow) -> bool:
    """Whether a start's row lies in the waiting room."""
    return row.shard == waiting_room(shard_of(row.execution))


async def waiting_starts(store: Store, tenant: str) -> AsyncIterator[tuple[InboxRow, inp.Start]]:
    """Yield the starts of a tenant that wait for room, the oldest first; one that can't be read is left out."""
    after, rooms = 0, [waiting_room(shard) for shard in ALL_SHARDS]
    while rows := await store.inbox(rooms, after, _PAGE):
        for row in rows:
            try:
                given = decode_input(row.payload)
            except CorruptHistoryError:
                continue
            if row.tenant == tenant and isinstance(given, inp.Start):
                yield row, given
        after = rows[-1].id


def row_of_start(row: InboxRow, start: inp.Start, definition: Definition) -> ExecutionRow:
    """Return the row that an execution would have at its beginning, before any event."""
    priority = definition.workflow.config.priority if start.priority is None else start.priority
    by = {"schedule": start.schedule} if start.schedule else {}
    return ExecutionRow(
        id=row.execution, tenant=row.tenant, shard=shard_of(row.execution), workflow=start.workflow,
        version=start.version, definition=start.definition, status=ExecutionStatus.RUNNING, run=1, sequence=0,
        wake_at_us=None, active=False, created_us=row.posted_us, updated_us=row.posted_us, priority=priority,
        summary=msgspec.json.encode({"total": len(definition.tasks), **by}),
    )  # fmt: skip
