"""Lanes: the more urgent goes first, and nothing starves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.bus.lanes import ROUND, WEIGHTS, Lane, Lanes, lane_in, lane_of
from podium.exceptions import InvalidInputError

steps = st.lists(st.sampled_from(Lane) | st.none(), max_size=300)  # put into a lane, or take


@given(steps)
def test_each_lane_keeps_its_order_and_nothing_is_lost(given_steps):
    lanes: Lanes[tuple[Lane, int]] = Lanes()
    put: list[tuple[Lane, int]] = []
    taken: list[tuple[Lane, int] | None] = []
    for number, step in enumerate(given_steps):
        if step is None:
            found = lanes.take()
            assert (found is None) == (len(put) == len(taken))
            taken += [found] if found else []
        else:
            lanes.put(step, (step, number))
            put.append((step, number))
        assert len(lanes) == len(put) - len(taken)
    taken += lanes.clear()
    assert len(lanes) == 0
    for lane in Lane:
        assert [one for one in taken if one and one[0] == lane] == [one for one in put if one[0] == lane]


@given(st.sampled_from(Lane), st.integers(0, 30))
def test_whatever_waits_moves_on_within_a_round(slow, before):
    lanes: Lanes[Lane] = Lanes()
    for lane in Lane:
        for _ in range(1_000):
            lanes.put(lane, lane)
    for _ in range(before):
        lanes.take()
    waited = [lanes.take() for _ in range(2 * ROUND)]
    places = [place for place, lane in enumerate(waited) if lane == slow]
    assert places[0] < ROUND
    assert len(places) >= WEIGHTS[slow]


def test_under_load_each_lane_has_its_share():
    lanes: Lanes[Lane] = Lanes()
    for lane in Lane:
        for _ in range(1_000):
            lanes.put(lane, lane)
    taken = [lanes.take() for _ in range(10 * ROUND)]
    assert [taken.count(lane) for lane in Lane] == [10 * weight for weight in WEIGHTS]


def test_what_is_urgent_overtakes_what_waits():
    lanes: Lanes[str] = Lanes()
    for number in range(100):
        lanes.put(Lane.LOW, f"low {number}")
    lanes.put(Lane.CRITICAL, "now")
    assert lanes.take() == "now"


def test_a_priority_has_the_lane_of_the_nearest_name():
    assert [lane_of(priority) for priority in (0, 25, 37, 38, 50, 62, 63, 75, 87, 88, 100)] == [
        *[Lane.LOW] * 3,
        *[Lane.NORMAL] * 3,
        *[Lane.HIGH] * 3,
        *[Lane.CRITICAL] * 2,
    ]


@pytest.mark.parametrize("wrong", [-1, 101, "high", 1.5, None])
def test_what_is_no_priority_has_no_lane(wrong):
    with pytest.raises(InvalidInputError, match="is no priority"):
        lane_of(wrong)


def test_the_last_word_of_a_subject_names_the_lane():
    assert lane_in("podium.bus.a.b.critical") is Lane.CRITICAL
    assert lane_in("podium.bus.a.b.something") is Lane.NORMAL
