"""The circuit breaker: which failures open it, what closes it, and that its states move as the table says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.clock import SECOND
from podium.exceptions import IllegalTransitionError
from podium.fleet.breaker import CIRCUIT_MOVES, Circuit, CircuitState, Sign, check_circuit_move
from podium.workflow.model import CircuitBreaker

USUAL = CircuitBreaker(failure_threshold=3, timeout_seconds=30.0)
TIGHT = CircuitBreaker(failure_threshold=2, timeout_seconds=60.0)
GOOD, BAD, NOTHING = Sign.GOOD, Sign.BAD, Sign.NOTHING
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def circuit(*signs: Sign, at_us: int = 0, usual: CircuitBreaker | None = USUAL) -> Circuit:
    """A circuit after these ends, each of another task."""
    made = Circuit(usual)
    for number, sign in enumerate(signs):
        made.ended(f"a{number}", f"t{number}", sign, at_us)
    return made


@pytest.mark.parametrize(
    ("signs", "state"),
    [
        ((), CLOSED),
        ((BAD, BAD), CLOSED),
        ((BAD, BAD, BAD), OPEN),
        ((BAD, BAD, GOOD, BAD), CLOSED),  # not in a row
        ((BAD, NOTHING, BAD, NOTHING, BAD), OPEN),  # what says nothing ends no row
        ((BAD, BAD, BAD, GOOD), CLOSED),  # begun before, and well
        ((GOOD,) * 10, CLOSED),
    ],
)
def test_failures_in_a_row_open_it(signs: tuple[Sign, ...], state: CircuitState) -> None:
    found = circuit(*signs)
    assert found.state is state
    assert found.admits(None) is (state is CLOSED)


def test_one_task_that_kills_its_worker_each_time_is_not_the_agents_fault() -> None:
    found = Circuit(USUAL)
    for number in range(20):
        found.ended(f"a{number}", "poison", BAD, number)
    assert (found.failures, found.state) == (1, CLOSED)


def test_after_the_time_out_there_is_one_trial_at_a_time() -> None:
    found = circuit(BAD, BAD, BAD)
    assert found.look(30 * SECOND - 1) is OPEN
    assert found.look(30 * SECOND) is HALF_OPEN
    assert found.admits(None)
    found.granted("trial", None)
    assert not found.admits(None)
    found.released("another")
    assert not found.admits(None)
    found.released("trial")  # refused, or its grant was never recorded
    assert found.admits(None)


@pytest.mark.parametrize(
    ("sign", "state"), [(GOOD, CLOSED), (BAD, OPEN), (NOTHING, HALF_OPEN)], ids=["good", "bad", "nothing"]
)
def test_the_trials_end_decides(sign: Sign, state: CircuitState) -> None:
    found = circuit(BAD, BAD, BAD)
    found.look(40 * SECOND)
    found.granted("trial", None)
    found.ended("trial", "t0", sign, 41 * SECOND)
    assert found.state is state
    assert found.trial == ""
    assert found.look(41 * SECOND + 30 * SECOND - 1) is state
    if sign is BAD:
        assert found.look(71 * SECOND) is HALF_OPEN  # the same again, from its failure on


def test_a_workflows_own_policy_tightens_and_never_loosens() -> None:
    found = circuit(BAD, BAD)
    assert found.admits(None)
    assert not found.admits(TIGHT)
    assert found.seconds_left() == 0
    assert found.seconds_left(TIGHT) == 60
    found.ended("a", "t2", BAD, 0)
    loose = CircuitBreaker(failure_threshold=100, timeout_seconds=1)
    assert not found.admits(loose)
    found.look(30 * SECOND)
    assert found.admits(None)
    assert not found.admits(TIGHT)  # its time-out is longer
    found.look(60 * SECOND)
    assert found.admits(TIGHT)


def test_a_trial_under_a_policy_of_its_own_holds_back_only_its_like() -> None:
    found = circuit(BAD, BAD)
    found.look(60 * SECOND)
    found.granted("trial", TIGHT)
    assert not found.admits(TIGHT)
    assert found.admits(None)


def test_without_a_usual_policy_only_a_workflows_own_holds() -> None:
    found = circuit(*(BAD,) * 50, usual=None)
    assert found.admits(None)
    assert not found.admits(TIGHT)
    assert found.state is CLOSED


def test_an_illegal_move_raises() -> None:
    with pytest.raises(IllegalTransitionError, match="can't go from closed to half_open"):
        check_circuit_move(CLOSED, HALF_OPEN)


ENDS = st.tuples(st.sampled_from("abcdef"), st.sampled_from(Sign), st.integers(0, 40))
LOOKS = st.tuples(st.just("look"), st.just(NOTHING), st.integers(0, 40))


@given(st.lists(st.one_of(ENDS, LOOKS), max_size=60))
def test_whatever_happens_the_states_move_as_the_table_says_and_a_trial_is_alone(
    happened: list[tuple[str, Sign, int]],
) -> None:
    found, now_us, before = Circuit(USUAL), 0, CLOSED
    trials: set[str] = set()
    for number, (task, sign, seconds) in enumerate(happened):
        now_us += seconds * SECOND
        if task == "look":
            found.look(now_us)
            if found.admits(None) and found.state is HALF_OPEN:
                assert not found.trial
                found.granted(f"trial{number}", None)
                trials.add(f"trial{number}")
        else:
            found.ended(found.trial or f"a{number}", task, sign, now_us)
        assert found.state is before or found.state in CIRCUIT_MOVES[before]
        assert found.state_under(USUAL) is found.state
        assert found.admits(None) is (found.state is CLOSED or (found.state is HALF_OPEN and not found.trial))
        assert (found.state is CLOSED) is (found.failures < USUAL.failure_threshold)
        before = found.state
