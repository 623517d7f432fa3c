"""Child workflows over several replicas: parent and child may be anybody's, and one of them may die."""

from __future__ import annotations

from podium.engine import inputs as inp
from podium.store.memory import MemoryStore
from podium.workflow.model import ExecutionStatus, Task, Workflow
from tests.runtime.replicas import Cluster
from tests.runtime.support import sound, until, virtual

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
