"""A ready task that no registered agent could ever take fails in that attempt, after a time; one that waits doesn't."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.clock import SECOND
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.allocation import ALLOCATION_TIMEOUT, Allocations, Overdue
from podium.fleet.messages import ErrorInfo
from podium.scheduling.placement import ANY_TYPE, Agent, Placement, ReadyTask
from podium.workflow.model import (
    ExecutionStatus,
    FailureAction,
    OnFailure,
    RetryPolicy,
    Task,
    TaskStatus,
    Workflow,
)
from tests.engine.playing import BEGIN_US, Play, check_history

LIMIT = 300.0
START = BEGIN_US


def ready(task: str = "t", agent_type: str = "w", number: int = 1, **about) -> ReadyTask:
    return ReadyTask("e", task, number, f"e:1:{task}:{number}", agent_type, 50, about.pop("ready_us", START), **about)


def agent(name: str = "w-1", agent_type: str = "w", **about) -> Agent:
    return Agent(name, agent_type, "i", about.pop("slots", 1), **about)


class Watched:
    """A placement and how long its tasks have been without agents."""

    def __init__(self, *tasks: ReadyTask, seconds: float = LIMIT) -> None:
        self.placement = Placement()
        self.allocations = Allocations(self.placement, seconds)
        for task in tasks:
            self.placement.enqueue(task)

    def at(self, seconds: float) -> list[Overdue]:
        self.placement.place()
        return self.allocations.overdue(START + round(seconds * SECOND))


def test_a_type_without_agents_is_waited_for_and_then_the_attempt_has_failed():
    watched = Watched(ready())
    assert watched.at(0) == []
    assert watched.at(299) == []
    (found,) = watched.at(304.9)
    assert found.execution == "e"
    assert found.given.how == inp.UNPLACED
    assert (found.given.task, found.given.number) == ("t", 1)
    assert found.given.error.retryable
    assert found.given.error.type == ALLOCATION_TIMEOUT
    assert found.given.error.message == "no agent of type w is registered, for 5m (agent_allocation_timeout_seconds)"


def test_what_was_said_is_not_said_again_before_another_time_out_and_has_another_id_then():
    watched = Watched(ready())
    watched.at(0)
    (first,) = watched.at(310)
    assert watched.at(400) == []
    (again,) = watched.at(620)
    assert again.input_id != first.input_id
    assert again.given == first.given


@pytest.mark.parametrize(
    ("wanted", "there", "why"),
    [
        (ready(capabilities=frozenset({"c"})), agent(), "has the capabilities c"),
        (ready(needs={"gpu_count": 1}), agent(offered={"cpu_cores": 4}), "no agent of type w is large enough"),
        (ready(agent_type=ANY_TYPE, function="f"), agent(functions=frozenset({"g"})), "answers to f"),
        (ready(), agent(agent_type="other"), "no agent of type w is registered"),
    ],
    ids=["capabilities", "size", "function", "type"],
)
def test_agents_that_could_never_take_it_do_not_help(wanted, there, why):
    watched = Watched(wanted)
    watched.placement.add_agent(there)
    watched.at(0)
    assert watched.at(290) == []
    (found,) = watched.at(310)
    assert why in found.given.error.message


def test_a_task_that_waits_its_turn_is_not_concerned():
    watched = Watched(ready("first"), ready("second"))
    watched.placement.add_agent(agent())
    for seconds in range(0, 5_000, 50):
        assert watched.at(seconds) == []
    assert watched.placement.queued() == 1


def test_time_counts_from_when_the_last_such_agent_was_seen():
    watched = Watched(ready("held"), ready())
    watched.placement.add_agent(agent())
    assert watched.at(0) == []
    assert watched.at(1_000) == []
    watched.placement.remove_agent("w-1")
    assert watched.at(1_010) == []
    assert watched.at(1_300) == []
    assert [found.given.task for found in watched.at(1_320)] == ["t"]


def test_the_last_agent_that_was_large_enough_leaves_and_a_small_one_stays():
    watched = Watched(ready(needs={"gpu_count": 1}))
    watched.placement.add_agent(agent("small"))
    watched.placement.add_agent(agent("large", offered={"gpu_count": 1}))
    watched.placement.hold("other", "e2", "large", "i", {"gpu_count": 1})
    assert watched.at(0) == watched.at(1_000) == []
    watched.placement.remove_agent("large")  # nobody says anything afterwards
    assert watched.at(1_010) == []
    assert len(watched.at(1_320)) == 1


def test_an_agent_that_comes_in_time_gets_it():
    watched = Watched(ready())
    watched.at(0)
    watched.at(299)
    watched.placement.add_agent(agent())
    assert watched.at(310) == []
    assert watched.placement.held() == 1


def test_a_task_that_became_ready_later_has_its_own_time():
    watched = Watched(ready("old"))
    watched.at(0)
    watched.placement.enqueue(ready("new", ready_us=START + 250 * SECOND))
    assert [found.given.task for found in watched.at(310)] == ["old"]
    assert watched.at(540) == []
    assert [found.given.task for found in watched.at(560)] == ["new"]


def test_after_a_take_over_agents_have_the_whole_time_to_come_back():
    watched = Watched(ready(ready_us=START - 10_000 * SECOND))
    assert watched.at(0) == []
    assert watched.at(290) == []
    assert len(watched.at(310)) == 1


def test_zero_is_never():
    watched = Watched(ready(), seconds=0)
    assert all(watched.at(seconds) == [] for seconds in (0, 1_000, 10**9))


@given(st.lists(st.tuples(st.sampled_from(["come", "go", "look"]), st.integers(1, 200)), max_size=40))
def test_nothing_is_overdue_sooner_than_a_time_out_after_an_agent_was_there(happened):
    watched = Watched(ready("held"), ready(), seconds=100)
    watched.at(0)
    clock = alone_since = 0
    there = False
    for what, seconds in happened:
        clock += seconds
        if what == "come" and not there:
            watched.placement.add_agent(agent(slots=1))
            there = True
        elif what == "go" and there:
            watched.placement.remove_agent("w-1")
            there, alone_since = False, clock
        if watched.at(clock):
            assert not there
            assert clock - alone_since >= 100


# --- what becomes of the execution -----------------------------------------------------------------------------------


def unplaced(task: str = "x", number: int = 1) -> inp.Failed:
    return inp.Failed(task, number, ErrorInfo(ALLOCATION_TIMEOUT, "no agent of type w is registered"), inp.UNPLACED)


def play(**about) -> Play:
    made = Play(Workflow(name="w", tasks=(Task(id="x", agent_type="w", **about), Task(id="y", agent_type="w"))))
    made.start()
    return made


def test_an_attempt_without_an_agent_fails_its_task_and_tells_nobody_to_begin():
    played = play()
    events = played.give(unplaced())
    assert [type(event) for event in events[:3]] == [ev.AttemptGranted, ev.AttemptFailed, ev.TaskFailed]
    assert played.commands == []
    assert played.state.status is ExecutionStatus.FAILED
    assert played.state.error is not None
    assert played.state.error.type == ALLOCATION_TIMEOUT
    assert played.state.live == 0
    check_history(played)


def test_the_retry_policy_applies_and_counts():
    played = play(retry=RetryPolicy(max_attempts=2, initial_delay_seconds=1, jitter=0))
    assert isinstance(played.give(unplaced())[2], ev.RetryScheduled)
    assert played.state.tasks["x"].failures == 1
    assert isinstance(played.give(unplaced())[0], ev.InputIgnored)  # a second copy of the first
    played.now_us += 2 * SECOND
    played.give(inp.Tick())
    assert isinstance(played.give(unplaced(number=2))[2], ev.TaskFailed)
    check_history(played)


def test_what_on_failure_says_applies():
    played = play(on_failure=OnFailure(FailureAction.CONTINUE))
    played.give(unplaced())
    assert not played.state.final
    played.run("y")
    assert played.state.status is ExecutionStatus.COMPLETED
    assert played.state.partial
    check_history(played)


@pytest.mark.parametrize("before", [inp.Pause(), inp.Cancel()])
def test_of_an_execution_that_starts_nothing_it_changes_nothing(before):
    played = play()
    played.give(before)
    (event,) = played.give(unplaced())
    assert isinstance(event, ev.InputIgnored)


def test_an_attempt_that_was_granted_meanwhile_is_not_touched():
    played = play()
    played.grant("x")
    assert played.give(unplaced()) == [ev.InputIgnored("the task isn't ready any more")]
    assert played.state.tasks["x"].status is TaskStatus.RUNNING
    assert played.give(unplaced("nobody")) == [ev.InputIgnored("the task isn't ready any more")]
