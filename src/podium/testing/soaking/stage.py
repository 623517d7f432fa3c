"""What stands on the stage of the long run: PostgreSQL, NATS, replicas each behind proxies of its own, agents.

Every replica reaches the database and the bus through a proxy that can lose one direction; agents and clients are
connected directly.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from podium.examples import foreign
from podium.store.postgres.migrations import upgrade
from podium.testing.natsserver import NatsServer
from podium.testing.postgresserver import PostgresServer
from podium.testing.proxy import FaultProxy, tcp
from podium.testing.soaking.processes import Ended, Process, podium
from podium.testing.soaking.sorting import SharedPort

DATABASE = "soak"
# What takes its time, shortened, so that an hour has more of it.
QUICK = {
    "PODIUM_LEASE_SECONDS": "6",
    "PODIUM_FOREIGN_LEASE_SECONDS": "15",
    "PODIUM_HEARTBEAT_INTERVAL_SECONDS": "5",
    "PODIUM_HEALTH_CHECK_INTERVAL_SECONDS": "2",
    "PODIUM_UNHEALTHY_SECONDS": "15",
    "PODIUM_DEREGISTRATION_TIMEOUT_SECONDS": "60",
    "PODIUM_RECONNECT_WAIT_MS": "250",
    "PODIUM_DRAIN_SECONDS": "5",
}


class Replica:
    """A replica with its two lines."""

    def __init__(self, process: Process, to_database: FaultProxy, to_bus: FaultProxy) -> None:
        self.process = process
        self.lines = {"database": to_database, "bus": to_bus}

    @property
    def name(self) -> str:
        """Its name."""
        return self.process.name


class Stage:
    """Everything that runs. `open` and `close` it; `ended` hears of processes that ended by themselves."""

    def __init__(
        self, folder: Path, seed: int, ended: Callable[[Ended], None], *, replicas: int, agents: int, processes: int
    ) -> None:
        self.folder = folder
        self.postgres = PostgresServer()
        self.nats = NatsServer(folder / "nats")
        self.replicas: list[Replica] = []
        self.agents: list[Process] = []
        self.foreign: list[Process] = []
        self._seed = seed
        self._ended = ended
        self._counts = (replicas, agents, processes)
        self._bus = SharedPort(self._lines_to_bus)

    @property
    def database(self) -> str:
        """The database, as clients reach it."""
        return self.postgres.url(DATABASE)

    @property
    def everyone(self) -> Iterator[Process]:
        """All processes but the servers."""
        yield from (replica.process for replica in self.replicas)
        yield from self.agents
        yield from self.foreign

    async def open(self) -> None:
        """Start everything, and wait until all are there."""
        (self.folder / "gates").mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self.postgres.start)
        await asyncio.to_thread(self.nats.start)
        await asyncio.to_thread(self.postgres.create_database, DATABASE)
        await upgrade(self.database)
        await self._bus.start()
        replicas, agents, processes = self._counts
        for number in range(1, replicas + 1):
            self.replicas.append(await self._replica(number))
        self.agents = [self._agents(number, agents // processes) for number in range(1, processes + 1)]
        self.foreign = [self._foreign("words-1")]
        for process in self.everyone:
            await process.start()
        for process in self.everyone:
            assert await process.ready(), "\n".join([f"{process.name} doesn't start", *process.said])

    async def close(self) -> None:
        """End everything. Safe twice."""
        await asyncio.gather(*(process.close() for process in self.everyone))
        await self._bus.stop()
        for replica in self.replicas:
            for line in replica.lines.values():
                await line.stop()
        await asyncio.to_thread(self.nats.stop)
        await asyncio.to_thread(self.postgres.remove)

    def _lines_to_bus(self) -> dict[int, FaultProxy]:
        return {r.process.pid: r.lines["bus"] for r in self.replicas if r.process.pid is not None}

    async def _replica(self, number: int) -> Replica:
        to_database = FaultProxy(tcp(self.postgres.port), seed=self._seed)
        to_bus = FaultProxy(tcp(self.nats.port), seed=self._seed)  # what comes to it comes over the shared port
        await to_database.start()
        database = self.database.replace(f":{self.postgres.port}/", f":{to_database.port}/")
        command = podium(
            "up", "--json", "--http", "127.0.0.1:0", "--metrics", "", "--bus", f"nats://127.0.0.1:{self._bus.port}"
        )
        process = self._process(f"replica-{number}", command, DATABASE_URL=database)
        return Replica(process, to_database, to_bus)

    def _agents(self, number: int, count: int) -> Process:
        name = f"agents-{number}"
        command = podium(
            "agent", "podium.testing.soaking.workers:Soaker", "--json", "--name", name, "--count", str(count),
            "--bus", self.nats.url,
        )  # fmt: skip
        return self._process(name, command)

    def _foreign(self, name: str) -> Process:
        code = Path(foreign.__file__).with_name("agent.py")
        return self._process(name, (sys.executable, str(code)), speaks=False, AGENT_ID=name, NATS_URL=self.nats.url)

    def _process(self, name: str, command: tuple[str, ...], *, speaks: bool = True, **more: str) -> Process:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PODIUM_", "DATABASE_URL"))}
        environment = {**kept, **QUICK, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **more}
        return Process(name, command, self.folder, environment, self._ended, speaks=speaks)
