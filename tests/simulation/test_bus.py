"""Simulated worlds whose agents are behind a bus, seed by seed; what the world itself plays; what its oracle finds."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from podium.engine.leases import Leases
from podium.engine.placing import Placing
from podium.engine.staffing import Staffing
from podium.fleet.admission import Admission
from podium.fleet.receipts import Receipts
from podium.testing.faults import (
    BUS_KINDS,
    BUS_SWARM,
    NO_FAULTS,
    REPLICA_KINDS,
    SWARM,
    Faults,
    drawn_bus,
    has_bus,
    named_faults,
)
from podium.testing.simulation import simulate

QUICK_CHUNKS, QUICK = 4, 20
SLOW_CHUNKS, SLOW = 8, 80
SLOW_FROM = 100_000


@pytest.mark.parametrize("chunk", range(QUICK_CHUNKS))
def test_every_invariant_holds_behind_a_bus(chunk):
    for seed in range(chunk * QUICK, (chunk + 1) * QUICK):
        report = simulate(seed=seed, swarm=BUS_SWARM)
        assert report.sound, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(SLOW_CHUNKS))
def test_every_invariant_holds_behind_a_bus_of_many_seeds(chunk):
    for seed in range(SLOW_FROM + chunk * SLOW, SLOW_FROM + (chunk + 1) * SLOW):
        report = simulate(seed=seed, swarm=BUS_SWARM)
        assert report.sound, str(report)


def test_a_bus_without_faults_is_sound():
    for seed in range(10):
        report = simulate(seed=seed, faults=Faults(bus=1.0))
        assert report.sound, str(report)
        assert report.faults == {"bus": 1}


def test_the_same_seed_is_the_same_run_behind_a_bus_too():
    first, second = simulate(seed=5, swarm=BUS_SWARM), simulate(seed=5, swarm=BUS_SWARM)
    assert first.transcript == second.transcript


@pytest.mark.parametrize("kind", BUS_KINDS)
def test_a_fault_of_the_bus_makes_a_world_with_a_bus(kind):
    faults = named_faults([kind])
    if kind == "agent_replaced":
        faults = replace(faults, agent_stands=0.2)
    assert has_bus(faults)
    struck = 0
    for seed in range(8):
        report = simulate(seed=seed, faults=faults)
        assert report.sound, str(report)
        struck += report.faults.get(kind, 0)
    assert struck


ONE_ORCHESTRATORS = [kind for kind in Faults.__struct_fields__ if kind not in REPLICA_KINDS]
HARD = {
    "every message twice, reordered, up to 60 s late": Faults(bus=1.0, message_doubled=1.0, message_late=1.0),
    "half of all messages lost": Faults(bus=1.0, message_lost=0.5),
    "every result again": Faults(bus=1.0, redelivered=1.0, message_doubled=1.0, answers_twice=1.0),
    "acknowledgements lost one way": Faults(bus=1.0, ack_lost=0.2, acks_stop=0.3),
    "a bus that forgets": Faults(bus=1.0, bus_forgets=0.5, bus_restarts=0.2),
    "cut connections": Faults(bus=1.0, bus_cut=0.5),
    "zombies": Faults(bus=1.0, agent_stands=0.4, agent_replaced=0.7, agent_restarts=0.3),
    "an orchestrator that dies again and again": Faults(
        bus=1.0, crash_after_send=0.2, crash_after_commit=0.1, crash_before_commit=0.1, bus_cut=0.2
    ),
    "everything at once": Faults(**{kind: min(1.0, getattr(SWARM, kind) * 2.5) for kind in ONE_ORCHESTRATORS}),
}


@pytest.mark.parametrize("faults", HARD.values(), ids=HARD.keys())
def test_hard_times_are_survived(faults):
    for seed in range(4):
        report = simulate(seed=seed, faults=faults)
        assert report.sound, str(report)


def test_every_fault_of_the_bus_strikes_somewhere_beside_all_others():
    counts: dict[str, int] = {}
    for seed in range(60):
        for kind, times in simulate(seed=seed, swarm=BUS_SWARM).faults.items():
            counts[kind] = counts.get(kind, 0) + times
    assert not set(BUS_KINDS) - set(counts)


def test_a_share_of_worlds_has_a_bus_and_the_others_are_what_they_were():
    with_bus = {seed for seed in range(400) if has_bus(drawn_bus(NO_FAULTS, SWARM, random.Random(f"bus {seed}")))}
    assert 30 < len(with_bus) < 90
    without = replace(SWARM, bus=0.0)
    for seed in sorted(set(range(8)) - with_bus):
        assert simulate(seed=seed).transcript == simulate(seed=seed, swarm=without).transcript


def test_foreign_agents_and_podiums_own_take_part():
    said = [what for seed in range(6) for _, what in simulate(seed=seed, faults=Faults(bus=1.0)).transcript]
    assert any("status: BUSY" in what for what in said)  # document 000's JSON
    assert any("status: Accepted" in what for what in said)  # a frame


# --- the oracle sees it when one of the link's cares is left out -----------------------------------------------------


def is_found(what: str, seeds: int, first: int = 0) -> bool:
    """Whether one of so many seeds finds it; `first` is near one that does, so that it is found soon."""
    tried = (simulate(seed=seed, swarm=BUS_SWARM) for seed in range(first, first + seeds))
    return any(what in problem for report in tried for problem in report.broken)


def test_an_assignment_that_isnt_said_again_is_found(monkeypatch):
    monkeypatch.setattr(Staffing, "_remind", lambda self, now_us: None)
    assert is_found("I5: not everything ended", 240, first=110)


def test_a_receipt_that_is_never_given_is_found(monkeypatch):
    monkeypatch.setattr(Receipts, "confirm", lambda self, agent, attempt: False)
    assert is_found("neither recorded nor acknowledged", 5)


def test_an_agent_that_nobody_asks_to_register_again_is_found(monkeypatch):
    async def nothing(self, agent, known, incarnation):
        pass

    monkeypatch.setattr(Admission, "correct", nothing)
    assert is_found("isn't registered", 60)


def test_a_lease_that_renewals_dont_renew_is_found(monkeypatch):
    monkeypatch.setattr(Leases, "renew", lambda self, attempts, now_us: None)
    assert is_found("was taken away", 60)


def test_a_slot_that_waits_for_its_freeing_for_ever_is_found(monkeypatch):
    monkeypatch.setattr(Placing, "expire", lambda self, now_us: None)
    assert is_found("slots are held", 300, first=25)


# --- seeds that once broke, each with what it found; see docs/robustness.md -----------------------------------------

FOUND = {
    3: "an assignment that a foreign agent never heard was renewed by its heartbeats for ever",
    206: "the freeing of a slot, said while nobody listened, was dropped: the slot was held for ever",
    283: "the freeing of a slot was lost by the bus",
    361: "a carrier in memory that was down turned round and round over a message that was due again",
    539: "a carrier in memory that was down turned round and round over a message that was due again",
}


@pytest.mark.parametrize("seed", FOUND, ids=[f"{seed}: {what}" for seed, what in FOUND.items()])
def test_what_a_seed_found_stays_mended(seed):
    report = simulate(seed=seed, swarm=BUS_SWARM)
    assert report.sound, str(report)
