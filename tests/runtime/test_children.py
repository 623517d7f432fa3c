"""Child workflows over several replicas: parent and child may be anybody's, and one of them may die."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from podium.engine import children
from podium.engine import inputs as inp
from podium.engine.explain import headline
from podium.engine.loading import Loader
from podium.engine.values import NULL
from podium.fleet import messages as msg
from podium.store.memory import MemoryStore
from podium.workflow.model import ExecutionStatus, RetryPolicy, Task, TaskType, Workflow
from tests.runtime.replicas import Cluster
from tests.runtime.support import sound, start, until, virtual

A, B = Task(id="a", agent_type="hand"), Task(id="b", agent_type="hand", dependencies=("a",))
PART = Workflow(name="part", tasks=(A, B))
FAMILY = Workflow(
    name="family",
    tasks=(
        Task(id="first", agent_type="hand"),
        Task(id="sub", dependencies=("first",), workflow=PART),
        Task(id="deep", workflow=Workflow(name="middle", tasks=(Task(id="inner", workflow=PART),))),
        Task(id="last", agent_type="hand", dependencies=("sub", "deep")),
    ),
)


def statuses(store: MemoryStore) -> dict[str, int]:
    """Return how many executions there are of each status."""
    found: dict[str, int] = {}
    for row in store._data.executions.values():
        found[row.status] = found.get(row.status, 0) + 1
    return found


@virtual
async def test_parents_and_children_of_different_replicas_come_to_their_end():
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        for n in range(2):
            cluster.join(f"hand-{n}")
        executions = await cluster.submit(FAMILY, 20)
        await cluster.ended(executions)
        await until(lambda: statuses(cluster.store) == {"completed": 80})  # each with two children and one of theirs
        await until(lambda: not cluster.store._data.inbox)
        await sound(cluster.store)
        shards = {row.id: row.shard for row in cluster.store._data.executions.values()}
        assert len(set(shards.values())) > 3


@virtual
async def test_a_child_is_started_once_though_its_parents_replica_dies():
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.start()
        await cluster.balanced()
        cluster.join("hand-0")
        executions = await cluster.submit(FAMILY, 10)
        await until(lambda: len(cluster.store._data.executions) > 15)
        await cluster.kill(one)
        await cluster.ended(executions)
        await until(lambda: statuses(cluster.store) == {"completed": 40})
        await sound(cluster.store)


@virtual
async def test_who_cancels_the_parent_cancels_its_children_wherever_they_are():
    async with Cluster() as cluster:
        for _ in range(2):
            await cluster.start()
        await cluster.balanced()
        executions = await cluster.submit(FAMILY, 6)  # nobody is there to work
        await until(lambda: len(cluster.store._data.executions) == 18)
        for execution in executions:
            owner = next(process for process in cluster.processes if process.engine.owns(execution))
            await owner.engine.command(execution, inp.Cancel("enough"))
        await until(lambda: statuses(cluster.store) == {str(ExecutionStatus.CANCELLED): 18})
        await sound(cluster.store)


@virtual
async def test_a_parent_takes_the_result_of_the_end_that_it_was_told_of(monkeypatch):
    """A child that is retried before its parent's owner reads of its end has no other result for that."""
    child = Workflow(name="kid", tasks=(A,), output={"got": "${tasks.a.result}"})
    engine, hand, store = await start()
    held, output_of = asyncio.Event(), Loader._output_of

    async def slow(self: Loader, *given: Any) -> bytes:
        await held.wait()
        return await output_of(self, *given)

    monkeypatch.setattr(Loader, "_output_of", slow)
    execution = await engine.submit(Workflow(name="p", tasks=(Task(id="sub", workflow=child),)))
    given = await hand.assigned()
    hand.succeed(given.attempt, 7)
    await engine.finished(given.execution)
    await engine.command(given.execution, inp.Retry(from_task="a"))
    await hand.assigned(2)
    held.set()
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    result = (await engine.state_of(execution)).tasks["sub"].result
    assert result is not None
    assert msgspec.json.decode(result.json) == {"got": 7}
    hand.succeed(hand.of(msg.Assignment)[1].attempt, 8)
    await engine.finished(given.execution)
    await sound(store)


@virtual
async def test_a_child_that_is_late_is_told_to_end_and_another_one_begins():
    child = Workflow(name="kid", tasks=(Task(id="go", type=TaskType.WAIT, signal="go"),))
    retried = Task(id="sub", workflow=child, timeout=60.0, retry=RetryPolicy(max_attempts=2, initial_delay_seconds=1))
    engine, _, store = await start()
    execution = await engine.submit(Workflow(name="p", tasks=(retried,)))
    async with asyncio.timeout(90):
        while (state := await engine.state_of(execution)).tasks["sub"].number < 2:  # noqa: ASYNC110 - the time is virtual
            await asyncio.sleep(1)
    late = children.id_of(state, state.tasks["sub"], 1)
    assert await engine.finished(late) is ExecutionStatus.CANCELLED
    await engine.command(state.tasks["sub"].child, inp.Signal("go", NULL))
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    await sound(store)


@virtual
async def test_a_parent_is_final_once_the_child_of_a_task_that_was_skipped_is():
    kid = Workflow(name="kid", tasks=(A,))
    engine, hand, store = await start()
    execution = await engine.submit(Workflow(name="p", tasks=(Task(id="sub", workflow=kid),)))
    given = await hand.assigned()
    await engine.command(execution, inp.Skip("sub"))
    state = await engine.state_of(execution)
    assert (state.status, state.unfinished) == (ExecutionStatus.RUNNING, 0)
    assert "1 child workflow" in headline(state, 0)
    hand.fail(given.attempt, "Cancelled")
    assert await engine.finished(given.execution) is ExecutionStatus.CANCELLED
    assert await engine.finished(execution) is ExecutionStatus.COMPLETED
    rows = store._data.executions
    assert rows[given.execution].updated_us <= rows[execution].updated_us
    await sound(store)
