"""Tasks that no agent does, by rules that no transcript shows: what a wait may last, what becomes of kept signals, and
what conditions and forms cost, counted in calls.
"""

from __future__ import annotations

from typing import Any

import pytest

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine import scope
from podium.engine.letters import letters_of
from podium.engine.scope import result_text
from podium.workflow.forms import form_problems
from podium.workflow.model import Task, TaskType, Workflow
from tests.engine.counting import calls_of
from tests.engine.playing import Play, check_history, json_value


def play_of(*tasks: Task, given: Any = None) -> Play:
    play = Play(Workflow(name="w", tasks=tasks), given=given)
    play.start()
    return play


def agent(name: str, *dependencies: str, **about: Any) -> Task:
    return Task(id=name, agent_type="worker", dependencies=dependencies, **about)


def listener(name: str, *dependencies: str, signal: str = "go", **about: Any) -> Task:
    return Task(id=name, type=TaskType.WAIT, signal=signal, dependencies=dependencies, **about)


def signal(play: Play, name: str = "go", value: Any = None) -> list[ev.Event]:
    return play.give(inp.Signal(name, json_value(value)))


# --- how long ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1e15, 3.2e8, "4000d"])
def test_a_wait_that_a_value_makes_longer_than_ten_years_fails_its_task(seconds: Any):
    play = play_of(Task(id="rest", type=TaskType.WAIT, wait_for="${input.x}"), given={"x": seconds})
    error = play.state.tasks["rest"].error
    assert error is not None
    assert error.type == "WaitError"
    assert "at most ten years" in error.message
    assert play.state.next_timer_us() is None
    check_history(play)


# --- kept signals ------------------------------------------------------------------------------------------------


def test_signals_that_nobody_can_take_any_more_are_kept_no_longer():
    play = play_of(agent("gate"), listener("w", "gate"), agent("later", "w"), listener("v", "later", signal="stop"))
    for _ in range(1_000):
        signal(play)
    assert isinstance(signal(play)[0], ev.InputIgnored)
    assert signal(play, "stop") == [ev.SignalReceived("stop", json_value(None), kept=True)]  # each name has its own
    play.run("gate")
    assert set(play.state.signals) == {"stop"}
    assert signal(play) == [ev.SignalReceived("go", json_value(None))]
    play.run("later")
    assert play.state.signals == {}
    assert play.status == "completed"
    check_history(play)


def test_a_doubled_signal_is_not_taken_by_the_task_that_runs_again():
    play = play_of(agent("gate"), listener("w", "gate"))
    signal(play, value=1)
    signal(play, value=2)
    play.run("gate")
    assert play.status == "completed"
    play.give(inp.Retry("gate"))
    play.run("gate")
    assert play.status_of("w") == "waiting"
    assert signal(play, value=3)[1] == ev.TaskCompleted("w", 0, json_value(3))
    check_history(play)


def test_a_signal_is_kept_for_another_task_that_waits_for_one_of_its_name():
    play = play_of(agent("gate"), listener("first", "gate"), listener("second", "first"))
    signal(play, value=1)
    signal(play, value=2)
    signal(play, value=3)
    play.run("gate")
    assert [play.state.tasks[name].result for name in ("first", "second")] == [json_value(1), json_value(2)]
    assert play.state.signals == {}
    check_history(play)


def test_what_is_kept_for_a_task_to_come_is_not_taken_by_one_that_has_had_its_signal_and_runs_again():
    play = play_of(
        listener("first"), agent("slow"), listener("second", "slow"), agent("bad"), agent("behind", "first", "bad")
    )
    signal(play, value=1)
    assert signal(play, value=2) == [ev.SignalReceived("go", json_value(2), kept=True)]
    play.grant("slow")
    play.grant("bad")
    play.fail("bad")
    play.fail("slow")
    assert play.status == "failed"
    play.give(inp.Retry("first"))
    assert play.status_of("first") == "waiting"
    play.run("slow")
    assert play.state.tasks["second"].result == json_value(2)
    assert signal(play, value=3)[1] == ev.TaskCompleted("first", 0, json_value(3))
    check_history(play)


def test_a_task_that_never_had_its_signal_takes_what_is_kept_when_it_runs_again():
    play = play_of(agent("slow"), listener("second", "slow"))
    signal(play, value=2)
    play.grant("slow")
    play.fail("slow")
    play.give(inp.Retry("slow"))
    play.run("slow")
    assert play.state.tasks["second"].result == json_value(2)
    check_history(play)


# --- what it costs -----------------------------------------------------------------------------------------------


def test_what_conditions_read_is_decoded_once_for_all_signals_that_are_kept():
    def beginning(signals: int) -> int:
        play = play_of(
            agent("big"), agent("gate"), listener("w", "big", "gate", accept="signal.value in tasks.big.result")
        )
        play.run("big", list(range(100)))
        for _ in range(signals):
            signal(play, value="x")
        decoded = 0
        with pytest.MonkeyPatch.context() as patch:

            def counted(*arguments: Any) -> bytes:
                nonlocal decoded
                decoded += 1
                return result_text(*arguments)

            patch.setattr(scope, "result_text", counted)
            play.run("gate")
        assert play.status_of("w") == "waiting"
        return decoded

    assert beginning(50) == beginning(1) == 1


def test_the_values_of_an_enum_are_written_once_for_a_whole_answer():
    form = {"items": {"enum": [f"choice {nth}" for nth in range(500)]}}

    def cost(items: int) -> int:
        return calls_of(lambda: form_problems(form, ["choice 7"] * items))

    assert cost(100) - cost(1) < 2_000


def test_what_plain_tasks_do_is_looked_through_for_letters_in_a_few_calls():
    play = play_of(agent("a"), agent("b", "a"))
    play.grant("a")
    given = inp.Succeeded("a", 1, json_value(1))
    events = play.give(given)
    assert letters_of(play.state, given, events) == []
    assert calls_of(lambda: letters_of(play.state, given, events)) <= 6
