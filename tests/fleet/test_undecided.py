"""What a replica that doesn't lead knows of registrations: whatever order the bus has, it ends where the leader is."""

from __future__ import annotations

from podium.bus.arrivals import Said
from podium.clock import SECOND
from podium.fleet import wire
from podium.fleet.undecided import EARLY_US, KEPT_US, Undecided


def said(agent: str = "a", incarnation: str = "") -> tuple[Said, wire.AgentRegistrationMessage]:
    registration = wire.AgentRegistration(agent_id=agent, incarnation=incarnation)
    return Said(wire.REGISTER, b"", {}, ""), wire.AgentRegistrationMessage(registration=registration)


def test_an_answer_that_comes_before_its_registration_counts_when_that_comes():
    undecided = Undecided()
    assert undecided.taken_in("a", "x-1", SECOND) is None
    assert undecided.keep(*said(), SECOND + EARLY_US - 1) == "x-1"
    assert undecided.all(SECOND + EARLY_US) == []


def test_an_answer_that_is_old_or_anothers_doesn_t_count():
    undecided = Undecided()
    undecided.taken_in("a", "x-1", SECOND)
    assert undecided.keep(*said(), SECOND + EARLY_US) == ""
    undecided.taken_in("b", "x-1", SECOND)
    assert undecided.keep(*said("b", "mine"), SECOND) == ""


def test_of_two_answers_to_one_registration_the_latest_holds():
    undecided = Undecided()
    undecided.keep(*said(), 0)
    undecided.keep(*said(), 1)
    assert undecided.taken_in("a", "x-1", 2) is not None
    assert undecided.taken_in("a", "x-2", 3) is not None


def test_only_what_nobody_answered_of_late_is_there_to_be_decided_and_only_once():
    undecided = Undecided()
    for agent in ("taken", "refused", "old", "waits"):
        undecided.keep(*said(agent, "1"), KEPT_US if agent == "waits" else 0)
    undecided.taken_in("taken", "1", 1)
    undecided.refused("refused", "1")
    assert len(undecided) == 2
    assert [each.registration.agent_id for _, each in undecided.all(KEPT_US)] == ["waits"]
    assert undecided.all(KEPT_US) == []
