"""Tasks that no agent does, by rules that no transcript shows: what a wait may last, what becomes of kept signals, and
what conditions and forms cost, counted in calls.
"""

from __future__ import annotations

from typing import Any

import pytest

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.workflow.model import Task, TaskType, Workflow
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
