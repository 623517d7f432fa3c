"""An agent whose last connection ended is missed, and gone only if nothing is heard of it within the grace."""

from hypothesis import given
from hypothesis import strategies as st

from podium.clock import SECOND
from podium.fleet.connections import Connections, party_named, party_of_key

GRACE = 3 * SECOND


def with_agents(*agents, party="p"):
    connections = Connections(GRACE)
    connections.opened("1", party)
    for agent in agents:
        connections.joined(agent, party)
    return connections


def test_one_that_stays_away_is_gone_once_after_the_grace():
    connections = with_agents("a", "b")
    assert connections.due_us is None
    assert connections.closed("1", 0) == ("a", "b")
    assert connections.due_us == GRACE
    assert connections.gone(GRACE - 1) == ()
    assert connections.gone(GRACE) == ("a", "b")
    assert connections.gone(GRACE + 1) == ()
    assert connections.due_us is None


def test_a_connection_of_the_same_party_within_the_grace_changes_nothing():
    connections = with_agents("a")
    connections.closed("1", 0)
    assert connections.opened("2", "p") == ("a",)
    assert connections.gone(GRACE) == ()
    assert connections.opened("3", "p") == ()


def test_one_that_is_gone_is_back_with_its_connection():
    connections = with_agents("a")
    connections.closed("1", 0)
    connections.gone(GRACE)
    assert connections.opened("2", "p") == ("a",)
    assert connections.closed("2", 9 * SECOND) == ("a",)


def test_another_connection_of_the_party_keeps_its_agents():
    connections = with_agents("a")
    connections.opened("2", "p")
    assert connections.closed("1", 0) == ()
    assert connections.closed("2", 0) == ("a",)


def test_a_connection_that_was_never_seen_open_says_nothing():
    connections = with_agents("a")
    assert connections.closed("7", 0) == ()
    assert connections.closed("1", 0) == ("a",)
    assert connections.closed("1", 1) == ()


def test_what_arrives_at_once_may_have_been_said_before_the_end():
    connections = with_agents("a")
    connections.closed("1", 0)
    connections.heard("a", GRACE // 3 - 1)
    assert connections.gone(GRACE) == ("a",)
    connections = with_agents("a")
    connections.closed("1", 0)
    connections.heard("a", GRACE // 3)
    assert connections.gone(GRACE) == ()


def test_one_that_left_or_registered_again_is_not_missed():
    connections = with_agents("a", "b", "c")
    connections.left("a")
    assert connections.closed("1", 0) == ("b", "c")
    connections.left("b")
    connections.joined("c", "p")
    assert connections.gone(GRACE) == ()


def test_an_earlier_process_of_the_name_is_not_the_later_one():
    connections = with_agents("a")
    connections.opened("2", "later")
    connections.joined("a", "later")
    assert connections.closed("1", 0) == ()
    assert connections.closed("2", 0) == ("a",)


def test_when_our_own_view_is_lost_nobody_is_missed():
    connections = with_agents("a")
    connections.closed("1", 0)
    connections.unseen()
    assert connections.gone(GRACE) == ()
    connections.opened("2", "p")
    assert connections.closed("1", GRACE) == ()
    assert connections.closed("2", GRACE) == ("a",)


def test_where_we_stood_still_or_could_not_hear_the_grace_begins_anew():
    connections = with_agents("a")
    connections.closed("1", 0)
    assert connections.gone(60 * SECOND) == ()
    assert connections.due_us == 63 * SECOND
    assert connections.gone(63 * SECOND, reachable=False) == ()
    assert connections.gone(66 * SECOND) == ("a",)


def test_a_name_is_no_key():
    assert party_named("a") != party_of_key("a")


PARTIES = st.sampled_from(["p", "q"])
AGENTS = st.sampled_from(["a", "b", "c"])
IDS = st.sampled_from(["1", "2", "3", "4"])
ACTS = st.one_of(
    st.tuples(st.just("opened"), IDS, PARTIES),
    st.tuples(st.just("closed"), IDS),
    st.tuples(st.just("joined"), AGENTS, PARTIES),
    st.tuples(st.just("left"), AGENTS),
    st.tuples(st.just("heard"), AGENTS),
    st.tuples(st.just("unseen")),
    st.tuples(st.just("wait")),
)


@given(st.lists(ACTS, max_size=60))
def test_nobody_is_gone_who_has_a_connection_or_was_heard_of_in_the_grace(acts):
    connections = Connections(GRACE)
    now_us = 0
    parties: dict[str, str] = {}
    connected: dict[str, str] = {}
    signs: dict[str, int] = {}
    for act, *given_ in acts:
        match act:
            case "opened":
                connections.opened(*given_)
                connected.setdefault(*given_)
            case "closed":
                connections.closed(given_[0], now_us)
                connected.pop(given_[0], None)
            case "joined":
                connections.joined(*given_)
                parties[given_[0]] = given_[1]
                signs[given_[0]] = now_us
            case "left":
                connections.left(*given_)
                parties.pop(given_[0], None)
            case "heard":
                connections.heard(given_[0], now_us)
            case "unseen":
                connections.unseen()
                connected.clear()
            case _:
                now_us += SECOND
        for agent in connections.gone(now_us):
            assert agent in parties
            assert parties[agent] not in connected.values()
            assert now_us - signs[agent] >= GRACE
