"""The report of a long run, as text and as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from podium.testing.soaking.faults import Fault
from podium.testing.soaking.history import History, Problem
from podium.testing.soaking.watching import Memory

ORACLE_KINDS = {"I1": "lost", "I2": "twice", "I3": "changed", "I4": "torn", "I5": "stuck", "I6": "held"}
MOST_TOLD = 12  # of a kind, in the text; the JSON has more
MOST_TEXT = 1_500
MUST_BE_NONE = ("lost", "twice", "stuck", "changed", "torn", "held", "wrong", "found", "ended", "fault")


class Report(Struct):
    """What came of a long run."""

    seed: int
    seconds: float
    sound: bool
    problems: dict[str, int]
    texts: list[Problem]
    executions: dict[str, int]
    attempts: int
    effects: int
    effects_again: int  # had more than once, under one idempotency key: allowed, and counted
    counts: dict[str, int]
    faults: dict[str, int]
    recoveries: dict[str, float]  # longest and median, in seconds, by kind of fault
    longest_recovery: Fault | None
    reconciler_finds: dict[str, float]
    could_not_start: dict[str, int]
    memory: list[Memory]
    every_fault: list[Fault]

    def __str__(self) -> str:
        ended = ", ".join(f"{number:,} {status}" for status, number in sorted(self.executions.items()))
        lines = [
            f"seed {self.seed}, {self.seconds / 60:.1f} minutes: {'sound' if self.sound else 'NOT SOUND'}",
            ", ".join(f"{kind} {self.problems.get(kind, 0)}" for kind in MUST_BE_NONE),
            f"executions: {ended}; {self.attempts:,} attempts, {self.effects:,} effects, {self.effects_again} again",
            f"clients: {', '.join(f'{what} {number:,}' for what, number in sorted(self.counts.items()))}",
            f"{sum(self.faults.values())} faults:",
            *(
                f"  {number:4} {kind:40} {_recovery(self.recoveries, kind)}"
                for kind, number in sorted(self.faults.items())
            ),
            f"longest recovery: {_shown(self.longest_recovery)}",
            f"the reconciler found: {self.reconciler_finds or 'nothing'}",
            f"could not start while servers were ill: {self.could_not_start or 'none'}",
            "memory in MB: early in the first life, last, how often started, growth of the longest life:",
            *(f"  {_memory(memory)}" for memory in self.memory),
        ]
        for kind in MUST_BE_NONE:
            told = [problem for problem in self.texts if problem.kind == kind]
            lines += [f"{kind} (at {each.at_seconds} s): {each.text[:MOST_TEXT]}" for each in told[:MOST_TOLD]]
            lines += [f"{kind}: and {len(told) - MOST_TOLD} more"] * (len(told) > MOST_TOLD)
        return "\n".join(lines)


def report(
    seed: int,
    history: History,
    faults: list[Fault],
    executions: Counter[str],
    attempts: int,
    effects: Counter[str],
    finds: dict[str, float],
    could_not_start: Counter[str],
    memory: list[Memory],
) -> Report:
    """Make the report."""
    problems = Counter({kind.removeprefix("wrong: "): n for kind, n in history.counts.items() if kind[:7] == "wrong: "})
    recovered = [fault for fault in faults if fault.recovered is not None]
    return Report(
        seed=seed,
        seconds=round(history.seconds, 1),
        sound=not any(problems[kind] for kind in MUST_BE_NONE),
        problems=dict(problems),
        texts=history.problems,
        executions=dict(executions),
        attempts=attempts,
        effects=effects.total(),
        effects_again=sum(times - 1 for times in effects.values()),
        counts={what: n for what, n in history.counts.items() if not what.startswith("wrong: ")},
        faults=dict(Counter(fault.kind for fault in faults)),
        recoveries=dict(_recoveries(recovered)),
        longest_recovery=max(recovered, key=lambda fault: fault.recovered or 0.0, default=None),
        reconciler_finds=finds,
        could_not_start=dict(could_not_start),
        memory=memory,
        every_fault=faults,
    )


def _recoveries(faults: list[Fault]) -> Iterable[tuple[str, float]]:
    for kind in {fault.kind for fault in faults}:
        seconds = [fault.recovered or 0.0 for fault in faults if fault.kind == kind]
        yield f"{kind}, longest", max(seconds)
        yield f"{kind}, median", round(statistics.median(seconds), 1)


def _recovery(recoveries: dict[str, float], kind: str) -> str:
    if f"{kind}, longest" not in recoveries:
        return "not recovered"
    median, longest = recoveries[f"{kind}, median"], recoveries[f"{kind}, longest"]
    return f"all works again after {median} s (median), {longest} s (longest)"


def _shown(fault: Fault | None) -> str:
    if fault is None:
        return "none"
    return (
        f"{fault.recovered} s: {fault.kind} of {fault.victim} at {fault.at} s, which lasted {fault.lasted} s, "
        f"{fault.among} under way"
    )


def _memory(memory: Memory) -> str:
    life = f"{memory.longest_life_grew_mb:+.1f} in {memory.longest_life_seconds:.0f} s"
    return f"{memory.name:12} {memory.first_mb:7.1f} {memory.last_mb:7.1f}  {memory.lives:3}  {life}"
