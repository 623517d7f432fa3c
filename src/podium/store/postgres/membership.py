"""Replicas and their shards in the database, by its clock. Each method is one statement, and so one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from podium.clock import SECOND
from podium.exceptions import ConflictError, NotTheOwnerError, SchemaTooNewError, StoreUnavailableError
from podium.store.named_sql import named_blocks
from podium.store.postgres.bell import Bell
from podium.store.postgres.rows import cluster_row, shard_row
from podium.store.postgres.sessions import Sessions
from podium.store.postgres.writer import Writer
from podium.store.protocol import Cluster, Replica, ShardRow

_SQL = named_blocks("postgres.sql")
_PATIENCE_SECONDS = 1.0  # with a server that answers slowly, however short a lease is


class PostgresMembership:
    """Who is there, and who owns which shards."""

    _sessions: Sessions
    _bell: Bell
    _writer: Writer

    async def join(self, replica: Replica, lease_us: int) -> Cluster:
        """Make a replica known."""
        row = await self._sessions.row(
            _SQL["join"],
            replica.id,
            replica.name,
            replica.bus,
            replica.version,
            replica.format,
            replica.draining,
            replica.details,
            lease_us,
        )
        assert row is not None
        strangers, needed = row
        if strangers:
            raise NotTheOwnerError(
                f"{', '.join(strangers)} is there already, on another bus or without one; "
                f"replicas that share a store speak on one bus"
            )
        if needed:
            raise SchemaTooNewError(
                f"rows are written in format {needed}, and this Podium ({replica.version}) reads formats up to "
                f"{replica.format}; upgrade this installation"
            )
        self._bell.ring("replicas")
        return await self.cluster()

    async def renew(self, replica: str, lease_us: int, *, draining: bool = False) -> Cluster | None:
        """Begin its lease anew, and forget who is long gone.

        A server that says nothing within the lease is reached on new connections: a line may have gone without a word.
        """
        try:
            async with asyncio.timeout(max(lease_us / SECOND, _PATIENCE_SECONDS)):
                row = await self._sessions.row(_SQL["renew"], replica, lease_us, draining)
        except TimeoutError as error:
            self._sessions.cut()
            self._writer.cut()
            raise StoreUnavailableError(
                f"{self._sessions.address}: a renewal had no answer within the lease; the connections are made anew"
            ) from error
        if row is None:
            return None
        moved, *cluster = row
        if moved:
            self._bell.ring("replicas")
        return cluster_row(cluster)

    async def claim(self, replica: str, fences: Mapping[int, int]) -> dict[int, ShardRow]:
        """Take shards that nobody owns."""
        self._sessions.check_open()
        if not fences:
            return {}
        rows = await self._sessions.rows(_SQL["claim"], replica, list(fences), list(fences.values()), again=False)
        got = {row.shard: row for row in sorted(map(shard_row, rows), key=lambda row: row.shard)}
        if got:
            self._bell.owned(got, now=True)
            self._bell.ring("replicas")
        return got

    async def release(self, replica: str, fences: Mapping[int, int]) -> None:
        """Give shards back."""
        row = await self._sessions.row(_SQL["release"], replica, list(fences), list(fences.values()))
        self._bell.owned(fences, now=False)
        if row is not None and row[0]:
            self._bell.ring("replicas")

    async def leave(self, replica: str) -> None:
        """Give back everything and be forgotten."""
        row = await self._sessions.row(_SQL["leave"], replica)
        if row is not None and row[0]:
            self._bell.ring("replicas")

    async def cluster(self) -> Cluster:
        """Return what is there."""
        row = await self._sessions.row(_SQL["cluster"])
        assert row is not None
        return cluster_row(row)

    async def finish_upgrade(self, format: int) -> int:
        """Let rows be written in this format."""
        row = await self._sessions.row(_SQL["finish_upgrade"], format)
        assert row is not None
        behind, in_force = row
        if behind:
            raise ConflictError(f"{', '.join(behind)} can't read rows of format {format}; upgrade them first")
        self._bell.ring("replicas")
        return int(in_force)
