"""`podium replicas`: which orchestrators share a database, who owns how much of it, and what nobody owns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from podium.cli.manners import Manners
from podium.ids import PLACEMENT_SHARD

if TYPE_CHECKING:
    from podium.store.protocol import Cluster, Replica

_COLORS = {"live": "green", "draining": "yellow", "no bus": "yellow", "gone": "red"}
NOBODY = "no orchestrator runs on this database; start one with `podium up`"


def replicas(manners: Manners) -> int:
    """List the orchestrators that share the database: since when, which shards they own, who gives tasks to agents.

    A database file has one owner, a database on PostgreSQL as many as are started.
    """
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import cluster_of, finish

    settings = manners.settings()
    if not settings.on_postgres:
        return _of_file(manners)
    cluster = finish(cluster_of(settings, manners.debug))
    if manners.json:
        print_json(document(cluster))
        return 0
    if cluster.replicas:
        say(_table(cluster))
    for sentence in _sentences(cluster):
        say(wrapped(sentence))
    return 0


def document(cluster: Cluster) -> dict[str, Any]:
    """Return the cluster for `--json`; shards are numbers, the one of placement is told by `leads`."""
    owned, leader = shards_by_owner(cluster), leader_of(cluster)
    return {
        "format": cluster.format,
        "leader": leader.id if leader is not None else None,
        "shards_without_owner": unowned(cluster),
        "replicas": [_document(replica, cluster, owned.get(replica.id, [])) for replica in cluster.replicas],
    }


def shards_by_owner(cluster: Cluster) -> dict[str, list[int]]:
    """Return which of the executions' shards each replica owns, by its id."""
    owned: dict[str, list[int]] = {}
    for row in sorted(cluster.shards, key=lambda row: row.shard):
        if row.owner and row.shard != PLACEMENT_SHARD:
            owned.setdefault(row.owner, []).append(row.shard)
    return owned


def leader_of(cluster: Cluster) -> Replica | None:
    """Return the live replica that gives tasks to agents, for all."""
    owner = next((row.owner for row in cluster.shards if row.shard == PLACEMENT_SHARD), "")
    return next((one for one in cluster.replicas if one.id == owner and cluster.live(one)), None)


def unowned(cluster: Cluster) -> list[int]:
    """Return the shards of executions that no live replica owns, those that were never taken among them."""
    live = {replica.id for replica in cluster.replicas if cluster.live(replica)}
    owned = {row.shard for row in cluster.shards if row.owner in live}
    return [shard for shard in range(PLACEMENT_SHARD) if shard not in owned]


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as people write them: 3, 5-9, 12."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def state_of(replica: Replica, cluster: Cluster) -> str:
    """Return whether a replica is live, draining, without the bus, or gone: its lease has ended."""
    from podium.engine.reach import reach_of

    if not cluster.live(replica):
        return "gone"
    if replica.draining:
        return "draining"
    return "no bus" if reach_of(replica).away_us else "live"


def _document(replica: Replica, cluster: Cluster, shards: list[int]) -> dict[str, Any]:
    import msgspec

    from podium.cli.times import iso

    leader = leader_of(cluster)
    return {
        "id": replica.id,
        "name": replica.name,
        "state": state_of(replica, cluster),
        "leads": leader is not None and leader.id == replica.id,
        "shards": shards,
        "started_at": iso(replica.started_us),
        "lease_seconds": round((replica.lease_until_us - cluster.now_us) / 1e6, 3),
        "version": replica.version,
        "format": replica.format,
        "bus": replica.bus,
        "details": msgspec.json.decode(replica.details or b"{}"),
    }


def _table(cluster: Cluster) -> str:
    from podium.cli.printing import painted
    from podium.cli.tables import table
    from podium.cli.times import between_us

    owned, leader = shards_by_owner(cluster), leader_of(cluster)
    rows = [
        (
            replica.name,
            state_of(replica, cluster),
            f"{len(owned.get(replica.id, []))}",
            "places" if leader is not None and leader.id == replica.id else "",
            between_us(replica.started_us, cluster.now_us),
            _lease(replica, cluster),
            replica.version,
            replica.bus,
        )
        for replica in sorted(cluster.replicas, key=lambda one: (one.started_us, one.id))
    ]
    titles = ("REPLICA", "STATE", "SHARDS", "ROLE", "FOR", "LEASE", "VERSION", "BUS")
    return table(titles, rows, right=frozenset({2, 4, 5}), paint={1: lambda text: painted(text, _COLORS[text])})


def _lease(replica: Replica, cluster: Cluster) -> str:
    from podium.cli.times import shown_duration

    left = (replica.lease_until_us - cluster.now_us) / 1e6
    return shown_duration(left) if left > 0 else f"-{shown_duration(-left)}"


def _sentences(cluster: Cluster) -> Iterable[str]:
    """Yield what the table doesn't show: what nobody does, and what to do."""
    if not any(cluster.live(replica) for replica in cluster.replicas):
        yield NOBODY
        return
    missing, leader = unowned(cluster), leader_of(cluster)
    if missing:
        yield (
            f"{len(missing)} of {PLACEMENT_SHARD} shards have no owner ({ranges(missing)}): their executions wait; a "
            "replica takes them within seconds"
        )
    if leader is None:
        yield "nobody gives tasks to agents at the moment; a replica takes that over within seconds"


def _of_file(manners: Manners) -> int:
    from podium.cli.printing import print_json, say, wrapped
    from podium.cli.sessions import database_exists, finish, looking

    async def owner() -> str:
        async with looking(manners) as podium:
            return await podium.who_runs()

    settings = manners.settings()
    found = finish(owner()) if database_exists(settings) else ""
    if manners.json:
        print_json({"replicas": [], "owner": found or None})
    else:
        say(wrapped(f"{settings.shown_database} is a file, which has one owner: {found or 'nobody at the moment'}"))
        say(wrapped("on PostgreSQL several orchestrators share the executions: `podium migrate --database URL`"))
    return 0
