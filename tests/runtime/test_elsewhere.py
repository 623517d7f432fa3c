"""Agents elsewhere: what a bus may have lost is said again, and their silence, restarts and threads cost no more than
they must.
"""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from podium.engine.staffing import UNDELIVERED
from podium.fleet import messages as msg
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, RetryPolicy, Task, WorkflowConfig
from tests.runtime.support import ONE, Hand, crash, sound, start, until, virtual, workflow

FRAIL = workflow(*ONE.tasks, config=WorkflowConfig(max_crashes=1))


class Far(Hand):
    """An agent elsewhere, played by hand; one that renews leases, or a foreign one."""

    def __init__(self, renews: bool = True, slots: int = 1, agent: str = "hand-1") -> None:
        super().__init__(slots=slots, agent=agent)
        self.renews = renews

    @property
    def life(self) -> str:
        return f"{msg.REMOTE if self.renews else msg.FOREIGN}{self.incarnation}"

    def register(self) -> None:
        self.say(msg.Registration(self.agent, "hand", self.life, slots=self.slots, renews=self.renews))

    def renew(self, *attempts: str) -> None:
        self.say(msg.Renewal(self.agent, attempts))

    async def beat(self, *attempts: str, seconds: float, every: float = 5.0) -> None:
        """Say for so long that it lives."""
        until_s = virtual_loop().time() + seconds
        while virtual_loop().time() < until_s:
            self.renew(*attempts)
            await asyncio.sleep(every)


async def lost(store, execution) -> list[str]:
    return [row.input_id for row in await store.history(execution) if row.kind == "lost"]


@virtual
async def test_an_assignment_that_an_agent_which_renews_never_had_costs_no_crash():
    far = Far()
    engine, _, store = await start(hand=far)
    execution = await engine.submit(FRAIL)
    first = await far.assigned()
    beating = asyncio.create_task(far.beat(seconds=3_600))  # it lives, and knows nothing of the attempt
    await until(lambda: any(each.number == 2 for each in far.of(msg.Assignment)))
    assert await lost(store, execution) == [f"lost:{first.attempt}"]
    second = far.of(msg.Assignment)[-1]
    far.say(msg.Accepted(far.agent, second.attempt))
    far.succeed(second.attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    beating.cancel()
    await sound(store, engine)


@virtual
async def test_an_attempt_that_was_begun_and_whose_agent_falls_silent_is_a_crash():
    far = Far()
    engine, _, store = await start(hand=far)
    execution = await engine.submit(FRAIL)
    attempt = (await far.assigned()).attempt
    far.say(msg.Accepted(far.agent, attempt))
    assert await engine.finished(execution) is ExecutionStatus.FAILED
    assert await lost(store, execution) == [f"lost:{attempt}"]


@virtual
async def test_who_renews_an_attempt_has_it_though_its_acceptance_was_lost():
    far = Far()
    engine, _, _ = await start(hand=far)
    execution = await engine.submit(FRAIL)
    attempt = (await far.assigned()).attempt
    far.renew(attempt)
    assert await engine.finished(execution) is ExecutionStatus.FAILED  # it fell silent: not undelivered
    state = await engine.state_of(execution)
    assert state.tasks["a"].error is not None
    assert UNDELIVERED not in state.tasks["a"].error.message


@virtual
async def test_an_agent_whose_lease_ended_gets_nothing_until_it_is_heard_of():
    far = Far(slots=2)
    engine, _, store = await start(hand=far)
    execution = await engine.submit(workflow(Task(id="a", agent="hand", retry=RetryPolicy(max_attempts=3))))
    attempt = (await far.assigned()).attempt
    far.say(msg.Accepted(far.agent, attempt))
    await until(lambda: not len(engine.staffing.leases))
    await asyncio.sleep(120)
    assert {each.number for each in far.of(msg.Assignment)} == {1}
    far.renew()
    await until(lambda: any(each.number == 2 for each in far.of(msg.Assignment)), 5)
    far.succeed(far.of(msg.Assignment)[-1].attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_suspended_agent_gets_nothing_until_it_is_heard_of():
    far = Far()
    engine, _, store = await start(hand=far)
    engine.suspend(far.agent)
    execution = await engine.submit(ONE)
    await asyncio.sleep(60)
    assert far.of(msg.Assignment) == []
    far.renew()
    far.succeed((await far.assigned()).attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@pytest.mark.parametrize("renews", [True, False], ids=["renews", "foreign"])
@virtual
async def test_what_an_agent_never_heard_is_said_again_while_it_lives(renews):
    far = Far(renews)
    engine, _, store = await start(hand=far)
    execution = await engine.submit(FRAIL)
    first = await far.assigned()
    beating = asyncio.create_task(far.beat(seconds=3_600))
    again = await far.assigned(2)
    assert again.attempt == first.attempt
    assert virtual_loop().time() < (15 if renews else 60)
    far.say(msg.Accepted(far.agent, first.attempt))
    said = len(far.of(msg.Assignment))
    await far.beat(first.attempt, seconds=300)
    assert len(far.of(msg.Assignment)) == said  # it said that it has it
    far.succeed(first.attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    beating.cancel()
    assert await lost(store, execution) == []
    await sound(store, engine)


@virtual
async def test_reminding_a_foreign_agent_that_is_gone_keeps_no_lease_alive():
    far = Far(renews=False)
    engine, _, _ = await start(hand=far)
    execution = await engine.submit(FRAIL)
    await far.assigned()
    assert await engine.finished(execution) is ExecutionStatus.FAILED
    assert 55 < virtual_loop().time() < 70


@virtual
async def test_any_word_of_a_foreign_agent_renews_what_it_has():
    far = Far(renews=False)
    engine, _, store = await start(hand=far)
    execution = await engine.submit(FRAIL)
    attempt = (await far.assigned()).attempt
    far.say(msg.Accepted(far.agent, attempt))
    await far.beat(seconds=900, every=50)
    assert await lost(store, execution) == []
    far.succeed(attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_in_doubt_is_what_was_not_accepted_and_of_foreign_agents_everything():
    far = Far(slots=2)
    engine, _, _ = await start(hand=far)
    await engine.submit(ONE)
    await engine.submit(ONE)
    has, hasnt = (await far.assigned()).attempt, (await far.assigned(2)).attempt
    far.say(msg.Accepted(far.agent, has))
    far.told.clear()
    engine.doubt_deliveries()
    await until(lambda: far.told, 1)
    assert [each.attempt for each in far.of(msg.Assignment)] == [hasnt]
    far.told.clear()
    engine.doubt_deliveries("somebody-else")
    await asyncio.sleep(1)
    assert far.told == []


@virtual
async def test_agents_of_the_process_itself_are_never_in_doubt():
    engine, hand, _ = await start()
    await engine.submit(ONE)
    await hand.assigned()
    engine.doubt_deliveries()
    await asyncio.sleep(1)
    assert len(hand.of(msg.Assignment)) == 1


@virtual
async def test_while_nobody_can_be_heard_no_lease_ends():
    far = Far()
    engine, _, store = await start(hand=far)
    execution = await engine.submit(FRAIL)
    attempt = (await far.assigned()).attempt
    far.say(msg.Accepted(far.agent, attempt))
    engine.staffing.reachable = lambda: False
    await asyncio.sleep(300)
    engine.staffing.reachable = lambda: True
    far.renew(attempt)
    assert await lost(store, execution) == []
    far.succeed(attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_what_agents_elsewhere_have_outlives_the_orchestrator():
    far = Far()
    engine, _, store = await start(hand=far)
    execution = await engine.submit(FRAIL)
    attempt = (await far.assigned()).attempt
    far.say(msg.Accepted(far.agent, attempt))
    await crash(engine)
    after = Far()
    engine, _, store = await start(store.reopen(), after)
    await asyncio.sleep(1)
    assert await lost(store, execution) == []
    assert engine.staffing.held_as(after.agent) == after.life
    assert not engine.staffing.live_here
    after.succeed(attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


# --- threads that outlive their attempts -----------------------------------------------------------------------------


async def with_stuck_thread() -> tuple:
    far = Far()
    engine, _, store = await start(hand=far)
    execution = await engine.submit(ONE)
    attempt = (await far.assigned()).attempt
    far.fail(attempt, timed_out=True, holds_slot=True)
    await engine.finished(execution)
    return far, engine, store, attempt


@virtual
async def test_a_slot_that_a_thread_holds_is_believed_while_it_is_renewed():
    far, engine, store, attempt = await with_stuck_thread()
    await far.beat(attempt, seconds=120)
    assert engine.staffing.placement.held() == 1
    far.say(msg.Freed(far.agent, attempt))
    assert engine.staffing.placement.held() == 0
    await sound(store, engine)


@virtual
async def test_a_slot_whose_freeing_was_lost_comes_back_when_it_isnt_renewed():
    far, engine, store, attempt = await with_stuck_thread()
    await far.beat(attempt, seconds=20)
    await far.beat(seconds=20)  # its thread has returned; nobody heard that
    assert engine.staffing.placement.held() == 0
    execution = await engine.submit(ONE)
    far.succeed((await far.assigned(2)).attempt)
    await engine.finished(execution)
    await sound(store, engine)


@virtual
async def test_an_agent_cannot_speak_of_another_ones_attempt():
    far = Far()
    engine, _, store = await start(hand=far)
    told: list[tuple[str, str, str]] = []
    engine.unusable = lambda agent, attempt, why: told.append((agent, attempt, why))
    execution = await engine.submit(ONE)
    attempt = (await far.assigned()).attempt
    engine.receive(msg.Succeeded("thief", attempt, Raw(b'"stolen"')))
    engine.receive(msg.Renewal("thief", (attempt,)))
    assert [(agent, of) for agent, of, _ in told] == [("thief", attempt)]
    assert "that agent hand-1 has" in told[0][2]
    assert engine.staffing.leases.get(attempt) is not None
    far.succeed(attempt, "mine")
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    result = (await engine.state_of(execution)).tasks["a"].result
    assert result is not None
    assert bytes(result.json) == b'"mine"'
    await sound(store, engine)


@virtual
async def test_results_of_attempts_that_nobody_knows_are_handed_to_who_sets_them_aside():
    far = Far()
    engine, _, _store = await start(hand=far)
    told: list[tuple[str, str]] = []
    engine.unusable = lambda agent, attempt, why: told.append((attempt, why))
    execution = await engine.submit(ONE)
    known = (await far.assigned()).attempt
    nobodys = f"{execution}:1:other:1"
    for unknown in (nobodys, "no-execution:1:a:1", "nonsense"):
        engine.receive(msg.Succeeded(far.agent, unknown, Raw(b"1")))
    await until(lambda: len(told) == 3)
    assert dict(told)[nobodys] == "no such attempt"
    assert "there is no execution" in dict(told)["no-execution:1:a:1"]
    assert "is not an attempt's id" in dict(told)["nonsense"]
    far.succeed(known)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
