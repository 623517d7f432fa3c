"""What the tests of several replicas share: engines in one process on one store in memory, on virtual time, and agents
that all of them hear.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from podium.engine.ownership import Ownership, OwnershipSettings
from podium.engine.reconciliation import Find
from podium.engine.reconciling import Reconciler, reconciler_of
from podium.engine.recovery import inline
from podium.engine.runtime import Engine, EngineSettings
from podium.engine.shards import EVERY_SHARD
from podium.fleet import messages as msg
from podium.ids import PLACEMENT_SHARD, IdSource
from podium.scheduling.placement import Placement
from podium.store.memory import MemoryStore
from podium.store.protocol import FORMAT, Replica
from podium.testing.virtual import virtual_loop
from podium.workflow.model import ExecutionStatus, Workflow
from tests.runtime.support import UnreliableStore, crash, until

RECONCILE_SECONDS = 20.0


class Fleet:
    """Agents elsewhere: every replica hears their signs of life, one of them each result."""

    def __init__(self) -> None:
        self.engines: list[Engine] = []
        self.members: dict[str, Member] = {}

    def send(self, agent: str, message: msg.ToAgent) -> None:
        if agent in self.members:
            self.members[agent].take(message)

    def hear(self, message: msg.FromAgent) -> None:
        for engine in self.engines:
            engine.receive(message)

    def result(self, message: msg.FromAgent) -> None:
        if self.engines:
            virtual_loop().chance.choice(self.engines).receive(message)

    def join(self, agent: str, **options: Any) -> Member:
        member = self.members[agent] = Member(self, agent, **options)
        member.register()
        return member


class Member:
    """An agent that renews; it works by itself, or holds what it has while `working` is unset."""

    def __init__(self, fleet: Fleet, agent: str, slots: int = 4, type: str = "hand", working: bool = True) -> None:
        self.fleet = fleet
        self.agent = agent
        self.slots = slots
        self.type = type
        self.working = working
        self.incarnation = 1
        self.live: dict[str, msg.Assignment] = {}
        self.unconfirmed: dict[str, msg.Succeeded] = {}
        self.done: list[str] = []
        self.most = 0
        self.refused = 0

    def register(self) -> None:
        self.fleet.hear(msg.Registration(self.agent, self.type, f"{msg.REMOTE}{self.incarnation}", slots=self.slots))

    def take(self, message: msg.ToAgent) -> None:
        match message:
            case msg.Assignment(attempt=attempt) if attempt not in self.live and attempt not in self.done:
                if len(self.live) >= self.slots:
                    self.refused += 1
                    self.fleet.result(msg.Refused(self.agent, attempt, "full"))
                    return
                self.live[attempt] = message
                self.most = max(self.most, len(self.live))
                if self.working:
                    asyncio.get_running_loop().call_later(0.05, self.finish, attempt)
            case msg.Confirmation(attempt=attempt):
                self.unconfirmed.pop(attempt, None)
            case msg.Cancel(attempt=attempt):
                self.live.pop(attempt, None)
            case _:
                pass

    def finish(self, attempt: str) -> None:
        if self.live.pop(attempt, None) is not None:
            self.done.append(attempt)
            said = self.unconfirmed[attempt] = msg.Succeeded(self.agent, attempt, Raw(msgspec.json.encode(1)))
            self.fleet.result(said)

    def finish_all(self) -> None:
        self.working = True
        for attempt in list(self.live):
            self.finish(attempt)

    async def beat(self) -> None:
        while True:
            await asyncio.sleep(5)
            self.fleet.hear(msg.Renewal(self.agent, tuple(self.live)))
            for said in list(self.unconfirmed.values()):
                self.fleet.result(said)


class Process:
    """One replica: its engine and its place among the others."""

    def __init__(self, engine: Engine, ownership: Ownership, store: UnreliableStore, reconciler: Reconciler) -> None:
        self.engine = engine
        self.ownership = ownership
        self.store = store
        self.reconciler = reconciler


class Cluster:
    """Replicas on one store. Use it as a context."""

    def __init__(self, **pool: float) -> None:
        loop = virtual_loop()
        self.store = UnreliableStore(MemoryStore(clock=loop.clock)._data)
        self.fleet = Fleet()
        self.processes: list[Process] = []
        self.pool = pool
        self.settings: dict[str, Any] = {}  # of the engines, beside those that replicas need
        self.reconcilers: list[Reconciler] = []  # of all that ever were
        self.finds = 0  # so many are there to be; whoever tampers says so
        self._beats: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None and self.processes:
            await self.reconciled()
        for beat in self._beats:
            beat.cancel()
        for process in list(self.processes):
            await self.stop(process)

    def join(self, agent: str, **options: Any) -> Member:
        member = self.fleet.join(agent, **options)
        self._beats.append(asyncio.create_task(member.beat()))
        return member

    async def start(self, name: str = "", bus: str = "nats://one", **options: Any) -> Process:
        loop = virtual_loop()
        ids = IdSource(loop.clock, loop.chance)
        store = self.store.reopen()
        settings = EngineSettings(shared=True, inbox_poll_seconds=5.0, **self.settings)
        engine = Engine(
            store, self.fleet, clock=loop.clock, ids=ids, offload=inline, settings=settings,
            placement=Placement(pool=self.pool),
        )  # fmt: skip
        replica = Replica("", name or f"r{len(self.processes)}", bus, "1", FORMAT)
        ownership = Ownership(store, engine, replica, ids=ids, settings=OwnershipSettings(**options))
        await engine.start()
        await ownership.start()
        self.fleet.engines.append(engine)
        for member in self.fleet.members.values():
            member.register()
        reconciler = reconciler_of(
            engine, store, loop.clock, ownership=lambda: ownership, offload=inline, seconds=RECONCILE_SECONDS
        )
        await reconciler.start()
        process = Process(engine, ownership, store, reconciler)
        self.processes.append(process)
        self.reconcilers.append(reconciler)
        return process

    async def balanced(self) -> None:
        """Wait until everything is owned, and evenly."""

        def even() -> bool:
            owned = [len(process.engine.owned) for process in self.processes]
            led = sum(process.engine.leads for process in self.processes)
            return sum(owned) == len(EVERY_SHARD) and max(owned) - min(owned) <= 1 and led == 1

        await until(even, 60)

    async def reconciled(self) -> list[Find]:
        """Have all replicas look at everything; return what they find, which is nothing if nobody tampers."""
        reports = await asyncio.gather(*(process.reconciler.look() for process in self.processes))
        found = [find for report in reports for find in report.finds]
        counted = {key: number for one in self.reconcilers for key, number in one.finds.items() if number}
        assert sum(counted.values()) == self.finds, (counted, found)
        return found

    async def quiet(self) -> None:
        """Wait until nothing is on its way between the replicas."""
        try:
            await until(lambda: not self.store._data.inbox, 60)
        except TimeoutError:
            raise AssertionError(self.store._data.inbox) from None

    @property
    def leader(self) -> Process:
        (leader,) = (process for process in self.processes if process.engine.leads)
        assert PLACEMENT_SHARD in leader.engine.owned
        return leader

    async def stop(self, process: Process) -> None:
        """End a replica in good order."""
        self._gone(process)
        await process.reconciler.stop()
        await process.ownership.stop()
        await process.engine.stop()

    async def kill(self, process: Process) -> None:
        """End a replica as kill -9 would."""
        self._gone(process)
        await process.reconciler.stop()
        for task in (process.ownership._task, process.ownership._moving):
            assert task is not None
            task.cancel()
        await crash(process.engine)
        await process.store.close()

    async def take(self, process: Process, shard: int) -> None:
        """Have a replica get a shard from another one whose lease was over, and holds again."""
        rows = self.store._data.shards
        rows[shard] = replace(rows[shard], fence=rows[shard].fence + 1, owner=process.ownership.replica.id)
        await process.engine.acquire({shard: rows[shard]})

    def freeze(self, process: Process) -> None:
        """Have a replica stand still as SIGSTOP would: it renews nothing, writes nothing and hears nothing."""
        process.store.gate.clear()
        process.ownership._settings = OwnershipSettings(renew_seconds=1_000.0)
        process.ownership._look.set()
        self.fleet.engines.remove(process.engine)

    def thaw(self, process: Process) -> None:
        """Have it go on with what it was about to do."""
        process.ownership._settings = OwnershipSettings()
        process.ownership._look.set()
        process.store.gate.set()
        self.fleet.engines.append(process.engine)

    def _gone(self, process: Process) -> None:
        self.processes.remove(process)
        if process.engine in self.fleet.engines:
            self.fleet.engines.remove(process.engine)

    async def submit(self, workflow: Workflow, count: int = 1, **options: Any) -> list[str]:
        """Start executions, each at another replica in turn."""
        return [await self.processes[n % len(self.processes)].engine.submit(workflow, **options) for n in range(count)]

    async def ended(self, executions: list[str], seconds: float = 600) -> None:
        """Wait until all of them have completed."""
        rows = self.store._data.executions
        await until(lambda: all(rows[e].status == ExecutionStatus.COMPLETED for e in executions), seconds)
