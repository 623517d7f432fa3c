"""An attempt is called lost only after a look into the inbox, where its end may lie: another replica has heard it."""

from __future__ import annotations

import asyncio

from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival
from podium.engine.codec import encode_input
from podium.engine.values import value_of
from podium.fleet import messages as msg
from podium.ids import shard_of
from podium.store.protocol import InboxRow
from tests.runtime.replicas import Cluster, Member, Process
from tests.runtime.support import ONE, until, virtual

QUICK_LEASES = {"lease_seconds": 3.0, "lease_check_seconds": 0.5}  # shorter than the time between looks


def result(execution: str, attempt: str) -> InboxRow:
    """Return a result as another replica puts it into the inbox."""
    given = inp.Succeeded("a", 1, value_of(b"1")[0])
    row_id = f"succeeded:{attempt}"
    return InboxRow(execution, row_id, "default", shard_of(execution), "succeeded", encode_input(given), 0)


async def at_work(cluster: Cluster) -> tuple[Process, Member, str, str]:
    """Return a replica, an agent and the execution and attempt that it has."""
    cluster.settings = QUICK_LEASES
    one = await cluster.start()
    await cluster.balanced()
    member = cluster.join("hand-1", working=False)
    (execution,) = await cluster.submit(ONE)
    await until(lambda: member.live)
    (attempt,) = member.live
    await asyncio.sleep(0.5)  # the inbox was looked into, and is looked into again after five seconds
    return one, member, execution, attempt


def forgotten(member: Member, attempt: str) -> None:
    """The agent has done this, says nothing more of it, and knows copies of it."""
    del member.live[attempt]
    member.done.append(attempt)


async def posted_unheard(cluster: Cluster, one: Process, row: InboxRow) -> None:
    """Write into the inbox; the wake-up is lost."""
    cluster.store._data.unlisten(one.store)
    assert await cluster.store.reopen().post(row)


async def lost(one: Process, execution: str) -> list[str]:
    """Return the inputs by which attempts were lost."""
    return [row.input_id for row in await one.store.history(execution) if row.kind == "lost"]


@virtual
async def test_a_result_that_lies_unread_in_the_inbox_is_found_before_its_lease_ends():
    async with Cluster() as cluster:
        one, member, execution, attempt = await at_work(cluster)
        forgotten(member, attempt)  # it was told that its result is recorded, and says no more of it
        await posted_unheard(cluster, one, result(execution, attempt))
        one.engine.receive(msg.Renewal("hand-1", ()))
        await cluster.ended([execution], 30)
        assert await lost(one, execution) == []


@virtual
async def test_a_result_that_lies_unread_in_the_inbox_is_found_before_its_agent_is_gone():
    async with Cluster() as cluster:
        one, member, execution, attempt = await at_work(cluster)
        forgotten(member, attempt)
        await posted_unheard(cluster, one, result(execution, attempt))
        one.engine.receive(msg.Left("hand-1", f"{msg.REMOTE}1"))
        await cluster.ended([execution], 30)
        assert await lost(one, execution) == []


@virtual
async def test_an_attempt_of_which_nothing_lies_in_the_inbox_is_lost():
    async with Cluster() as cluster:
        one, member, execution, attempt = await at_work(cluster)
        forgotten(member, attempt)
        member.working = True
        await cluster.ended([execution], 60)
        assert len(await lost(one, execution)) == 1


@virtual
async def test_a_result_that_was_forwarded_into_our_own_inbox_is_read_at_once():
    async with Cluster() as cluster:
        one, member, execution, attempt = await at_work(cluster)
        forgotten(member, attempt)
        cluster.store._data.unlisten(one.store)
        row = result(execution, attempt)
        arrival = Arrival(
            execution, row.input_id, inp.Succeeded("a", 1, value_of(b"1")[0]), agent="hand-1", attempt=attempt
        )
        one.engine._intake.known[arrival.key] = arrival
        assert await cluster.store.reopen().post(row)
        one.engine.look_into_inbox()
        await until(lambda: one.engine._loader._twice)
        forwarding = one.engine._parts.forwarding
        before = asyncio.get_running_loop().time()
        await forwarding._take(arrival)  # it was on its way there when the shard came to us
        await cluster.ended([execution], 30)
        assert asyncio.get_running_loop().time() - before < 1.0
        assert await lost(one, execution) == []
