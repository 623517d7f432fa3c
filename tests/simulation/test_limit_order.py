"""What begins with one commit may have been granted in any order: the model takes the one that fits."""

from __future__ import annotations

from podium.testing.seeds import LIMITED
from podium.testing.simulation import simulate


def test_two_tasks_of_one_key_with_limits_of_their_own_that_begin_together_break_none():
    simulate(seed=836366656277, limits=LIMITED).check()
