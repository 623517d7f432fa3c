"""The schedule of a workflow in `podium simulate`: fired by simulated clocks, in worlds of its own.

Each time must be decided once and what was decided started once, though orchestrators die and take over and the clock
jumps. The worlds are `podium.testing.scheduleworld`'s; this module only has them run and prints.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from podium.workflow.schedules.spec import ScheduleSpec

RUNS_A_WORLD = 10  # a world takes as long as some ten runs of a workflow


class Outcome(Protocol):
    """What is left of a world."""

    @property
    def sound(self) -> bool:
        """Whether every invariant held."""

    @property
    def broken(self) -> tuple[str, ...]:
        """Those that didn't."""

    @property
    def counts(self) -> dict[str, int]:
        """How much there was of what."""

    @property
    def transcript(self) -> tuple[tuple[float, str], ...]:
        """What happened, by virtual seconds."""


class World(Protocol):
    """Runs one world of a schedule."""

    def __call__(self, spec: ScheduleSpec, seed: int = 0, *, faults: bool = True) -> Outcome:
        """Return what is left of it."""


class Firings:
    """What the worlds of one schedule came to."""

    def __init__(self, spec: ScheduleSpec) -> None:
        self.spec = spec
        self.worlds = 0
        self.counts: Counter[str] = Counter()
        self.failed: Outcome | None = None
        self.faults = True
        self.seed = 0  # of the last one: that which failed, if one did

    def simulate(self, world: World, first: int, runs: int, *, faults: bool) -> None:
        """Run a world for every tenth of so many seeds, one at least, until one breaks an invariant."""
        self.faults = faults
        for seed in range(first, first + max(1, runs // RUNS_A_WORLD)):
            outcome = world(self.spec, seed, faults=faults)
            self.worlds, self.seed = self.worlds + 1, seed
            self.counts.update(outcome.counts)
            if not outcome.sound:
                self.failed = outcome
                return

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        document: dict[str, Any] = {"sound": self.failed is None, "worlds": self.worlds, **self.counts}
        if self.failed is not None:
            document["failed"] = {
                "seed": self.seed,
                "broken": list(self.failed.broken),
                "transcript": [list(line) for line in self.failed.transcript],
            }
        return document

    def say(self, file: str) -> None:
        """Print it for people."""
        from podium.cli.phrases import counted
        from podium.cli.printing import cut, painted, say, width, wrapped
        from podium.workflow.schedules.spec import in_words

        counts = self.counts
        facts = f"{counts['starts']:,} started, {counts['skipped']:,} left out, {counts['missed']:,} too late"
        faults = f"{counted(counts['deaths'], 'take-over')}, {counted(counts['jumps'], 'jump')} of the clock"
        say(wrapped(f"schedule {in_words(self.spec)}, {counted(self.worlds, 'world')}: {facts}; {faults}"))
        if self.failed is None:
            say("sound: each firing was decided once, and what was decided was started once")
            return
        say(painted(f"seed {self.seed}: an invariant of the schedule is broken", "red"))
        for problem in self.failed.broken:
            say(wrapped(f"  {problem}", "    "))
        say("what happened, by virtual seconds:")
        for at, what in self.failed.transcript:
            say(cut(f"{at:11.3f}  {what}", width()))
        again = f"podium simulate {file} --seed {self.seed} --runs 1"
        say(f"show it again:\n  {again}{'' if self.faults else ' --faults none'}")
