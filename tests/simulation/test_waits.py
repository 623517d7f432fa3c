"""Every wait is explained, and truly: the model of `podium.testing.waits` finds each kind of lie."""

from __future__ import annotations

import re

import pytest

from podium.engine.explain import Explanation
from podium.testing import simulate, waits


def said_otherwise(monkeypatch, change):
    """Have `explain` say something else of the tasks that `change` returns a text for."""
    true = vars(waits)["explain"]

    def lying(state, now_us):
        for each in true(state, now_us):
            text = change(each)
            if text is None:
                yield each
            elif text:
                yield Explanation(each.task, each.status, text)

    monkeypatch.setattr(waits, "explain", lying)


def broken(seeds=range(12)):
    return [problem for seed in seeds for problem in simulate(seed=seed).broken]


LIES = {
    "nothing is said of a task": lambda each: "" if each.status == "ready" else None,
    "a ready task's execution is said to be paused": lambda each: (
        "the execution is paused; nothing starts" if each.status == "ready" else None
    ),
    "another agent": lambda each: each.because.replace("porter", "clerk") if "with porter" in each.because else None,
    "another attempt": lambda each: re.sub(r"attempt \d+", "attempt 99", each.because)
    if each.status == "running"
    else None,
    "one dependency too many": lambda each: each.because + ", t99" if "it waits for" in each.because else None,
    "a fan-out's count": lambda each: each.because.replace(" of ", "9 of ") if "instances" in each.because else None,
    "no retry": lambda each: "it failed" if each.status == "retrying" else None,
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_what_is_not_so_is_found(monkeypatch, lie):
    assert not broken(range(4))
    said_otherwise(monkeypatch, lie)
    assert any("I5" in problem for problem in broken())
