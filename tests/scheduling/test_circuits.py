"""Agents at which tasks fail in a row get nothing for a while, then one trial: what placement makes of it."""

from __future__ import annotations

import pytest

from podium.clock import SECOND, VirtualClock
from podium.engine import events as ev
from podium.engine.circuits import Circuits, sign_of
from podium.fleet.breaker import Sign
from podium.fleet.messages import FOREIGN, REMOTE, ErrorInfo
from podium.scheduling.placement import Agent, Placement, ReadyTask
from podium.workflow.model import CircuitBreaker

USUAL = CircuitBreaker(failure_threshold=3, timeout_seconds=30)
TIGHT = CircuitBreaker(failure_threshold=1, timeout_seconds=60)


class House:
    """A placement with its circuits and a clock."""

    def __init__(self, *agents: str, incarnation: str = f"{REMOTE}1", slots: int = 10) -> None:
        self.clock = VirtualClock(0)
        self.placement = Placement()
        self.circuits = Circuits(self.placement, self.clock.now_us, USUAL)
        self.count = 0
        self.incarnation, self.slots = incarnation, slots
        for agent in agents:
            self.come(agent)

    def come(self, name: str) -> None:
        agent = Agent(name, "w", self.incarnation, self.slots)
        self.circuits.attach(agent)
        self.placement.add_agent(agent)

    def queue(self, circuit: CircuitBreaker | None = None) -> str:
        self.count += 1
        attempt = f"e:1:t{self.count}:1"
        self.placement.enqueue(ReadyTask("e", f"t{self.count}", 1, attempt, "w", 50, self.count, circuit=circuit))
        return f"t{self.count}"

    def place(self, circuit: CircuitBreaker | None = None) -> list[tuple[str, str]]:
        """Queue one task and place: which attempts go where."""
        self.queue(circuit)
        return [(slot.attempt, slot.agent) for slot in self.placement.place()]

    def end(self, attempt: str, sign: Sign) -> None:
        holder = self.placement.holder(attempt)
        assert holder is not None
        self.circuits.ended(holder[0], attempt, sign)
        self.placement.release(attempt)

    def break_down(self, times: int = 3) -> None:
        for _ in range(times):
            ((attempt, _agent),) = self.place()
            self.end(attempt, Sign.BAD)

    def later(self, seconds: float) -> None:
        self.clock.advance(round(seconds * SECOND))
        self.circuits.look()


def test_others_get_the_work_of_an_agent_that_fails():
    house = House("bad")
    house.break_down()
    assert house.circuits.states() == {"closed": 0, "open": 1, "half_open": 0}
    assert house.circuits.opened == 1
    house.come("good")
    for _ in range(5):
        ((_, agent),) = house.place()
        assert agent == "good"


def test_what_waits_for_it_is_told_why_and_placed_as_a_trial_after_the_time_out():
    house = House("bad")
    house.break_down()
    assert house.place() == []
    task = house.queue()
    why = house.placement.why("e", task)
    assert "3 tasks in a row failed at agent bad" in why
    assert "it is tried again in 30 s" in why
    assert house.placement.place() == []
    house.later(29)
    assert house.placement.place() == []
    house.later(1)
    (trial,) = house.placement.place()  # one of the two that wait
    assert "one task is with it, as a trial" in house.placement.why("e", task)
    house.end(trial.attempt, Sign.GOOD)
    assert [slot.task for slot in house.placement.place()] == [task]
    assert house.circuits.states()["closed"] == 1


def test_a_trial_that_fails_keeps_it_open_and_one_that_never_began_is_followed_by_another():
    house = House("bad")
    house.break_down()
    for _ in range(3):
        house.queue()
    house.later(30)
    (first,) = house.placement.place()
    house.placement.release(first.attempt)  # its grant was never recorded
    (second,) = house.placement.place()
    house.end(second.attempt, Sign.BAD)
    assert house.placement.place() == []
    house.later(30)
    assert len(house.placement.place()) == 1


def test_registering_anew_is_no_new_reputation():
    house = House("bad")
    house.break_down()
    house.placement.remove_agent("bad")
    house.incarnation = f"{REMOTE}2"
    house.come("bad")
    assert house.place() == []


def test_an_agent_of_this_process_is_only_under_a_workflows_own_policy():
    house = House("here", incarnation="i1")
    house.break_down(10)
    assert house.circuits.states()["closed"] == 1
    assert len(house.place()) == 1
    assert house.place(TIGHT) == []
    house.later(60)
    assert len(house.placement.place()) == 1


def test_a_workflows_own_policy_keeps_only_its_own_tasks_away():
    house = House("bad", incarnation=f"{FOREIGN}1")
    house.break_down(1)
    assert house.place(TIGHT) == []
    assert len(house.place()) == 1


def test_all_is_forgotten_with_the_lead():
    house = House("bad")
    house.break_down()
    house.circuits.forget_all()
    assert len(house.place()) == 1


@pytest.mark.parametrize(
    ("event", "sign"),
    [
        (ev.TaskCompleted("t", 1), Sign.GOOD),
        (ev.AttemptFailed("t", 1, ErrorInfo("ValueError", "no")), Sign.GOOD),
        (ev.AttemptFailed("t", 1, ErrorInfo("ArgumentError", "no")), Sign.NOTHING),
        (ev.AttemptFailed("t", 1, ErrorInfo("WorkerDied", "x"), "crash"), Sign.BAD),
        (ev.AttemptFailed("t", 1, ErrorInfo("AgentLost", "x"), "lost"), Sign.BAD),
        (ev.AttemptFailed("t", 1, ErrorInfo("TimeoutError", "x"), "timeout"), Sign.BAD),
        (ev.AttemptFailed("t", 1, ErrorInfo("DeadlineExceeded", "x"), "timeout"), Sign.NOTHING),
        (ev.AttemptFailed("t", 1, ErrorInfo("Interrupted", "x"), "interrupted"), Sign.NOTHING),
        (ev.AttemptFailed("t", 1, ErrorInfo("Cancelled", "x"), "cancelled"), Sign.NOTHING),
        (ev.AttemptReturned("t", 1, "full"), Sign.NOTHING),
    ],
)
def test_what_an_attempts_end_says_about_its_agent(event, sign):
    assert sign_of(event) is sign
