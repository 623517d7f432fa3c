"""Registries on one bus end up with the same agents, whatever the bus loses, repeats and reorders."""

from collections import deque
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.clock import SECOND
from podium.exceptions import InvalidInputError, RegistryError
from podium.fleet.descriptor import SLA, AgentDescriptor
from podium.fleet.registry import FleetLimits, FleetRegistry
from podium.fleet.sharing import PART_BYTES, FleetSharing


class Bus:
    """Carries what registries say through bytes, and can lose, repeat and keep back."""

    def __init__(self, count=3, limits=None):
        self.now_us = 1_000 * SECOND
        self.fleets = [FleetRegistry(limits) for _ in range(count)]
        self.sharings = [FleetSharing(fleet, f"r{n}") for n, fleet in enumerate(self.fleets)]
        self.waiting: list[deque[Any]] = [deque() for _ in range(count)]
        self.said = 0

    def say(self, payloads, lost_by=()):
        for payload in payloads:
            self.said += 1
            data = msgspec.msgpack.encode(payload)
            for n, queue in enumerate(self.waiting):
                if n not in lost_by:
                    queue.append(data)

    def deliver(self, n, at=0):
        if self.waiting[n]:
            at %= len(self.waiting[n])
            data = self.waiting[n][at]
            del self.waiting[n][at]
            self.say(self.sharings[n].hear(msgspec.msgpack.decode(data), self.now_us))

    def settle(self, rounds=4):
        for _ in range(rounds):
            self.now_us += 2 * SECOND
            for sharing in self.sharings:
                self.say([sharing.present(self.now_us)])
            while any(self.waiting):
                for n in range(len(self.waiting)):
                    self.deliver(n)

    def register(self, n, descriptor, lost_by=()):
        try:
            self.fleets[n].register(descriptor, self.now_us)
        except RegistryError:
            return
        self.say([self.sharings[n].joined(descriptor)], lost_by)

    def deregister(self, n, agent_id, lost_by=()):
        if self.fleets[n].deregister(agent_id):
            self.say([self.sharings[n].gone(agent_id, self.now_us)], lost_by)

    def beat(self, n, agent_id, metrics, lost_by=()):
        if self.fleets[n].heartbeat(agent_id, metrics, self.now_us) == "known":
            self.say([self.sharings[n].beat(agent_id, metrics)], lost_by)

    def known(self):
        return [{info.agent_id: info.descriptor for info in fleet.infos(self.now_us)} for fleet in self.fleets]


places = st.integers(0, 2)
ids = st.sampled_from(["a", "b", "c"])
lost = st.sets(places).map(tuple)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("register"), places, ids, st.sampled_from(["1.0", "2.0"]), lost),
        st.tuples(st.just("deregister"), places, ids, lost),
        st.tuples(st.just("beat"), places, ids, lost),
        st.tuples(st.just("deliver"), places, st.integers(0, 5)),
        st.tuples(st.just("repeat"), places),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 5.0])),
    ),
    max_size=30,
)


def play(bus, steps):
    for step in steps:
        bus.now_us += 1  # no two things happen at once
        match step:
            case ("register", n, agent_id, version, lost_by):
                bus.register(n, AgentDescriptor(agent_id=agent_id, version=version), lost_by)
            case ("deregister", n, agent_id, lost_by):
                bus.deregister(n, agent_id, lost_by)
            case ("beat", n, agent_id, lost_by):
                bus.beat(n, agent_id, {"cpu_usage": 0.5}, lost_by)
            case ("deliver", n, at):
                bus.deliver(n, at)
            case ("repeat", n) if bus.waiting[n]:
                bus.waiting[n].append(bus.waiting[n][0])
            case ("wait", seconds):
                bus.now_us += int(seconds * SECOND)


@settings(max_examples=400, deadline=None)
@given(steps)
def test_once_the_bus_is_well_all_registries_know_the_same_agents(steps):
    bus = Bus()
    play(bus, steps)
    bus.settle()
    first, *others = bus.known()
    assert all(other == first for other in others)
    said = bus.said
    bus.settle(1)
    assert bus.said == said + 3  # three are present, and nobody asks any more


def test_a_registry_that_joins_learns_what_the_others_have_with_its_age_and_metrics():
    bus = Bus(count=2)
    bus.register(0, AgentDescriptor(agent_id="a", capabilities=["add"], sla=SLA(error_rate=0.1)), lost_by=(1,))
    bus.beat(0, "a", {"cpu_usage": 0.5}, lost_by=(1,))
    bus.now_us += 50 * SECOND
    bus.say([bus.sharings[1].ask()])
    while any(bus.waiting):
        bus.deliver(0)
        bus.deliver(1)
    info = bus.fleets[1].get("a", bus.now_us)
    assert info == bus.fleets[0].get("a", bus.now_us)
    assert info.heartbeat_age_seconds == 50
    assert info.metrics == {"cpu_usage": 0.5}


def test_heartbeats_keep_an_agent_alive_everywhere():
    bus = Bus()
    bus.register(0, AgentDescriptor(agent_id="a"))
    bus.settle(1)
    for _ in range(20):
        bus.now_us += 30 * SECOND
        bus.beat(0, "a", {})
        bus.settle(1)
    assert all(fleet.check(bus.now_us) == [] for fleet in bus.fleets)


def test_many_agents_are_told_in_parts_below_the_carrier_s_limit():
    bus = Bus(count=2)
    for number in range(400):
        bus.fleets[0].register(AgentDescriptor(agent_id=f"a{number}", metadata={"x": "y" * 1_000}), bus.now_us)
        descriptor = bus.fleets[0].descriptor(f"a{number}")
        assert descriptor is not None
        bus.sharings[0].joined(descriptor)
    parts = bus.sharings[0].tell(bus.now_us)
    assert len(parts) > 1
    assert all(len(msgspec.msgpack.encode(part)) < 2 * PART_BYTES for part in parts)
    bus.settle()
    assert len(bus.fleets[1]) == 400


def test_what_has_no_room_is_not_asked_for_at_each_heartbeat():
    bus = Bus(count=2, limits=FleetLimits(max_agents=1))
    bus.register(0, AgentDescriptor(agent_id="a"))
    bus.register(1, AgentDescriptor(agent_id="b"))
    bus.settle()
    said = bus.said
    for _ in range(50):
        bus.now_us += 5 * SECOND
        bus.beat(0, "a", {})
        while any(bus.waiting):
            bus.deliver(0)
            bus.deliver(1)
    assert bus.said == said + 50 + 2  # once it was asked and told: there might have been room by now


@pytest.mark.parametrize("wrong", [{}, {"kind": "nothing"}, {"kind": "heartbeat", "registry": "r9"}])
def test_what_can_t_be_understood_is_refused(wrong):
    with pytest.raises(InvalidInputError, match="can't be understood"):
        Bus(count=1).sharings[0].hear(wrong, 0)


def test_a_registry_that_has_gone_is_forgotten():
    bus = Bus(count=2)
    bus.settle()
    assert list(bus.sharings[0].peers) == ["r1"]
    bus.sharings[0].present(bus.now_us + 300 * SECOND)
    assert not list(bus.sharings[0].peers)
