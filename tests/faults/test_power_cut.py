"""The power fails under a whole Podium (fault 17): of what wasn't synced any part may be left, torn at any byte.

The process is killed before a write, sync or truncation; what its files then hold is made of its journal. The database
opens at a prefix that holds every acknowledged event, and the executions complete.
"""

from __future__ import annotations

import random

import pytest

from podium.testing.diskfaults import KILLED
from tests.faults.support import DATABASE, completed, driver, examine, lines, to_end

COUNT = 3


def outage(folder, disk, seed: int, cuts: int, synchronous: str = "FULL") -> None:
    chance = random.Random(seed)
    died = 0
    for _ in range(cuts):
        disk.fail(KILLED, skip=chance.randrange(90))
        disk.keep_journal()
        code = to_end(driver(folder, "chain", COUNT, disk=disk, synchronous=synchronous))
        disk.off()
        died += code == -9
        lost = disk.lose_power(chance.randrange(1 << 30))
        if (folder / DATABASE).exists() and (folder / DATABASE).stat().st_size:
            examine(folder, at_rest=False)
        else:
            assert not lines(folder), f"acknowledged, but there is no database: {lost}"
        if code == 0:
            break
    assert to_end(driver(folder, "chain", COUNT)) == 0
    completed(folder, COUNT)


@pytest.mark.parametrize("seed", range(4))
def test_every_acknowledged_event_outlives_a_power_cut(folder, disk, seed):
    outage(folder, disk, seed, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 112))
def test_every_acknowledged_event_outlives_many_power_cuts(folder, disk, seed):
    outage(folder, disk, seed, 4)


def loses(folder, disk, seed: int) -> bool:
    """Whether a power cut takes what was acknowledged, when a commit isn't synced."""
    disk.fail(KILLED, skip=60 + seed)
    disk.keep_journal()
    to_end(driver(folder, "chain", COUNT, disk=disk, synchronous="NORMAL"))
    disk.off()
    disk.lose_power(seed)
    try:
        examine(folder, at_rest=False)
    except AssertionError as error:
        return "I1: the acknowledged" in str(error)
    return False


def test_the_cut_is_a_real_one_without_syncs_it_takes_what_was_acknowledged(folder, disk):
    assert any(loses(folder, disk, seed) for seed in range(20))
