"""Kept runs: the same seed and faults give the same events, until somebody means to change them."""

from __future__ import annotations

import pytest

from tests.simulation.transcripts import FOLDER, RUNS, run


@pytest.mark.parametrize("name", RUNS)
def test_a_kept_run_has_the_same_events(name):
    kept = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    report, text = run(name)
    assert report.executions
    assert text.splitlines()[:3] == kept[:3], (
        "this run has other events than the one that is kept; if that is meant, write it anew with "
        "`python -m tests.simulation.transcripts` and read the difference"
    )


def test_each_kept_run_meets_its_faults():
    for name, (_, faults) in RUNS.items():
        wanted = {kind for kind in faults.__struct_fields__ if getattr(faults, kind)}
        assert not wanted or wanted & set(run(name)[0].faults), name


def test_there_is_no_transcript_without_its_run():
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(RUNS)
