"""The world of P2 to P6: servers, replicas as `podium up` starts them, agents in processes, and a client that posts to
the database and looks there, as `podium submit --database` does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from bench.remote.processes import agent_command, processes
from podium import Workflow
from podium.app import Podium
from podium.bus.nats_server import EmbeddedNats
from podium.engine.shards import EVERY_SHARD
from podium.ids import execution_id_for, shard_of
from podium.settings import Settings
from podium.store.postgres.migrations import upgrade
from podium.store.protocol import Cluster
from podium.testing.postgresserver import PostgresServer
from podium.workflow.model import ExecutionStatus

AT_WORK = 100_000  # max_concurrent_workflows: those that are held leave room for those that are timed
READY_SECONDS = 60.0
LOOK_SECONDS = 0.02


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A server with all its settings at their defaults: each commit is on disk before it is answered."""
    server = PostgresServer(durable=True)
    server.start()
    try:
        yield server
    finally:
        server.remove()


async def database(server: PostgresServer, name: str) -> str:
    """Return a new database with Podium's tables."""
    url = await asyncio.to_thread(server.create_database, name)
    await upgrade(url)
    return url


@asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[str]:
    """A NATS server with an empty store."""
    server = EmbeddedNats(folder, port=0)
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


class Replica:
    """`podium up` in a process of its own."""

    def __init__(self, url: str, bus: str) -> None:
        command = [sys.executable, "-m", "podium", "up", "--database", url, "--bus", bus, "--json",
                   "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]  # fmt: skip
        environment = {**os.environ, "PODIUM_MAX_CONCURRENT_WORKFLOWS": str(AT_WORK)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def ready(self) -> None:
        """Return once it has said where it is."""
        line = self.process.stdout.readline() if self.process.stdout is not None else ""
        if not line:
            raise RuntimeError("a replica ended before it was up")
        json.loads(line)

    def kill(self) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        """End it in good order."""
        if self.process.poll() is None:
            self.process.terminate()
            self._ended()

    def _ended(self) -> None:
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def memory_bytes(self) -> int:
        """Return what it has in memory."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


class World:
    """Replicas and agents on one database and one bus, and a client."""

    def __init__(self, url: str, bus: str, client: Podium) -> None:
        self.url = url
        self.bus = bus
        self.client = client
        self.replicas: list[Replica] = []

    async def start(self, count: int) -> None:
        """Start so many replicas, and wait until they share everything."""
        started = [Replica(self.url, self.bus) for _ in range(count)]
        self.replicas += started
        for replica in started:
            await asyncio.to_thread(replica.ready)
        await self.balanced()

    async def cluster(self) -> Cluster:
        """Return who is there."""
        found: Cluster = await self.client.store.cluster()  # type: ignore[attr-defined]
        return found

    async def balanced(self) -> None:
        """Wait until each shard has an owner, and each replica its share."""
        deadline = time.perf_counter() + READY_SECONDS
        while time.perf_counter() < deadline:
            cluster = await self.cluster()
            live = [replica.id for replica in cluster.replicas if cluster.live(replica)]
            owned = [sum(1 for row in cluster.shards if row.owner == one) for one in live]
            if len(live) == len(self.replicas) and sum(owned) == len(EVERY_SHARD) and max(owned) - min(owned) <= 1:
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise RuntimeError("the replicas don't share the shards")

    async def process_of(self, replica: str) -> Replica:
        """Return the process of a replica."""
        cluster = await self.cluster()
        (details,) = (msgspec.json.decode(each.details) for each in cluster.replicas if each.id == replica)
        return next(each for each in self.replicas if each.process.pid == details["pid"])

    async def owners(self) -> dict[int, str]:
        """Return the owner of each shard."""
        return {row.shard: row.owner for row in (await self.cluster()).shards}

    async def submit(self, workflow: Workflow, count: int, at_once: int = 100) -> list[str]:
        """Start executions; return their ids."""
        left, found = iter(range(count)), []

        async def producer() -> None:
            for _ in left:
                found.append(await self.client.submit(workflow))

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(producer())
        return found

    async def submit_to(self, workflow: Workflow, shards: Sequence[int], count: int) -> list[str]:
        """Start executions in these shards; return their ids."""
        found: list[str] = []
        number = 0
        while len(found) < count:
            number += 1
            name = f"probe-{time.perf_counter_ns()}-{number}"
            if shard_of(execution_id_for(self.client.settings.tenant, name)) in shards:
                found.append(await self.client.submit(workflow, submission_id=name))
        return found

    async def ended(self, executions: Sequence[str], seconds: float = 120.0) -> None:
        """Return when all of them have completed. Raises RuntimeError if one ended otherwise, or in time none did."""
        deadline, left = time.perf_counter() + seconds, set(executions)
        while left:
            rows = await self.client.store.executions(None, limit=100_000)
            ends = {row.id: row.status for row in rows if row.id in left and row.finished_us is not None}
            if any(status != ExecutionStatus.COMPLETED for status in ends.values()):
                raise RuntimeError("an execution did not complete; a figure of it would mean nothing")
            left -= ends.keys()
            if time.perf_counter() > deadline:
                raise RuntimeError(f"{len(left)} executions have not ended in time")
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def world(server: PostgresServer, folder: Path, name: str, agents: Sequence[str] = ()) -> AsyncIterator[World]:
    """A new database and bus with a client and agents (`module:Name`, one process each); replicas are started later."""
    url = await database(server, name)
    async with nats(folder / name) as bus:
        settings = Settings(database=url)
        async with await Podium.open(settings, own=False, works=False, elsewhere=True, may_own=False) as client:
            found = World(url, bus, client)
            with ExitStack() as stack:
                for spec in agents:
                    await asyncio.to_thread(stack.enter_context, processes(_agent(bus, spec), 1))
                try:
                    yield found
                finally:
                    for replica in found.replicas:
                        replica.stop()


def _agent(bus: str, spec: str) -> list[str]:
    return [spec if part == "bench.flows:Noop" else part for part in agent_command(bus)]
