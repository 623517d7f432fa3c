"""Marks: nothing new is held back, nothing is delivered twice within the window, and what is missing is counted."""

from hypothesis import given
from hypothesis import strategies as st

from podium.bus.deduplication import Marks

sizes = st.lists(st.integers(1, 5), min_size=1, max_size=40)


def frames_of(found: list[int]) -> list[tuple[int, int]]:
    firsts, first = [], 1
    for size in found:
        firsts.append((first, size))
        first += size
    return firsts


@given(sizes, st.data())
def test_in_any_order_and_repeated_each_frame_comes_once(found, data):
    frames = frames_of(found)
    said = data.draw(st.lists(st.sampled_from(frames), min_size=len(frames), max_size=4 * len(frames)))
    said += data.draw(st.permutations(frames))
    marks = Marks()
    delivered = [frame for frame in said if marks.admit("s", *frame)]
    assert sorted(delivered) == frames
    assert marks.missing == 0 or delivered[0][0] > 1


@given(sizes, st.sets(st.integers(0, 39)))
def test_what_never_came_is_counted_up_to_the_last_that_did(found, lost):
    frames = frames_of(found)
    came = [frame for place, frame in enumerate(frames) if place not in lost]
    marks = Marks()
    for frame in came:
        assert marks.admit("s", *frame)
    between = [f for f in frames if came and came[0][0] < f[0] < came[-1][0] and f not in came]
    assert marks.missing == sum(size for _, size in between)


@given(st.permutations(range(1, 30)))
def test_a_late_one_is_not_missing_any_more(order):
    marks = Marks()
    marks.admit("s", 1)
    for number in order:
        marks.admit("s", number + 1)
    assert marks.missing == 0


@given(sizes, st.integers(1, 20), st.data())
def test_nothing_new_is_ever_held_back_whatever_the_window(found, window, data):
    frames = frames_of(found)
    order = data.draw(st.permutations(frames))
    marks = Marks(window=window)
    assert all(marks.admit("s", *frame) for frame in order)


def test_what_is_below_the_window_is_delivered():
    marks = Marks(window=10)
    for number in range(1, 31):
        assert marks.admit("s", number)
    assert not marks.admit("s", 25)
    assert marks.admit("s", 20)
    assert marks.admit("s", 5)


def test_sources_are_told_apart_and_the_longest_silent_one_is_forgotten():
    marks = Marks(sources=3)
    for source in ("a", "b", "c"):
        assert marks.admit(source, 1)
    assert not marks.admit("a", 1)
    assert marks.admit("d", 1)
    assert len(marks) == 3
    assert not marks.admit("a", 1)
    assert marks.admit("b", 1), "b was silent longest"


def test_what_is_remembered_is_bounded_though_every_other_message_is_lost():
    marks = Marks()
    for number in range(1, 20_001, 2):
        assert marks.admit("s", number)
    assert marks.missing == 9_999
    assert len(marks._marks["s"].gaps) <= 64


def test_who_listens_from_the_middle_on_misses_nothing_that_was_before():
    marks = Marks()
    assert marks.admit("s", 1_000, 64)
    assert marks.admit("s", 936, 64)
    assert not marks.admit("s", 936, 64)
    assert marks.missing == 0
