"""Replicas and their shards in memory. Nothing yields in the middle of a change, so each method is one transaction."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from podium.exceptions import ConflictError, NotTheOwnerError, SchemaTooNewError, StoreUnavailableError
from podium.store.memory.tables import MemoryData
from podium.store.protocol import Cluster, Replica, ShardRow

FORGOTTEN_AFTER_US = 60_000_000


class MemoryMembership:
    """Who is there, and who owns which shards. Its clock is the tables'."""

    _data: MemoryData
    _closed: bool

    async def join(self, replica: Replica, lease_us: int) -> Cluster:
        """Make a replica known."""
        data = self._open()
        now_us = data.clock.now_us()
        strangers = [
            each.name
            for each in data.replicas.values()
            if each.id != replica.id and each.lease_until_us > now_us and not (each.bus == replica.bus and replica.bus)
        ]
        if strangers:
            raise NotTheOwnerError(
                f"{', '.join(sorted(strangers))} is there already, on another bus or without one; "
                f"replicas that share a store speak on one bus"
            )
        if replica.format < data.format:
            raise SchemaTooNewError(
                f"rows are written in format {data.format}, and this Podium ({replica.version}) reads formats up to "
                f"{replica.format}; upgrade this installation"
            )
        data.replicas[replica.id] = replace(replica, started_us=now_us, lease_until_us=now_us + lease_us)
        data.tell(self, "replicas")
        return self._cluster()

    async def renew(self, replica: str, lease_us: int, *, draining: bool = False) -> Cluster | None:
        """Begin its lease anew, and forget who is long gone."""
        data = self._open()
        known = data.replicas.get(replica)
        if known is None:
            return None
        now_us = data.clock.now_us()
        data.replicas[replica] = replace(known, lease_until_us=now_us + lease_us, draining=draining)
        owners = {row.owner for row in data.shards.values()}
        gone = [
            each.id
            for each in data.replicas.values()
            if each.lease_until_us + FORGOTTEN_AFTER_US <= now_us and each.id not in owners
        ]
        for each in gone:
            del data.replicas[each]
        if gone or known.draining != draining:
            data.tell(self, "replicas")
        return self._cluster()

    async def claim(self, replica: str, fences: Mapping[int, int]) -> dict[int, ShardRow]:
        """Take shards that nobody owns."""
        data = self._open()
        if not self._lives(replica):
            return {}
        got: dict[int, ShardRow] = {}
        for shard, fence in sorted(fences.items()):
            row = data.shards.get(shard) or ShardRow(shard, 0, 0, "")
            if row.fence == fence and not self._lives(row.owner):
                got[shard] = ShardRow(shard, fence + 1, row.position, replica)
        data.shards.update(got)
        if got:
            data.tell(self, "replicas")
        return got

    async def release(self, replica: str, fences: Mapping[int, int]) -> None:
        """Give shards back."""
        data = self._open()
        given = {
            shard: replace(row, owner="")
            for shard, fence in fences.items()
            if (row := data.shards.get(shard)) is not None and row.fence == fence and row.owner == replica
        }
        data.shards.update(given)
        if given:
            data.tell(self, "replicas")

    async def leave(self, replica: str) -> None:
        """Give back everything and be forgotten."""
        data = self._open()
        for shard, row in data.shards.items():
            if row.owner == replica:
                data.shards[shard] = replace(row, owner="")
        if data.replicas.pop(replica, None) is not None:
            data.tell(self, "replicas")

    async def cluster(self) -> Cluster:
        """Return what is there."""
        self._open()
        return self._cluster()

    async def finish_upgrade(self, format: int) -> int:
        """Let rows be written in this format."""
        data = self._open()
        behind = [each.name for each in data.replicas.values() if self._lives(each.id) and each.format < format]
        if behind and format > data.format:
            raise ConflictError(f"{', '.join(sorted(behind))} can't read rows of format {format}; upgrade them first")
        data.format = max(data.format, format)
        return data.format

    def _open(self) -> MemoryData:
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        return self._data

    def _lives(self, replica: str) -> bool:
        known = self._data.replicas.get(replica)
        return known is not None and known.lease_until_us > self._data.clock.now_us()

    def _cluster(self) -> Cluster:
        data = self._data
        return Cluster(
            data.clock.now_us(),
            tuple(sorted(data.replicas.values(), key=lambda each: (each.started_us, each.id))),
            tuple(row for _, row in sorted(data.shards.items())),
            data.format,
        )
