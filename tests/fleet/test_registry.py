"""Rules of the registry, one at a time."""

import tracemalloc

import pytest

from podium.clock import SECOND
from podium.exceptions import AgentNotFoundError, RegistrationConflictError, RegistryError
from podium.fleet.descriptor import SLA, AgentDescriptor
from podium.fleet.discovery import Query
from podium.fleet.registry import ChangeKind, FleetLimits, FleetRegistry, Known, Outcome, Registered
from podium.fleet.states import AgentState


def agent(agent_id="a", **more):
    return AgentDescriptor(agent_id=agent_id, **more)


def ids(found):
    return [descriptor.agent_id for descriptor in found]


def test_a_second_key_is_refused_with_an_entry_in_the_audit_and_changes_nothing():
    registry = FleetRegistry()
    first = agent(key="first", incarnation="i1")
    registry.register(first, 1)
    with pytest.raises(RegistrationConflictError, match="another key"):
        registry.register(agent(key="second" * 100, incarnation="i2"), 2)
    assert registry.descriptor("a") == first
    (entry,) = registry.audit()
    assert (entry.at_us, entry.agent_id, entry.rule) == (2, "a", "another_key")
    assert len(entry.key) == 64
    assert registry.get_metrics()["registration_conflicts"] == 1


def test_the_audit_is_bounded():
    registry = FleetRegistry()
    registry.register(agent(key="first"), 0)
    for number in range(1_500):
        with pytest.raises(RegistrationConflictError):
            registry.register(agent(key=f"k{number}"), number)
    assert [entry.at_us for entry in registry.audit()] == list(range(500, 1_500))


def test_a_new_incarnation_takes_the_place_and_the_old_one_is_fenced():
    registry = FleetRegistry()
    registry.register(agent(incarnation="i1"), 0)
    registry.note_held("a", 1)
    assert registry.register(agent(incarnation="i2"), 1) == Registered(Outcome.NEW_INCARNATION, "i1")
    assert registry.get("a", 1).held == 0  # what the old one held is lost
    assert registry.heartbeat("a", {}, 2, "i1") is Known.FENCED
    assert registry.heartbeat("a", {}, 2, "i2") is Known.KNOWN
    assert registry.heartbeat("a", {}, 2, "never heard of") is Known.UNKNOWN
    assert not registry.deregister("a", "i1")
    with pytest.raises(RegistrationConflictError, match="a later incarnation has its place"):
        registry.register(agent(incarnation="i1"), 3)
    assert registry.audit()[-1].rule == "fenced"


def test_a_zombie_s_heartbeats_keep_nobody_alive():
    registry = FleetRegistry()
    registry.register(agent(incarnation="i1"), 0)
    registry.register(agent(incarnation="i2"), 0)
    registry.heartbeat("a", {}, 299 * SECOND, "i1")
    assert [change.kind for change in registry.check(300 * SECOND)] == [ChangeKind.UNHEALTHY, ChangeKind.LOST]


def test_the_same_registration_is_a_sign_of_life_and_another_one_is_taken_over():
    registry = FleetRegistry()
    assert registry.register(agent(capabilities=["add"]), 0).outcome is Outcome.NEW
    assert registry.register(agent(capabilities=["add"]), 50 * SECOND).outcome is Outcome.SAME
    assert registry.check(100 * SECOND) == []
    assert registry.register(agent(capabilities=["divide"]), 100 * SECOND).outcome is Outcome.UPDATED
    assert registry.discover(Query(capabilities=("add",)), 100 * SECOND) == ()
    assert ids(registry.discover(Query(capabilities=("divide",)), 100 * SECOND)) == ["a"]


def test_an_agent_that_is_silent_becomes_unhealthy_then_lost_and_is_told_to_register_again():
    registry = FleetRegistry()
    registry.register(agent(), 0)
    registry.heartbeat("a", {}, 10 * SECOND)
    assert registry.check(70 * SECOND - 1) == []
    (change,) = registry.check(70 * SECOND)
    assert (change.kind, change.descriptor.agent_id) == (ChangeKind.UNHEALTHY, "a")
    assert registry.discover(Query(), 70 * SECOND) == ()
    assert registry.check(310 * SECOND - 1) == []
    (change,) = registry.check(310 * SECOND)
    assert change.kind is ChangeKind.LOST
    assert "300 s" in change.reason
    assert registry.heartbeat("a", {}, 311 * SECOND) is Known.UNKNOWN
    with pytest.raises(AgentNotFoundError):
        registry.get("a", 311 * SECOND)
    assert registry.register(agent(), 312 * SECOND).outcome is Outcome.NEW


def test_one_that_recovers_is_what_it_was_before():
    registry = FleetRegistry()
    for name in ("idle", "busy", "draining"):
        registry.register(agent(name), 0)
    registry.note_held("busy", 1)
    registry.drain("draining")
    registry.check(60 * SECOND)
    assert registry.counts() == {AgentState.UNHEALTHY: 3}
    for name in ("idle", "busy", "draining"):
        registry.heard(name, 61 * SECOND)
    assert {change.kind for change in registry.check(61 * SECOND)} == {ChangeKind.RECOVERED}
    assert {info.agent_id: str(info.state) for info in registry.infos(61 * SECOND)} == {
        name: name for name in ("idle", "busy", "draining")
    }


def test_a_heartbeat_that_arrives_before_the_check_saves_an_agent_however_late_it_is():
    registry = FleetRegistry()
    registry.register(agent(), 0)
    registry.discover(Query(), 500 * SECOND)  # it looks, and gives nobody up
    assert registry.heartbeat("a", {}, 500 * SECOND) is Known.KNOWN
    assert [change.kind for change in registry.check(500 * SECOND)] == [ChangeKind.UNHEALTHY, ChangeKind.RECOVERED]


def test_a_registry_that_stood_still_itself_excuses_its_agents():
    registry = FleetRegistry()
    registry.register(agent(), 0)
    registry.discover(Query(), 400 * SECOND)
    registry.excuse(390 * SECOND)
    assert [change.kind for change in registry.check(400 * SECOND)] == [ChangeKind.UNHEALTHY]
    registry.heartbeat("a", {}, 401 * SECOND)
    assert [change.kind for change in registry.check(402 * SECOND)] == [ChangeKind.RECOVERED]
    assert registry.check(701 * SECOND)[-1].kind is ChangeKind.LOST


def test_the_fleet_is_bounded():
    registry = FleetRegistry(FleetLimits(max_agents=2))
    registry.register(agent("a"), 0)
    registry.register(agent("b"), 0)
    with pytest.raises(RegistryError, match="MAX_CONCURRENT_AGENTS"):
        registry.register(agent("c"), 0)
    registry.register(agent("a", incarnation="again"), 0)  # who is in it may come again
    registry.deregister("b")
    registry.register(agent("c"), 0)


def test_metrics_add_up_stay_bounded_and_what_is_no_number_is_left_out():
    registry = FleetRegistry()
    registry.register(agent(), 0)
    registry.heartbeat("a", {"cpu_usage": 0.5, "error_rate": float("nan"), "memory_usage": -1, "text": "x"}, 1)  # type: ignore[dict-item]
    registry.heartbeat("a", {"response_time_ms": 10**400, "flag": True}, 2)
    assert registry.get("a", 2).metrics == {"cpu_usage": 0.5, "response_time_ms": 1e300}
    for number in range(100):
        registry.heartbeat("a", {f"m{number}": 1.0, "n" * 65: 1.0}, 3)
    assert len(registry.get("a", 3).metrics) == 32
    assert registry.get("a", 3).metrics["m99"] == 1.0


def test_preferred_places_come_first_then_health_then_load_then_ids():
    registry = FleetRegistry()
    for name, place in (("a", "west"), ("b", "east"), ("c", "east"), ("d", "west"), ("e", "west")):
        registry.register(agent(name, location=place, slots=2), 0)
    registry.register(agent("f", tags=["east"]), 0)  # document 003's snippet has its location among the tags
    registry.heartbeat("b", {"error_rate": 0.5}, 0)
    registry.note_held("d", 1)
    found = registry.discover(Query(location_preference="east"), 0)
    assert ids(found) == ["c", "f", "b", "a", "e", "d"]
    assert ids(registry.discover(Query(location_preference="east", max_results=2), 0)) == ["c", "f"]


def test_a_level_of_service_is_asked_of_what_is_measured_and_until_then_of_what_is_promised():
    registry = FleetRegistry()
    registry.register(agent("promises", sla=SLA(response_time_ms=100)), 0)
    registry.register(agent("measured"), 0)
    registry.register(agent("unknown"), 0)
    registry.heartbeat("measured", {"response_time_ms": 90}, 0)
    query = Query(sla=SLA(response_time_ms=100))
    assert ids(registry.discover(query, 0)) == ["measured", "promises"]
    registry.heartbeat("promises", {"response_time_ms": 500}, 0)
    assert ids(registry.discover(query, 0)) == ["measured"]


def test_availability_is_the_share_of_time_in_service_and_outlives_a_restart():
    registry = FleetRegistry()
    registry.register(agent(incarnation="i1", sla=SLA(availability=0.9)), 0)
    registry.heartbeat("a", {}, 160 * SECOND, "i1")  # unhealthy from 60 s on, had anybody looked
    assert registry.get("a", 200 * SECOND).sla.availability == 1.0  # nobody had, so nobody was turned away
    registry.check(220 * SECOND)
    registry.register(agent(incarnation="i2", sla=SLA(availability=0.9)), 240 * SECOND)
    status = registry.get("a", 240 * SECOND).sla
    assert status.availability == pytest.approx(1 - 20 / 240)
    assert status.met
    assert registry.get("a", 260 * SECOND).sla.availability == pytest.approx(1 - 20 / 260)


def test_limits_must_follow_one_another():
    with pytest.raises(ValueError, match="unhealthy_seconds < lost_seconds"):
        FleetLimits(unhealthy_seconds=300)
    with pytest.raises(ValueError, match="max_agents"):
        FleetLimits(max_agents=0)


def test_an_agent_costs_little_memory():
    registry, count = FleetRegistry(), 1_000
    descriptors = [agent(f"a{n}", capabilities=[f"c{(n + k) % 100}" for k in range(8)]) for n in range(count)]
    tracemalloc.start()
    try:
        for descriptor in descriptors:
            registry.register(descriptor, 0)
            registry.heartbeat(descriptor.agent_id, {"cpu_usage": 0.5, "error_rate": 0.1, "response_time_ms": 20}, 0)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / count < 10_000
