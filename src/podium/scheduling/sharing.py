"""Which shards a replica should give back and which it should claim, from what all replicas see alike. Pure.

Everybody computes everybody's share and acts for itself alone; two that disagree for a moment do no harm, since a claim
is guarded by the store. Nothing moves that needn't: who owns most keeps most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from msgspec import Struct


class Moves(Struct, frozen=True):
    """What one replica does next."""

    release: tuple[int, ...] = ()
    claim: tuple[int, ...] = ()


def moves_of(replica: str, takers: Collection[str], owners: Mapping[int, str], shards: Collection[int]) -> Moves:
    """Return what `replica` should do. `takers` are the live replicas that own shards and don't drain; `owners` has the
    owner of each shard that a live replica holds, one that drains included.
    """
    # The last one goes last: it is placement's, and who places anew must read what all replicas have.
    mine = sorted((shard for shard in shards if owners.get(shard) == replica), reverse=True)
    if replica not in takers:
        return Moves(release=tuple(sorted(mine)))
    share = shares(takers, owners, shards)
    if len(mine) > share[replica]:
        return Moves(release=tuple(sorted(mine[share[replica] :])))
    free = [shard for shard in sorted(shards) if shard not in owners]
    return Moves(claim=_picked(free, replica, _wanted(share, owners)))


def shares(takers: Collection[str], owners: Mapping[int, str], shards: Collection[int]) -> dict[str, int]:
    """Return how many shards each replica should own: as many as the others, or one more for those with the most."""
    owned = dict.fromkeys(takers, 0)
    for shard in shards:
        if owners.get(shard) in owned:
            owned[owners[shard]] += 1
    least, over = divmod(len(shards), len(owned))
    most_first = sorted(owned, key=lambda taker: (-owned[taker], taker))
    return {taker: least + (place < over) for place, taker in enumerate(most_first)}


def _wanted(share: Mapping[str, int], owners: Mapping[int, str]) -> dict[str, int]:
    """Return how many shards each replica lacks."""
    owned = Counter(owners.values())
    return {taker: max(count - owned[taker], 0) for taker, count in share.items()}


def _picked(free: list[int], replica: str, wanted: Mapping[str, int]) -> tuple[int, ...]:
    """Return what a replica claims of what is free: each begins behind those before it, so that they don't contend."""
    begin = sum(count for taker, count in wanted.items() if taker < replica)
    return tuple((free[begin:] + free[:begin])[: wanted[replica]])
