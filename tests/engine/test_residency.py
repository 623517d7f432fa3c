"""Residency: what has nothing to do goes out of memory, timers wake it, and no list grows with use."""

from podium.engine import inputs as inp
from podium.engine.residency import HORIZON_US, Residency
from podium.engine.state import State
from podium.workflow.model import RetryPolicy, Task, Workflow
from tests.engine.playing import BEGIN_US, Play

S = 1_000_000


def waiting(seconds: float = 10.0) -> Play:
    policy = RetryPolicy(
        max_attempts=999, initial_delay_seconds=seconds, multiplier=1, max_delay_seconds=seconds, jitter=0
    )
    play = Play(Workflow(name="w", tasks=(Task(id="x", agent_type="w", retry=policy),)))
    play.start()
    play.grant("x")
    play.fail("x")
    return play


def test_an_execution_is_due_once_until_it_is_scheduled_again():
    play, residency = waiting(), Residency(30 * S)
    residency.add(play.state)
    assert residency.next_due_us() == BEGIN_US + 10 * S
    assert residency.due(BEGIN_US + 9 * S) == []
    assert residency.due(BEGIN_US + 10 * S) == [play.state]
    assert residency.due(BEGIN_US + 10 * S) == []
    residency.schedule(play.state)
    assert residency.due(BEGIN_US + 10 * S) == [play.state]


def test_a_timer_that_has_moved_or_gone_wakes_nobody():
    play, residency = waiting(), Residency(30 * S)
    residency.add(play.state)
    play.give(inp.Cancel())
    residency.schedule(play.state)
    assert residency.next_due_us() is None
    residency.add(waiting().state)
    residency.drop("e-1")
    assert residency.due(BEGIN_US + 99 * S) == []


def test_what_waits_long_goes_out_and_what_has_a_timer_soon_stays():
    residency = Residency(30 * S)
    soon, late = waiting(40), waiting(HORIZON_US / S + 100)
    late.state.id = "e-2"
    for play in (soon, late):
        residency.add(play.state)
        residency.note_rest(play.state, BEGIN_US)
        residency.note_rest(play.state, BEGIN_US + 5 * S)
    assert residency.overdue_rest(BEGIN_US + 29 * S) == []
    assert residency.overdue_rest(BEGIN_US + 30 * S) == ["e-2"]


def test_what_has_something_to_do_again_isnt_idle():
    play, residency = waiting(), Residency(30 * S)
    residency.note_rest(play.state, BEGIN_US)
    play.tick(10)
    residency.note_rest(play.state, BEGIN_US + 10 * S)
    assert residency.overdue_rest(BEGIN_US + 500 * S) == []


def test_timers_dont_pile_up():
    residency = Residency(30 * S)
    state: State = waiting().state
    for at in range(10_000):
        state.tasks["x"].due_us = BEGIN_US + 1_000 * S - at
        state.add_timer(state.tasks["x"].due_us, "retry", "x")
        residency.schedule(state)
    assert len(residency._timers) < 200
    assert len(state._timers) < 200
