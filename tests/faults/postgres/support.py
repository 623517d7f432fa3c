"""Replicas on PostgreSQL and NATS with their agents as real processes, and what is asked of them afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from functools import partial
from typing import Any

import msgspec

from podium.app import Podium
from podium.engine import events as ev
from podium.engine.codec import decode_row
from podium.engine.state import State
from podium.settings import Settings
from podium.store.postgres import PostgresStore
from podium.store.protocol import Cluster as Picture
from podium.testing.natsserver import NatsServer
from podium.testing.oracle import Examination
from podium.testing.postgresserver import PostgresServer
from tests.cli.support import Running, Shell, eventually
from tests.faults.bus.support import Ensemble

SETTLED_SECONDS = 60.0
LEASE_SECONDS = 6.0  # longer than an agent waits before it says again what isn't confirmed


class Replicas(Ensemble):
    """Replicas in a shell's folder that share a database and a bus; settings are `QUICK` and what is given."""

    def __init__(self, shell: Shell, postgres: PostgresServer, database: str, nats: NatsServer) -> None:
        super().__init__(shell)
        self.postgres = postgres
        self.name = database
        self.url = postgres.url(database)
        self.nats = nats
        self.bus = nats.url
        self.ups: list[Running] = []
        self.settings |= {
            "DATABASE_URL": self.url,
            "PODIUM_LEASE_SECONDS": str(LEASE_SECONDS),
            "PODIUM_HEARTBEAT_INTERVAL_SECONDS": "1",  # a foreign agent counts whole seconds
            "PODIUM_UNHEALTHY_SECONDS": str(LEASE_SECONDS),  # agents renew three times in a lease
        }

    # --- processes -------------------------------------------------------------------------------------------------

    def up(self, *arguments: str, bus: str = "", **settings: str) -> Running:
        """Start a replica, and wait until it is there."""
        run = super().up(*arguments, bus=bus or self.bus, **settings)
        self.ups.append(run)
        return run

    def agent(self, name: str, *arguments: str, bus: str = "", wait: bool = True, **settings: str) -> Running:
        """Start an agent process of this name, and wait until it is in the fleet."""
        return super().agent(name, *arguments, bus=bus or self.bus, wait=wait, **settings)

    def several(self, count: int, *agents: str) -> list[Running]:
        """Start so many replicas at once, and agents of these names; return the replicas when all shards are shared."""
        began = [
            self.shell.start(
                "up", "--json", "--http", "127.0.0.1:0", "--metrics", "", "--bus", self.bus, **self.settings
            )
            for _ in range(count)
        ]
        for name in agents:
            self.agent(name, wait=False)
        for run in began:
            eventually(partial(_said, run), f"a replica, {run}", SETTLED_SECONDS)
        self.ups += began
        self.addresses = json.loads(began[0].out[0])
        self.settled(count)
        if agents:
            eventually(lambda: set(agents) <= set(self.agents), f"{agents} in the fleet: {self.agents}")
        return began

    @property
    def living(self) -> list[Running]:
        """The replicas whose process is there."""
        return [run for run in self.ups if run.process.poll() is None]

    def kill(self, run: Running) -> None:
        """End a process with -9."""
        run.send(signal.SIGKILL)
        run.wait()

    def hold(self, run: Running) -> None:
        """Have a process stand still, now."""
        run.send(signal.SIGSTOP)
        os.waitpid(run.process.pid, os.WUNTRACED)

    # --- who is there ----------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """Return what the store says of the replicas."""

        async def looked() -> Picture:
            async with await self._guest() as guest:
                assert isinstance(guest.store, PostgresStore)
                return await guest.store.cluster()

        return asyncio.run(looked())

    def settled(self, count: int) -> Picture:
        """Wait until so many live replicas share all shards evenly, and no others are remembered as owners."""

        def even() -> Picture | None:
            picture = self.picture()
            owners = [row.owner for row in picture.shards]
            live = [replica.id for replica in picture.replicas if picture.live(replica)]
            shares = [owners.count(owner) for owner in live]
            shared = len(live) == count and set(owners) == set(live) and max(shares) - min(shares) <= 2
            return picture if shared else None

        found: Picture = eventually(even, f"{count} replicas that share all shards", SETTLED_SECONDS)
        return found

    def shards_of(self, run: Running) -> list[int]:
        """Return the shards that a process owns, as the store has it."""
        picture = self.picture()
        mine = {r.id for r in picture.replicas if msgspec.json.decode(r.details).get("pid") == run.process.pid}
        return [row.shard for row in picture.shards if row.owner in mine]

    def end_leases(self) -> None:
        """Let the leases of all replicas be over, as time does."""
        self.postgres.execute("UPDATE replicas SET lease_until_us = 0", self.name)

    def fleet(self) -> dict[str, Any]:
        """Return what the replica that places says of the fleet."""

        async def asked() -> dict[str, Any]:
            async with await self._guest() as guest:
                return await guest.ask_owner({"op": "fleet"}) or {}

        return asyncio.run(asked())

    async def _guest(self) -> Podium:
        settings = Settings(database=self.url)
        return await Podium.open(settings, own=False, works=False, elsewhere=True, may_own=False)

    # --- work ------------------------------------------------------------------------------------------------------

    def submit_many(self, workflows: list[Any]) -> list[str]:
        """Submit workflows at once; return the executions."""

        async def submitted() -> list[str]:
            async with await self._guest() as guest:
                return await asyncio.gather(*(guest.submit(workflow) for workflow in workflows))

        executions = asyncio.run(submitted())
        self.told.executions |= dict.fromkeys(executions)
        return executions

    def all_ended(self, executions: list[str], seconds: float = 60.0) -> dict[str, str]:
        """Wait for the ends of many executions; return their statuses."""

        async def awaited() -> dict[str, str]:
            async with await self._guest() as guest, asyncio.timeout(seconds):
                ends = await asyncio.gather(*map(guest.finished, executions))
                return dict(zip(executions, map(str, ends), strict=True))

        return asyncio.run(awaited())

    def events(self, execution: str) -> list[ev.Event]:
        """Return what has happened in an execution."""

        async def looked() -> list[ev.Event]:
            async with await self._guest() as guest:
                rows = await guest.store.history(execution, limit=10_000)
                return [event for row in rows if row.payload_blob is None for event in decode_row(row, None)[1]]

        return asyncio.run(looked())

    # --- afterwards ------------------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Wait until no replica holds anything (I6)."""
        for run in self.living:
            self.addresses = json.loads(run.out[0])
            super().at_rest()

    def examine(self, at_rest: bool = True, running: bool = True) -> None:
        """Ask the oracle (I1 to I5), and the replicas whether they hold anything. Only our agents keep the ledger."""
        if running:
            self.at_rest()

        async def look() -> list[str]:
            store = await PostgresStore.open(self.url)
            try:
                return await Examination(store, self.told, self.effects, at_rest=at_rest, keeps_ledger=_ours).examine()
            finally:
                await store.close()

        broken = asyncio.run(look())
        assert not broken, "\n".join(broken)


def _ours(path: str, state: State) -> bool:
    spec = state.definition.tasks[path.partition("[")[0]].spec
    return "worker" in (spec.agent, spec.agent_type)


def _said(run: Running) -> bool:
    assert run.process.poll() is None, run
    return bool(run.out)
