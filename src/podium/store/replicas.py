"""How this process presents itself to the replicas that share a store, and why they don't let it in."""

from __future__ import annotations

import os
import platform
import re

import msgspec

from podium import __version__
from podium.store.protocol import FORMAT, Cluster, Replica

EMBEDDED = "embedded:"  # begins the bus of a replica with a NATS server of its own, which ends with it


def replica_here(bus: str, incarnation: str = "") -> Replica:
    """Return this process as a replica on a bus (empty: it has none). Its agents on the bus have its incarnation."""
    host, pid = platform.node() or "localhost", os.getpid()
    details: dict[str, str | int] = {"host": host, "pid": pid}
    if incarnation:
        details["incarnation"] = incarnation
    return Replica("", f"{host}/{pid}", bus, __version__, FORMAT, details=msgspec.json.encode(details))


def incarnation_of(replica: Replica) -> str:
    """Return the incarnation of a replica's process; empty if it doesn't tell."""
    try:
        return str(msgspec.json.decode(replica.details or b"{}").get("incarnation", ""))
    except (msgspec.DecodeError, AttributeError):
        return ""  # it is for people, and another version may write something else


def bus_named(url: str) -> str:
    """Return a bus as replicas compare it: without users, passwords and parameters, with its ports, in one order."""
    found = []
    for part in re.split(r",(?=\w+://)|,", url.strip()):
        scheme, _, rest = part.rpartition("://")
        place = rest.rpartition("@")[2].partition("?")[0].rstrip("/").lower()
        if scheme in ("nats", "tls", "") and not re.search(r":\d+$", place):
            place += ":4222"
        found.append(f"{scheme}://{place}" if scheme else f"nats://{place}")
    return ",".join(sorted(found))


def why_kept_out(cluster: Cluster, bus: str) -> str:
    """Return in a sentence why a replica on this bus can't join those that are there, and what to do."""
    there = [replica for replica in cluster.replicas if cluster.live(replica)]
    names = ", ".join(sorted(replica.name for replica in there)) or "nobody"
    theirs = sorted({replica.bus for replica in there})
    if "" in theirs:
        return f"{names} works on this database without a bus; start this replica when that has ended"
    if any(each.startswith(EMBEDDED) for each in theirs):
        return (
            f"{names} runs on this database with a NATS server of its own, which ends with it: for several replicas "
            f"start a NATS server, and each of them with --bus nats://host:4222"
        )
    shared = ", ".join(theirs)
    if not bus or bus.startswith(EMBEDDED):
        return f"the replicas of this database ({names}) share the bus {shared}; start this one with --bus {shared}"
    return (
        f"the replicas of this database ({names}) share the bus {shared}, not {bus}; start this one with --bus {shared}"
    )
