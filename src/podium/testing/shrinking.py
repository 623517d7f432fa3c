"""Makes a failing run smaller: fewer kinds of faults, then fewer faults, as long as it fails in the same way.

What is taken away is still drawn, so that the rest of the run stays as it was up to there. The effort is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from podium.testing.simulation import Report

EFFORT = 100  # runs at most


class Trial(Struct, frozen=True):
    """Which faults a run is spared: kinds that don't strike, and how many strike at most."""

    without: tuple[str, ...] = ()
    strikes: int | None = None


Run = Callable[[Trial], Report]


def shrunk(run: Run, failed: Report, trial: Trial = Trial(), effort: int = EFFORT) -> tuple[Trial, Report]:
    """Return the smallest trial that was found to fail like `failed`, and its report."""
    search = _Search(run, _kinds_of(failed), effort, trial, failed)
    for kind, _ in sorted(failed.faults.items(), key=lambda item: -item[1]):
        search.attempt(Trial((*search.trial.without, kind), trial.strikes))
    most = sum(search.report.faults.values())
    least = 0
    while least < most and search.effort > 0:  # fails with `most`; not known to with fewer than `least`
        middle = (least + most) // 2
        if search.attempt(Trial(search.trial.without, middle)):
            most = min(middle, sum(search.report.faults.values()))
        else:
            least = middle + 1
    while search.effort > 0 and any(search.spare(kind) for kind in sorted(search.report.faults)):
        continue  # what is left may be spared now, though it couldn't before
    while (left := sum(search.report.faults.values())) and search.attempt(Trial(search.trial.without, left - 1)):
        continue
    return search.trial, search.report


class _Search:
    def __init__(self, run: Run, wanted: set[str], effort: int, trial: Trial, report: Report) -> None:
        self._run = run
        self._wanted = wanted
        self.effort = effort
        self.trial = trial
        self.report = report

    def attempt(self, trial: Trial) -> bool:
        """Try a smaller run; keep it if it fails in the same way."""
        if self.effort <= 0:
            return False
        self.effort -= 1
        report = self._run(trial)
        fails = bool(_kinds_of(report) & self._wanted)
        if fails:
            self.trial, self.report = trial, report
        return fails

    def spare(self, kind: str) -> bool:
        """Try to do without a kind; where others strike in its place, only if fewer do."""
        before, report, strikes = self.trial, self.report, sum(self.report.faults.values())
        if self.attempt(Trial((*before.without, kind), before.strikes)):
            return True
        if self.attempt(Trial((*before.without, kind))):
            if sum(self.report.faults.values()) < strikes:
                return True
            self.trial, self.report = before, report
        return False


def _kinds_of(report: Report) -> set[str]:
    """Return in which ways a run fails: by invariant, and by the code that isn't idempotent."""
    return {*_invariants(report.broken), *(found.code for found in report.repeats)}


def _invariants(broken: Iterable[str]) -> set[str]:
    return {what.partition(":")[0] for what in broken}
