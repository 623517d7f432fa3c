"""Clocks: the system's never goes backwards, the virtual one moves only when told."""

import time

import pytest

from podium.clock import SECOND, SystemClock, VirtualClock, seconds_to_us


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
