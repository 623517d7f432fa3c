"""People count attempts from 1 in each run, in whatever words they are told of them."""

from __future__ import annotations

from podium.engine.codec import decode_input
from podium.engine.explain import Sources, explain
from podium.engine.numbering import AttemptNumbers, attempt_named
from podium.engine.snapshot import encode_state, numbers_in
from podium.workflow.model import ContinueAsNew, RetryPolicy, Task, Workflow
from tests.engine.playing import Play

TASKS = (
    Task(id="a", agent_type="worker", retry=RetryPolicy(max_attempts=2)),
    Task(id="b", agent_type="worker"),
)


def why(play: Play) -> str:
    sources = Sources(how_live=lambda attempt, now_us: "")
    return next(told.because for told in explain(play.state, play.now_us, sources) if told.task == "a")


def second_run() -> Play:
    """Return a loop in whose second run the second attempt of `a` is about to come, the fourth of the execution."""
    play = Play(Workflow(name="w", tasks=TASKS, continue_as_new=ContinueAsNew()))
    play.start()
    play.grant("a", "b")
    play.succeed("b")
    play.fail("a")
    play.tick(120)
    play.run("a")
    play.tick()
    play.grant("a", "b")
    return play


def test_explanations_count_from_1_in_each_run():
    play = second_run()
    assert play.state.tasks["a"].number == 3
    assert why(play).startswith("run 2, attempt 1 is with a")
    play.fail("a")
    assert why(play).startswith("run 2, attempt 1 failed (ValueError: boom)")


def test_in_the_only_run_no_run_is_named():
    play = Play(Workflow(name="w", tasks=TASKS))
    play.start()
    play.grant("a")
    assert attempt_named(play.state, 1) == "attempt 1"


def test_a_history_and_a_snapshot_give_the_numbers_of_the_state():
    play = second_run()
    again, numbers = Play(play.definition.workflow), AttemptNumbers()
    for now_us, given, _ in play.rows:
        again.now_us = now_us
        numbers.take(again.give(decode_input(given)))
        assert (numbers.run, numbers.before) == (again.state.run, again.state.attempts_before)
        assert numbers_in(encode_state(again.state)) == numbers
    assert numbers == AttemptNumbers(run=2, before=2, highest=3)
    assert numbers.of(3) == 1
