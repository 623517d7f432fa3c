"""The shards that an engine owns: their fences, and how far their logs are, as decided and as committed.

One process owns all of them by default. Where replicas share a store they come and go; the one that owns the placement
shard leads: it places for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podium.exceptions import ShardMovedError
from podium.ids import PLACEMENT_SHARD, SHARDS, shard_of
from podium.store.protocol import ShardRow

ALL_SHARDS = tuple(range(SHARDS))
EVERY_SHARD = (*ALL_SHARDS, PLACEMENT_SHARD)


class OwnedShards:
    """What this process owns now."""

    def __init__(self, *, leads: bool) -> None:
        self.fences: dict[int, int] = {}
        self.positions: dict[int, int] = {}  # as decided
        self.committed: dict[int, int] = {}
        self.ours: tuple[int, ...] = ()  # those of executions
        self.leads = leads  # we place for all; that takes more than the placement shard: see `leadership`
        self._all = False  # of them

    def add(self, rows: Mapping[int, ShardRow]) -> None:
        """Take shards in, as the store gave them."""
        for shard, row in rows.items():
            self.fences[shard] = row.fence
            self.positions[shard] = self.committed[shard] = row.position
        self._note()

    def remove(self, shards: Iterable[int]) -> dict[int, int]:
        """Give shards up and return their fences; those that aren't here change nothing."""
        gone: dict[int, int] = {}
        for shard in shards:
            if shard in self.fences:
                gone[shard] = self.fences.pop(shard)
                del self.positions[shard], self.committed[shard]
        self._note()
        return gone

    def _note(self) -> None:
        self.ours = tuple(sorted(shard for shard in self.fences if shard != PLACEMENT_SHARD))
        self._all = len(self.ours) == SHARDS

    def owns(self, execution: str) -> bool:
        """Whether an execution's shard is among them."""
        return self._all or shard_of(execution) in self.fences

    def check_ours(self, execution: str) -> None:
        """Raise ShardMovedError when an execution is another replica's to decide."""
        if not self.owns(execution):
            raise ShardMovedError(f"execution {execution} is another replica's to decide")

    def taken_away(self, rows: Iterable[ShardRow]) -> list[int]:
        """Return those of our shards that others have taken since, as these rows of the store say."""
        return [row.shard for row in rows if row.fence > self.fences.get(row.shard, row.fence)]

    def moved(self, rows: Iterable[ShardRow]) -> list[int]:
        """Return those of our shards that somebody else has taken, as these rows of the store say."""
        return [row.shard for row in rows if row.shard in self.fences and row.fence != self.fences[row.shard]]
