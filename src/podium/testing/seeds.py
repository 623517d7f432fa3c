"""A long swarm of simulated runs with a report: `python -m podium.testing.seeds --minutes 60`.

Every run has a new seed and draws its workflow and its faults from it. A seed that breaks is printed with its
transcript into a file, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import count
from multiprocessing import get_context
from pathlib import Path

from msgspec import Struct

from podium.testing.simulation import Report, simulate

LIMITED = 0.25  # the share of workflows that get limits by key; to see a seed again, simulate it with that
CHUNK = 25  # runs that a process does before it tells
SAY_SECONDS = 30.0


class Swarm(Struct):
    """What a swarm came to."""

    base: int
    runs: int = 0
    executions: int = 0
    seconds: float = 0.0
    faults: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    broken: dict[int, str] = {}  # the report of each seed that isn't sound

    def add(self, report: Report) -> None:
        """Count a run."""
        self.runs += 1
        self.executions += len(report.executions)
        self.faults.update(report.faults)
        self.ended.update(report.executions.values())
        if not report.sound:
            self.broken[report.seed] = str(report)

    def merge(self, other: Swarm) -> None:
        """Count what another process has run."""
        self.runs += other.runs
        self.executions += other.executions
        self.faults.update(other.faults)
        self.ended.update(other.ended)
        self.broken.update(other.broken)

    @property
    def line(self) -> str:
        """How far it is, in a line."""
        rate = self.runs / self.seconds if self.seconds else 0.0
        return (
            f"{self.runs:,} runs from seed {self.base} on, {rate:.0f}/s, {sum(self.faults.values()):,} faults, "
            f"{len(self.broken)} broken"
        )

    def __str__(self) -> str:
        ended = ", ".join(f"{number:,} {status}" for status, number in self.ended.most_common())
        faults = ", ".join(f"{kind} {number:,}" for kind, number in self.faults.most_common())
        return f"{self.line}\n{self.executions:,} executions: {ended}\nfaults: {faults}"


def new_base() -> int:
    """Return a seed to begin with that nobody has run before, most likely."""
    return random.SystemRandom().randrange(10**9, 10**12)


def swarm(base: int, seconds: float, most: int | None = None) -> Swarm:
    """Run seeds from `base` on in this process, for so long or so many."""
    found = Swarm(base, faults=Counter(), ended=Counter())
    began = time.perf_counter()
    while found.seconds < seconds and (most is None or found.runs < most):
        found.add(simulate(seed=base + found.runs, limits=LIMITED))
        found.seconds = time.perf_counter() - began
    return found


def _chunk(base: int) -> Swarm:
    return swarm(base, float("inf"), CHUNK)


def soak(base: int, seconds: float, processes: int, say: Callable[[str], None], folder: Path) -> Swarm:
    """Run chunks of seeds in processes until the time is over; say how far it is now and then."""
    whole = Swarm(base, faults=Counter(), ended=Counter())
    began = said = time.perf_counter()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        bases = count(base, CHUNK)
        waiting = {pool.submit(_chunk, next(bases)) for _ in range(processes)}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for each in done:
                found = each.result()
                whole.merge(found)
                for seed, report in found.broken.items():
                    path = folder / f"broken-seed-{seed}.txt"
                    path.write_text(report, encoding="utf-8")
                    say(f"seed {seed} is broken: {path}")
            now = time.perf_counter()
            whole.seconds = now - began
            if whole.seconds < seconds:
                waiting |= {pool.submit(_chunk, next(bases)) for _ in done}
            if now - said >= SAY_SECONDS:
                said = now
                say(whole.line)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the swarm that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m podium.testing.seeds", description="Simulate many new seeds.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None, help="where to begin; a new place without it")
    parser.add_argument("--folder", type=Path, default=Path(), help="where transcripts of broken seeds go")
    given = parser.parse_args(arguments)
    base = given.seed if given.seed is not None else new_base()
    _say(f"base seed {base}")
    found = soak(base, given.minutes * 60, given.processes, _say, given.folder)
    _say(str(found))
    return 1 if found.broken else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
