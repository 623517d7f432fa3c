"""Durations, tables and rows as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.cli.printing import cut, wrapped
from podium.cli.tables import table
from podium.cli.times import iso, shown_duration


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"), (0.004, "4 ms"), (0.0994, "99 ms"), (0.0996, "0.1 s"), (3.21, "3.2 s"), (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"), (59.6, "1 m"), (64, "1 m 4 s"), (3600, "1 h"), (7500, "2 h 5 m"), (86_400, "1 d"),
        (100_000, "1 d 3 h"), (-1, "0 ms"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float, shown: str) -> None:
    assert shown_duration(seconds) == shown


def test_times_in_json_are_utc() -> None:
    assert iso(1_700_000_000_123_456) == "2023-11-14T22:13:20.123Z"
    assert iso(None) is None


@given(st.text(), st.integers(1, 100))
def test_a_cut_text_is_one_printable_line_of_at_most_the_length(text: str, length: int) -> None:
    shown = cut(text, length)
    assert len(shown) <= length
    assert shown.isprintable()


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["C"]), max_size=300))
def test_wrapped_lines_fit_unless_a_word_does_not(text: str) -> None:
    for line in wrapped(text).splitlines():
        assert len(line) <= 80 or " " not in line.strip()


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=120)), max_size=5))
def test_a_table_fits_the_width(rows: list[tuple[str, str]]) -> None:
    for line in table(("ONE", "TWO"), rows).split("\n"):
        assert len(line) <= 80
        assert line.isprintable()


def test_columns_with_nothing_in_them_are_left_out() -> None:
    assert table(("A", "B", "C"), [("1", "", "x"), ("2", "", "y")]) == "A  C\n1  x\n2  y"
