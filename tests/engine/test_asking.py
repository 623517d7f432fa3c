"""`on_failure: ask`: what waits for a person's decision, and what each decision does."""

from __future__ import annotations

import pytest

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.asking import asking
from podium.engine.reconciliation import contradictions, nothing_to_wait_for
from podium.engine.steering import rerun_of
from podium.engine.step import step
from podium.workflow.model import FailureAction, OnFailure
from tests.engine.playing import Play, check_history, check_state, json_value
from tests.engine.test_steering import ignored, play_of, task

ASK = OnFailure(FailureAction.ASK)


def parked() -> Play:
    play = play_of(task("x", on_failure=ASK), task("y", "x"))
    play.grant("x")
    play.fail("x", retryable=False)
    return play


def test_a_parked_task_leaves_nothing_live_and_is_not_stuck() -> None:
    play = parked()
    assert asking(play.state) == ["x"]
    assert str(play.status) == "running"
    assert not play.state.active
    assert nothing_to_wait_for(play.state, play.now_us) == ""
    assert contradictions(play.state) == []
    check_state(play)
    check_history(play)


def test_who_lets_it_fail_is_recorded_with_the_tasks_own_error() -> None:
    play = parked()
    events = play.give(inp.Resolve("x", "fail", "no way", "maren"))
    failed = events[0]
    assert isinstance(failed, ev.TaskFailed)
    assert (failed.by, failed.reason, failed.error.message) == ("maren", "no way", "boom")
    assert str(play.status) == "failed"
    check_history(play)


def test_a_retry_of_a_parked_task_counts_its_failures_anew_and_its_attempts_on() -> None:
    play = parked()
    play.give(inp.Resolve("x", "retry"))
    assert play.state.tasks["x"].failures == 0
    play.run("x")
    assert play.state.tasks["x"].number == 2
    assert asking(play.state) == []
    check_state(play)


@pytest.mark.parametrize(
    ("path", "decision", "why"),
    [
        ("y", "retry", "it asks nothing; tasks that do: x"),
        ("z", "retry", "there is no task"),
        ("x", "skip", "nothing can be decided as 'skip'"),
    ],
)
def test_what_cannot_be_decided_is_refused(path: str, decision: str, why: str) -> None:
    play = parked()
    assert why in ignored(play.give(inp.Resolve(path, decision)))


def test_a_retried_execution_asks_again_what_it_asked_before() -> None:
    play = play_of(task("x", on_failure=ASK), task("y"))
    play.grant("x", "y")
    play.fail("x", retryable=False)
    play.fail("y", retryable=False)
    assert str(play.status) == "failed"
    play.give(inp.Retry())
    assert asking(play.state) == ["x"]
    play.run("y")
    play.give(inp.Resolve("x", "retry"))
    play.run("x")
    assert str(play.status) == "completed"
    check_history(play)


def test_a_retry_from_a_parked_task_asks_nothing_any_more() -> None:
    play = play_of(task("x", on_failure=ASK), task("y"))
    play.grant("x", "y")
    play.fail("x", retryable=False)
    play.fail("y", retryable=False)
    play.give(inp.Retry("x"))
    assert asking(play.state) == []
    assert play.ready() == ["x", "y"]
    check_state(play)
    check_history(play)


def test_of_what_nobody_knows_whether_it_was_done_a_person_is_asked() -> None:
    play = play_of(task("x", on_failure=ASK, idempotent=False))
    play.grant("x")
    play.give(inp.Lost("x", 1, "its agent is gone"))
    assert asking(play.state) == ["x"]
    found = play.state.tasks["x"].error
    assert found is not None
    assert found.type == "OutcomeUnknown"
    play.give(inp.Complete("x", json_value("it was done"), by="maren"))
    assert str(play.status) == "completed"
    check_history(play)


def test_a_task_that_is_marked_idempotent_is_not_warned_of() -> None:
    play = play_of(task("x", idempotent=True), task("y", "x"))
    play.run("x")
    play.run("y")
    assert rerun_of(play.state, "x").not_idempotent == ("y",)


def test_a_refusal_names_who_asks_in_the_same_order_after_a_snapshot() -> None:
    play = play_of(task("a", on_failure=ASK), task("b", on_failure=ASK), task("c"))
    play.grant("a", "b")
    play.fail("b", retryable=False)
    play.fail("a", retryable=False)
    given = inp.Resolve("c", "retry")
    restored = play.restored()
    assert step(restored, given, play.now_us).events == play.give(given)
