"""Document 004's fault tolerance at work: circuit breakers of agents, and tasks for which no agent comes."""

from __future__ import annotations

import asyncio

import pytest

from podium.engine import inputs as inp
from podium.engine.allocation import ALLOCATION_TIMEOUT
from podium.fleet import messages as msg
from podium.testing.virtual import virtual_loop
from podium.workflow.model import (
    CircuitBreaker,
    ExecutionStatus,
    FailureAction,
    FaultTolerance,
    OnFailure,
    RetryPolicy,
    Task,
    WorkflowConfig,
)
from tests.runtime.replicas import Cluster
from tests.runtime.support import ONE, Hand, crash, sound, start, status, until, virtual, workflow

BREAKER = CircuitBreaker(failure_threshold=3, timeout_seconds=30.0)
PATIENT = workflow(Task(id="a", agent="hand", retries=5), name="patient")


class Far(Hand):
    """An agent elsewhere."""

    def register(self) -> None:
        self.say(msg.Registration(self.agent, "hand", f"{msg.REMOTE}{self.incarnation}", slots=self.slots))


# --- circuit breakers ------------------------------------------------------------------------------------------------


def alive(hand: Hand) -> asyncio.Task[None]:
    """Have an agent say all along that it lives, with everything that it was ever given."""

    async def beat() -> None:
        while True:
            hand.say(msg.Renewal(hand.agent, tuple(each.attempt for each in hand.of(msg.Assignment))))
            await asyncio.sleep(5)

    return asyncio.create_task(beat())


async def crashed(hand: Hand, times: int) -> None:
    """Have the newest attempts of so many tasks crash, one after the other."""
    for number in range(times):
        hand.fail((await hand.assigned(number + 1)).attempt, "died", crashed=True)


@virtual
async def test_an_agent_at_which_tasks_crash_in_a_row_gets_one_trial_after_the_time_out():
    far = Far()
    engine, _, store = await start(hand=far, circuit_breaker=BREAKER)
    beating = alive(far)
    executions = [await engine.submit(workflow(Task(id="a", agent="hand"), name=f"w{n}")) for n in range(3)]
    await crashed(far, 3)
    await until(lambda: engine.placing.circuits.states()["open"] == 1, 5)
    before = virtual_loop().time()
    await until(lambda: len(far.of(msg.Assignment)) > 3)
    assert virtual_loop().time() - before > 25  # though their next attempts were due after a second or two
    trial = far.of(msg.Assignment)[3]
    await asyncio.sleep(20)
    assert len(far.of(msg.Assignment)) == 4
    assert engine.placing.circuits.states()["half_open"] == 1
    waiting = next(e for e in executions if not trial.attempt.startswith(e))
    assert "3 tasks in a row failed at agent hand-1" in engine.placing.placement.why(waiting, "a")
    far.succeed(trial.attempt)
    await until(lambda: len(far.of(msg.Assignment)) == 6, 5)
    for assigned in far.of(msg.Assignment)[4:]:
        far.succeed(assigned.attempt)
    for execution in executions:
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    beating.cancel()
    await sound(store, engine)


@virtual
async def test_errors_that_functions_raise_open_nothing():
    far = Far()
    engine, _, store = await start(hand=far, circuit_breaker=BREAKER)
    executions = [await engine.submit(ONE) for _ in range(10)]
    for number in range(10):
        far.fail((await far.assigned(number + 1)).attempt)
    for execution in executions:
        assert await engine.finished(execution) is ExecutionStatus.FAILED
    assert engine.placing.circuits.states()["closed"] == 1
    await sound(store, engine)


@virtual
async def test_a_process_that_dies_with_its_tasks_and_comes_back_each_time_is_left_alone():
    far = Far(slots=1)
    engine, _, _ = await start(hand=far, circuit_breaker=BREAKER)
    for _ in range(5):
        await engine.submit(PATIENT)
    for number in range(3):
        await far.assigned(number + 1)
        far.incarnation += 1
        far.register()  # whatever it held is lost
    await asyncio.sleep(15)
    far.register()
    assert len(far.of(msg.Assignment)) == 3
    assert engine.placing.circuits.states()["open"] == 1


@virtual
async def test_a_workflows_own_breaker_holds_for_agents_of_this_process_too():
    tight = FaultTolerance(circuit_breaker=CircuitBreaker(1, 60))
    strict = workflow(Task(id="a", agent="hand", timeout=1, retries=5), name="strict", fault_tolerance=tight)
    engine, hand, _ = await start(circuit_breaker=BREAKER)
    beating = alive(hand)
    await engine.submit(strict)
    await hand.assigned()
    await until(lambda: hand.of(msg.Cancel), 5)  # its time ran out
    before = virtual_loop().time()
    await asyncio.sleep(30)
    assert len(hand.of(msg.Assignment)) == 1
    other = await engine.submit(ONE)
    assert (await hand.assigned(2)).execution == other
    await until(lambda: len(hand.of(msg.Assignment)) == 3)
    assert 55 < virtual_loop().time() - before < 65
    beating.cancel()


@virtual
async def test_what_another_replica_decides_opens_the_leaders_breaker():
    cluster = Cluster()
    cluster.settings = {"circuit_breaker": BREAKER}
    async with cluster:
        for _ in range(2):
            await cluster.start()
        await cluster.balanced()
        cluster.join("hand-1", working=False, slots=10)
        other = next(each for each in cluster.processes if not each.engine.leads)
        for _ in range(3):
            await other.engine.submit(ONE)
        member = cluster.fleet.members["hand-1"]
        await until(lambda: len(member.live) == 3, 30)
        for attempt in list(member.live):
            del member.live[attempt]
            cluster.fleet.result(msg.Failed("hand-1", attempt, msg.ErrorInfo("WorkerDied", "x"), crashed=True))
        await until(lambda: cluster.leader.engine.placing.circuits.states()["open"] == 1, 30)


# --- no agent comes --------------------------------------------------------------------------------------------------


@virtual
async def test_a_task_without_any_agent_fails_after_the_allocation_time_out_and_says_why():
    engine, _, store = await start(register=False, allocation_timeout_seconds=300)
    before = virtual_loop().time()
    execution = await engine.submit(ONE)
    assert await engine.finished(execution) is ExecutionStatus.FAILED
    assert 300 <= virtual_loop().time() - before < 310
    state = await engine.state_of(execution)
    error = state.tasks["a"].error
    assert error is not None
    assert (error.type, error.retryable) == (ALLOCATION_TIMEOUT, True)
    assert error.message.startswith("no agent of type hand is registered, for 5m")
    await sound(store, engine)


@virtual
async def test_each_retry_waits_anew_and_an_agent_that_comes_meanwhile_gets_it():
    engine, hand, store = await start(register=False, allocation_timeout_seconds=300)
    execution = await engine.submit(workflow(Task(id="a", agent="hand", retry=RetryPolicy(max_attempts=3))))
    await asyncio.sleep(500)
    hand.register()
    assigned = await hand.assigned()
    assert assigned.number == 2
    hand.succeed(assigned.attempt)
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_what_on_failure_says_is_done():
    engine, hand, store = await start(allocation_timeout_seconds=300)
    execution = await engine.submit(
        workflow(
            Task(id="a", agent="nobody", on_failure=OnFailure(FailureAction.FALLBACK, "b")),
            Task(id="b", agent="hand"),
        )
    )
    hand.succeed((await hand.assigned()).attempt, "instead")
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store, engine)


@virtual
async def test_a_task_that_waits_behind_others_is_not_concerned():
    engine, hand, store = await start(hand=Hand(slots=1), allocation_timeout_seconds=300)
    beating = alive(hand)
    executions = [await engine.submit(ONE) for _ in range(2)]
    await asyncio.sleep(5_000)
    for number in (1, 2):
        hand.succeed((await hand.assigned(number)).attempt)
    for execution in executions:
        assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    beating.cancel()
    await sound(store, engine)


@virtual
async def test_after_a_take_over_agents_have_the_whole_time_to_come_back():
    engine, _, store = await start(register=False, allocation_timeout_seconds=300)
    execution = await engine.submit(ONE)
    await asyncio.sleep(290)
    await crash(engine)
    engine, _, store = await start(store.reopen(), register=False, allocation_timeout_seconds=300)
    await asyncio.sleep(290)
    assert await status(store, execution) is ExecutionStatus.RUNNING
    assert await engine.finished(execution) is ExecutionStatus.FAILED


@pytest.mark.parametrize("seconds", [0.0, 300.0])
@virtual
async def test_a_paused_execution_and_one_without_the_setting_wait_for_ever(seconds):
    engine, _, store = await start(register=False, allocation_timeout_seconds=seconds)
    execution = await engine.submit(ONE)
    if seconds:
        await asyncio.sleep(200)
        await engine.command(execution, inp.Pause())
    await asyncio.sleep(2_000)
    assert await status(store, execution) is (ExecutionStatus.PAUSED if seconds else ExecutionStatus.RUNNING)
    if seconds:
        await engine.command(execution, inp.Resume())
        await asyncio.sleep(290)
        assert await status(store, execution) is ExecutionStatus.RUNNING
        assert await engine.finished(execution) is ExecutionStatus.FAILED


@virtual
async def test_the_replica_that_places_decides_for_the_executions_of_all():
    cluster = Cluster()
    cluster.settings = {"allocation_timeout_seconds": 60.0}
    async with cluster:
        for _ in range(2):
            await cluster.start()
        await cluster.balanced()
        executions = await cluster.submit(workflow(Task(id="a", agent="hand"), config=WorkflowConfig()), 6)
        rows = cluster.store._data.executions
        await until(lambda: all(rows[e].status == ExecutionStatus.FAILED for e in executions), 120)
        await sound(cluster.store)
        recorded = [row.input_id for e in executions for row in await cluster.store.history(e)]
        assert len([each for each in recorded if each.startswith("unplaced:")]) == len(executions)
