"""An agent that is started anew while its executions have no owner, or while a grant to its earlier life is written."""

from __future__ import annotations

import asyncio

from podium.engine import events as ev
from podium.engine.codec import decode_row
from podium.fleet import messages as msg
from podium.workflow.model import ExecutionStatus
from tests.runtime.replicas import Cluster, Member
from tests.runtime.support import ONE, sound, start, until, virtual

SOON_SECONDS = 8.0  # a replica's lease and a little; an attempt's is longer


def start_anew(member: Member) -> None:
    """Have another process be this agent: it knows nothing of what the one before had."""
    member.incarnation += 1
    member.live.clear()
    member.register()


async def lost(store, execution: str) -> list[str]:
    rows = await store.history(execution)
    events = [event for row in rows for event in decode_row(row)[1]]
    return [event.error.message for event in events if isinstance(event, ev.AttemptFailed)]


@virtual
async def test_what_an_agent_had_before_it_was_started_anew_is_lost_as_soon_as_its_execution_has_an_owner_again():
    async with Cluster() as cluster:
        one, _ = await cluster.start(), await cluster.start()
        await cluster.balanced()
        member = cluster.join("hand-1", working=False)
        executions = await cluster.submit(ONE, 4)
        await until(lambda: len(member.live) == 4)
        theirs = [each for each in executions if one.engine.owns(each)]
        assert theirs
        await cluster.kill(one)
        start_anew(member)  # while nobody has them
        member.working = True
        began = asyncio.get_running_loop().time()
        await cluster.ended(executions)
        assert asyncio.get_running_loop().time() - began < SOON_SECONDS
        for execution in theirs:
            assert await lost(cluster.store, execution) == ["agent hand-1 was started anew"]
        await sound(cluster.store)


@virtual
async def test_a_grant_to_an_agent_that_is_started_anew_before_it_is_committed_is_lost_at_once():
    engine, hand, store = await start()
    store.gate.clear()
    submitting = asyncio.create_task(engine.submit(ONE))
    await until(lambda: engine.placing.placement.held())
    hand.incarnation += 1
    hand.register()
    store.gate.set()
    execution = await submitting
    assignment = await hand.assigned()
    assert assignment.number == 2
    assert await lost(store, execution) == ["agent hand-1 was started anew"]
    hand.succeed(assignment.attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    assert [each.number for each in hand.of(msg.Assignment)] == [2]
    await sound(store, engine)
    await engine.stop()
