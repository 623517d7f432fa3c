"""Figures: what was measured, run by run, with what it is held against. Pure.

A figure's value is the median of its runs; the least that is asked of it, and the limit or peer measured beside it in
the same run, are said with it, so that a table needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Literal

from msgspec import Struct


class Figure(Struct, frozen=True, kw_only=True):
    """One quantity. `beside` names the figure of the same workload that it is compared with."""

    workload: str
    name: str
    unit: str
    runs: tuple[float, ...]
    better: Literal["more", "less"]
    asked: float | None = None  # at least, where more is better; else at most
    beside: str = ""
    is_limit: bool = False  # measured to compare with, not a figure of Podium's

    @property
    def value(self) -> float:
        """The median of the runs."""
        return median(self.runs)

    @property
    def holds(self) -> bool | None:
        """Whether the median is what is asked; None if nothing is."""
        if self.asked is None:
            return None
        return self.value >= self.asked if self.better == "more" else self.value <= self.asked


class Size(Struct, frozen=True, kw_only=True):
    """How much work each workload does. The figures of the documentation are of `FULL` alone."""

    workflows: int
    steps: int
    at_once: int
    fan_out: int
    latencies: int
    batches: int
    executions_a_batch: int
    agents: int = 10_000
    fleet_seconds: float = 30.0
    idle_seconds: float = 20.0  # in which an idle replica's statements are counted
    calm_seconds: float = 45.0  # after which what waits has left the memory: half a minute, and some
    planned: int = 100_000  # tasks of the large workflow whose plan is made
    validated: int = 10_000  # tasks of the workflow that is validated


FULL = Size(workflows=200, steps=10, at_once=100, fan_out=10_000, latencies=500, batches=100, executions_a_batch=100)
QUICK = Size(
    workflows=100, steps=10, at_once=50, fan_out=2_000, latencies=100, batches=30, executions_a_batch=100,
    agents=2_000, fleet_seconds=5.0, planned=20_000, validated=2_000,
)  # fmt: skip
TINY = Size(
    workflows=2, steps=2, at_once=2, fan_out=3, latencies=3, batches=2, executions_a_batch=2, agents=20,
    fleet_seconds=2.0, idle_seconds=1.0, calm_seconds=0.5, planned=2_000,
    validated=50,
)  # fmt: skip


class Setup(Struct, frozen=True, kw_only=True):
    """What a workload is measured with: its size, how often, an empty folder on the disk that is measured, and whether
    its peers are measured, too (P1 has some).
    """

    size: Size
    runs: int
    folder: Path
    peers: bool = False


class Workload(Struct, frozen=True):
    """One workload: `measure` warms up, repeats, and returns its figures, Podium's and the limits beside them."""

    name: str
    title: str
    measure: Callable[[Setup], list[Figure]]


def ratio(figure: Figure, figures: Sequence[Figure]) -> float | None:
    """Return how many times the figure it is compared with a figure is; None if there is none."""
    other = next((f for f in figures if f.workload == figure.workload and f.name == figure.beside), None)
    return None if other is None or other.value == 0 else figure.value / other.value


def percentile(sorted_values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of the sorted values don't exceed (nearest rank)."""
    rank = max(-(-len(sorted_values) * percent // 100), 1)
    return sorted_values[int(rank) - 1]
