"""The replicas that share a database on PostgreSQL, as any process sees them: found in the store, asked through it."""

from __future__ import annotations

from typing import Any, Self

from podium.ids import PLACEMENT_SHARD, shard_of
from podium.store.calling import Answer
from podium.store.postgres.asking import Calls
from podium.store.postgres.connection import Address
from podium.store.protocol import Cluster, Membership, Replica


class ReplicaOwners:
    """Those who are there now."""

    def __init__(self, store: Membership, calls: Calls) -> None:
        self._store = store
        self._calls = calls
        self._own = ""

    @classmethod
    def at(cls, url: str, store: Membership) -> Self:
        """Return those who share the store of this database."""
        return cls(store, Calls(Address(url, "podium-calls")))

    async def named(self, execution: str | None = None) -> str:
        """Return the replica that owns the execution's shard; all that are there when nobody has it yet, or of any."""
        cluster = await self._store.cluster()
        there = [replica for replica in cluster.replicas if cluster.live(replica)]
        if execution is not None and (owner := owner_of(cluster, shard_of(execution))) is not None:
            there = [owner]
        names = ", ".join(sorted(replica.name for replica in there))
        return f"replica{'s' * (len(there) != 1)} {names}" if there else ""

    async def ask(self, asked: dict[str, Any], execution: str | None = None) -> dict[str, Any] | None:
        """Ask the owner of the execution's shard, or of placement's; None too if that is this process itself."""
        cluster = await self._store.cluster()
        owner = owner_of(cluster, PLACEMENT_SHARD if execution is None else shard_of(execution))
        if owner is None or owner.id == self._own:
            return None
        return await self._calls.ask(owner.id, asked)

    async def answer(self, name: str, answer: Answer) -> None:
        """Answer as the replica of this id."""
        self._own = name
        await self._calls.answer_as(name, answer)

    async def close(self) -> None:
        """Answer nothing more."""
        await self._calls.close()


def owner_of(cluster: Cluster, shard: int) -> Replica | None:
    """Return the live replica that owns a shard."""
    owner = next((row.owner for row in cluster.shards if row.shard == shard), "")
    return next((r for r in cluster.replicas if r.id == owner and cluster.live(r)), None)
