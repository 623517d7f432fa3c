"""What a PostgreSQL server promises, as it says itself: which version it is, and when a commit is on how many disks."""

from __future__ import annotations

from msgspec import Struct

from podium.store.postgres.connection import Address, translated

_LOOK = """
SELECT current_setting('server_version') AS version, current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('fsync') = 'on' AS fsync, current_setting('full_page_writes') = 'on' AS full_page_writes,
       current_setting('synchronous_standby_names') AS standbys,
       current_setting('transaction_read_only') = 'on' AS read_only,
       coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,
       pg_database_size(current_database()) AS bytes
"""


class Server(Struct, frozen=True):
    """One server, as its settings for our sessions are."""

    version: str  # "15.8 (Debian …)"
    synchronous_commit: str  # on, remote_apply, remote_write, local, off
    fsync: bool
    full_page_writes: bool
    standbys: str  # those that a commit waits for; empty: none
    read_only: bool
    encrypted: bool  # the connection that asked
    bytes: int  # of the database

    @property
    def number(self) -> str:
        """The version's number alone."""
        return self.version.split(" ")[0]

    @property
    def syncs(self) -> bool:
        """Whether a commit is on the server's disk before it is acknowledged."""
        return self.fsync and self.synchronous_commit != "off"

    @property
    def awaits_standbys(self) -> bool:
        """Whether a commit is on another server's disk, too, before it is acknowledged."""
        return bool(self.standbys.strip()) and self.synchronous_commit in ("on", "remote_apply")


async def server_at(url: str) -> Server:
    """Return what a server says of itself. Raises StoreError."""
    address = Address(url)
    connection = await address.connect()
    try:
        with translated(address):
            row = await connection.fetchrow(_LOOK)
        return Server(**dict(row))
    finally:
        connection.terminate()
