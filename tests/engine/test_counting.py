"""What an engine counts, on virtual time: tasks, executions, lost attempts, the queue, slots and leases."""

from typing import Any

from podium.engine import inputs as inp
from podium.engine.counting import EngineCounting, MeasuredPlacement
from podium.engine.recovery import inline
from podium.engine.runtime import Engine, EngineSettings
from podium.ids import IdSource
from podium.telemetry.metrics import Metrics
from podium.testing.virtual import virtual_loop
from podium.workflow.model import CircuitBreaker, ExecutionStatus, FaultTolerance, Task
from tests.runtime.support import ONE, TWO, Hand, UnreliableStore, until, virtual, workflow


async def counted(auto: bool = False, slots: int = 10, **settings: Any) -> tuple[Engine, Hand, Metrics, EngineCounting]:
    """An engine that is counted, with an agent of type `hand`."""
    loop, hand, metrics = virtual_loop(), Hand(auto, slots), Metrics()
    engine = Engine(
        UnreliableStore(), hand, clock=loop.clock, ids=IdSource(loop.clock, loop.chance), offload=inline,
        placement=MeasuredPlacement(metrics, loop.clock), settings=EngineSettings(**settings),
    )  # fmt: skip
    hand.engine = engine
    counting = EngineCounting(engine, metrics, loop.clock)
    counting.begin()
    counting.begin()
    await engine.start()
    hand.register()
    return engine, hand, metrics, counting


@virtual
async def test_tasks_and_executions_are_counted_by_how_they_ended() -> None:
    engine, hand, metrics, _ = await counted(auto=True)
    for _ in range(3):
        assert await engine.finished(await engine.submit(TWO)) is ExecutionStatus.COMPLETED
    hand.auto = False
    failing = await engine.submit(ONE)
    hand.fail((await hand.assigned(7)).attempt)
    assert await engine.finished(failing) is ExecutionStatus.FAILED
    cancelled = await engine.submit(ONE)
    await hand.assigned(8)
    await engine.command(cancelled, inp.Cancel("", force=True))
    assert metrics.values("podium_tasks_total")[("completed",)] == 6
    assert metrics.values("podium_tasks_total")[("failed",)] == 1
    assert metrics.values("podium_executions_ended_total") == {("completed",): 3, ("failed",): 1, ("cancelled",): 1}
    assert metrics.values("workflow_completion_rate") == {(): 0.75}
    assert metrics.values("coordination_latency") == {(): 7}
    assert metrics.values("podium_grants_total") == {(): 8}
    assert metrics.values("planning_time")[()] >= 1
    await engine.stop()


@virtual
async def test_what_waits_and_what_is_held_is_shown_as_it_is() -> None:
    engine, hand, metrics, counting = await counted(slots=1)
    await engine.submit(workflow(Task(id="a", agent="hand"), Task(id="b", agent="hand")))
    await hand.assigned()
    await until(lambda: metrics.values("podium_queue_length") == {(): 1})
    assert metrics.values("podium_slots") == {("taken",): 1, ("free",): 0}
    assert metrics.values("podium_leases") == {(): 1}
    assert metrics.values("podium_executions") == {("running",): 1}
    counting.end()
    counting.end()
    assert metrics.values("podium_leases") == {}
    assert engine.landed == []
    await engine.stop()


@virtual
async def test_an_attempt_whose_lease_ends_is_counted_as_lost() -> None:
    engine, hand, metrics, _ = await counted()
    await engine.submit(ONE)
    await hand.assigned()
    await until(lambda: metrics.values("podium_attempts_lost_total") == {(): 1})
    await engine.stop()


@virtual
async def test_without_an_end_there_is_no_completion_rate() -> None:
    engine, _, metrics, _ = await counted()
    assert metrics.values("workflow_completion_rate") == {}
    await engine.stop()


@virtual
async def test_circuit_breakers_and_tasks_without_agents_are_counted() -> None:
    tight = FaultTolerance(circuit_breaker=CircuitBreaker(1, 30))
    engine, hand, metrics, _ = await counted(allocation_timeout_seconds=60)
    assert metrics.values("podium_circuit_breakers") == {("closed",): 1, ("open",): 0, ("half_open",): 0}
    await engine.submit(workflow(Task(id="a", agent="hand"), fault_tolerance=tight))
    hand.fail((await hand.assigned()).attempt, crashed=True)
    failing = await engine.submit(workflow(Task(id="a", agent="nobody")))
    assert await engine.finished(failing) is ExecutionStatus.FAILED
    assert metrics.values("podium_unplaced_total") == {(): 1}
    assert metrics.values("podium_circuit_breakers_opened_total") == {(): 0}  # by a workflow's own policy alone
    await engine.stop()
