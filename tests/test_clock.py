"""Clocks: the system's never goes backwards, the virtual one moves only when told."""

import time

import pytest

from podium.clock import SECOND, SlewedClock, SystemClock, VirtualClock, seconds_to_us


def test_the_systems_clock_is_the_walls_time_and_never_goes_backwards():
    clock = SystemClock()
    assert abs(clock.now_us() - time.time_ns() // 1_000) < 5 * SECOND
    seen = [clock.now_us() for _ in range(1_000)]
    assert seen == sorted(seen)


def test_a_wall_that_jumps_changes_nothing(monkeypatch):
    clock = SystemClock()
    before = clock.now_us()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert 0 <= clock.now_us() - before < 5 * SECOND


def test_a_virtual_clock_stands_still_until_it_is_advanced():
    clock = VirtualClock(5)
    assert (clock.now_us(), clock.now_us()) == (5, 5)
    clock.advance(10)
    assert clock.now_us() == 15
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


@pytest.mark.parametrize(
    ("seconds", "us"), [(0, 0), (1.5, 1_500_000), (1e-6, 1), (0.1 + 0.2, 300_000), (3e8, 3 * 10**14)]
)
def test_seconds_become_whole_microseconds(seconds, us):
    assert seconds_to_us(seconds) == us


def test_a_slewed_clock_takes_the_stores_time_over_at_once():
    own = VirtualClock(1_000 * SECOND)
    clock = SlewedClock(own)
    clock.observe(5_000 * SECOND, own.now_us(), own.now_us())
    own.advance(SECOND)
    assert clock.now_us() == 5_001 * SECOND


def test_a_clock_of_ones_own_that_is_ahead_and_was_looked_at_before_the_store_answered_changes_nothing():
    own = VirtualClock(5_000 * SECOND)
    clock = SlewedClock(own)
    assert clock.now_us() == 5_000 * SECOND
    clock.observe(1_000 * SECOND, own.now_us(), own.now_us())
    own.advance(SECOND)
    assert clock.now_us() == 1_001 * SECOND


def test_a_store_whose_clock_jumps_slews_it_and_never_makes_anything_early():
    own = VirtualClock(1_000 * SECOND)
    clock = SlewedClock(own)
    clock.observe(1_000 * SECOND, own.now_us(), own.now_us())
    for jump in (3_600, -3_600):
        begun_us, before_us = own.now_us(), clock.now_us()
        for _ in range(100):
            own.advance(SECOND)
            clock.observe(own.now_us() + jump * SECOND, own.now_us(), own.now_us())
            assert clock.now_us() >= before_us
            gained_us = clock.now_us() - before_us - (own.now_us() - begun_us)
            assert abs(gained_us) <= (own.now_us() - begun_us) * SlewedClock.SLEW + 100


def test_an_answer_that_took_long_says_nothing_about_less_than_half_of_that():
    own = VirtualClock(1_000 * SECOND)
    clock = SlewedClock(own)
    clock.observe(1_000 * SECOND, own.now_us(), own.now_us())
    asked_us = own.now_us()
    own.advance(10 * SECOND)
    clock.observe(asked_us + 9 * SECOND, asked_us, own.now_us())
    own.advance(1_000 * SECOND)
    assert clock.now_us() == own.now_us()
