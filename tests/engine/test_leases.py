"""Leases: believed until they end, renewed for their own length, begun anew after a stall of our own."""

from podium.engine.leases import STALL_US, Lease, Leases

S = 1_000_000


def leases(*attempts: str, seconds: float = 15.0, length_us: int | None = None) -> Leases:
    held = Leases(seconds)
    for attempt in attempts:
        expires_us = length_us or round(seconds * S)
        held.begin(attempt, Lease("e", "t", 1, f"agent-{attempt}", "1", expires_us, length_us))
    return held


def expired(held: Leases, now_us: int) -> list[str]:
    return [attempt for attempt, _ in held.expired(now_us)]


def test_a_lease_ends_at_its_time_and_not_before():
    held = leases("a")
    for second in range(0, 15, 2):
        assert expired(held, second * S) == []
    assert expired(held, 15 * S) == ["a"]
    held.end("a")
    held.end("a")
    assert (len(held), held.get("a")) == (0, None)


def test_a_renewal_counts_from_when_it_was_heard_and_only_for_those_named():
    held = leases("a", "b")
    held.renew(("a", "unknown"), 10 * S)
    for second in (12, 14):
        held.expired(second * S)
    assert expired(held, 15 * S) == ["b"]
    assert expired(held, 17 * S) == ["b"]


def test_a_lease_is_renewed_for_its_own_length():
    held = leases("a", length_us=60 * S)
    held.renew(("a",), 1 * S)
    lease = held.get("a")
    assert lease is not None
    assert lease.expires_us == 61 * S


def test_after_a_stall_of_our_own_all_leases_begin_anew():
    held = leases("a", "b")
    held.expired(1)
    assert expired(held, 1 + STALL_US + 100 * S) == []
    late = 1 + STALL_US + 100 * S
    assert {held.get(a).expires_us for a in "ab"} == {late + 15 * S}  # type: ignore[union-attr]


def test_after_a_rest_the_next_look_isnt_late():
    held = leases("a")
    held.expired(1)
    held.rest()
    assert expired(held, 500 * S) == ["a"]


def test_a_stall_before_the_first_look_at_a_lease_is_one_too():
    held = Leases(4.0)
    held.rest()
    held.begin("a", Lease("e", "t", 1, "agent", "1", 104 * S), 100 * S)
    assert expired(held, 106 * S) == []
    assert expired(held, 107 * S) == []


def test_leases_are_found_by_agent_execution_and_absence():
    held = leases("a", "b")
    assert [a for a, _ in held.of_agent("agent-a")] == ["a"]
    assert held.of_agent("agent-a", other_than="1") == []
    assert len(held.of_execution("e")) == 2
    assert held.of_execution("f") == []
    assert [a for a, _ in held.of_agent_unlike(lambda agent, incarnation: agent == "agent-a")] == ["b"]
