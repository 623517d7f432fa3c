"""What a person decides about tasks: skips, results by hand, and what runs again from a task on."""

from __future__ import annotations

from typing import Any

import pytest

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import decode_events, encode_events
from podium.engine.commands import Stop
from podium.engine.steering import behind, rerun_of, why_not_ended
from podium.workflow.model import AgentGroup, FailureAction, OnFailure, Task, Workflow
from tests.engine.playing import Play, check_history, check_state, json_value


def play_of(*tasks: Task) -> Play:
    play = Play(Workflow(name="w", tasks=tasks, agents={"team": AgentGroup("team", "worker")}))
    play.start()
    return play


def task(name: str, *dependencies: str, **about: Any) -> Task:
    return Task(id=name, agent="team", agent_type="worker", dependencies=dependencies, **about)


def ignored(events: list[ev.Event]) -> str:
    (event,) = events
    assert isinstance(event, ev.InputIgnored)
    return event.reason


def test_a_skip_is_recorded_with_who_and_why() -> None:
    play = play_of(task("x"), task("y"))
    assert play.give(inp.Skip("x", "not today", "maren"))[0] == ev.TaskSkipped("x", "not today", "maren")
    assert play.state.tasks["x"].reason == "skipped by maren: not today"
    assert play.give(inp.Skip("y"))[0] == ev.TaskSkipped("y", "", "somebody")
    check_history(play)


def test_a_result_by_hand_is_written_once_in_the_log() -> None:
    play = play_of(task("x"))
    given = inp.Complete("x", json_value({"a": 1}), "seen", "maren")
    events = play.give(given)
    encoded = encode_events(events, given)
    assert b'"a"' not in encoded
    assert decode_events(encoded, given) == events
    assert play.state.tasks["x"].result == given.value
    check_history(play)


def test_every_live_attempt_is_told_to_stop_and_only_those() -> None:
    play = play_of(task("each", for_each=[1, 2, 3]), task("other"))
    play.grant("each[0]", "each[1]", "other")
    play.give(inp.Complete("each", json_value([]), by="maren"))
    told = [c.attempt for c in play.commands if isinstance(c, Stop)]
    assert told == ["e-1:1:each[0]:1", "e-1:1:each[1]:1"]
    assert all(c.force for c in play.commands if isinstance(c, Stop))
    assert play.state.live == 1
    check_state(play)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nobody", "there is no task"),
        ("done", "has completed already"),
        ("done[0]", "has no instances"),
        ("each[2]", "hasn't begun; 1 of 3 have"),
        ("each[3]", "has 3, counted from 0"),
        ("each[-1]", "has 3, counted from 0"),
        ("spare", "runs only if risky fails"),
        ("later[0]", "has no instances yet"),
    ],
)
def test_what_cannot_be_ended_is_refused_and_said_why(path: str, why: str) -> None:
    play = play_of(
        task("done"),
        task("each", for_each=[1, 2, 3], max_parallel=1),
        task("risky", on_failure=OnFailure(FailureAction.FALLBACK, "spare")),
        task("spare"),
        task("later", "risky", for_each=[1]),
    )
    play.run("done")
    for given in (inp.Skip(path), inp.Complete(path, json_value(1))):
        assert why in ignored(play.give(given))
    check_history(play)


def test_an_item_of_a_fallback_that_may_not_be_needed_again_cannot_be_ended() -> None:
    play = play_of(
        task("risky", for_each=[0], on_failure=OnFailure(FailureAction.FALLBACK, "spare")),
        task("spare", for_each=[0, 1]),
        task("x"),
    )
    play.grant("risky[0]")
    play.fail("risky[0]", retryable=False)
    play.grant("spare[0]")
    play.fail("spare[0]", retryable=False)
    assert str(play.status) == "failed"
    play.give(inp.Retry())
    for given in (inp.Skip("spare[0]"), inp.Complete("spare[1]", json_value(1))):
        assert "runs only if risky fails" in ignored(play.give(given))
        check_state(play)
    check_history(play)


def test_nothing_is_decided_of_what_is_cancelled_or_has_ended() -> None:
    play = play_of(task("x"), task("y"))
    play.grant("x")
    play.give(inp.Cancel())
    assert ignored(play.give(inp.Skip("x"))) == "the execution is cancelling"
    again = play_of(task("x"))
    again.run("x")
    assert "podium retry --from" in ignored(again.give(inp.Skip("x")))


def test_a_cancelled_execution_goes_on_with_a_result_by_hand() -> None:
    play = play_of(task("x"), task("y", "x"))
    play.give(inp.Cancel())
    assert str(play.status) == "cancelled"
    play.give(inp.Complete("x", json_value(1)))
    assert play.ready() == ["y"]
    check_state(play)
    check_history(play)


def test_a_task_that_was_put_up_with_stays_as_it_is() -> None:
    play = play_of(task("x", on_failure=OnFailure(FailureAction.CONTINUE)), task("y"))
    play.grant("x", "y")
    play.fail("x", retryable=False)
    play.fail("y", retryable=False)
    assert str(play.status) == "failed"
    assert "has failed already" in ignored(play.give(inp.Skip("x")))
    assert not why_not_ended(play.state, "y")


def test_effects_of_tasks_that_run_again_have_other_keys() -> None:
    play = play_of(task("a"), task("each", "a", for_each=[1]))
    play.run("a")
    play.run("each[0]")
    before = play.state.idempotency_key(play.state.tasks["each[0]"])
    play.give(inp.Retry("each"))
    play.grant_ready()
    instance = play.state.tasks["each[0]"]
    assert play.state.idempotency_key(instance) != before
    assert list(instance.live or ()) == [2]
    assert play.state.tasks["a"].generation == 0


def test_what_is_behind_a_task_is_all_that_depends_on_it_in_order() -> None:
    play = play_of(task("a"), task("b", "a"), task("c"), task("d", "b", "c"), task("e", "d"))
    assert behind(play.state, "b") == ("b", "d", "e")
    assert behind(play.state, "c") == ("c", "d", "e")


def test_a_preview_tells_what_runs_again_and_what_stays() -> None:
    play = play_of(task("a"), task("b", "a"), task("c", "b"), task("d"))
    play.run("a")
    play.grant("b", "d")
    play.succeed("d")
    play.fail("b", retryable=False)
    rerun = rerun_of(play.state)
    assert (rerun.again, rerun.first, rerun.kept) == (("b",), ("c",), ("a", "d"))
    rerun = rerun_of(play.state, "a")
    assert (rerun.again, rerun.first, rerun.kept) == (("a", "b"), ("c",), ("d",))
    assert rerun.not_idempotent == ("a", "b")


@pytest.mark.parametrize("name", ["a", "b", "d"])
def test_what_a_preview_says_is_what_a_retry_does(name: str) -> None:
    play = play_of(task("a"), task("b", "a"), task("c", "b"), task("d"))
    for one in ("a", "d", "b"):
        play.run(one)
    play.grant("c")
    play.fail("c", retryable=False)
    rerun = rerun_of(play.state, name)
    play.give(inp.Retry(name))
    ran = set()
    while play.status == "running":
        ran.update(play.grant_ready())
        for path in [p for p, t in play.state.tasks.items() if t.live]:
            play.succeed(path)
    assert ran == {*rerun.again, *rerun.first}
    check_state(play)
    check_history(play)


def test_a_retry_from_a_task_tries_again_what_failed_elsewhere_too() -> None:
    play = play_of(task("a"), task("b"))
    play.run("a")
    play.grant("b")
    play.fail("b", retryable=False)
    play.give(inp.Retry("a"))
    assert play.ready() == ["a", "b"]
    check_state(play)


def test_a_retry_begins_the_deadline_anew() -> None:
    play = Play(Workflow(name="w", tasks=(task("a"),), agents={"team": AgentGroup("team", "worker")}), timeout=10.0)
    play.start()
    play.run("a")
    play.now_us += 60_000_000
    play.give(inp.Retry("a"))
    assert play.state.deadline_us == play.now_us + 10_000_000
