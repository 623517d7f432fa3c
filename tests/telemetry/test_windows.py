"""Windows: what is older than the window counts no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.clock import SECOND
from podium.telemetry.windows import Window

START = 1_700_000_000 * SECOND


def test_nothing_counted_is_no_rate_and_no_share() -> None:
    window = Window(10)
    assert (window.rate(START), window.share(START)) == (0.0, None)


def test_a_steady_rate_is_shown_as_it_is() -> None:
    window = Window(10, slices=10)
    for second in range(60):
        window.add(START + second * SECOND, 100)
    assert window.rate(START + 59 * SECOND) == pytest.approx(100)


def test_in_the_beginning_the_time_that_has_passed_counts() -> None:
    window = Window(10)
    window.add(START, 20)
    assert window.rate(START + 2 * SECOND) == pytest.approx(10)


def test_what_is_older_than_the_window_is_gone() -> None:
    window = Window(900)
    window.add(START, 10, good=0)
    window.add(START + 800 * SECOND, 10, good=10)
    assert window.share(START + 800 * SECOND) == 0.5
    assert window.share(START + 1_000 * SECOND) == 1.0
    assert window.share(START + 2_000 * SECOND) is None
    assert window.rate(START + 2_000 * SECOND) == 0.0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=60))
def test_a_window_never_holds_more_than_happened_within_it_and_a_slice_less(steps: list[tuple[int, int]]) -> None:
    window, now, happened = Window(10, slices=10), START, []
    for seconds, count in steps:
        now += seconds * SECOND
        window.add(now, count)
        happened.append((now, count))
        shown = window.rate(now) * min(10, max((now - happened[0][0]) / SECOND, 1))
        within = sum(count for at, count in happened if at > now - 10 * SECOND)
        surely = sum(count for at, count in happened if at > now - 9 * SECOND)
        assert surely - 1e-6 <= shown <= within + 1e-6
