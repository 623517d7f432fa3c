"""A replica's place among the others: its lease, and the shards that it claims for its engine and gives back.

One statement renews the lease and brings the whole picture; what follows from it is decided by `scheduling.sharing`.
The store's clock alone counts. A replica that lost its lease (its process stood still) has lost its shards too as soon
as others claim them; the fences see to it that it can't write, and it joins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from podium.clock import SlewedClock, seconds_to_us
from podium.engine.reach import BusWatch, reach_of, with_reach, within_reach
from podium.engine.runtime import Engine
from podium.engine.shards import EVERY_SHARD
from podium.exceptions import EngineStoppedError, NotTheOwnerError, PodiumError, StoreUnavailableError
from podium.ids import IdSource
from podium.scheduling.sharing import Moves, moves_of
from podium.store.protocol import Cluster, Membership, Replica, Store
from podium.telemetry.logs import get_logger

_log = get_logger("podium.engine")


class SharedStore(Store, Membership, Protocol):
    """A store that replicas share."""


class OwnershipSettings(Struct, frozen=True):
    """Times in seconds."""

    lease_seconds: float = 4.5
    renew_seconds: float = 1.5
    pause_seconds: float = 0.5  # after the store didn't answer
    away_seconds: float = 5.0  # without the bus, until the others are told


class Ownership:
    """Joins with `start`, then keeps the lease and the engine's shards until `stop`."""

    def __init__(
        self,
        store: SharedStore,
        engine: Engine,
        replica: Replica,
        *,
        ids: IdSource,
        clock: SlewedClock | None = None,
        settings: OwnershipSettings = OwnershipSettings(),
    ) -> None:
        """`clock` is the engine's, which follows the store's; its id is given to the replica at each joining."""
        self._store = store
        self._engine = engine
        self._replica = replica
        self._ids = ids
        self._clock = clock
        self._settings = settings
        self._cluster: Cluster | None = None
        self._current = True  # whether that was asked for after the last move
        self._look = asyncio.Event()
        self._seen = asyncio.Event()  # there is a new picture
        self._task: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._draining = False
        self._moves = 0  # a picture that was asked for before the last of them says nothing
        self._settled = asyncio.Event()
        self.joined = 0  # how often: more than once means that the lease was lost
        self.taken_over = 0  # shards that had another owner, who was gone
        self.joined_as: list[Callable[[Replica], Awaitable[None]]] = []  # who is told its id, at each joining
        self.cut_off: list[
            Callable[[], None]
        ] = []  # told, again and again, that the store is out of reach for too long
        self.gone: list[Callable[[Replica], None]] = []  # who is told of one whose lease has ended; who leaves isn't
        # Whether the bus that all share is there for this one; who has lost it alone leaves its shards to the others.
        self.reaches_bus: Callable[[], bool] = lambda: True
        self._bus_watch = BusWatch(settings.away_seconds)
        self._told_id = ""
        self._store_us, self._answered_at = 0, 0.0  # its time, and by the loop's clock when it said so
        self._renewed_at = float("-inf")  # by the loop's clock: when the last renewal was asked for
        store.listen(self._told_of)

    @property
    def replica(self) -> Replica:
        """This replica, as it joined."""
        return self._replica

    @property
    def cluster(self) -> Cluster | None:
        """What was there at the last renewal."""
        return self._cluster

    @property
    def others(self) -> list[Replica]:
        """The other replicas that were alive at the last renewal and stay."""
        cluster = self._cluster
        if cluster is None:
            return []
        return [r for r in cluster.replicas if cluster.live(r) and not r.draining and r.id != self._replica.id]

    @property
    def lease_seconds(self) -> float:
        """How long the lease holds still, by what the store said last and our own clock since; at least 0."""
        return max(0.0, self._settings.lease_seconds - (asyncio.get_running_loop().time() - self._renewed_at))

    @property
    def store_us(self) -> int:
        """The store's time, as it is set at the moment: by what it said last and our own clock since. It may jump."""
        elapsed = asyncio.get_running_loop().time() - self._answered_at
        return self._store_us + seconds_to_us(elapsed)

    @property
    def failure(self) -> BaseException | None:
        """Why this replica can't take part any more, if so."""
        for task in (self._task, self._moving):
            if task is not None and task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None

    async def start(self) -> None:
        """Join. Shards come soon. Raises NotTheOwnerError, SchemaTooNewError, StoreUnavailableError."""
        await self._join()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._keep(), name="podium-replica")
        self._moving = loop.create_task(self._move(), name="podium-shards")

    async def stop(self) -> None:
        """Give everything back and leave. Safe twice."""
        tasks = [task for task in (self._task, self._moving) if task is not None]
        self._task = self._moving = None
        self._draining = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not tasks:
            return
        try:
            await self._store.renew(self._replica.id, self._lease_us, draining=True)
            with suppress(EngineStoppedError):  # it has ended, and decides nothing more
                async with asyncio.timeout(self._settings.lease_seconds):  # then others take them all the same
                    await self._give_back(self._engine.owned)
            await self._store.leave(self._replica.id)
        except (StoreUnavailableError, TimeoutError) as error:
            _log.warning("the shards could not be given back; their lease will end", error=str(error))

    async def settled(self) -> None:
        """Return once this replica has, for the first time, what it should have."""
        while not self._settled.is_set():
            failure = self.failure
            if failure is not None:
                raise failure
            try:
                async with asyncio.timeout(self._settings.renew_seconds):
                    await self._settled.wait()
            except TimeoutError:
                continue

    def look(self) -> None:
        """Renew the lease now instead of at the next turn, and see which shards are to be claimed or given back."""
        self._look.set()

    # --- the lease ---------------------------------------------------------------------------------------------

    @property
    def _lease_us(self) -> int:
        return seconds_to_us(self._settings.lease_seconds)

    def _told_of(self, what: str) -> None:
        if what == "replicas":
            self._look.set()

    async def _join(self) -> None:
        """Be a new replica: an earlier incarnation's shards aren't ours."""
        await self._engine.release(self._engine.owned)
        self._replica = replace(self._replica, id=self._ids.token())
        self._note(await self._asked(self._store.join(self._replica, self._lease_us)))
        self.joined += 1
        await self._tell_id()

    async def _tell_id(self) -> None:
        """Say as whom we have joined, until everybody knows."""
        replica = self._replica
        if self._told_id != replica.id:
            for tell in self.joined_as:
                await tell(replica)
            self._told_id = replica.id

    async def _asked(self, asking: object) -> Cluster | None:
        """Await an answer of the store's, and learn its time from it."""
        raw = self._clock.raw_us if self._clock is not None else lambda: 0
        asked_us, moves, asked_at = raw(), self._moves, asyncio.get_running_loop().time()
        cluster: Cluster | None = await asking  # type: ignore[misc]
        if cluster is not None and self._clock is not None:
            self._clock.observe(cluster.now_us, asked_us, raw())
        if cluster is not None:
            self._renewed_at = asked_at
            self._store_us, self._answered_at = cluster.now_us, asyncio.get_running_loop().time()
        self._current = moves == self._moves
        return cluster

    def _note(self, cluster: Cluster | None) -> None:
        before, self._cluster = self._cluster, cluster
        if before is not None and cluster is not None:
            lived = {replica.id for replica in before.replicas if before.live(replica)}
            for replica in cluster.replicas:
                if replica.id in lived and not cluster.live(replica):
                    for tell in self.gone:
                        tell(replica)
        if self._current:
            self._seen.set()
        else:
            self._look.set()

    async def _keep(self) -> None:
        """Renew the lease for ever, and look at once when others have moved."""
        while True:
            try:
                async with asyncio.timeout(self._settings.renew_seconds):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            try:
                cluster = await self._renewed()
                if cluster is None:
                    _log.warning("this replica was taken for dead; it joins anew", replica=self._replica.name)
                    await self._join()
                else:
                    self._note(cluster)
                    await self._tell_id()
            except StoreUnavailableError as error:
                _log.warning("the lease can't be renewed", error=str(error))
                if not self.lease_seconds:
                    for tell in self.cut_off:
                        tell()
                await asyncio.sleep(self._settings.pause_seconds)

    async def _renewed(self) -> Cluster | None:
        """Begin the lease anew, and say with that whether we have the bus, if it is news."""
        store_us = self._cluster.now_us if self._cluster is not None else 0
        seconds, said = asyncio.get_running_loop().time(), reach_of(self._replica)
        news = self._bus_watch.news(said, self.reaches_bus(), seconds, store_us)
        if news is None:
            return await self._asked(self._store.renew(self._replica.id, self._lease_us))
        replica = with_reach(self._replica, news)
        cluster = await self._asked(self._store.join(replica, self._lease_us))
        self._replica = replica
        _log.warning("the bus is gone for this replica" if news.away_us else "this replica has the bus again")
        return cluster

    # --- the shards --------------------------------------------------------------------------------------------

    async def _move(self) -> None:
        """Do what each new picture asks for."""
        while True:
            await self._seen.wait()
            self._seen.clear()
            try:
                await self._settle()
            except StoreUnavailableError as error:
                _log.warning("shards can't be moved now", error=str(error))
                await asyncio.sleep(self._settings.pause_seconds)
                self._look.set()

    async def _settle(self) -> None:
        cluster, me = self._cluster, self._replica.id
        if cluster is None:
            return
        live = {replica.id: replica for replica in cluster.replicas if cluster.live(replica)}
        owners = {row.shard: row.owner for row in cluster.shards if row.owner in live}
        lost = self._engine.taken_away(cluster.shards)
        if lost:  # while we stood still
            self._moves += 1
            await self._engine.release(lost)
        if me not in live or self._draining:
            return
        self._refuse_strangers(live.values())
        strays = [shard for shard, owner in owners.items() if owner == me and shard not in self._engine.owned]
        stay = {name: reach_of(one) for name, one in live.items() if not one.draining and one.bus == self._replica.bus}
        takers = within_reach(stay, cluster.now_us)
        moves = moves_of(me, takers, owners, EVERY_SHARD)
        await self._give_back(moves.release)
        await self._claim(cluster, moves, strays)
        if not moves.claim:
            self._settled.set()

    def _refuse_strangers(self, live: Iterable[Replica]) -> None:
        """Raise NotTheOwnerError if others came while our lease was over and we, without a bus, must be alone."""
        others = sorted(replica.name for replica in live if replica.bus != self._replica.bus)
        if others and not self._replica.bus:
            raise NotTheOwnerError(
                f"{', '.join(others)} joined while this process stood still; it has no bus and would have to be alone"
            )

    async def _give_back(self, shards: Collection[int]) -> None:
        if not shards:
            return
        self._moves += 1
        fences = await self._engine.release(shards)
        await self._store.release(self._replica.id, fences)
        _log.info("shards given back", shards=len(fences))

    async def _claim(self, cluster: Cluster, moves: Moves, strays: Collection[int]) -> None:
        rows = {row.shard: row for row in cluster.shards}
        if strays or moves.claim:
            self._moves += 1
        if strays:  # a claim whose answer was lost: given back, and claimed again
            await self._store.release(self._replica.id, {shard: rows[shard].fence for shard in strays})
            self._look.set()
        if not moves.claim:
            return
        wanted = {shard: rows[shard].fence if shard in rows else 0 for shard in moves.claim}
        got = await self._store.claim(self._replica.id, wanted)
        if not got:
            return  # others were first, or nobody may yet: the next turn shows it
        self._look.set()  # for the picture afterwards
        self.taken_over += sum(1 for shard in got if shard in rows and rows[shard].owner)
        try:
            await self._engine.acquire(got)
        except PodiumError:
            await self._store.release(self._replica.id, {shard: row.fence for shard, row in got.items()})
            raise
        _log.info("shards taken", shards=len(got), replica=self._replica.name)
