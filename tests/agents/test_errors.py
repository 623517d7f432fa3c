"""Errors of any size and manner become a report that any encoder takes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.agents.context import cut, line_of
from podium.agents.errors import MESSAGE_LIMIT, TRACEBACK_LIMIT, ArgumentError, describe_error, timed_out
from podium.exceptions import NonRetryableError


class Nasty(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Final(NonRetryableError):
    """No other attempt would help."""


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:  # noqa: BLE001 - the tests raise whatever they like
        return caught


def test_an_error_text_of_20_mb_is_cut_and_says_so():
    told = describe_error(raised(ValueError("x" * 20_000_000)))
    assert told.message == "x" * MESSAGE_LIMIT + f" … ({20_000_000 - MESSAGE_LIMIT:,} characters left out)"
    assert len(told.traceback.encode()) <= TRACEBACK_LIMIT + 256
    assert told.retryable


def test_an_error_whose_text_raises_is_told_all_the_same():
    told = describe_error(raised(Nasty()))
    assert told.message == "(its text can't be shown: KeyboardInterrupt in __str__)"
    assert told.type == "tests.agents.test_errors.Nasty"


def test_errors_that_say_so_are_not_tried_again():
    assert not describe_error(Final()).retryable
    assert not describe_error(ArgumentError("x")).retryable
    assert describe_error(ArgumentError("x")).type == "ArgumentError"


def test_causes_contexts_and_groups_are_told_innermost_last():
    cause = raised(KeyError("a"))
    text = describe_error(raised(ValueError("b"), cause)).traceback
    assert text.index("KeyError") < text.index("was the direct cause of") < text.index("ValueError: b")
    later = raised(ValueError("b"))
    later.__context__, later.__suppress_context__ = cause, False
    assert "came before" in describe_error(later).traceback
    group = raised(ExceptionGroup("several", [ValueError(str(number)) for number in range(20)]))
    text = describe_error(group).traceback
    assert "of the group" in text
    assert "ValueError: 3" in text
    assert "ValueError: 19" not in text


def test_errors_that_cause_each_other_end():
    first, second = raised(ValueError("first")), raised(ValueError("second"))
    first.__cause__, second.__cause__ = second, first
    assert describe_error(first).traceback.count("direct cause") == 1


def test_a_deep_recursion_and_a_long_chain_stay_within_the_limit():
    def deeper(number: int) -> int:
        return deeper(number + 1) + 1

    with pytest.raises(RecursionError) as caught:
        deeper(0)
    assert len(describe_error(caught.value).traceback) < TRACEBACK_LIMIT
    error = raised(ValueError("x" * 5000))
    for _ in range(20):
        error = raised(ValueError("y" * 5000), error)
    text = describe_error(error).traceback
    assert "characters left out" in text[:60]
    assert len(text.encode()) <= TRACEBACK_LIMIT + 256


def test_a_time_out_says_how_long_it_waited():
    assert timed_out(0.5).message == "no result within 0.5 s"


@given(st.text(st.characters(), max_size=300), st.integers(1, 200))
def test_a_cut_text_is_within_its_limit_and_encodable(text, limit):
    shown = cut(text, limit)
    assert len(shown.encode()) <= limit + 60
    msgspec.json.encode(shown)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text() | st.integers() | st.none()))
def test_a_log_line_is_one_encodable_line(values):
    line = line_of("text", values)
    msgspec.json.encode(line)
    assert "\n" not in line
