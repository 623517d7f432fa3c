"""`continue_as_new` in the rules: what is held stays small, no signal is lost, attempts are numbered on."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import decode_input
from podium.engine.continuing import BREATH_US, MAX_NEXT_INPUT
from podium.engine.explain import headline
from podium.engine.snapshot import encode_state
from podium.workflow.model import ContinueAsNew, ExecutionStatus, FailureAction, OnFailure, Task, TaskType, Workflow
from tests.engine.playing import Play, check_history, check_state, error, json_value

ONE = Task(id="a", agent_type="worker", for_each=[1, 2, 3])
LISTEN = Task(id="listen", type=TaskType.WAIT, signal="s")
WORK = Task(id="work", agent_type="worker", dependencies=("listen",), payload={"n": "${tasks.listen.result}"})


def loop(*tasks: Task, when: str | None = None, give: object = None) -> Workflow:
    return Workflow(name="w", tasks=tasks, continue_as_new=ContinueAsNew(when, give))


def one_run(play: Play) -> None:
    while play.status is ExecutionStatus.RUNNING and play.grant_ready():
        for task in [t.path for t in play.state.tasks.values() if t.live]:
            play.succeed(task, 1)


def test_what_is_held_is_as_small_as_one_run():
    play = Play(loop(ONE))
    play.start()
    sizes = []
    for _ in range(60):
        one_run(play)
        sizes.append(len(encode_state(play.state)))
        play.tick()
    assert play.state.run == 61
    assert max(sizes[1:]) - min(sizes[1:]) < 40  # larger numbers take a byte more
    assert len(play.state._timers) <= 1
    check_history(play)


def test_a_number_of_an_attempt_never_comes_again():
    play = Play(loop(ONE, Task(id="b", agent_type="worker")))
    play.start()
    seen: set[tuple[str, int]] = set()
    for _ in range(5):
        for path in play.grant_ready():
            task = play.state.tasks[path]
            assert (path, task.number) not in seen
            assert play.state.attempts_of(task) == 1
            seen.add((path, task.number))
        for path, number in seen:
            if number not in (play.state.tasks[path].live or ()):
                events = play.succeed(path, "late", number)
                assert [type(event) for event in events] == [ev.InputIgnored]
        for live in [t.path for t in play.state.tasks.values() if t.live]:
            play.succeed(live, 1)
        play.tick()
        check_state(play)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["signal", "work", "tick", "pause", "resume"]), max_size=40))
def test_each_signal_is_taken_once_and_in_its_turn_whichever_run_it_finds(steps):
    play = Play(loop(LISTEN, WORK))
    play.start()
    said = 0
    for step in [*steps, *(["resume", "work", "tick"] * (len(steps) + 1))]:
        match step:
            case "signal":
                said += 1
                play.give(inp.Signal("s", json_value(said)))
            case "work":
                one_run(play)
            case "tick":
                play.tick(1)
            case "pause":
                play.give(inp.Pause())
            case _:
                play.give(inp.Resume())
    taken = [
        int(bytes(event.result.json))
        for event in events_of(play)
        if isinstance(event, ev.TaskCompleted) and event.task == "listen" and event.result is not None
    ]
    assert taken == list(range(1, said + 1))
    assert play.state.run == said + 1


def events_of(play: Play) -> list[ev.Event]:
    again, events = Play(play.definition.workflow), []
    for now_us, given_, _ in play.rows:
        again.now_us = now_us
        events += again.give(decode_input(given_))
    return events


def test_runs_without_an_attempt_begin_a_second_apart_and_others_at_once():
    idle = Play(loop(Task(id="a", agent_type="worker", when="False")))
    idle.start()
    begins = []
    for _ in range(5):
        assert idle.state.next_run is not None
        begins.append(idle.state.next_run.begins_us)
        idle.tick(1)
    assert [later - sooner for sooner, later in pairwise(begins)] == [BREATH_US] * 4
    busy = Play(loop(ONE))
    busy.start()
    one_run(busy)
    assert busy.state.next_run is not None
    assert busy.state.next_run.begins_us == busy.now_us


def test_a_run_that_only_had_children_is_followed_a_second_after_it_began():
    kid = Workflow(name="kid", tasks=(Task(id="x", agent_type="noop", when="False"),))
    play = Play(loop(Task(id="kid", type=TaskType.WORKFLOW, workflow=kid)))
    play.start()
    play.give(inp.Ended("kid", play.state.tasks["kid"].child, "completed"))
    assert play.state.next_run is not None
    assert play.state.next_run.begins_us == play.state.run_started_us + BREATH_US
    assert "no agent had an attempt in run 1" in headline(play.state, play.now_us, True)


def test_a_run_whose_attempt_nobody_had_is_followed_a_second_after_it_began():
    play = Play(loop(Task(id="a", agent_type="worker", on_failure=OnFailure(action=FailureAction.CONTINUE))))
    play.start()
    play.fail("a", inp.UNPLACED, 1, kind="NoAgent", retryable=False)
    assert play.state.next_run is not None
    assert play.state.next_run.begins_us == play.state.run_started_us + BREATH_US


@pytest.mark.parametrize("times", [1, 1_000])
def test_an_input_that_outgrows_the_bound_ends_the_loop(times):
    copies = {f"copy{n}": "${tasks.a.result}" for n in range(times)}
    play = Play(loop(Task(id="a", agent_type="worker"), give={"all": copies}))
    play.start()
    play.run("a", "x" * (MAX_NEXT_INPUT // times))
    assert play.status is ExecutionStatus.FAILED
    assert play.state.error is not None
    assert play.state.error.type == "ContinueError"
    assert "at most 1,048,576 bytes of JSON are taken" in play.state.error.message


def test_a_retry_that_would_only_fail_again_is_refused_and_one_from_a_task_is_not():
    play = Play(loop(Task(id="a", agent_type="worker"), when="tasks.a.result > 1"))
    play.start()
    play.run("a", "a text")
    assert play.status is ExecutionStatus.FAILED
    (ignored,) = play.give(inp.Retry())
    assert isinstance(ignored, ev.InputIgnored)
    assert "`podium retry ID --from TASK`" in ignored.reason
    play.give(inp.Retry("a"))
    play.run("a", 2)
    play.tick()
    assert play.state.run == 2


def test_what_was_cancelled_between_two_runs_goes_on_with_the_next():
    play = Play(loop(ONE))
    play.start()
    one_run(play)
    play.give(inp.Cancel())
    assert play.status is ExecutionStatus.CANCELLED
    play.give(inp.Retry())
    play.tick()
    assert play.state.run == 2


def test_what_was_said_of_an_attempt_that_never_began_is_not_said_of_the_next_runs():
    play = Play(loop(Task(id="a", agent_type="worker")))
    play.start()
    play.give(inp.Skip("a"))
    play.tick(2)
    assert (play.state.run, play.state.tasks["a"].number, play.ready()) == (2, 0, ["a"])
    late = inp.Grant(1, 1, (inp.Granted("a", 1, "agent", "i"),), run=1)
    assert play.give(late) == [ev.InputIgnored("the task isn't ready any more", "a", 1)]
    nobody = inp.Failed("a", 1, error(), inp.UNPLACED, run=1)
    assert play.give(nobody) == [ev.InputIgnored("the task isn't ready any more")]
    assert play.give(inp.Grant(1, 2, late.grants, run=2)) == [ev.AttemptGranted("a", 1, "agent", "i")]
    check_history(play)


def test_an_input_that_grows_deeper_with_each_run_ends_the_loop():
    play = Play(loop(Task(id="a", agent_type="worker"), give={"before": "${input}"}))
    play.start()
    while play.status is ExecutionStatus.RUNNING:
        play.run("a")
        play.tick()
    assert (play.status, play.state.run) == (ExecutionStatus.FAILED, 101)
    assert play.state.error is not None
    assert "the input is nested more than 100 levels deep" in play.state.error.message


ASKING = (
    Task(id="ask", type=TaskType.HUMAN),
    Task(id="work", agent_type="worker", on_failure=OnFailure(FailureAction.ASK)),
)


@pytest.mark.parametrize(
    "said",
    [
        inp.Answer("ask", json_value(2), "bob", run=1),
        inp.Skip("ask", run=1),
        inp.Complete("ask", json_value(2), run=1),
        inp.Resolve("work", "retry", run=1),
        inp.Skip("work", run=1),
    ],
)
def test_what_a_person_says_of_a_run_that_is_over_is_not_said_of_the_next_one(said):
    play = Play(loop(*ASKING))
    play.start()
    for _ in range(2):
        play.grant("work")
        play.fail("work", retryable=False)
        if play.state.run == 1:
            play.give(inp.Complete("work", json_value(1), run=1))
            assert isinstance(play.give(inp.Answer("ask", json_value(1), "ann", run=1))[0], ev.TaskCompleted)
            play.tick()
    assert play.give(said) == [ev.InputIgnored("run 1 was meant; it is run 2 now")]
    assert not isinstance(play.give(msgspec.structs.replace(said, run=2))[0], ev.InputIgnored)
    check_history(play)
