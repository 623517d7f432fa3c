"""A process that isn't the owner: it writes to the inbox and awaits the log."""

from __future__ import annotations

import asyncio

import pytest

from podium.app import Podium
from podium.engine.codec import encode_input
from podium.engine.inputs import Signal
from podium.exceptions import ConflictError
from podium.ids import IdSource, shard_of
from podium.settings import Settings
from podium.store.logs import MemoryLogs
from podium.store.protocol import InboxRow
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, WorkflowConfig
from tests.runtime.support import ONE, Hand, start, virtual, workflow


class TakenLock:
    """A lock that another process has."""

    def try_acquire(self) -> bool:
        return False

    def holder(self) -> None:
        return None

    def release(self) -> None:
        """There is nothing to let go."""


def guest_of(store) -> Podium:
    clock, lock = virtual_loop().clock, TakenLock()
    ids = IdSource(clock, virtual_loop().chance)
    return Podium(Settings(), store.reopen(), MemoryLogs(), lock=lock, clock=clock, ids=ids, elsewhere=True)  # type: ignore[arg-type]


@virtual
async def test_a_guests_start_is_run_by_the_owner():
    engine, _, store = await start(hand=Hand(auto=True), inbox_poll_seconds=0.1)
    posting = asyncio.create_task(guest_of(store).submit(ONE, submission_id="x"))
    await asyncio.sleep(0.1)
    engine.look_into_inbox()
    assert await engine.finished(await posting) is ExecutionStatus.COMPLETED


@virtual
async def test_a_guests_submission_whose_id_stands_for_another_one_is_refused():
    engine, _, store = await start(hand=Hand(auto=True), inbox_poll_seconds=0.1)
    guest = guest_of(store)
    first = await guest.submit(ONE, {"a": 1}, submission_id="x")
    assert await guest.submit(ONE, {"a": 1}, submission_id="x") == first
    with pytest.raises(ConflictError, match="used before, with another workflow or another input"):
        await guest.submit(ONE, {"a": 2}, submission_id="x")
    assert await engine.finished(first) is ExecutionStatus.COMPLETED


@virtual
async def test_a_guest_whose_start_is_over_a_limit_is_told_so_instead_of_waiting_for_ever():
    limited = workflow(*ONE.tasks, name="limited", config=WorkflowConfig(max_concurrent_executions=1))
    engine, _, store = await start()
    await engine.submit(limited)
    posting = asyncio.create_task(guest_of(store).submit(limited, submission_id="x"))
    await asyncio.sleep(0.1)
    engine.look_into_inbox()
    async with asyncio.timeout(60):
        with pytest.raises(ConflictError, match="the owner refused the start"):
            await posting


@virtual
async def test_a_flood_of_inputs_in_the_inbox_waits_on_the_disk_and_all_are_recorded():
    engine, _, store = await start(max_arrivals=10, inbox_poll_seconds=0.1)
    execution = await engine.submit(ONE)
    other = store.reopen()
    ids = [(execution, f"signal:{number}") for number in range(1_200)]
    for _, input_id in ids:
        given = encode_input(Signal(input_id))
        await other.post(InboxRow(execution, input_id, "default", shard_of(execution), "signal", given, 0))
    longest = 0
    engine.look_into_inbox()
    while len(await other.recorded(ids)) < len(ids):
        longest = max(longest, len(engine._intake.queue))
        await asyncio.sleep(0.01)
    assert longest <= 510  # a page of the inbox above the limit
    assert await other.inbox([shard_of(execution)], 0, 10) == []
