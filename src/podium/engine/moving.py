"""Shards that come and go, where replicas share a store: with everything that is in memory of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from podium.engine.admission import Admission
from podium.engine.braking import Brakes
from podium.engine.intake import Intake
from podium.engine.leadership import Leadership
from podium.engine.loading import Loader
from podium.engine.residency import Residency
from podium.engine.shards import OwnedShards
from podium.engine.snapshots import Snapshots
from podium.engine.staffing import Staffing
from podium.engine.waiting import WaitingRoom
from podium.engine.watching import Watchers
from podium.ids import PLACEMENT_SHARD, shard_of
from podium.store.protocol import ShardRow

Moved = Callable[[frozenset[int], frozenset[int]], None]  # told of shards that came, and those that went


class Moving:
    """Takes shards in and gives them up."""

    def __init__(
        self,
        shards: OwnedShards,
        residency: Residency,
        staffing: Staffing,
        admission: Admission,
        intake: Intake,
        loader: Loader,
        waiting_room: WaitingRoom,
        snapshots: Snapshots,
        watchers: Watchers,
        leadership: Leadership,
        brakes: Brakes,
        *,
        agents_end_with_process: bool,
        moved: Sequence[Moved],
    ) -> None:
        """`moved` are told once shards have come or gone."""
        self._shards = shards
        self._residency = residency
        self._staffing = staffing
        self._admission = admission
        self._intake = intake
        self._loader = loader
        self._waiting_room = waiting_room
        self._snapshots = snapshots
        self._watchers = watchers
        self._leadership = leadership
        self._brakes = brakes
        self._agents_end_with_process = agents_end_with_process
        self._moved = moved

    async def acquire(self, rows: Mapping[int, ShardRow]) -> None:
        """Own these shards from now on, as the store gave them, with whatever is active in them."""
        async with self._brakes.quiet():
            self._shards.add(rows)
        await self.bring_in([shard for shard in rows if shard != PLACEMENT_SHARD])
        if PLACEMENT_SHARD in rows:
            await self._leadership.take()
        self._loader.look_at_once()
        self._tell(acquired=rows)

    async def bring_in(self, shards: Sequence[int]) -> None:
        """Load what is active in shards that are ours now, and see who waits there.

        Their places are ours once that is loaded which has taken them.
        """
        await self._loader.load_active(shards)
        self._admission.own(self._shards.ours)
        await self._waiting_room.open()
        if self._agents_end_with_process:
            self._staffing.lose_inherited()

    async def release(self, shards: Iterable[int]) -> dict[int, int]:
        """Decide nothing more for these shards, once what is decided is committed; return their fences."""
        async with self._brakes.quiet():
            fences = {shard: self._shards.fences[shard] for shard in shards if shard in self._shards.fences}
            self.disown(fences)
        return fences

    def disown(self, shards: Iterable[int]) -> None:
        """Put out of memory what other replicas own now."""
        gone = self._shards.remove(shards)
        if PLACEMENT_SHARD in gone:
            self._leadership.lose()
        theirs = [execution for execution in self._residency.states if shard_of(execution) in gone]
        for execution in theirs:
            self._residency.drop(execution)
            self._snapshots.forget(execution)
        self._staffing.disown_shards(gone)  # of executions that aren't in memory just now, too
        not_here = dict.fromkeys((*self._residency.loading, *self._intake.beginning))
        self.place_for_others([execution for execution in not_here if shard_of(execution) in gone])
        self._loader.disown(gone)
        self._waiting_room.disown(gone)
        self._watchers.unsure([watched for watched in self._watchers.watched if shard_of(watched) in gone])
        self._tell(released=gone)

    def place_for_others(self, executions: list[str]) -> None:
        """These executions were ours: should we place, we do it for their new owners."""
        self._leadership.place_for_others(executions)

    def _tell(self, acquired: Iterable[int] = (), released: Iterable[int] = ()) -> None:
        for tell in self._moved:
            tell(frozenset(acquired), frozenset(released))
