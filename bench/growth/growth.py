"""The curves: each size of each kind in a process of its own, smallest first, as far as the time reaches.

A size is left out when, going by the one before, it wouldn't end in what is left of the time; the table says so.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from bench.growth.plot import Line, plot
from bench.growth.process import Point
from bench.machine import Machine
from bench.printing import number

FULL_SECONDS, QUICK_SECONDS = 540.0, 20.0
REPEATED_BELOW_SECONDS = 1.0
REPEATS = 3
BEGIN = "<!-- growth: begin (written by `python -m bench growth --write docs/performance.md`) -->"
END = "<!-- growth: end -->"
TASKS, EXECUTIONS = "tasks", "executions"
_HALF_DECADES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


class Kind(Struct, frozen=True):
    """What grows, in which plot it is drawn, and the sizes that are tried."""

    name: str
    title: str
    plot: str
    sizes: tuple[int, ...]


KINDS = (
    Kind("independent", "independent tasks of one execution", TASKS, (*_HALF_DECADES, 200_000)),
    Kind("for_each", "instances of one for_each", TASKS, (*_HALF_DECADES, 300_000, 1_000_000)),
    Kind("chain", "tasks one after another", TASKS, (10, 100, 1_000, 10_000)),
    Kind("executions", "executions of one task, 100 at a time", EXECUTIONS, (1, 10, 100, 1_000, 10_000, 100_000)),
    Kind("at_once", "executions of one task, all at once", EXECUTIONS, (1, 10, 100, 1_000, 10_000, 100_000)),
)


class Curve(Struct, frozen=True):
    """The points of one kind; each has the medians of its processes."""

    kind: Kind
    points: tuple[Point, ...]
    refused: str = ""  # why the size after the last point could not be measured at all

    @property
    def left_out(self) -> tuple[int, ...]:
        """The sizes for which the time didn't reach."""
        return tuple(size for size in self.kind.sizes if size not in {point.count for point in self.points})


class RefusedError(Exception):
    """A process ended without a point, with why."""


def measure(folder: Path, seconds: float, say: Callable[[str], None], kinds: Sequence[Kind] = KINDS) -> list[Curve]:
    """Measure the kinds in turns, smallest sizes first."""
    until = time.monotonic() + seconds
    points: dict[str, list[Point]] = {kind.name: [] for kind in kinds}
    refused: dict[str, str] = {}
    for size in sorted({size for kind in kinds for size in kind.sizes}):
        for kind in kinds:
            found = points[kind.name]
            if size not in kind.sizes or len(found) < kind.sizes.index(size):
                continue
            expected = found[-1].seconds * size / found[-1].count * 1.2 + 1 if found else 1.0
            if time.monotonic() + expected > until:
                continue
            try:
                found.append(_point(kind.name, size, folder))
            except RefusedError as error:
                refused[kind.name] = str(error)
                say(f"  {kind.title}, {size:,}: {error}")
                continue
            say(f"  {_row(found[-1], kind.title)}")
    return [Curve(kind, tuple(points[kind.name]), refused.get(kind.name, "")) for kind in kinds]


def _point(name: str, size: int, folder: Path) -> Point:
    found = [_in_process(name, size, folder)]
    while len(found) < REPEATS and found[0].seconds < REPEATED_BELOW_SECONDS:
        found.append(_in_process(name, size, folder))
    fields = Point.__struct_fields__[1:]
    return Point(size, *(median(getattr(point, field) for point in found) for field in fields))


def _in_process(name: str, size: int, folder: Path) -> Point:
    database = folder / "growth.db"
    command = [sys.executable, "-m", "bench.growth.process", name, str(size), str(database)]
    done = subprocess.run(command, capture_output=True)
    for file in folder.glob("growth.db*"):
        file.unlink()
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RefusedError(said[-1] if said else f"it ended with {done.returncode}")
    return msgspec.json.decode(done.stdout, type=Point)


# --- how it is shown -----------------------------------------------------------------------------------------------


def table(machine: Machine, curves: Sequence[Curve]) -> str:
    """Return the curves as the Markdown between the markers."""
    rows = [
        f"Measured {machine.date}; below a second the medians of {REPEATS} processes.",
        "",
        "| what grows | how many | seconds | µs each | processor µs each | peak MB | KB each | on disk MB |",
        "|---|---|---|---|---|---|---|---|",
        *(f"| {_cells(point, curve.kind.title)} |" for curve in curves for point in curve.points),
        "",
    ]
    for curve in curves:
        if curve.left_out:
            sizes = ", ".join(f"{size:,}" for size in curve.left_out)
            why = curve.refused or "the time didn't reach"
            rows += [f"Left out: {curve.kind.title}, {sizes}: {why}.", ""]
    return "\n".join([*rows, "Measured with:", "", *(f"- {text}" for text in machine.lines())])


def _cells(point: Point, title: str) -> str:
    return " | ".join([title, *_numbers(point)])


def _row(point: Point, title: str) -> str:
    count, seconds, each, cpu, peak, *_ = _numbers(point)
    return f"{title:<40}{count:>10}{seconds:>9} s {each:>8} µs each, {cpu} of the processor, {peak} MB"


def _numbers(point: Point) -> list[str]:
    micro = 1e6 / point.count
    return [
        f"{point.count:,}", number(point.seconds), number(point.seconds * micro), number(point.cpu_seconds * micro),
        number(point.peak_mb), number(max(point.peak_mb - point.before_mb, 0.0) * 1_000 / point.count),
        number(point.disk_mb),
    ]  # fmt: skip


def draw_all(folder: Path, curves: Sequence[Curve]) -> None:
    """Write the plots: time each and memory, of tasks and of executions."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (TASKS, EXECUTIONS):
        of_it = [curve for curve in curves if curve.kind.plot == name and curve.points]
        times = [Line(c.kind.title, tuple((p.count, p.seconds * 1e6 / p.count) for p in c.points)) for c in of_it]
        memory = [Line(c.kind.title, tuple((p.count, p.peak_mb) for p in c.points)) for c in of_it]
        (folder / f"{name}-time.svg").write_text(plot("microseconds each", f"number of {name}", times))
        (folder / f"{name}-memory.svg").write_text(plot("MB held at most", f"number of {name}", memory))
