"""The simulated world with several orchestrators on one store: they come and go, stand still, lose their way to the
store or to agents, and take over from one another.

Agents, clients and the oracle are the world's. Every replica hears what agents say, one of them each result. What the
oracle adds: each shard is written by one owner an epoch, the shards are shared in the end, nothing stays in an inbox or
in a replica's memory, no agent holds more than its slots unless a commit's outcome was unknown.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any, TypeVar

from podium.engine import inputs as inp
from podium.engine.explain import Sources, explain
from podium.engine.posting import Posting
from podium.engine.runtime import Engine
from podium.engine.shards import EVERY_SHARD
from podium.engine.values import value_of
from podium.exceptions import ConflictError, PodiumError, ShardMovedError
from podium.fleet import messages as msg
from podium.ids import IdSource, execution_id_for
from podium.store.protocol import DEFAULT_TENANT, Append, Blob
from podium.testing.actors import Actor
from podium.testing.epochs import Epochs
from podium.testing.farstore import Weather
from podium.testing.faults import SimulatedCrash
from podium.testing.link import JumpingClock, named
from podium.testing.oracle import miscounted, unexplained, unreturned
from podium.testing.replicas import SimulatedReplica, settings_of
from podium.testing.sharedactors import SharedActor
from podium.testing.world import SETTINGS, World
from podium.workflow.model import ResourceRequirements

T = TypeVar("T")
FOREIGN_SHARE = 0.25
STAND_SECONDS = 120.0
_RESULTS = (msg.Succeeded, msg.Failed)


class ReplicaWorld(World):
    """One simulated world with several orchestrators in it."""

    patience_seconds = 2 * 3_600.0  # each second of several replicas costs
    rest_looks = 60
    limit_excuses = ("clock_freezes", *Epochs.UNSURE)

    def __init__(self, *about: Any, replicas: int | None = None, **more: Any) -> None:
        """`replicas`: how many there are; drawn without it."""
        super().__init__(*about, **more)
        self._agents_live_here = False
        self.weather = Weather()
        self.pool = self._pool()
        self.settings = settings_of(SETTINGS)
        self.replicas: list[SimulatedReplica] = []
        self._count = replicas or self.chance.choice((2, 2, 3, 3, 4))
        self._births = itertools.count(1)
        self._keeping: list[asyncio.Task[None]] = []
        self._stops: list[asyncio.Task[None]] = []
        self._epochs = Epochs(self._definitions.compile(self.workflow)[0], self.pool, self._has_ended)
        self._posting = Posting(self.disk, DEFAULT_TENANT, self.loop.clock)
        self._ids = IdSource(self.loop.clock, self.chance)
        self.fate.counts["replicas"] = 1
        self.outside = copy_context()

    # --- the orchestrators ---------------------------------------------------------------------------------------

    async def _keep_orchestrator(self) -> None:
        """Keep so many replicas."""
        for number in range(self._count):
            self._keep(f"r{number + 1}", self.chance.choice((0.0, 0.0, 3.0)) if number else 0.0)
        await self.loop.create_future()

    def _keep(self, name: str, after: float = 0.0, seconds: float | None = None) -> None:
        """Start a replica, and another one whenever it is gone; one that comes for some seconds isn't replaced."""
        keeping = self._keep_place(name, after) if seconds is None else self._visit(name, after, seconds)
        self._keeping.append(self.loop.create_task(keeping, name=f"world-keeps-{name}"))

    async def _keep_place(self, name: str, after: float) -> None:
        await asyncio.sleep(after)
        while True:
            replica = await self._begin(name)
            await replica.ended.wait()
            await self._end(replica)
            if replica.relieved:
                return
            pauses = (0.0, 0.5, 20.0) if not self.fate.calm else (1.0,)
            await asyncio.sleep(self.chance.choice(pauses))

    async def _visit(self, name: str, after: float, seconds: float) -> None:
        await asyncio.sleep(after)
        replica = await self._begin(name)
        self.loop.call_later(seconds, self._stop_soon, replica)
        await replica.ended.wait()
        await self._end(replica)

    async def _begin(self, name: str) -> SimulatedReplica:
        replica = SimulatedReplica(self, name, next(self._births))
        self.replicas.append(replica)
        await replica.begin()
        return replica

    async def _end(self, replica: SimulatedReplica) -> None:
        await replica.clear_away()
        self.replicas.remove(replica)

    def _stop_soon(self, replica: SimulatedReplica) -> None:
        self._stops = [each for each in self._stops if not each.done()]
        self._stops.append(self.loop.create_task(replica.stop(), name=f"world-stops-{replica.process.name}"))

    def _there(self) -> list[SimulatedReplica]:
        return [replica for replica in self.replicas if replica.there]

    async def _stop_in_order(self) -> None:
        there = self._there()
        if there:
            self._stop_soon(self.chance.choice(there))

    async def _stops_end(self) -> None:
        if self._stops:
            await asyncio.wait(self._stops)

    async def _close(self) -> None:
        for keeping in self._keeping:
            keeping.cancel()
        for replica in list(self.replicas):
            replica.dead = replica.store.dead = True
            await self._end(replica)
        await self._posting.close()

    def wrote(self, replica: SimulatedReplica, batch: Append) -> None:
        """A replica has committed."""
        self.broken += self._epochs.committed(replica.process.name, batch)
        self.limits.committed(batch.rows)

    # --- what happens --------------------------------------------------------------------------------------------

    def _become_calm(self) -> None:
        super()._become_calm()
        self.weather.out_until = 0.0
        for replica in self.replicas:
            replica.process.move()
            self._mend(replica)

    def _mend(self, replica: SimulatedReplica) -> None:
        replica.mute.clear()
        replica.deaf.clear()
        replica.store.way.to_there = replica.store.way.from_there = True

    def _look_at_processes(self) -> bool:
        for replica in self._there():
            failure = replica.failure
            if failure is not None:
                self.broken.append(f"{replica.process.name} ended by itself: {failure!r}")
                replica.crash("it failed")
                self.fate.calm = True
                return False
            self.broken += miscounted(replica.engine)
        return True

    def _some_clock(self) -> JumpingClock | None:
        there = self._there()
        return self.chance.choice(there).raw_clock if there else None

    def _strike(self) -> None:
        super()._strike()
        fate, chance = self.fate, self.chance
        there = self._there()
        if not there:
            return
        if fate.strikes("replica_stands"):
            self._stand(chance.choice(there))
        if fate.strikes("replica_rolls"):
            self._roll(chance.choice(there))
        if fate.strikes("replica_storm"):
            for number in range(chance.randint(1, 3)):
                self._keep(f"guest{number}", chance.uniform(0, 5), chance.uniform(0.5, 40))
        if fate.strikes("store_cut"):
            self._cut(chance.choice(there))
        if fate.strikes("bus_parts"):
            self._part(chance.choice(there))

    def _stand(self, replica: SimulatedReplica) -> None:
        """Have it stand still as SIGSTOP would."""
        if replica.process.stands:
            return
        seconds = self.chance.choice((1.0, 5.0, 10.0, STAND_SECONDS)) * self.chance.uniform(0.5, 1.0)
        self.tell(f"{replica.process.name} stands still for {seconds:.0f} s")
        replica.process.stand()
        self.loop.call_later(seconds, self._move, replica)

    def _move(self, replica: SimulatedReplica) -> None:
        if replica.process.stands and not replica.dead:
            self.tell(f"{replica.process.name} goes on")
            replica.process.move()

    def _roll(self, replica: SimulatedReplica) -> None:
        """Start another one of its name while it drains."""
        if replica.stopping or replica.relieved or not replica.name.startswith("r"):
            return
        replica.relieved = True
        self._keep(replica.name)
        self.loop.call_later(self.chance.uniform(0, 3), self._stop_soon, replica)

    def _cut(self, replica: SimulatedReplica) -> None:
        """Have it lose its way to the store, or the way back."""
        way = replica.store.way
        way.to_there, way.from_there = self.chance.choice(((False, False), (False, True), (True, False)))
        self.tell(f"{replica.process.name} loses its way to the store: {way}")
        self.loop.call_later(self.chance.choice((2, 10, 60)) * self.chance.uniform(0.5, 1.0), self._mend, replica)

    def _part(self, replica: SimulatedReplica) -> None:
        """Have it and some agents not hear each other, or one of them not."""
        agents = self.chance.sample(sorted(self._actors), self.chance.randint(1, len(self._actors)))
        deaf, mute = self.chance.choice(((True, True), (True, False), (False, True)))
        self.tell(f"{replica.process.name} parts from {', '.join(agents)}: deaf {deaf}, mute {mute}")
        replica.deaf |= set(agents) if deaf else set()
        replica.mute |= set(agents) if mute else set()
        self.loop.call_later(self.chance.choice((5, 30, 120)) * self.chance.uniform(0.5, 1.0), self._mend, replica)

    # --- agents --------------------------------------------------------------------------------------------------

    def _make_actor(
        self, agent: str, kind: str, slots: int, able: tuple[str, ...], resources: ResourceRequirements, version: str
    ) -> Actor:
        foreign = self._performer is None and self.chance.random() < FOREIGN_SHARE
        self._epochs.slots[agent] = slots
        return SharedActor(
            agent, kind, slots, self.fate, self.ledger, self._hear, foreign=foreign,
            script=self.script, performer=self._performer, capabilities=able, resources=resources,
            version=version,
        )  # fmt: skip

    def carry(self, what: str, hand_over: Callable[[], None], process: Any = None) -> None:
        """Bring a message over, in the process of who hears it: late, lost or twice, as it happens."""
        fate = self.fate
        if fate.strikes("message_lost"):
            self.tell(f"lost: {what}")
            return
        self.tell(what)
        context = process.context if process is not None else self.outside.copy()
        for _ in range(2 if fate.strikes("message_doubled") else 1):
            delay = fate.chance.uniform(0.5, 60) if fate.strikes("message_late") else fate.chance.uniform(0, 0.005)
            self.loop.call_later(delay, hand_over, context=context)

    def _hear(self, message: msg.FromAgent) -> None:
        """Bring what an agent says to all, or a result to one of them."""
        if isinstance(message, _RESULTS):
            self.bring_result(message)
            return
        for replica in self._there():
            self._bring(replica, message)

    def _bring(self, replica: SimulatedReplica, message: msg.FromAgent) -> None:
        what = f"{message.agent} -> {replica.process.name} {named(message)}"
        if not replica.hears(message.agent):
            self.tell(f"lost: {what}")
            return
        self.carry(what, lambda: replica.receive(message), replica.process)

    def bring_result(self, message: Any) -> None:
        """Bring a result to one of the replicas; until it is confirmed, its agent says it again."""
        there = [replica for replica in self._there() if not replica.stopping]
        if there:
            replica = self.chance.choice(there)
            what = f"{message.agent} -> {replica.process.name} {named(message)}"
            self.carry(what, lambda: replica.receive_result(message), replica.process)

    # --- clients -------------------------------------------------------------------------------------------------

    def _clients(self) -> int:
        return self.chance.choice((1, 2, 3, 5, 8)) if self._performer is None else 1

    async def _ask(self, ask: Callable[[Engine], Awaitable[T]], name: str) -> tuple[bool, T | None]:
        """Ask one of the orchestrators; False when it isn't known what became of it."""
        there = self._there()
        if not there:
            return False, None
        replica = self.chance.choice(there)
        asking = replica.process.start(_awaited(ask, replica.engine), f"podium-asks-{name}")
        await asyncio.wait({asking})
        if asking.cancelled():
            return False, None
        error = asking.exception()
        if error is None:
            return True, asking.result()
        if not isinstance(error, PodiumError | SimulatedCrash):
            raise error
        if not isinstance(error, ShardMovedError):
            self.tell(f"{name} is told by {replica.process.name}: {type(error).__name__}: {error}")
        if isinstance(error, ConflictError):
            return True, None
        return False, None

    async def _ask_for_start(self, name: str) -> tuple[bool, str | None]:
        """Ask a replica, or put it into the inbox as a door does for an execution that another one has."""
        if self.chance.random() < 0.6:
            return await super()._ask_for_start(name)
        definition, stored = self._definitions.compile(self.workflow)
        value, content = value_of(self.given)
        blobs = [Blob(DEFAULT_TENANT, definition.digest, stored)]
        if content is not None and value.blob is not None:
            blobs.append(Blob(DEFAULT_TENANT, value.blob, content))
        execution, start = execution_id_for(DEFAULT_TENANT, name), inp.Start(
            self.workflow.name, self.workflow.version, definition.digest, self._ids.seed(), value
        )  # fmt: skip
        await self.disk.put(blobs, self.loop.clock.now_us())
        self.tell(f"inbox <- start of {execution[-4:]}")
        try:
            posted = await self._posting.write(execution, "start", start)
            async with asyncio.timeout(120):
                await self._posting.recorded(posted, _nothing)
        except ConflictError as error:
            self.tell(f"{name} is told by its log: {error}")
            return True, None
        except TimeoutError:
            return False, None
        return True, execution

    # --- the oracle ----------------------------------------------------------------------------------------------

    @property
    def _leader(self) -> SimulatedReplica | None:
        return next((replica for replica in self._there() if replica.engine.leads), None)

    def _tell_why(self) -> None:
        leader = self._leader
        if leader is None:
            self.tell("nobody leads")
        for replica in self._there():
            engine, now_us = replica.engine, self.loop.clock.now_us()
            placement = leader.engine.placing.placement if leader is not None else None
            self.tell(f"{replica.process.name} owns {len(engine.owned)}; {'; '.join(replica.leftovers())}")
            self.broken += unexplained(engine, now_us, placement)
            for state in engine.residency.states.values():
                why = placement.why if placement is not None else engine.staffing.placement.why
                for each in explain(state, now_us, Sources(why)):
                    self.tell(f"explain {state.id[-4:]} {each.task} is {each.status}: {each.because}")

    async def _come_to_rest(self) -> None:
        for _ in range(self.rest_looks):
            await asyncio.sleep(10)
            if not self._left_over():
                return
        self.broken += self._left_over()

    def _left_over(self) -> list[str]:
        """Return what isn't as it should be long after the last fault."""
        found = [f"I6: agent {a.id} holds something still" for a in self._actors.values() if not a.quiet]
        owned: list[int] = []
        there = self._there()
        for replica in there:
            found += unreturned(replica.engine) + replica.leftovers()
            owned += replica.engine.owned
            rows = self.disk._data.shards
            me = replica.ownership.replica.id
            for shard in replica.engine.owned:
                if rows[shard].owner != me or rows[shard].fence != replica.engine._shards.fences[shard]:
                    found.append(f"I6: {replica.process.name} believes that it owns shard {shard}")
        if sorted(owned) != sorted(EVERY_SHARD):
            found.append(f"I5: {len(owned)} shards are owned, {len(set(owned))} of them once")
        shares = [len(replica.engine.owned) for replica in there]
        if shares and max(shares) - min(shares) > 1:
            found.append(f"I5: the shards aren't shared: {shares}")
        if sum(replica.engine.leads for replica in there) != 1:
            found.append("I5: not one replica leads")
        return found

    async def _examine(self, ended: bool) -> None:
        await super()._examine(ended)
        self.broken += self._epochs.exceeded(self.fate.counts)


async def _awaited(ask: Callable[[Engine], Awaitable[T]], engine: Engine) -> T:
    return await ask(engine)


async def _nothing() -> None:
    pass
