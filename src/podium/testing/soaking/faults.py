"""The faults of the long run: what is done to whom, for how long, and how it is undone. Chance comes from a seed.

Each is followed by the recovery of its victim. A few may be under way at once, but never two at one victim; what others
must make good (a replica that is killed or held) counts as recovered when they do, not when the victim is back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import nats
from msgspec import Struct
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from podium.testing.proxy import DIRECTIONS
from podium.testing.soaking.history import History
from podium.testing.soaking.processes import Process
from podium.testing.soaking.stage import DATABASE, Replica, Stage

DATABASE_NAME, BUS_NAME = "postgresql", "nats"


class Fault(Struct):
    """One fault, as it went. Times are in seconds: since the beginning, it lasted, until all worked again."""

    kind: str
    victim: str
    at: float
    lasted: float = 0.0
    recovered: float | None = None
    among: int = 1  # how many were under way when it began


class Kind(Struct, frozen=True):
    """A kind of fault. `others_recover`: while it lasts, all must work; else only after it."""

    name: str
    weight: int
    run: Callable[[Faults, Fault], Awaitable[None]]
    victims: Callable[[Faults], list[str]]
    others_recover: bool = False


class Faults:
    """Begins faults until it is told to stop. `probe` returns how long it took from a moment until all works."""

    def __init__(
        self,
        stage: Stage,
        history: History,
        seed: int,
        every_seconds: float,
        at_once: int,
        probe: Callable[[float], Coroutine[Any, Any, float]],
    ) -> None:
        self.stage = stage
        self.chance = random.Random(f"faults {seed}")
        self.faults: list[Fault] = []
        self.last_server_fault = float("-inf")
        self._history = history
        self._every = every_seconds
        self._at_once = at_once
        self._probe = probe
        self._busy: set[str] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    # --- beginning them ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Begin one every few seconds until `stop`, then wait for those that are under way."""
        while not await self._stopped_within(self.chance.uniform(0.5, 1.5) * self._every):
            if len(self._under_way) < self._at_once:
                self._begin()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def stop(self) -> None:
        """Begin no more."""
        self._stop.set()

    @property
    def servers_ill(self) -> bool:
        """Whether a server is under a fault, or was a moment ago: what can't start then is no news."""
        ill = self._busy & {DATABASE_NAME, BUS_NAME} or any(name.startswith("replica") for name in self._busy)
        return bool(ill) or time.monotonic() - self.last_server_fault < 15.0

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    def _begin(self) -> None:
        kinds = [kind for kind in KINDS if self._free(kind)]
        if not kinds:
            return
        (kind,) = self.chance.choices(kinds, [each.weight for each in kinds])
        victim = self.chance.choice(self._free(kind))
        fault = Fault(kind.name, victim, round(self._history.seconds, 1), among=len(self._under_way) + 1)
        self.faults.append(fault)
        self._busy.add(victim)
        task = asyncio.create_task(self._do(kind, fault), name=f"fault-{kind.name}-{victim}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _free(self, kind: Kind) -> list[str]:
        victims = kind.victims(self)
        if victims == ["all replicas"]:
            return [] if any(name.startswith(("replica", "all")) for name in self._busy) else victims
        if "all replicas" in self._busy:
            victims = [victim for victim in victims if not victim.startswith("replica")]
        return [victim for victim in victims if victim not in self._busy]

    async def _do(self, kind: Kind, fault: Fault) -> None:
        began = time.monotonic()
        probing: asyncio.Task[float] | None = None
        try:
            if kind.others_recover:
                probing = asyncio.create_task(self._probe(began), name=f"probe-{kind.name}")
            await kind.run(self, fault)
            fault.lasted = round(time.monotonic() - began, 1)
        except Exception as error:  # noqa: BLE001 - a fault that can't be made or undone is a find by itself
            self._history.wrong("fault", f"{fault.kind} of {fault.victim}: {error!r}")
        finally:
            if fault.victim in (DATABASE_NAME, BUS_NAME):
                self.last_server_fault = time.monotonic()
            self._busy.discard(fault.victim)
        try:
            fault.recovered = round(await (probing or self._probe(time.monotonic())), 1)
        except TimeoutError:
            self._history.wrong("stuck", f"after {fault.kind} of {fault.victim} at {fault.at} s nothing works")

    # --- victims -----------------------------------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """Return the process of this name."""
        return next(process for process in self.stage.everyone if process.name == name)

    def replica(self, name: str) -> Replica:
        """Return the replica of this name."""
        return next(replica for replica in self.stage.replicas if replica.name == name)

    async def pause(self, least: float, most: float) -> None:
        """Let it last, by chance."""
        await asyncio.sleep(self.chance.uniform(least, most))

    async def back(self, process: Process) -> None:
        """Start a process again, and wait until it is there, should the servers be."""
        await process.start()
        if not await process.ready() and not self.servers_ill:
            words = " | ".join(process.last_words())
            self._history.wrong("stuck", f"{process.name} doesn't come back: {words}")

    def didnt_end(self, process: Process, code: int | None) -> None:
        """Look at the exit code of one that was asked to end."""
        if code is None:
            words = " | ".join(process.last_words())
            self._history.wrong("stuck", f"{process.name} didn't end on SIGTERM: {words}")
        elif code != 0:
            self._history.counts[f"exit code {code} after SIGTERM"] += 1

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[nats.js.JetStreamContext]:
        """Speak with NATS about its streams."""
        bus = await nats.connect(self.stage.nats.url, connect_timeout=5)
        try:
            yield bus.jetstream()
        finally:
            await bus.close()


# --- kinds: processes ----------------------------------------------------------------------------------------------


async def _kill(faults: Faults, fault: Fault) -> None:
    process = faults.process(fault.victim)
    await process.kill()
    await faults.pause(0, 10)
    await faults.back(process)


async def _hold(faults: Faults, fault: Fault) -> None:
    process = faults.process(fault.victim)
    process.hold()
    await faults.pause(1, 30)
    process.release()


async def _terminate(faults: Faults, fault: Fault) -> None:
    process = faults.process(fault.victim)
    faults.didnt_end(process, await process.terminate())
    await faults.pause(0, 5)
    await faults.back(process)


async def _rolling_restart(faults: Faults, fault: Fault) -> None:
    for replica in faults.stage.replicas:
        faults.didnt_end(replica.process, await replica.process.terminate())
        await faults.back(replica.process)


# --- kinds: NATS ---------------------------------------------------------------------------------------------------


async def _nats_restarts(faults: Faults, fault: Fault) -> None:
    await asyncio.to_thread(faults.stage.nats.stop)
    await faults.pause(0, 3)
    await asyncio.to_thread(faults.stage.nats.start)


async def _nats_killed(faults: Faults, fault: Fault) -> None:
    await asyncio.to_thread(faults.stage.nats.kill)
    await faults.pause(0, 8)
    await asyncio.to_thread(faults.stage.nats.start)


async def _nats_emptied(faults: Faults, fault: Fault) -> None:
    await asyncio.to_thread(faults.stage.nats.wipe)


async def _nats_held(faults: Faults, fault: Fault) -> None:
    faults.stage.nats.hold()
    await faults.pause(1, 10)
    faults.stage.nats.release()


async def _streams_deleted(faults: Faults, fault: Fault) -> None:
    async with faults.streams() as streams:
        for info in await streams.streams_info():
            if info.config.name is not None:
                try:
                    await streams.delete_stream(info.config.name)
                except (APIError, NatsError):
                    continue


# --- kinds: PostgreSQL ---------------------------------------------------------------------------------------------


async def _backends_terminated(faults: Faults, fault: Fault) -> None:
    share = faults.chance.choice((0.3, 1.0))
    ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    where = f"datname = '{DATABASE}' AND pid <> pg_backend_pid() AND random() < {share}"
    for _ in range(faults.chance.randint(1, 4)):
        await asyncio.to_thread(faults.stage.postgres.execute, f"{ends} WHERE {where}")
        await faults.pause(0, 1)


async def _database_restarts(faults: Faults, fault: Fault) -> None:
    await asyncio.to_thread(faults.stage.postgres.stop)
    await faults.pause(0, 5)
    await asyncio.to_thread(faults.stage.postgres.start)


async def _database_stopped_at_once(faults: Faults, fault: Fault) -> None:
    await asyncio.to_thread(faults.stage.postgres.stop_at_once)
    await faults.pause(0, 5)
    await asyncio.to_thread(faults.stage.postgres.start)


async def _database_killed(faults: Faults, fault: Fault) -> None:
    await asyncio.to_thread(faults.stage.postgres.kill)
    await faults.pause(0, 5)
    await asyncio.to_thread(faults.stage.postgres.start)


async def _database_held(faults: Faults, fault: Fault) -> None:
    faults.stage.postgres.hold()
    await faults.pause(1, 12)
    faults.stage.postgres.release()


async def _database_read_only(faults: Faults, fault: Fault) -> None:
    await asyncio.to_thread(faults.stage.postgres.set_read_only, True)
    await faults.pause(1, 12)
    await asyncio.to_thread(faults.stage.postgres.set_read_only, False)


# --- kinds: lines --------------------------------------------------------------------------------------------------


async def _one_way_lost(faults: Faults, fault: Fault) -> None:
    """What goes one way is lost for a while; then the connections are cut, since bytes are missing."""
    which, direction = faults.chance.choice(("database", "bus")), faults.chance.choice(DIRECTIONS)
    fault.kind = f"{fault.kind}: {which}, {direction}"
    line = faults.replica(fault.victim).lines[which]
    line.lose(direction)
    await faults.pause(1, 20)
    line.reset()
    line.heal()


async def _line_stands_still(faults: Faults, fault: Fault) -> None:
    """Nothing goes through for a while; then all of it, late."""
    which = faults.chance.choice(("database", "bus"))
    fault.kind = f"{fault.kind}: {which}"
    line = faults.replica(fault.victim).lines[which]
    line.half_open()
    await faults.pause(1, 20)
    line.heal()


async def _line_reset(faults: Faults, fault: Fault) -> None:
    which = faults.chance.choice(("database", "bus"))
    fault.kind = f"{fault.kind}: {which}"
    faults.replica(fault.victim).lines[which].reset()


def _replicas(faults: Faults) -> list[str]:
    return [replica.name for replica in faults.stage.replicas]


def _agents(faults: Faults) -> list[str]:
    return [process.name for process in faults.stage.agents]


def _foreign(faults: Faults) -> list[str]:
    return [process.name for process in faults.stage.foreign]


def _all(faults: Faults) -> list[str]:
    return ["all replicas"]


def _database(faults: Faults) -> list[str]:
    return [DATABASE_NAME]


def _bus(faults: Faults) -> list[str]:
    return [BUS_NAME]


KINDS = (
    Kind("kill -9 of a replica", 10, _kill, _replicas, others_recover=True),
    Kind("a replica held", 8, _hold, _replicas, others_recover=True),
    Kind("SIGTERM of a replica", 6, _terminate, _replicas, others_recover=True),
    Kind("rolling restart", 2, _rolling_restart, _all, others_recover=True),
    Kind("kill -9 of agents", 6, _kill, _agents, others_recover=True),
    Kind("agents held", 6, _hold, _agents, others_recover=True),
    Kind("SIGTERM of agents", 3, _terminate, _agents, others_recover=True),
    Kind("kill -9 of the foreign agent", 3, _kill, _foreign, others_recover=True),
    Kind("the foreign agent held", 3, _hold, _foreign, others_recover=True),
    Kind("NATS restarts", 2, _nats_restarts, _bus),
    Kind("kill -9 of NATS", 2, _nats_killed, _bus),
    Kind("NATS killed, its state lost", 2, _nats_emptied, _bus),
    Kind("NATS held", 2, _nats_held, _bus),
    Kind("streams deleted", 2, _streams_deleted, _bus),
    Kind("backends terminated", 4, _backends_terminated, _database),
    Kind("PostgreSQL restarts", 1, _database_restarts, _database),
    Kind("PostgreSQL stopped at once", 2, _database_stopped_at_once, _database),
    Kind("kill -9 of PostgreSQL", 1, _database_killed, _database),
    Kind("PostgreSQL held", 2, _database_held, _database),
    Kind("PostgreSQL read-only", 2, _database_read_only, _database),
    Kind("one way lost", 4, _one_way_lost, _replicas),
    Kind("a line stands still", 4, _line_stands_still, _replicas),
    Kind("a line cut", 3, _line_reset, _replicas, others_recover=True),
)
