"""Whether replicas have the bus, as they tell each other through the store, and which of them may own shards by that.

A replica that is cut off from the bus alone can tell no agent anything, and would keep what it owns from everybody:
so it leaves that to the others. A server that restarts is gone for all, and there again for one after the other; then
nothing moves. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from podium.clock import SECOND
from podium.store.protocol import Replica

BELIEVED_US = 6 * SECOND  # a word that is younger says nothing of the others yet


class Reach(Struct, frozen=True):
    """By the store's clock: since when a replica is without the bus (0: it has it), or has it again (0: always had)."""

    away_us: int = 0
    back_us: int = 0


def reach_of(replica: Replica) -> Reach:
    """Return what a replica says of itself; of another version's that may be nothing."""
    try:
        return msgspec.json.decode(replica.details or b"{}", type=Reach)
    except msgspec.DecodeError:
        return Reach()


def with_reach(replica: Replica, reach: Reach) -> Replica:
    """Return the replica as it says this of itself."""
    try:
        details = msgspec.json.decode(replica.details or b"{}", type=dict[str, object])
    except msgspec.DecodeError:
        details = {}
    details |= {"away_us": reach.away_us, "back_us": reach.back_us}
    return replace(replica, details=msgspec.json.encode(details))


def within_reach(replicas: Mapping[str, Reach], now_us: int) -> list[str]:
    """Return those that may own shards: without those that surely have lost the bus, where some surely have it."""
    settled_us = now_us - BELIEVED_US
    if not any(not reach.away_us and reach.back_us <= settled_us for reach in replicas.values()):
        return list(replicas)
    return [name for name, reach in replicas.items() if not 0 < reach.away_us <= settled_us]


class BusWatch:
    """What one replica has to say of itself."""

    def __init__(self, away_seconds: float) -> None:
        """A bus that is gone for less than `away_seconds` isn't worth a word."""
        self._away_seconds = away_seconds
        self._since: float | None = None

    def news(self, said: Reach, reaches: bool, seconds: float, now_us: int) -> Reach | None:
        """Return what is to be said instead of `said`, None if that holds still. `seconds` go on as time does,
        `now_us` is the store's.
        """
        if reaches:
            self._since = None
            return Reach(back_us=now_us) if said.away_us else None
        self._since = seconds if self._since is None else self._since
        if said.away_us or seconds - self._since < self._away_seconds:
            return None
        return Reach(away_us=now_us)
