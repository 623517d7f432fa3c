"""The long run as a whole: stage, load and faults for so long; then rest, the oracle, and the report."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec

from podium.engine.shards import EVERY_SHARD
from podium.engine.state import State
from podium.exceptions import StoreError
from podium.ids import execution_id_for, shard_of
from podium.store.postgres import PostgresStore
from podium.testing.ledger import FileLedger
from podium.testing.oracle import Examination
from podium.testing.soaking import shapes
from podium.testing.soaking.bus_client import BusClient
from podium.testing.soaking.clients import Client
from podium.testing.soaking.faults import Faults
from podium.testing.soaking.history import History
from podium.testing.soaking.load import Load
from podium.testing.soaking.processes import Ended
from podium.testing.soaking.reporting import ORACLE_KINDS, Report, report
from podium.testing.soaking.stage import Stage
from podium.testing.soaking.watching import Watch, holds

SAY_SECONDS = 15.0
PROBES = 8  # executions, in shards far from each other
PROBE_SECONDS = 120.0
END_SECONDS = 240.0  # after the last fault, for what is under way
REST_SECONDS = 90.0  # after the last end, for what is held
PAGE = 2_000


class Soak:
    """One long run."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        seconds: float,
        every_seconds: float,
        at_once: int,
        a_second: float,
        say: Callable[[str], None],
        replicas: int = 3,
        agents: int = 10,
        processes: int = 5,
    ) -> None:
        """A fault every so many seconds, at most so many at once; so many executions a second; agents in so many
        processes.
        """
        self.folder = folder
        self.history = History()
        self.could_not_start: Counter[str] = Counter()
        self._seed = seed
        self._seconds = seconds
        self._every = every_seconds
        self._at_once = at_once
        self._a_second = a_second
        self._say = say
        self.stage = Stage(folder, seed, self._ended, replicas=replicas, agents=agents, processes=processes)
        self._probes = count()
        self._client: Client
        self._faults: Faults

    async def run(self) -> Report:
        """Do all of it."""
        try:
            await self.stage.open()
            self.history.began = time.monotonic()
            watch = Watch(self.stage)
            watching = asyncio.create_task(watch.run(), name="soak-watches")
            try:
                return await self._run(watch)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        finally:
            await self.stage.close()

    async def _run(self, watch: Watch) -> Report:
        self._client = await Client.open(self.stage.database, self.history)
        bus = await BusClient.open(self.stage.nats.url, self.history)
        load = Load(self._client, bus, self.history, self.folder, self._seed, self._a_second)
        self._faults = Faults(self.stage, self.history, self._seed, self._every, self._at_once, self._probe)
        loading = asyncio.create_task(load.run(), name="soak-load")
        faulting = asyncio.create_task(self._faults.run(), name="soak-faults")
        until = time.monotonic() + self._seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, SAY_SECONDS))
            self._say(self._line(load))
        self._faults.stop()
        await faulting
        load.stop()
        await loading
        self._say(f"the faults are over; {load.at_once} executions are under way")
        await load.ended(END_SECONDS)
        await self._rest()
        await watch.look()
        counted = watch.counted_by_labels("podium_reconciler_finds_total")
        finds = {what: number for what, number in counted.items() if number}
        for what, number in finds.items():
            self.history.wrong("found", f"the reconciler found {number:g} {what}")
        await self._client.close()
        await bus.close()
        executions, attempts, effects = await self._examine()
        return report(
            self._seed, self.history, self._faults.faults, executions, attempts, effects, finds,
            self.could_not_start, watch.memory(),
        )  # fmt: skip

    # --- meanwhile ---------------------------------------------------------------------------------------------

    def _line(self, load: Load) -> str:
        history = self.history
        ended = sum(number for what, number in history.counts.items() if what.startswith("ended "))
        last = self._faults.faults[-1] if self._faults.faults else None
        wrong = Counter(problem.kind for problem in history.problems)
        return (
            f"{history.seconds:5.0f} s: {history.counts['submissions']} submitted, {ended} ended, {load.at_once} under "
            f"way, {len(self._faults.faults)} faults, last {last and f'{last.kind} of {last.victim}'}; "
            f"wrong: {dict(wrong) or 'nothing'}"
        )

    def _ended(self, ended: Ended) -> None:
        """A process ended by itself: no news while what it needs is ill and it has just begun, else a find."""
        words = " | ".join(ended.words)
        if not ended.ready and self._faults.servers_ill:
            self.could_not_start[f"{ended.name}, exit code {ended.code}"] += 1
        else:
            self.history.wrong("ended", f"{ended.name} ended by itself with {ended.code}: {words}")

    async def _probe(self, since: float) -> float:
        """Return how long it took from then until executions in shards of all replicas ended. Raises TimeoutError."""
        async with asyncio.timeout(PROBE_SECONDS):
            names = self._names_of_probes()
            await asyncio.gather(*(self._one(name) for name in names))
        return time.monotonic() - since

    def _names_of_probes(self) -> list[str]:
        """Return submission ids whose executions lie in different parts of the shards."""
        found: dict[int, str] = {}
        while len(found) < PROBES:
            name = f"p{self._seed}-{next(self._probes)}"
            found.setdefault(shard_of(execution_id_for("default", name)) * PROBES // len(EVERY_SHARD), name)
        return list(found.values())

    async def _one(self, name: str) -> None:
        execution = await self._client.submit(shapes.PROBE, {"token": name}, name)
        await self._client.end(execution)

    # --- afterwards --------------------------------------------------------------------------------------------

    async def _rest(self) -> None:
        """Wait until nothing is held or left (I6)."""
        until = time.monotonic() + REST_SECONDS
        while True:
            held = [each for replica in self.stage.replicas for each in await holds(replica)]
            held += await self._left_in_inbox()
            if not held:
                return
            if time.monotonic() > until:
                for each in held:
                    self.history.wrong("held", each)
                return
            await asyncio.sleep(1.0)

    async def _left_in_inbox(self) -> list[str]:
        try:
            left = await self._client.store.inbox(EVERY_SHARD, 0, 5)
        except StoreError as error:
            return [f"the database doesn't answer: {error}"]
        return [f"left in the inbox: {row.kind} {row.execution} {row.input_id}" for row in left]

    async def _examine(self) -> tuple[Counter[str], int, Counter[str]]:
        """Ask the oracle, and hold what clients were told of ends against the database."""
        self._say("the oracle looks at everything")
        effects = await asyncio.to_thread(FileLedger(self.folder / "effects").effects)
        store = await PostgresStore.open(self.stage.database)
        try:
            examination = Examination(store, self.history.told, effects, keeps_ledger=_keeps_ledger)
            for broken in await examination.examine():
                self.history.wrong(ORACLE_KINDS.get(broken[:2], "wrong"), broken)
            rows = await store.executions(None, limit=1_000_000)
        finally:
            await store.close()
        stored = {row.id: row.status for row in rows}
        for execution, status in self.history.ends.items():
            if stored.get(execution) != status:
                self.history.wrong("changed", f"{execution} ended as {status}, and is {stored.get(execution)}")
        return Counter(stored.values()), examination.attempts, Counter(effect.key for effect in effects)


def _keeps_ledger(path: str, state: State) -> bool:
    """Whether a task is done by agents that write their effects down: those of others don't."""
    spec = state.definition.tasks[path.partition("[")[0]].spec
    return shapes.FOREIGN not in (spec.agent, spec.agent_type)


def write(result: Report, path: Path) -> None:
    """Write the report as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
