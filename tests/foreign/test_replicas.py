"""A thousand tasks of a client, done by agents that know only the protocol, while replicas are killed, stopped, rolled.

The thread of many orchestrators: nothing that was acknowledged is lost, nothing is recorded twice, each end is told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest

from podium.store.postgres import PostgresStore
from podium.store.postgres.migrations import upgrade
from podium.store.protocol import Cluster
from podium.testing.natsserver import NatsServer, nats_server
from podium.testing.oracle import Examination
from podium.testing.postgresserver import PostgresServer, postgres_server
from tests.cli.support import environment
from tests.foreign.support import SUBMIT, Stranger, agent, stranger

pytestmark = pytest.mark.xdist_group("foreign-replicas")
PATIENCE_SECONDS = 180.0
AT_ONCE = 20


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


class Replica:
    """A `podium up` process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def send(self, sign: signal.Signals) -> None:
        self.process.send_signal(sign)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.process.wait()

    async def leave(self) -> None:
        self.send(signal.SIGTERM)
        async with asyncio.timeout(40):
            assert await self.process.wait() == 0


class Ensemble:
    """Replicas on one database and one bus."""

    def __init__(self, folder: Path, database: str, bus: str, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.database = database
        self.bus = bus
        self._stack = stack
        self._started = 0

    async def start(self) -> Replica:
        self._started += 1
        log = self._stack.enter_context((self.folder / f"replica-{self._started}.log").open("wb"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "podium", "up", "--json", "--http", "127.0.0.1:0", "--metrics", "",
            cwd=self.folder, stdout=asyncio.subprocess.PIPE, stderr=log,
            env=environment(DATABASE_URL=self.database, PODIUM_BUS=self.bus),
        )  # fmt: skip
        self._stack.callback(_end, process)
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while b"http" not in (line := await process.stdout.readline()):
                assert line, (self.folder / f"replica-{self._started}.log").read_text()[-2_000:]
        return Replica(process)

    async def cluster(self) -> Cluster:
        return await self._looking(lambda store: store.cluster())

    async def leader_of(self, replicas: list[Replica]) -> Replica:
        """Return the replica that places."""
        found: list[Replica] = []

        async def leads() -> bool:
            cluster = await self.cluster()
            owner = next((row.owner for row in cluster.shards if row.shard == 64), "")
            pids = [
                msgspec.json.decode(r.details)["pid"] for r in cluster.replicas if r.id == owner and cluster.live(r)
            ]
            found[:] = [replica for replica in replicas if replica.process.pid in pids]
            return bool(found)

        await eventually(leads)
        return found[0]

    async def broken(self) -> list[str]:
        """Return what doesn't hold of the store any more."""
        return await self._looking(lambda store: Examination(store).examine())

    async def completed(self) -> Counter[str]:
        async def look(store: PostgresStore) -> Counter[str]:
            rows = await store.executions(None, limit=10_000)
            return Counter(row.status for row in rows)

        return await self._looking(look)

    async def _looking(self, look: Any) -> Any:
        store = await PostgresStore.open(self.database, application="podium-test")
        try:
            return await look(store)
        finally:
            await store.close()


def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGCONT)
        process.kill()


async def eventually(holds: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110 - it is so in other processes
            await asyncio.sleep(0.1)


@asynccontextmanager
async def ensemble(folder: Path, postgres: PostgresServer, bus: NatsServer) -> AsyncIterator[Ensemble]:
    url = postgres.create_database(f"foreign_{os.getpid()}_{folder.name[-20:].replace('-', '_')}")
    await asyncio.to_thread(lambda: asyncio.run(upgrade(url)))
    async with AsyncExitStack() as stack:
        yield Ensemble(folder, url, bus.url, stack)


async def submit(client: Stranger, task_id: str, task_type: str, payload: dict[str, Any]) -> None:
    """Submit as the protocol's page says: the same again, until it is answered."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            body = {"task": {"taskId": task_id, "taskType": task_type, "payload": payload, "retries": 3}}
            try:
                answer = msgspec.json.decode(
                    (await client.bus.request(SUBMIT, msgspec.json.encode(body), timeout=5)).data
                )
            except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
                await asyncio.sleep(0.1)
                continue
            if "error" not in answer:
                assert answer["taskId"] == task_id
                return
            assert "retryAfterMs" in answer["error"], answer
            await asyncio.sleep(answer["error"]["retryAfterMs"] / 1_000)


async def submit_all(client: Stranger, numbers: range) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with room:
            await submit(client, f"t{number}", "word_count", {"text": "word " * (number % 50)})

    await asyncio.gather(*(one(number) for number in numbers))


async def told(client: Stranger, count: int) -> None:
    """Wait until so many ends were told, or can be asked for: who isn't there doesn't hear them."""

    async def all_ended() -> bool:
        return len(client.ends) >= count

    await eventually(all_ended)


@pytest.mark.slow
def test_replicas_and_a_foreign_agent_are_killed_in_the_middle_of_a_thousand_runs(
    tmp_path: Path, postgres: PostgresServer, bus: NatsServer
) -> None:
    async def scenario() -> None:
        async with (
            ensemble(tmp_path, postgres, bus) as cast,
            stranger(bus.url) as client,
            agent("python", bus.url, "words-1"),
        ):
            replicas = [await cast.start() for _ in range(3)]
            async with agent("python", bus.url, "words-2") as mortal:
                submitting = asyncio.create_task(submit_all(client, range(1_000)))
                await told(client, 150)
                victim = await cast.leader_of(replicas)
                await victim.kill()
                replicas.remove(victim)
                await told(client, 300)
                mortal.kill()
                await mortal.wait()
            async with agent("python", bus.url, "words-2"):
                await told(client, 450)
                stopped = replicas[0]
                stopped.send(signal.SIGSTOP)
                await told(client, 600)
                stopped.send(signal.SIGCONT)
                replicas.append(await cast.start())
                await told(client, 750)
                for replica in list(replicas):  # rolled, one after the other
                    replicas.append(await cast.start())
                    await replica.leave()
                    replicas.remove(replica)
                await submitting
                await told(client, 1_000)
            assert await cast.completed() == {"completed": 1_000}
            ends = {task: (end["status"], end["result"]["words"]) for task, end in client.ends.items()}
            assert ends == {f"t{number}": ("COMPLETED", number % 50) for number in range(1_000)}
            assert await cast.broken() == []
            for replica in replicas:
                await replica.leave()

    asyncio.run(scenario())
