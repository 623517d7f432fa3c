"""The store in a PostgreSQL database: shared by replicas, with leases, wake-ups and group commit."""

from podium.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
