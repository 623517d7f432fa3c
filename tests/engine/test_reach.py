"""Which replicas may own shards, by what they say of the bus: who has lost it alone leaves them to the others."""

from __future__ import annotations

from podium.clock import SECOND
from podium.engine.reach import BELIEVED_US, BusWatch, Reach, reach_of, with_reach, within_reach
from podium.store.protocol import FORMAT, Replica

NOW_US = 1_000 * SECOND
LONG_AGO_US, JUST_NOW_US = NOW_US - BELIEVED_US, NOW_US - 1
HERE = Reach()
AWAY, JUST_AWAY, BACK = Reach(away_us=LONG_AGO_US), Reach(away_us=JUST_NOW_US), Reach(back_us=JUST_NOW_US)


def able(**replicas: Reach) -> list[str]:
    return within_reach(replicas, NOW_US)


def test_who_is_surely_without_the_bus_owns_nothing_where_others_surely_have_it():
    assert able(a=HERE, b=AWAY, c=HERE) == ["a", "c"]
    assert able(a=Reach(back_us=LONG_AGO_US), b=AWAY) == ["a"]


def test_a_bus_that_is_gone_for_all_moves_nothing_whoever_notices_first_or_finds_it_again_first():
    assert able(a=HERE, b=JUST_AWAY) == ["a", "b"]
    assert able(a=JUST_AWAY, b=AWAY) == ["a", "b"]
    assert able(a=AWAY, b=AWAY) == ["a", "b"]
    assert able(a=BACK, b=AWAY) == ["a", "b"]
    assert able(b=AWAY) == ["b"]


def test_only_what_lasts_is_said_and_each_thing_once():
    watch = BusWatch(away_seconds=5.0)
    assert watch.news(HERE, True, 0.0, NOW_US) is None
    assert watch.news(HERE, False, 1.0, NOW_US) is None
    assert watch.news(HERE, True, 5.9, NOW_US) is None
    assert watch.news(HERE, False, 6.0, NOW_US) is None
    assert watch.news(HERE, False, 10.9, NOW_US) is None
    assert watch.news(HERE, False, 11.0, NOW_US) == Reach(away_us=NOW_US)
    assert watch.news(AWAY, False, 12.0, NOW_US) is None
    assert watch.news(AWAY, True, 13.0, NOW_US) == Reach(back_us=NOW_US)
    assert watch.news(BACK, True, 14.0, NOW_US) is None


def test_it_is_said_beside_what_a_replica_says_of_itself_and_of_one_that_says_nothing_nothing_follows():
    plain = Replica("a", "a", "nats://one", "1", FORMAT, details=b'{"pid":4}')
    said = with_reach(plain, AWAY)
    assert said.details is not None
    assert b'"pid":4' in said.details
    assert reach_of(said) == AWAY
    assert reach_of(plain) == HERE
    for details in (b"", b"[]", b"{", b'{"away_us":"x"}'):
        assert reach_of(Replica("a", "a", "nats://one", "1", FORMAT, details=details)) == HERE
    assert reach_of(with_reach(Replica("a", "a", "nats://one", "1", FORMAT, details=b"{"), AWAY)) == AWAY
