"""P1 to P6: PostgreSQL and several replicas, which share this machine's cores with the database and the bus."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.figures import Figure, Setup, Size, Workload, percentile
from bench.flows import chain, independent
from bench.peers.catalogue import ON_POSTGRES
from bench.peers.on_postgres import Beside
from bench.replicas.bare import acknowledged_steps
from bench.replicas.world import database, postgres, world
from bench.workloads.durable_steps import ROWS_A_STEP, podium_seconds
from podium import Task, Workflow
from podium.testing.postgresserver import PostgresServer
from podium.workflow.model import RetryPolicy

BARE = "bare asyncpg, group commit"
ALONE, TOGETHER = "one replica", "three replicas"
NOOP, HOLDING = "bench.flows:Noop", "bench.flows:Holding"
HELD_SECONDS = 3_600.0  # the pause of those that wait
PROBES = 20


def measure_steps(setup: Setup) -> list[Figure]:
    """Run P1, its limit and, if asked, its peers in turns: W1 on PostgreSQL."""
    size, steps, bare = setup.size, [], []
    count = size.workflows * size.steps
    beside = Beside(setup.folder, size, print, ON_POSTGRES if setup.peers else ())
    with postgres() as server:
        for run in range(-1, setup.runs):  # the first warms up
            url = asyncio.run(database(server, f"steps_{run + 1}"))
            seconds = asyncio.run(podium_seconds(url, size))
            limit = asyncio.run(acknowledged_steps(url, count, size.at_once, ROWS_A_STEP))
            if run >= 0:
                steps.append(count / seconds)
                bare.append(count / limit)
                for peer in beside.left:
                    beside.run(peer, server.create_database(f"{peer.script}_{run}"))
    return [
        Figure(
            workload="P1", name="durable steps", unit="steps/s", runs=tuple(steps), better="more", asked=3_000,
            beside=BARE,
        ),
        Figure(workload="P1", name=BARE, unit="steps/s", runs=tuple(bare), better="more", is_limit=True),
        *beside.figures("P1", steps),
    ]  # fmt: skip


def measure_together(setup: Setup) -> list[Figure]:
    """Run P2: the same work with one replica and with three, agents in processes of their own."""
    found: dict[str, list[float]] = {ALONE: [], TOGETHER: []}
    with postgres() as server:
        for run in range(-1, setup.runs):
            for name, count in ((ALONE, 1), (TOGETHER, 3)):
                rate = asyncio.run(_together(server, setup.folder, f"together_{count}_{run + 1}", count, setup.size))
                if run >= 0:
                    found[name].append(rate)
    shares = [three / one for three, one in zip(found[TOGETHER], found[ALONE], strict=True)]
    return [
        Figure(
            workload="P2", name="three replicas to one", unit="", runs=tuple(shares), better="more", asked=0.7
        ),
        Figure(
            workload="P2", name=TOGETHER, unit="steps/s", runs=tuple(found[TOGETHER]), better="more", beside=ALONE
        ),
        Figure(workload="P2", name=ALONE, unit="steps/s", runs=tuple(found[ALONE]), better="more"),
    ]  # fmt: skip


async def _together(server: PostgresServer, folder: Path, name: str, count: int, size: Size) -> float:
    async with world(server, folder, name, [NOOP] * 2) as found:
        await found.start(count)
        await found.ended(await found.submit(chain(2), 20))
        begin = time.perf_counter()
        await found.ended(await found.submit(chain(size.steps), size.workflows))
        return size.workflows * size.steps / (time.perf_counter() - begin)


def measure_take_over(setup: Setup) -> list[Figure]:
    """Run P3: kill -9 of the replica that places, while executions run; until new ones of its shards have ended."""
    running = setup.size.executions_a_batch * 10
    seconds = []
    with postgres() as server:
        for run in range(setup.runs):
            seconds.append(asyncio.run(_take_over(server, setup.folder, f"killed_{run}", running)))
    return [
        Figure(
            workload="P3", name=f"take-over after kill -9, {running:,} executions running", unit="s",
            runs=tuple(seconds), better="less", asked=15.0,
        )
    ]  # fmt: skip


async def _take_over(server: PostgresServer, folder: Path, name: str, running: int) -> float:
    async with world(server, folder, name, [NOOP, HOLDING]) as found:
        await found.start(3)
        await found.ended(await found.submit(independent(1), PROBES))
        await found.submit(_held(), running)
        owners = await found.owners()
        leader = owners[64]
        victim = await found.process_of(leader)
        await asyncio.to_thread(victim.kill)
        found.replicas.remove(victim)
        begin = time.perf_counter()
        theirs = [shard for shard, owner in owners.items() if owner == leader]
        async with asyncio.TaskGroup() as group:
            probes = [group.create_task(found.submit_to(independent(1), theirs, 1)) for _ in range(PROBES)]
        await found.ended([execution for probe in probes for execution in probe.result()])
        return time.perf_counter() - begin


def measure_idle(setup: Setup) -> list[Figure]:
    """Run P4: transactions that the database counts while one replica has nothing to do."""

    async def work(server: PostgresServer) -> list[float]:
        found = []
        async with world(server, setup.folder, "idle", [NOOP]) as running:
            await running.start(1)
            await running.ended(await running.submit(independent(1), 10))
            await asyncio.sleep(setup.size.idle_seconds / 4)
            await running.client.close()  # it looks, too
            for _ in range(setup.runs):
                before = _transactions(server)
                await asyncio.sleep(setup.size.idle_seconds)
                found.append((_transactions(server) - before) / setup.size.idle_seconds)
        return found

    with postgres() as server:
        rates = asyncio.run(work(server))
    return [
        Figure(workload="P4", name="statements of an idle replica", unit="1/s", runs=tuple(rates), better="less",
               asked=5.0)
    ]  # fmt: skip


def _transactions(server: PostgresServer) -> int:
    """Return how many transactions the database has had; asked in another one."""
    sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'idle'"
    return int(server.execute(sql).strip())


def measure_waiting(setup: Setup) -> list[Figure]:
    """Run P5: what each execution that waits for a timer costs its replica in memory, once it lies on disk."""
    count = setup.size.fan_out

    async def work(server: PostgresServer, run: int) -> float:
        async with world(server, setup.folder, f"waiting_{run}", [NOOP]) as found:
            await found.start(1)
            await found.ended(await found.submit(chain(2), 100))
            (replica,) = found.replicas
            before = replica.memory_bytes()
            await found.submit(_waiting(), count)
            await asyncio.sleep(setup.size.calm_seconds)
            return max(replica.memory_bytes() - before, 0) / count / 1_000

    with postgres() as server:
        sizes = [asyncio.run(work(server, run)) for run in range(min(setup.runs, 3))]
    return [
        Figure(workload="P5", name=f"memory of each of {count:,} executions that wait", unit="KB", runs=tuple(sizes),
               better="less", asked=20.0)
    ]  # fmt: skip


def measure_status(setup: Setup) -> list[Figure]:
    """Run P6: how an execution is, asked by another process while a thousand run."""
    running = setup.size.executions_a_batch * 10

    async def work(server: PostgresServer) -> dict[str, list[float]]:
        asked: dict[str, list[float]] = {"row": [], "tasks": []}
        async with world(server, setup.folder, "status", [HOLDING]) as found:
            await found.start(1)
            executions = await found.submit(_held(), running)
            for _ in range(setup.runs):
                times: dict[str, list[float]] = {"row": [], "tasks": []}
                for n in range(setup.size.latencies):
                    execution = executions[n * 7 % len(executions)]
                    begin = time.perf_counter()
                    await found.client.store.execution(execution)
                    between = time.perf_counter()
                    await found.client.follower(execution)
                    times["row"].append((between - begin) * 1_000)
                    times["tasks"].append((time.perf_counter() - between) * 1_000)
                for name, found_times in times.items():
                    asked[name].append(percentile(sorted(found_times), 95))
        return asked

    with postgres() as server:
        asked = asyncio.run(work(server))
    names = {"row": "status of an execution, p95", "tasks": "its tasks, too, p95"}
    return [
        Figure(workload="P6", name=f"{names[key]}, {running:,} running", unit="ms", runs=tuple(asked[key]),
               better="less", asked=50.0)
        for key in names
    ]  # fmt: skip


def _held() -> Workflow:
    return Workflow(name="held", tasks=(Task(id="hold", agent_type="holding_agent", function="hold", payload={}),))


def _waiting() -> Workflow:
    """Return a workflow that fails at once and is tried again in an hour."""
    patient = RetryPolicy(max_attempts=3, initial_delay_seconds=HELD_SECONDS, max_delay_seconds=HELD_SECONDS)
    task = Task(id="wait", agent_type="noop_agent", function="fail", payload={}, retry=patient)
    return Workflow(name="waiting", tasks=(task,))


STEPS = Workload("P1", "durable steps on PostgreSQL: as W1", measure_steps)
REPLICAS = Workload("P2", "several replicas on one machine, agents elsewhere", measure_together)
TAKE_OVER = Workload("P3", "take-over after kill -9 of the replica that places", measure_take_over)
IDLE = Workload("P4", "an idle replica", measure_idle)
WAITING = Workload("P5", "executions that wait", measure_waiting)
STATUS = Workload("P6", "status queries", measure_status)
WORKLOADS = (STEPS, REPLICAS, TAKE_OVER, IDLE, WAITING, STATUS)
