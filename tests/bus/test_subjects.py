"""What matches and what overlaps, against the plainest way to say it; and names, checked once for all transports."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.bus.subjects import (
    check_message_id,
    check_name,
    check_pattern,
    check_patterns,
    check_place,
    check_size,
    check_stream,
    check_subject,
    matches,
    overlap,
)
from podium.bus.transport import Stream
from podium.exceptions import InvalidInputError, PayloadTooLargeError

WORDS = st.sampled_from(["a", "b", "ab"])
SUBJECTS = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.tuples(st.lists(st.one_of(WORDS, st.just("*")), max_size=3), st.sampled_from(["a", "b", "*", ">"])).map(
    lambda parts: ".".join([*parts[0], parts[1]])
)
EVERY_SUBJECT = [".".join(words) for length in range(1, 6) for words in product(["a", "b", "ab"], repeat=length)]


def _plainly(pattern: str, subject: str) -> bool:
    text = re.escape(pattern).replace(r"\*", r"[^.]+").replace(">", r".+")
    return re.fullmatch(text, subject) is not None


@given(PATTERNS, SUBJECTS)
def test_a_pattern_matches_what_the_plain_rule_says(pattern: str, subject: str) -> None:
    check_pattern(pattern)
    check_subject(subject)
    assert matches(pattern, subject) == _plainly(pattern, subject)


@given(PATTERNS, PATTERNS)
def test_patterns_overlap_where_one_subject_is_both_ones(one: str, other: str) -> None:
    both = any(matches(one, subject) and matches(other, subject) for subject in EVERY_SUBJECT)
    assert overlap(one, other) == overlap(other, one) == both


@given(st.text())
def test_what_is_taken_for_a_subject_breaks_no_line(text: str) -> None:
    try:
        check_subject(text)
    except InvalidInputError:
        return
    assert text.split() == [text]
    assert not set("*>\r\n\0") & set(text)
    check_pattern(text)


def test_no_pattern_and_overlapping_ones_are_refused() -> None:
    check_patterns(["a.b", "a.c", "b.>"])
    for patterns in ([], ["a.b", "a.*"]):
        with pytest.raises(InvalidInputError):
            check_patterns(patterns)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a*", "ä", "x" * 300])
def test_a_name_is_letters_digits_and_lines(name: str) -> None:
    check_name("Ab-1_c")
    with pytest.raises(InvalidInputError):
        check_name(name)
    with pytest.raises(InvalidInputError):
        check_stream(Stream(name, ("a",)))


def test_limits_of_streams_and_places_are_sound() -> None:
    good = Stream("S", ("s.>",))
    check_stream(good)
    check_place(good, "c", ("s.a",), 7, 1)
    for bad in (
        Stream("S", ("s.>",), max_age_seconds=0),
        Stream("S", ("s.>",), max_bytes=0),
        Stream("S", ("s.>",), duplicate_seconds=-1),
    ):
        with pytest.raises(InvalidInputError):
            check_stream(bad)
    for subjects, start, limit in ((("t",), 0, 1), ((), -2, 1), ((), 0, 0)):
        with pytest.raises(InvalidInputError):
            check_place(good, "c", subjects, start, limit)


def test_headers_count_as_a_carrier_counts_them() -> None:
    headers = {"Key": "Grüße"}
    written = len(b"NATS/1.0\r\n") + len("Key: Grüße\r\n".encode()) + len(b"\r\n")
    check_size(b"x" * 100, headers, 100 + written)
    with pytest.raises(PayloadTooLargeError):
        check_size(b"x" * 100, headers, 99 + written)


def test_a_message_id_is_one_line() -> None:
    assert check_message_id("a b") == "a b"
    for bad in ("a\nb", " a"):
        with pytest.raises(InvalidInputError):
            check_message_id(bad)
