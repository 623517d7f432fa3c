"""The reconcilers of several replicas: each looks at its own, the one that leads at the queue and the slots of all."""

from __future__ import annotations

import asyncio

import pytest

from podium.engine.reconciliation import Kind
from podium.ids import PLACEMENT_SHARD, shard_of
from podium.scheduling.placement import Placement, ReadyTask
from podium.store.protocol import InboxRow
from podium.workflow.model import Task, WorkflowConfig
from tests.runtime.replicas import Cluster, Process
from tests.runtime.support import ONE, TWO, sound, until, virtual, workflow

LIMITED = workflow(Task(id="a", agent="hand"), config=WorkflowConfig(max_concurrent_executions=50))


async def of_another(cluster: Cluster, working: bool = False) -> tuple[Placement, str]:
    """Start two replicas and an execution that isn't the leading one's; return the placement and the execution."""
    for _ in range(2):
        await cluster.start()
    await cluster.balanced()
    other = next(process for process in cluster.processes if not process.engine.leads)
    execution = await other.engine.submit(ONE)
    placement = cluster.leader.engine.placing.placement
    await until(lambda: execution in placement.executions())
    return placement, execution


async def found(cluster: Cluster, finds: int) -> dict[Kind, bool]:
    """Have all look; return the kinds that were found and whether all was mended, after which nothing is found."""
    cluster.finds += finds
    kinds: dict[Kind, bool] = {}
    for find in await cluster.reconciled():
        kinds[find.kind] = kinds.get(find.kind, True) and find.mended
    assert await cluster.reconciled() == []
    return kinds


@virtual
async def test_a_ready_task_of_another_replica_that_fell_out_of_the_queue_is_queued_again():
    async with Cluster() as cluster:
        placement, execution = await of_another(cluster)
        placement.withdraw(execution, "a")
        assert await found(cluster, 1) == {Kind.TASK_NOT_QUEUED: True}
        cluster.join("hand-1")
        await cluster.ended([execution])


@virtual
async def test_a_grant_that_never_reached_another_replica_is_taken_back():
    async with Cluster() as cluster:
        placement, execution = await of_another(cluster)
        placement.withdraw(execution, "a")
        placement.hold(f"{execution}:1:a:1", execution, "hand-0", "remote:1")
        assert await found(cluster, 1) == {Kind.SLOT_WITHOUT_ATTEMPT: True}
        cluster.join("hand-1")
        await cluster.ended([execution])


@virtual
async def test_what_the_queue_and_the_slots_have_of_other_replicas_in_vain_is_let_go():
    async with Cluster() as cluster:
        placement, execution = await of_another(cluster)
        for of in (execution, "nobody-1", "nobody-2"):
            placement.enqueue(ReadyTask(of, "z", 1, f"{of}:1:z:1", "nobody", 50, 0))
            placement.hold(f"{of}:1:y:1", of, "hand-0", "remote:1")
        assert await found(cluster, 6) == {Kind.QUEUED_NOT_READY: True, Kind.SLOT_WITHOUT_ATTEMPT: True}
        assert placement.executions() == {execution}
        cluster.join("hand-1")
        await cluster.ended([execution])
        await sound(cluster.store)


@virtual
async def test_a_live_attempt_of_another_replica_counts_again():
    async with Cluster() as cluster:
        placement, execution = await of_another(cluster)
        member = cluster.join("hand-1", slots=1, working=False)
        await until(lambda: member.live)
        placement.release(f"{execution}:1:a:1")
        assert await found(cluster, 1) == {Kind.ATTEMPT_WITHOUT_SLOT: True}
        assert placement.agents["hand-1"].held == 1
        member.finish_all()
        await cluster.ended([execution])
        await until(lambda: not placement.held())


@virtual
async def test_the_loops_find_it_by_themselves():
    async with Cluster() as cluster:
        placement, execution = await of_another(cluster)
        placement.withdraw(execution, "a")
        cluster.join("hand-1")
        await cluster.ended([execution], 600)
        cluster.finds = 1


@virtual
async def test_a_grant_that_waits_in_an_inbox_is_no_find():
    async with Cluster() as cluster:
        placement, execution = await of_another(cluster)
        placement.withdraw(execution, "a")
        placement.hold(f"{execution}:1:a:1", execution, "hand-0", "remote:1")
        other = next(process for process in cluster.processes if not process.engine.leads)
        await other.reconciler.stop()
        other.engine._loader._unsettled[99] = shard_of(execution)  # it is read, and its owner takes its time
        row = InboxRow(execution, "grant:1:1", "default", shard_of(execution), "grant", b"{}", 0, 99)
        cluster.store._data.inbox[99] = row
        assert (await cluster.leader.reconciler.look()).finds == ()
        del cluster.store._data.inbox[99]
        assert [f.kind for f in (await cluster.leader.reconciler.look()).finds] == [Kind.SLOT_WITHOUT_ATTEMPT]
        cluster.finds = 1


@virtual
async def test_shards_that_nobody_takes_are_said_and_then_taken(monkeypatch: pytest.MonkeyPatch):
    async with Cluster() as cluster:
        for _ in range(2):
            await cluster.start()
        await cluster.balanced()
        left, gone = cluster.processes
        if left.engine.leads:
            left, gone = gone, left

        async def refuse(replica: str, fences: object) -> dict[int, object]:
            await asyncio.sleep(1)
            return {}

        monkeypatch.setattr(left.store, "claim", refuse)
        lost = len(gone.engine.owned)
        await cluster.kill(gone)
        await left.reconciler.stop()
        await asyncio.sleep(10)
        report = await left.reconciler.look()
        assert len(report.finds) == lost
        assert {(find.kind, find.mended) for find in report.finds} == {(Kind.SHARD_WITHOUT_OWNER, False)}
        assert f"shard {PLACEMENT_SHARD} has no owner" in " ".join(find.reason for find in report.finds)
        monkeypatch.undo()
        await cluster.balanced()
        cluster.finds = lost


@virtual
async def test_a_take_over_is_no_find():
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        for n in range(3):
            cluster.join(f"hand-{n}")
        executions = []
        for _ in range(6):
            executions += await cluster.submit(TWO, 20)
            looks = asyncio.gather(*(process.reconciler.look() for process in cluster.processes[1:]))
            await asyncio.sleep(0.2)
            victim: Process = cluster.processes[0]
            await cluster.kill(victim)
            await cluster.start()
            await looks
            await cluster.balanced()
        await cluster.ended(executions)
        await cluster.quiet()


@virtual
async def test_who_leads_corrects_a_counter_that_all_share():
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        executions = await cluster.submit(LIMITED, 12)
        assert await cluster.reconciled() == []
        cluster.store._data.counters["default", "workflow:w"] = 40
        assert await found(cluster, 1) == {Kind.COUNTER_DIFFERS: True}
        assert await cluster.store.counter("default", "workflow:w") == 12
        cluster.join("hand-1")
        await cluster.ended(executions)
        assert await cluster.store.counter("default", "workflow:w") == 0


@virtual
async def test_leases_of_an_execution_that_is_being_loaded_go_with_its_shard():
    """After a failed append it is out of memory for a moment: a lease that stayed would end, and lose what is alive."""
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        member = cluster.join("hand-1", working=False)
        executions = await cluster.submit(ONE, 4)
        await until(lambda: len(member.live) == 4)
        for execution in executions:
            one.engine.residency.drop(execution)
        await one.engine.release(one.engine.owned)
        assert len(one.engine.staffing.leases) == 0
        await cluster.kill(one)
        await cluster.start()
        await cluster.balanced()
        member.finish_all()
        await cluster.ended(executions)
