"""What a schedule puts into inboxes: starts of its firings, and cancels of executions that a firing follows.

Their ids follow from the schedule and the time: whoever puts one there again, or beside somebody else, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from msgspec import Raw

from podium.engine import inputs as inp
from podium.engine.codec import encode_input
from podium.engine.values import NULL, Value
from podium.engine.whereabouts import START
from podium.ids import shard_of
from podium.scheduling.schedules import Beginning, Firing, Following, Schedule
from podium.store.protocol import InboxRow, Store


async def post_starts(store: Store, schedule: Schedule, firings: Iterable[Firing], now_us: int) -> None:
    """Put the starts of firings into the inboxes of their executions."""
    for firing in firings:
        await store.post(start_of(schedule, firing, now_us))


def start_of(schedule: Schedule, firing: Firing, now_us: int) -> InboxRow:
    """Return the start of a firing."""
    beginning, submission = schedule.beginning, schedule.submission_of(firing)
    seed = int.from_bytes(sha256(submission.encode()).digest()[:8]) >> 11  # 53 bits, as of other starts
    start = inp.Start(
        beginning.workflow, beginning.version, beginning.definition, seed, _input_of(beginning), beginning.bindings,
        beginning.priority, beginning.timeout_seconds, schedule=schedule.name,
    )  # fmt: skip
    return _row(schedule, schedule.execution_of(firing), START, start, now_us)


def cancel_of(schedule: Schedule, one: Following, now_us: int) -> InboxRow:
    """Return the cancel of an execution that makes way for a firing."""
    given = inp.Cancel(f"the schedule {schedule.name} has fired again")
    return _row(schedule, one.execution, one.cancelled_by, given, now_us)


def _row(schedule: Schedule, execution: str, input_id: str, given: inp.Input, now_us: int) -> InboxRow:
    kind = str(given.__struct_config__.tag)
    return InboxRow(execution, input_id, schedule.tenant, shard_of(execution), kind, encode_input(given), now_us)


def _input_of(beginning: Beginning) -> Value:
    if beginning.input_blob is not None:
        return Value(blob=beginning.input_blob, size=beginning.input_size)
    return NULL if beginning.input == "null" else Value(json=Raw(beginning.input.encode()))
