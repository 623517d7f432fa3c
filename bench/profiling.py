"""Where the time of W1, W2 and R1 goes: `python -m bench.profiling [--write docs/performance.md]`.

Three clocks, each for what it can see: plain runs give the whole, and each thread's processor time; runs with
`gc.callbacks` give the collector's; runs that are interrupted every half millisecond give how the event loop's thread
divides its time: what runs at that moment is charged with the processor time of that thread since the last look. That
makes no function dearer than it is, as cProfile does with small ones; with some thousand looks it is good to one or two
per cent. The collector is off meanwhile, since its time would fall on whoever happened to allocate.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from types import FrameType

from msgspec import Struct

from bench.flows import chain, for_each, independent, opened, run_many, run_one
from bench.machine import describe
from bench.printing import number, rewrite
from bench.remote.orchestrator import orchestrating
from podium.app import Podium

BEGIN = "<!-- profile: begin (written by `python -m bench.profiling --write docs/performance.md`) -->"
END = "<!-- profile: end -->"
RUNS = 5
LOOK_SECONDS = 0.000_5
GC = "garbage collection"
OTHER = "everything else"
# The first of whose texts one is in a function's file is its part; what is built in belongs to who calls it.
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("validation, compiling, hashing of definitions", ("podium/workflow/", "engine/definition", "engine/recovery")),
    ("codec: inputs, events, rows as JSON", ("engine/codec", "engine/values", "msgspec")),
    ("rules: decide, advance, evolve", (
        "engine/step", "engine/decide", "engine/advance", "engine/evolve", "engine/state", "engine/events",
        "engine/inputs", "engine/transitions", "engine/scope", "engine/commands", "engine/assignments",
        "engine/following",
    )),
    ("placement, slots, leases", ("engine/staffing", "engine/leases", "scheduling/", "engine/residency")),
    ("batch: rows, checksums, sequences", ("engine/arrivals", "store/batch", "store/protocol")),
    ("telling of events", ("service/announcing", "service/described", "engine/projections", "service/telling")),
    ("frames", ("fleet/frames",)),
    ("the link: results, receipts, the registry", (
        "fleet/link", "fleet/taking", "fleet/speaking", "fleet/hearing", "fleet/receipts", "fleet/registry",
        "fleet/member", "fleet/health", "fleet/states", "fleet/translation", "fleet/wire", "fleet/discovery",
    )),
    ("the bus: transport and nats-py", ("podium/bus/", "/nats/")),
    ("the loop: intake, dispatch, landing", (
        "engine/runtime", "engine/conducting", "engine/braking", "engine/intake", "engine/receiving", "engine/starting",
        "engine/deciding", "engine/granting", "engine/declining", "engine/forwarding", "engine/writing",
        "engine/releasing", "engine/redoing", "engine/waiting", "engine/admission", "engine/dispatch",
        "engine/loading", "engine/watching", "engine/snapshot", "engine/sweeping",
        "podium/app", "podium/ids", "podium/clock", "fleet/",
    )),
    ("SQLite: parameters and hand-over", ("store/sqlite", "sqlite3", "queue.py")),
    ("agent host", ("podium/agents/",)),
    ("waiting for events", ("selectors",)),
    ("asyncio", ("asyncio", "concurrent/futures")),
    ("the benchmark's own tasks", ("bench/",)),
)  # fmt: skip


class Shares(Struct, frozen=True):
    """One workload: of how many steps, wall and processor seconds, and of whom."""

    name: str
    steps: int
    wall: float
    loop: float
    writer: float
    others: float
    gc: float
    parts: dict[str, float]  # seconds of the loop's thread, scaled


async def _w1(podium: Podium) -> int:
    await run_many(podium, chain(10), 500, 100)
    return 5_000


async def _w2(podium: Podium) -> int:
    await run_one(podium, _WIDE)
    return 10_000


async def _r1(podium: Podium) -> int:
    await run_one(podium, for_each(10_000))
    return 10_000


_WIDE = independent(10_000)
Work = Callable[[Podium], Awaitable[int]]
Opening = Callable[[Path], AbstractAsyncContextManager[Podium]]


def _here(folder: Path) -> AbstractAsyncContextManager[Podium]:
    return opened(folder / "profile.db")


@asynccontextmanager
async def _with_agents_elsewhere(folder: Path) -> AsyncIterator[Podium]:
    async with orchestrating(folder) as service:
        yield service.podium


def measure(name: str, work: Work, folder: Path, runs: int = RUNS, opening: Opening = _here) -> Shares:
    """Measure a workload by all three clocks."""
    run = partial(_run, work, folder, opening)
    plain = [run() for _ in range(runs)]
    steps = plain[0][0]
    wall, loop, writer, whole = (median(each[n] for each in plain) for n in (1, 2, 3, 4))
    collections = _Collections()
    for _ in range(runs):
        run(collections)
    collector = collections.seconds / runs
    gc.disable()
    try:
        looks = _Looks()
        for _ in range(runs):
            run(looks)
    finally:
        gc.enable()
    parts = looks.parts
    scale = (loop - collector) / sum(parts.values())
    scaled = {part: seconds * scale for part, seconds in parts.items()}
    return Shares(name, steps, wall, loop, writer, max(whole - loop - writer, 0.0), collector, scaled)


def _run(
    work: Work, folder: Path, opening: Opening, around: AbstractContextManager[object] | None = None
) -> tuple[int, float, float, float, float]:
    """Return the steps, and the seconds: wall, the loop's thread, the writer's, the whole process's."""
    return asyncio.run(_measured(work, opening(Path(tempfile.mkdtemp(dir=folder)).resolve()), around))


async def _measured(
    work: Work, opened_podium: AbstractAsyncContextManager[Podium], around: AbstractContextManager[object] | None
) -> tuple[int, float, float, float, float]:
    async with opened_podium as podium:
        await run_many(podium, chain(10), 20, 20)
        gc.collect()
        writer = next(thread for thread in threading.enumerate() if thread.name.startswith("podium-writer"))
        clock = time.pthread_getcpuclockid(writer.ident or 0)
        begin = time.perf_counter(), time.thread_time(), time.clock_gettime(clock), time.process_time()
        with around or nullcontext():
            steps = await work(podium)
        end = time.perf_counter(), time.thread_time(), time.clock_gettime(clock), time.process_time()
    wall, loop, written, whole = (after - before for before, after in zip(begin, end, strict=True))
    return steps, wall, loop, written, whole


class _Collections:
    """Counts the seconds of the loop's thread in the garbage collector."""

    seconds = 0.0

    def __enter__(self) -> _Collections:
        gc.callbacks.append(self._told)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._told)

    def _told(self, phase: str, _: dict[str, int]) -> None:
        self.seconds += time.thread_time() if phase == "stop" else -time.thread_time()


class _Looks:
    """Looks every half millisecond at what the loop's thread does."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = defaultdict(float)
        self.places: dict[tuple[str, str], float] = defaultdict(float)
        self._last = 0.0
        self._looking = False

    def __enter__(self) -> None:
        self._last = time.thread_time()
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _look(self, _: int, frame: FrameType | None) -> None:
        if self._looking:  # a look came while looking: of a machine that is busy with others
            return
        self._looking = True
        passed = time.thread_time() - self._last
        if frame is not None:
            code = frame.f_code
            self.parts[_part(code.co_filename)] += passed
            self.places[code.co_filename, code.co_qualname] += passed
        self._last = time.thread_time()
        self._looking = False


def _part(file: str) -> str:
    where = (file.split("/src/")[-1] if "/src/podium/" in file else file).replace(os.sep, "/")
    return next((part for part, marks in PARTS if any(mark in where for mark in marks)), OTHER)


def table(shares: Shares) -> str:
    """Return a workload's shares as Markdown: microseconds of processor a step."""
    micro, whole = 1e6 / shares.steps, shares.loop + shares.writer + shares.others
    of_loop = sorted(shares.parts.items(), key=lambda item: -item[1])
    rows = [
        *((f"event loop: {part}", seconds) for part, seconds in of_loop if seconds * micro >= 0.05),
        (f"event loop: {GC}", shares.gc),
        ("**event loop, the whole**", shares.loop),
        ("**writer's thread** (SQLite: execute, commit)", shares.writer),
        ("**other threads** (readers, renewal)", shares.others),
    ]
    return "\n".join(
        [
            f"{shares.name}: {number(shares.wall * micro)} µs a step by the wall, of which:",
            "",
            "| where | µs of processor a step | of all |",
            "|---|---|---|",
            *(f"| {where} | {number(seconds * micro)} | {seconds / whole:.0%} |" for where, seconds in rows),
        ]
    )


def main() -> int:
    """Measure all, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiling", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="rewrite the tables between the markers of a page")
    parser.add_argument("--folder", type=Path, default=Path("reports/bench"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    machine = describe(given.folder)
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        tables = [
            table(measure("W1, 500 workflows of 10 steps, 100 at a time", _w1, folder)),
            table(measure("W2, 10,000 independent tasks", _w2, folder)),
            table(measure("R1, for_each of 10,000, four agent processes", _r1, folder, opening=_with_agents_elsewhere)),
        ]
    finally:
        shutil.rmtree(folder)
    text = "\n\n".join([*tables, "Measured with:", "\n".join(f"- {each}" for each in machine.lines())])
    print(text)
    if given.write:
        rewrite(given.write, text, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
