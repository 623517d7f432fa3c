"""Shards are shared evenly, nothing moves without need, and nothing stays without an owner."""

from hypothesis import given
from hypothesis import strategies as st

from podium.scheduling.sharing import moves_of, shares

SHARDS = range(65)
NAMES = st.sets(st.sampled_from([f"r{n}" for n in range(12)]), min_size=1)


def _moved(takers, owners):
    """Return the owners after everybody has released, and then claimed by what it sees."""
    after = dict(owners)
    everybody = {*takers, *owners.values()}
    for replica in everybody:
        for shard in moves_of(replica, takers, owners, SHARDS).release:
            del after[shard]
    seen = dict(after)
    for replica in sorted(everybody):
        for shard in moves_of(replica, takers, seen, SHARDS).claim:
            after.setdefault(shard, replica)  # of two that claim one, the store lets one
    return after


@st.composite
def clusters(draw):
    takers = draw(NAMES)
    names = sorted({*takers, *draw(NAMES)})
    owners = draw(st.dictionaries(st.sampled_from(SHARDS), st.sampled_from(names)))
    return takers, owners


@given(clusters())
def test_after_some_rounds_all_is_owned_and_evenly(cluster):
    takers, owners = cluster
    for _ in range(14):
        owners = _moved(takers, owners)
    counts = {taker: sum(1 for owner in owners.values() if owner == taker) for taker in takers}
    assert sum(counts.values()) == len(SHARDS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert _moved(takers, owners) == owners


@given(clusters())
def test_who_has_no_more_than_its_share_keeps_all_of_it(cluster):
    takers, owners = cluster
    share = shares(takers, owners, SHARDS)
    after = _moved(takers, owners)
    for taker in takers:
        mine = {shard for shard, owner in owners.items() if owner == taker}
        kept = {shard for shard in mine if after.get(shard) == taker}
        assert len(kept) == min(len(mine), share[taker])


def test_who_drains_gives_everything_back():
    owners = dict.fromkeys(SHARDS, "old")
    assert moves_of("old", {"new"}, owners, SHARDS).release == tuple(SHARDS)
    assert moves_of("new", {"new"}, owners, SHARDS).claim == ()


def test_replicas_begin_their_claims_at_different_shards():
    claims = [set(moves_of(name, {"a", "b", "c"}, {}, SHARDS).claim) for name in "abc"]
    assert sum(map(len, claims)) == len(set.union(*claims)) == len(SHARDS)
