"""What holds for any workflow and any inputs, legal or not; the oracle's I2, I3, I4 and I5 among it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.engine import events as ev
from podium.engine.codec import decode_events, decode_input
from podium.engine.commands import Assign, Stop
from podium.engine.snapshot import encode_state
from podium.engine.step import step
from podium.workflow.model import TaskStatus
from tests.engine.playing import ID, Play, check_history, check_state
from tests.engine.workflows import draw_input, wind_down, workflows

_QUICK = settings(max_examples=120, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
_LONG = settings(max_examples=1_000, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))


def _begin(draw: st.DataObject) -> Play:
    play = Play(draw.draw(workflows()), seed=draw.draw(st.integers(0, 99)), given={"go": draw.draw(st.booleans())})
    play.start()
    check_state(play)
    return play


def _give(draw: st.DataObject, play: Play) -> list[ev.Event]:
    """Give one input and check what must hold of the step."""
    given = draw_input(draw, play)
    sequence, before = play.state.sequence, {p: (t.status, t.result) for p, t in play.state.tasks.items()}
    was = play.state.status
    ended = play.state.final
    events = play.give(given)
    assert events, "every input leaves a trace"
    assert play.state.sequence == sequence + len(events)
    _check_finals(play, before, events)
    assert not ended or play.state.status is was or any(isinstance(e, ev.ExecutionRetried) for e in events)
    _check_commands(play, events)
    check_state(play)
    return events


def _check_finals(play: Play, before: dict[str, Any], events: list[ev.Event]) -> None:
    """I3: what has ended stays as it is, but for a person's retry, which leaves results alone that aren't behind it."""
    retries = [e for e in events if isinstance(e, ev.ExecutionRetried)]
    retried, anew = bool(retries), {task for e in retries for task in e.tasks}
    if any(isinstance(e, ev.RunStarted) for e in events):
        return
    for path, (status, result) in before.items():
        if path.partition("[")[0] in anew:
            continue
        task = play.state.tasks[path]
        if status is TaskStatus.COMPLETED or (status.value in ("failed", "skipped", "cancelled") and not retried):
            assert task.status is status
            assert task.result is result


def _check_commands(play: Play, events: list[ev.Event]) -> None:
    granted = [(e.task, e.number) for e in events if isinstance(e, ev.AttemptGranted)]
    assert [(c.task, c.number) for c in play.commands if isinstance(c, Assign)] == granted
    for command in play.commands:
        if isinstance(command, Stop):
            assert command.attempt.startswith(f"{ID}:")
            assert command.reason


def _check_any_stream(draw: st.DataObject, most: int) -> None:
    play = _begin(draw)
    for _ in range(draw.draw(st.integers(0, most))):
        _give(draw, play)
    check_history(play)
    _check_results_are_recorded_once(play)
    wind_down(play)
    check_state(play)
    check_history(play)


def _check_results_are_recorded_once(play: Play) -> None:
    """I2: at most one result a task, and one end an attempt."""
    ends: list[tuple[str, int]] = []
    results: list[str] = []
    for _, recorded, events in play.rows:
        for event in decode_events(events, decode_input(recorded)):
            if isinstance(event, ev.ExecutionRetried):
                results = [task for task in results if task.partition("[")[0] not in event.tasks]
            if isinstance(event, ev.RunStarted):
                results = []
            if isinstance(event, ev.TaskCompleted):
                results.append(event.task)
            if isinstance(event, ev.TaskCompleted | ev.AttemptFailed | ev.AttemptReturned) and event.number:
                ends.append((event.task, event.number))
        assert len(set(results)) == len(results)
    assert len(set(ends)) == len(ends)


@given(st.data())
@_QUICK
def test_any_stream_of_inputs_keeps_the_state_sound_and_comes_to_an_end(draw):
    _check_any_stream(draw, 40)


@pytest.mark.slow
@given(st.data())
@_LONG
def test_any_long_stream_of_inputs_keeps_the_state_sound_and_comes_to_an_end(draw):
    _check_any_stream(draw, 120)


@given(st.data())
@_QUICK
def test_the_fold_of_what_is_recorded_equals_the_state_after_every_input(draw):
    play = _begin(draw)
    folded = play.folded()
    for _ in range(draw.draw(st.integers(0, 25))):
        draw_input_given = draw_input(draw, play)
        play.give(draw_input_given)
        play.state.next_timer_us()  # as the shell asks it, which drops timers that don't hold any more
        play.folded(play.rows[-1:], folded)
        assert encode_state(folded) == encode_state(play.state)


@given(st.data())
@_QUICK
def test_a_snapshot_goes_on_like_the_state_that_it_was_made_of(draw):
    play = _begin(draw)
    for _ in range(draw.draw(st.integers(0, 20))):
        play.give(draw_input(draw, play))
    restored = play.restored()
    assert encode_state(restored) == encode_state(play.state)
    for _ in range(draw.draw(st.integers(1, 15))):
        events = play.give(draw_input(draw, play))
        now_us, given_, _ = play.rows[-1]
        assert step(restored, decode_input(given_), now_us).events == events
    assert encode_state(restored) == encode_state(play.state)


@given(st.data())
@_QUICK
def test_the_same_inputs_are_decided_the_same_again(draw):
    play = _begin(draw)
    for _ in range(draw.draw(st.integers(0, 30))):
        play.give(draw_input(draw, play))
    again = Play(play.definition.workflow)
    for now_us, given_, events in play.rows:
        again.now_us = now_us
        again.give(decode_input(given_))
        assert msgspec.json.decode(again.rows[-1][2]) == msgspec.json.decode(events)
