"""An agent that stands for somebody who comes for work gets one task each time that one asks, and none unasked."""

from __future__ import annotations

from podium.scheduling.placement import Agent, Placement, ReadyTask


def ready(task: str, agent_type: str = "x", priority: int = 50, at: int = 0) -> ReadyTask:
    return ReadyTask("e", task, 1, f"e:1:{task}:1", agent_type, priority, at)


def placement(*, most_here: int | None = None) -> Placement:
    found = Placement(most_here=most_here)
    found.add_agent(Agent("x-1", "x", "i", 1_000, together=found.here))
    found.set_apart("x-1")
    return found


def test_nothing_is_given_unasked_and_one_each_time_it_is_asked_for():
    desk = placement()
    for number in range(3):
        desk.enqueue(ready(f"t{number}", at=number))
    assert desk.place() == []
    for number in range(3):
        desk.admit_one("x-1")
        assert [slot.task for slot in desk.place()] == [f"t{number}"]
        desk.leave("x-1")
        assert desk.place() == []
    assert desk.attempts_with("x-1") == {f"e:1:t{number}:1" for number in range(3)}
    desk.release("e:1:t0:1")
    assert desk.place() == []


def test_what_is_in_its_hands_is_no_work_of_this_process():
    desk = placement(most_here=1)
    desk.add_agent(Agent("y-1", "y", "i", 5, together=desk.here))
    for number in range(2):
        desk.enqueue(ready(f"t{number}"))
        desk.admit_one("x-1")
        assert len(desk.place()) == 1
        desk.leave("x-1")
    desk.enqueue(ready("own", "y"))
    assert [slot.task for slot in desk.place()] == ["own"]


def test_the_first_of_several_types_is_found_whatever_became_of_the_others():
    desk = placement()
    assert desk.first_waiting(["x", "y"]) is None
    desk.enqueue(ready("low", "x", 10))
    desk.enqueue(ready("high", "y", 90))
    desk.place()  # nobody could ever take `high`: it is set aside
    assert desk.first_waiting(["x", "y"]) == "y"
    assert desk.first_waiting(["x"]) == "x"
    desk.withdraw("e", "high")
    assert desk.first_waiting(["x", "y"]) == "x"
    desk.withdraw("e", "low")
    assert desk.first_waiting(["x", "y"]) is None
    desk.admit_one("nobody")
    desk.set_apart("nobody")
