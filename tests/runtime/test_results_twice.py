"""A result that comes two ways, from its agent and by the inbox from another replica: whoever brought it is told."""

from __future__ import annotations

import asyncio

from msgspec import Raw

from podium.engine import inputs as inp
from podium.engine.codec import encode_input
from podium.engine.values import value_of
from podium.fleet import messages as msg
from podium.ids import shard_of
from podium.store.protocol import InboxRow
from podium.workflow.model import ExecutionStatus
from tests.runtime.replicas import Cluster, Fleet
from tests.runtime.support import ONE, sound, start, until, virtual


class Told:
    """Writes down what is said to agents, and says it."""

    def __init__(self, carrier: Fleet) -> None:
        self.messages: list[msg.ToAgent] = []
        self._carrier = carrier

    def send(self, agent: str, message: msg.ToAgent) -> None:
        self.messages.append(message)
        self._carrier.send(agent, message)


async def posted(store, execution: str, attempt: str) -> str:
    """Write a result into the inbox, as a replica does that doesn't own its execution; return the input's id."""
    given = inp.Succeeded("a", 1, value_of(b"1")[0])
    input_id = f"succeeded:{attempt}"
    row = InboxRow(execution, input_id, "default", shard_of(execution), "succeeded", encode_input(given), 0)
    assert await store.post(row)
    return input_id


@virtual
async def test_an_agent_whose_result_is_under_way_from_the_inbox_is_told_once_it_is_recorded():
    engine, hand, store = await start()
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    store.gate.clear()
    input_id = await posted(store, execution, attempt)
    engine.look_into_inbox()
    await until(lambda: (execution, input_id) in engine._intake.known)
    hand.succeed(attempt)
    await asyncio.sleep(1)
    assert not hand.of(msg.Confirmation)
    store.gate.set()
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await until(lambda: hand.of(msg.Confirmation) == [msg.Confirmation(attempt, True)], 10)
    await sound(store, engine)
    await engine.stop()


@virtual
async def test_an_agent_whose_result_lies_in_the_inbox_of_a_shard_that_goes_away_is_told():
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        member = cluster.join("hand-1", working=False)
        (execution,) = await cluster.submit(ONE)
        await until(lambda: member.live)
        (attempt,) = member.live
        one.store.gate.clear()
        releasing = asyncio.create_task(one.engine.release(one.engine.owned))
        await asyncio.sleep(0)
        input_id = await posted(one.store, execution, attempt)
        one.engine.look_into_inbox()
        await until(lambda: (execution, input_id) in one.engine._intake.known)
        told = Told(cluster.fleet)
        one.engine._parts.dispatcher._carrier = told
        one.engine.receive(msg.Succeeded("hand-1", attempt, Raw(b"1")))
        one.store.gate.set()
        await releasing
        await until(lambda: msg.Confirmation(attempt, True) in told.messages, 10)
        await cluster.ended([execution])
