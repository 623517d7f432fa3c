"""A swarm with new seeds each time, bounded; and the long one's command."""

from __future__ import annotations

import pytest

from podium.testing.seeds import main, new_base, swarm

SECONDS = 6.0  # in each of two tests, which run beside each other


@pytest.mark.parametrize("half", ["first", "second"])
def test_new_seeds_are_sound(half, capsys):
    found = swarm(new_base(), SECONDS)
    with capsys.disabled():
        print(f"\nswarm: {found.line}")
    for report in found.broken.values():
        print(report)
    assert not found.broken, f"broken seeds: {sorted(found.broken)}; `simulate(seed=…, limits=LIMITED)` shows one"


def test_the_long_swarm_reports(capsys, tmp_path):
    assert main(["--minutes", "0.001", "--processes", "1", "--seed", "7", "--folder", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "base seed 7" in out
    assert "25 runs from seed 7 on" in out
    assert not list(tmp_path.iterdir())
