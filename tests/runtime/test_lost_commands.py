"""Commands that were committed and never left: they follow from the history again."""

from __future__ import annotations

import asyncio

import pytest

from podium.engine import inputs as inp
from podium.exceptions import PodiumError
from podium.fleet import messages as msg
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, WorkflowConfig
from tests.runtime.support import ONE, Hand, crash, sound, start, virtual, workflow

FRAIL = workflow(*ONE.tasks, config=WorkflowConfig(max_crashes=1))


@virtual
async def test_an_assignment_whose_commit_was_of_unknown_outcome_is_sent_and_costs_no_attempt():
    engine, hand, store = await start()
    store.lying = 1
    with pytest.raises(PodiumError):
        await engine.submit(FRAIL, submission_id="x")
    execution = await engine.submit(FRAIL, submission_id="x")
    assignment = await hand.assigned()
    assert assignment.number == 1
    assert virtual_loop().time() < 5
    hand.succeed(assignment.attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_an_assignment_that_died_with_its_orchestrator_is_sent_by_the_next_to_an_agent_that_lives():
    engine, hand, store = await start(agents_end_with_process=False)
    execution = await engine.submit(FRAIL)
    first = await hand.assigned()
    await crash(engine)
    again = Hand()
    engine, hand, store = await start(store.reopen(), again, agents_end_with_process=False)
    assert (await hand.assigned()).attempt == first.attempt
    hand.succeed(first.attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_cancel_that_died_with_its_orchestrator_is_said_again():
    engine, hand, store = await start(agents_end_with_process=False)
    execution = await engine.submit(ONE)
    attempt = (await hand.assigned()).attempt
    await engine.command(execution, inp.Cancel())
    await crash(engine)
    engine, hand, store = await start(store.reopen(), Hand(), agents_end_with_process=False)
    await asyncio.sleep(1)
    assert [m.attempt for m in hand.of(msg.Cancel)] == [attempt]
    assert hand.of(msg.Assignment) == []
