"""Several replicas on one store: each decides for its shards, one places for all; who goes leaves nothing behind."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from msgspec import Raw

from podium.engine import inputs as inp
from podium.engine import leading
from podium.engine.codec import encode_input
from podium.engine.leading import Leading, Pending
from podium.engine.posting import Posting
from podium.engine.shards import EVERY_SHARD
from podium.engine.state import State
from podium.engine.values import value_of
from podium.exceptions import NotTheOwnerError, PodiumError, ShardMovedError, StoreUnavailableError
from podium.fleet import messages as msg
from podium.ids import PLACEMENT_SHARD, execution_id_for, shard_of
from podium.store.memory import MemoryStore
from podium.store.protocol import DEFAULT_TENANT, Blob, InboxRow, Loaded
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ResourceRequirements, Task
from tests.runtime.replicas import Cluster, Process
from tests.runtime.support import ONE, TWO, UnreliableStore, crash, sound, until, virtual, workflow

CHAIN = workflow(*(Task(id=f"t{n}", agent="hand", dependencies=(f"t{n - 1}",) if n else ()) for n in range(5)))


@virtual
async def test_replicas_share_the_shards_and_one_of_them_leads():
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
            await cluster.balanced()
        assert set().union(*(p.engine.owned for p in cluster.processes)) == set(EVERY_SHARD)


@virtual
async def test_executions_of_all_replicas_get_agents_from_the_one_that_leads():
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        for n in range(2):
            cluster.join(f"hand-{n}")
        executions = await cluster.submit(CHAIN, 60)
        assert len({process.engine.owned for process in cluster.processes}) == 3
        await cluster.ended(executions)
        await until(lambda: not cluster.leader.engine.placing.placement.held())
        await sound(cluster.store)
        assert not cluster.store._data.inbox
        assert all(member.most <= member.slots and not member.refused for member in cluster.fleet.members.values())


@virtual
async def test_an_execution_of_another_replica_is_refused_by_name():
    async with Cluster() as cluster:
        one, two = await cluster.start(), await cluster.start()
        await cluster.balanced()
        (execution,) = await cluster.submit(ONE)
        assert one.engine.owns(execution)
        with pytest.raises(ShardMovedError):
            await two.engine.finished(execution)


@virtual
@pytest.mark.parametrize("leads", [True, False])
async def test_a_replica_that_is_killed_loses_nothing(leads):
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        for n in range(3):
            cluster.join(f"hand-{n}")
        executions = await cluster.submit(CHAIN, 90)
        await asyncio.sleep(0.3)
        victim = next(process for process in cluster.processes if process.engine.leads is leads)
        await cluster.kill(victim)
        await cluster.ended(executions)
        await cluster.balanced()
        await until(lambda: not cluster.leader.engine.placing.placement.held())
        await sound(cluster.store)
        assert all(member.most <= member.slots for member in cluster.fleet.members.values())


@virtual
async def test_a_rolling_restart_loses_nothing_and_begins_nothing_twice():
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        for n in range(3):
            cluster.join(f"hand-{n}")
        executions = await cluster.submit(CHAIN, 60)
        for process in list(cluster.processes):
            await cluster.start()
            await cluster.stop(process)
            executions += await cluster.submit(CHAIN, 10)
            await cluster.balanced()
        await cluster.ended(executions)
        await sound(cluster.store)
        done = [attempt for member in cluster.fleet.members.values() for attempt in member.done]
        assert len(done) == len(set(done)) == 5 * len(executions)


@virtual
async def test_a_replica_that_stood_still_writes_nothing_more_of_what_others_have():
    async with Cluster() as cluster:
        one, two = await cluster.start(), await cluster.start()
        await cluster.balanced()
        member = cluster.join("hand-1", working=False)
        executions = await cluster.submit(TWO, 8)
        await until(lambda: len(member.live) == 4)
        cluster.freeze(one)
        await until(lambda: two.engine.owned == frozenset(EVERY_SHARD), 60)
        for attempt in list(member.live):  # what it would still like to record
            one.engine.receive(msg.Succeeded(member.agent, attempt, Raw(b"2")))
        member.finish_all()
        cluster.thaw(one)
        await cluster.ended(executions)
        await cluster.balanced()
        assert one.ownership.failure is None
        await cluster.quiet()
        await sound(cluster.store)


@virtual
async def test_a_timer_that_is_due_while_shards_are_given_back_turns_nothing_round_and_round():
    loop = virtual_loop()
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        await one.engine.submit(ONE, timeout_seconds=5.0)
        one.store.gate.clear()
        submitting = asyncio.create_task(one.engine.submit(ONE))
        await asyncio.sleep(1)
        releasing = asyncio.create_task(one.engine.release(one.engine.owned))
        loop.max_turns = loop.turns + 1_000
        await asyncio.sleep(10)
        loop.max_turns = loop.turns + 1_000_000
        one.store.gate.set()
        await releasing
        await submitting


@virtual
async def test_what_a_leader_was_writing_when_another_took_placement_alone_from_it_gets_an_agent():
    """The new leader read the store before that; so it must be told, and not the old one alone."""
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        two = await cluster.start()
        await cluster.balanced()
        assert one.engine.leads
        one.store.gate.clear()
        submitting = asyncio.create_task(one.engine.submit(ONE))
        await asyncio.sleep(0.1)
        await cluster.take(two, PLACEMENT_SHARD)
        cluster.join("hand-1")
        one.store.gate.set()
        await cluster.ended([await submitting])
        await cluster.quiet()
        await sound(cluster.store)


@virtual
async def test_a_leader_that_loses_an_executions_shard_while_it_writes_places_for_it_still():
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        two = await cluster.start()
        await cluster.balanced()
        assert one.engine.leads
        execution = await one.engine.submit(ONE)
        one.store.gate.clear()
        signalling = asyncio.create_task(one.engine.command(execution, inp.Signal("go")))
        await asyncio.sleep(0.1)
        await cluster.take(two, shard_of(execution))
        one.store.gate.set()
        with pytest.raises(ShardMovedError):
            await signalling
        assert one.engine.leads
        cluster.join("hand-1")
        await cluster.ended([execution])
        await sound(cluster.store)


@virtual
async def test_a_leader_that_gives_a_shard_back_while_it_looks_whether_a_start_is_recorded_places_for_it_still():
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        two = await cluster.start()
        await cluster.balanced()
        assert one.engine.leads
        execution = next(each for each in map(str, range(1_000)) if one.engine.owns(each))
        definition, stored = one.engine.definitions.compile(ONE)
        await cluster.store.put([Blob(DEFAULT_TENANT, definition.digest, stored)], 0)
        start = inp.Start(ONE.name, ONE.version, definition.digest, 1, value_of(b"null")[0])
        one.store.gate.clear()
        await Posting(cluster.store, DEFAULT_TENANT, virtual_loop().clock).write(execution, "start", start)
        one.engine.look_into_inbox()
        joining = asyncio.create_task(one.engine.submit(ONE, execution=execution))
        await asyncio.sleep(0.1)
        releasing = asyncio.create_task(one.engine.release([shard_of(execution)]))  # waits for the append
        await asyncio.sleep(0.1)
        one.store.lying = 1
        one.store.gate.set()
        await releasing
        await cluster.take(two, shard_of(execution))
        with pytest.raises(PodiumError):
            await joining
        cluster.join("hand-1")
        await cluster.ended([execution])
        await sound(cluster.store)


@virtual
async def test_a_store_that_fails_while_a_new_leader_reads_keeps_no_task_from_an_agent(monkeypatch):
    """What was read before isn't forgotten; and what isn't active any more at the next try isn't awaited for ever."""
    async with Cluster() as cluster:
        one, two = await cluster.start(), await cluster.start()
        await cluster.balanced()
        leader, other = (one, two) if one.engine.leads else (two, one)
        executions = [await leader.engine.submit(ONE) for _ in range(3)]
        tries = itertools.count()
        paused: list[str] = []

        async def read(self: Leading, execution: str) -> State | None:
            if next(tries) == 1:
                await leader.engine.command(execution, inp.Pause())
                paused.append(execution)
                raise StoreUnavailableError("the answer was lost")
            return await read_one(self, execution)

        read_one = Leading._read
        monkeypatch.setattr(Leading, "_read", read)
        monkeypatch.setattr(leading, "READ_AT_ONCE", 1)
        await cluster.take(other, PLACEMENT_SHARD)
        await until(lambda: other.engine.leads)
        await leader.engine.command(paused[0], inp.Resume())
        cluster.join("hand-1")
        await cluster.ended(executions)
        assert not other.engine.placing._awaited


@virtual
async def test_a_start_that_another_wrote_to_the_inbox_outlives_the_disappointment_of_one_who_joins_it():
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        execution = execution_id_for(DEFAULT_TENANT, "order-1")
        definition, stored = one.engine.definitions.compile(ONE)
        await cluster.store.put([Blob(DEFAULT_TENANT, definition.digest, stored)], 0)
        start = inp.Start(ONE.name, ONE.version, definition.digest, 1, value_of(b"null")[0])
        one.store.down = True
        posting = Posting(cluster.store, DEFAULT_TENANT, virtual_loop().clock)
        await posting.write(execution, "start", start)
        one.engine.look_into_inbox()
        await asyncio.sleep(0.05)
        with pytest.raises(StoreUnavailableError):
            await one.engine.submit(ONE, submission_id="order-1")
        one.store.down = False
        cluster.join("hand-1")
        await until(lambda: execution in cluster.store._data.executions, 60)
        await cluster.ended([execution])


@virtual
async def test_who_joins_a_start_from_the_inbox_is_told_when_its_shard_goes_elsewhere():
    async with Cluster() as cluster:
        one = await cluster.start()
        await cluster.balanced()
        execution = execution_id_for(DEFAULT_TENANT, "order-1")
        definition, stored = one.engine.definitions.compile(ONE)
        await cluster.store.put([Blob(DEFAULT_TENANT, definition.digest, stored)], 0)
        start = inp.Start(ONE.name, ONE.version, definition.digest, 1, value_of(b"null")[0])
        one.store.gate.clear()
        under_way = asyncio.create_task(one.engine.submit(ONE))
        await asyncio.sleep(0.1)
        releasing = asyncio.create_task(one.engine.release(one.engine.owned))  # waits for that
        await asyncio.sleep(0.1)
        await Posting(cluster.store, DEFAULT_TENANT, virtual_loop().clock).write(execution, "start", start)
        one.engine.look_into_inbox()
        await asyncio.sleep(0.1)
        joining = asyncio.create_task(one.engine.submit(ONE, submission_id="order-1"))
        await asyncio.sleep(0.1)
        one.store.gate.set()
        await asyncio.gather(under_way, releasing)
        with pytest.raises(ShardMovedError):
            async with asyncio.timeout(5):
                await joining


@virtual
async def test_a_grant_that_cant_be_read_keeps_nobody_from_leading():
    async with Cluster() as cluster:
        execution = execution_id_for(DEFAULT_TENANT, "order-1")
        row = InboxRow(execution, "grant:1:1", DEFAULT_TENANT, shard_of(execution), "grant", b"{", 0)
        await cluster.store.post(row)
        await cluster.start()
        await cluster.balanced()
        await cluster.quiet()


@virtual
async def test_a_checkpoint_that_is_said_twice_gives_no_other_replica_the_slot():
    async with Cluster() as cluster:
        one, two = await cluster.start(), await cluster.start()
        await cluster.balanced()
        member = cluster.join("hand-1", slots=1, working=False)
        await one.engine.submit(ONE)
        await until(lambda: member.live)
        (attempt,) = member.live
        await two.engine.submit(ONE)
        assert one.engine.leads
        for _ in range(2):
            one.engine.receive(msg.Saved(member.agent, attempt, 1, Raw(b"1")))
            await asyncio.sleep(5)
        assert not member.refused


@virtual
async def test_priority_holds_before_during_and_after_a_take_over_of_placement():
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        member = cluster.join("hand-1", slots=1, working=False)
        low = await cluster.submit(ONE, 9, priority=10)
        high = await cluster.submit(ONE, 9, priority=90)
        await asyncio.sleep(1)
        begun = len(member.live)
        await cluster.kill(cluster.leader)
        await cluster.balanced()
        member.finish_all()
        await cluster.ended([*low, *high])
        order = [attempt.partition(":")[0] for attempt in member.done][begun:]
        assert order == [*[e for e in order if e in high], *[e for e in order if e in low]]
        assert member.most == 1
        assert not member.refused


@virtual
async def test_a_pool_holds_for_all_replicas_across_a_take_over():
    heavy = workflow(Task(id="a", agent="hand", resources=ResourceRequirements(cpu_cores=1.0)))
    async with Cluster(cpu_cores=3.0) as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        members = [cluster.join(f"hand-{n}", working=False) for n in range(3)]
        executions = await cluster.submit(heavy, 12)
        await asyncio.sleep(1)
        assert sum(len(member.live) for member in members) == 3
        await cluster.kill(cluster.leader)
        await cluster.balanced()
        await asyncio.sleep(10)
        assert sum(len(member.live) for member in members) == 3
        for member in members:
            member.finish_all()
        await cluster.ended(executions)
        await sound(cluster.store)


@virtual
async def test_a_second_grant_of_one_attempt_changes_nothing():
    """A leader that is gone granted it, and its successor couldn't see that in the execution yet."""
    async with Cluster() as cluster:
        for _ in range(2):
            await cluster.start()
        await cluster.balanced()
        members = [cluster.join(f"hand-{n}", slots=1, working=False) for n in range(2)]
        executions = await cluster.submit(ONE, 2)
        await until(lambda: sum(len(member.live) for member in members) == 2)
        for member in members:
            (attempt,) = member.live
            owner = next(p for p in cluster.processes if p.engine.owns(attempt.partition(":")[0]))
            other = next(m for m in members if m is not member)
            again = inp.Grant(9, 1, (inp.Granted("a", 1, other.agent, f"{msg.REMOTE}1"),))
            await owner.engine.command(attempt.partition(":")[0], again, input_id="grant:9:1")
        await cluster.quiet()
        placement = cluster.leader.engine.placing.placement
        assert {a.id: a.held for a in placement.agents.values()} == {"hand-0": 1, "hand-1": 1}
        for member in members:
            member.finish_all()
        await cluster.ended(executions)
        await until(lambda: not placement.held())
        await sound(cluster.store)


@virtual
async def test_a_replica_whose_engine_has_ended_leaves_all_the_same():
    async with Cluster() as cluster:
        one, two = await cluster.start(), await cluster.start()
        await cluster.balanced()
        await crash(one.engine)
        cluster._gone(one)
        async with asyncio.timeout(60):
            await one.ownership.stop()
        await until(lambda: two.engine.owned == frozenset(EVERY_SHARD), 60)


@virtual
async def test_who_must_be_alone_ends_when_others_joined_while_it_stood_still():
    async with Cluster() as cluster:
        alone = await cluster.start(bus="")
        await until(lambda: alone.engine.owned == frozenset(EVERY_SHARD))
        cluster.freeze(alone)
        await asyncio.sleep(6)
        other = await cluster.start()
        await until(lambda: other.engine.owned == frozenset(EVERY_SHARD), 60)
        cluster.thaw(alone)
        await until(lambda: isinstance(alone.ownership.failure, NotTheOwnerError), 60)
        assert other.engine.owned == frozenset(EVERY_SHARD)


@virtual
async def test_so_many_executions_are_at_work_as_may_be_before_during_and_after_a_take_over(monkeypatch):
    most = 20

    async def slow(self: UnreliableStore, execution: str) -> Loaded | None:
        await asyncio.sleep(execution in left)
        return await MemoryStore.load(self, execution)

    async with Cluster() as cluster:
        cluster.settings = {"max_executions": most}
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        hand = cluster.join("hand-1", slots=2 * most, working=False)
        submitted = await cluster.submit(ONE, 120)
        rows = cluster.store._data.executions
        await until(lambda: len(hand.live) == most)
        killed = next(process for process in cluster.processes if not process.engine.leads)
        left = set(killed.engine.residency.states)
        monkeypatch.setattr(UnreliableStore, "load", slow)
        await cluster.kill(killed)
        while len(hand.done) < len(submitted):
            await asyncio.sleep(0.1)
            assert sum(row.active for row in rows.values()) <= most
            loaded = set().union(*(process.engine.residency.states for process in cluster.processes))
            for attempt in [each for each in hand.live if each.partition(":")[0] in loaded][:1]:
                hand.finish(attempt)
        await cluster.ended(submitted)


@virtual
@pytest.mark.parametrize("leads", [True, False])
async def test_a_replica_that_has_lost_the_bus_alone_leaves_its_shards_to_the_others_until_it_has_it_again(leads):
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        away = next(process for process in cluster.processes if process.engine.leads is leads)
        cluster.fleet.engines.remove(away.engine)  # it hears no agent, nor does one hear it
        away.engine._parts.dispatcher._carrier = Unheard()
        away.ownership.reaches_bus = lambda: False
        cluster.join("hand-1")
        executions = await cluster.submit(CHAIN, 60)
        await cluster.ended(executions)
        assert not away.engine.owned
        away.ownership.reaches_bus = lambda: True
        away.engine._parts.dispatcher._carrier = cluster.fleet
        cluster.fleet.engines.append(away.engine)
        cluster.fleet.members["hand-1"].register()
        await cluster.balanced()
        await cluster.ended(await cluster.submit(CHAIN, 10))
        await sound(cluster.store)


@virtual
async def test_a_bus_that_all_replicas_lose_and_find_again_one_after_the_other_moves_no_shard():
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        owned = [process.engine.owned for process in cluster.processes]
        moved: list[object] = []
        for process in cluster.processes:
            process.engine.moved.append(lambda came, went: moved.append((came, went)))
            process.ownership.reaches_bus = lambda: False
            await asyncio.sleep(1)
        await asyncio.sleep(60)
        for process in cluster.processes:
            process.ownership.reaches_bus = lambda: True
            await asyncio.sleep(1)
        await asyncio.sleep(60)
        assert [process.engine.owned for process in cluster.processes] == owned
        assert not moved


class Unheard:
    """The way to agents of who has no bus."""

    def send(self, agent: str, message: msg.ToAgent) -> None:
        pass


@virtual
async def test_a_grant_that_is_ignored_while_another_replica_takes_the_lead_takes_no_slot_there(monkeypatch):
    async with Cluster() as cluster:
        for _ in range(3):
            await cluster.start()
        await cluster.balanced()
        leader = cluster.leader
        followers = [process for process in cluster.processes if process is not leader]
        executions = {process: await process.engine.submit(ONE) for process in followers}
        fence, told = leader.engine._shards.fences[PLACEMENT_SHARD], set[int]()

        def of_other(leading: Leading) -> tuple[Process, str]:
            return next((p, e) for p, e in executions.items() if p.engine.placing is not leading._placing)

        async def pending(self: Leading) -> Pending:
            _, execution = of_other(self)
            given = inp.Grant(fence, 1, (inp.Granted("a", 1, "hand-1", f"{msg.REMOTE}1"),))
            row = InboxRow(
                execution, "grant:x:1", "default", shard_of(execution), "grant", encode_input(given), 0, 10**6
            )
            if row.id not in told:
                cluster.store._data.inbox[row.id] = row
                told.add(row.id)
            return await read_pending(self)

        async def active(self: Leading) -> list[str]:
            owner, execution = of_other(self)
            await owner.engine.command(execution, inp.Pause())
            owner.engine.look_into_inbox()
            await until(lambda: 10**6 not in cluster.store._data.inbox)
            await owner.engine.command(execution, inp.Resume())
            return await read_active(self)

        read_pending, read_active = Leading.pending, Leading.active
        monkeypatch.setattr(Leading, "pending", pending)
        monkeypatch.setattr(Leading, "active", active)
        await cluster.kill(leader)
        await cluster.balanced()
        cluster.join("hand-1")
        await cluster.ended(list(executions.values()))
