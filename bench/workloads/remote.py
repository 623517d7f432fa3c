"""R1 to R3: agents in processes of their own, over the embedded NATS server, durable.

R1 is how many no-op tasks a second four agent processes are given and answer: W1's and W2's workflows, and single
tasks that a client submits over the bus. R2 is one such task at a time. R3 is what a large fleet costs that only lives.
Each run is an orchestrator process of its own (`bench/remote`); the limits beside them are bare nats-py and SQLite.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.figures import Figure, Setup, Workload, percentile
from bench.remote.bare import asked_latencies, asked_steps
from bench.remote.fleet import Share
from bench.remote.orchestrator import Found
from bench.remote.processes import AGENT_PROCESSES
from bench.workloads.durable_steps import ROWS_A_STEP

BARE_TASKS = "bare nats-py asks, bare SQLite commits"
BARE_FLEET = "bare nats-py hears them"
SUBMITTED_AT_ONCE = 200
PERCENTS = (50, 95, 99)
ASKED_TASKS = 2_500.0
ASKED_MS = {95: 20.0}
ASKED_PERCENT, ASKED_MB = 10.0, 400.0


def measure_tasks(setup: Setup) -> list[Figure]:
    """Run R1's kinds of work and their limit in turns."""
    size = setup.size
    steps = size.workflows * size.steps
    work = {  # by the figure's name: the work, and how many tasks that is
        "workflows of sequential tasks, as W1": (f"chains:{size.workflows}:{size.steps}:{size.at_once}", steps),
        "independent tasks, as W2": (f"independent:{size.fan_out}", size.fan_out),
        "for_each, as W2": (f"for_each:{size.fan_out}", size.fan_out),
        "submitted over the bus": (f"submitted:{steps}:{min(SUBMITTED_AT_ONCE, steps)}", steps),
    }
    rates: dict[str, list[float]] = {name: [] for name in work}
    bare = []
    for _ in range(setup.runs):  # each process warms itself up
        found = _found(setup, *(what for what, _ in work.values()))
        for (name, (_, tasks)), one in zip(work.items(), found, strict=True):
            rates[name].append(tasks / one.seconds[0])
        seconds = asyncio.run(asked_steps(_new(setup), steps, size.at_once, AGENT_PROCESSES, ROWS_A_STEP))
        bare.append(steps / seconds)
    return [
        *(
            Figure(
                workload="R1", name=name, unit="tasks/s", runs=tuple(runs), better="more", asked=ASKED_TASKS,
                beside=BARE_TASKS,
            )
            for name, runs in rates.items()
        ),
        Figure(workload="R1", name=BARE_TASKS, unit="tasks/s", runs=tuple(bare), better="more", is_limit=True),
    ]  # fmt: skip


def measure_latency(setup: Setup) -> list[Figure]:
    """Run R2 and its limit in turns."""
    count = setup.size.latencies
    names = {"submit to finished": "latencies", "a client over the bus": "submitted_latencies"}
    times: dict[str, list[list[float]]] = {name: [] for name in [*names, "bare"]}
    for _ in range(setup.runs):  # each process warms itself up
        for name, one in zip(names, _found(setup, *(f"{kind}:{count}" for kind in names.values())), strict=True):
            times[name].append(sorted(one.seconds))
        times["bare"].append(sorted(asyncio.run(asked_latencies(_new(setup), count))))
    return [
        *(_latency(f"{name}, p{p}", times[name], p, beside=_bare(p)) for name in names for p in PERCENTS),
        *(_latency(_bare(p), times["bare"], p) for p in PERCENTS),
    ]


def _latency(name: str, runs: list[list[float]], percent: int, beside: str = "") -> Figure:
    return Figure(
        workload="R2",
        name=name,
        unit="ms",
        runs=tuple(percentile(run, percent) * 1_000 for run in runs),
        better="less",
        asked=ASKED_MS.get(percent) if beside else None,
        beside=beside,
        is_limit=not beside,
    )


def _bare(percent: int) -> str:
    return f"commit, bare request-reply, commit, p{percent}"


def measure_fleet(setup: Setup) -> list[Figure]:
    """Run R3; its limit listens to the same fleet at the same time."""
    agents, seconds = setup.size.agents, setup.size.fleet_seconds
    found = []
    for _ in range(setup.runs):
        said = _said("bench.remote.fleet", str(_new(setup)), str(agents), str(seconds))
        share = msgspec.json.decode(said, type=Share)
        if share.beating < agents * min(seconds / 30.0, 1.0) * 0.9:
            raise RuntimeError(f"only {share.beating} of {agents} agents were heard of; the figure would mean nothing")
        found.append(share)
    percents, peaks = tuple(s.percent_of_a_core for s in found), tuple(s.peak_mb for s in found)
    bare = tuple(s.bare_percent for s in found)
    return [
        Figure(
            workload="R3", name=f"{agents:,} agents beating: of a core", unit="%", runs=percents, better="less",
            asked=ASKED_PERCENT, beside=BARE_FLEET,
        ),
        Figure(
            workload="R3", name=f"{agents:,} agents beating: peak of memory", unit="MB", runs=peaks, better="less",
            asked=ASKED_MB,
        ),
        Figure(workload="R3", name=BARE_FLEET, unit="%", runs=bare, better="less", is_limit=True),
    ]  # fmt: skip


def _found(setup: Setup, *works: str) -> list[Found]:
    return msgspec.json.decode(_said("bench.remote.orchestrator", str(_new(setup)), *works), type=list[Found])


def _said(module: str, *arguments: str) -> bytes:
    done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, check=True)
    return done.stdout


def _new(setup: Setup) -> Path:
    return Path(tempfile.mkdtemp(dir=setup.folder))


TASKS = Workload("R1", "remote no-op tasks, durable, four agent processes", measure_tasks)
LATENCY = Workload("R2", "latency: one remote task, one at a time", measure_latency)
FLEET = Workload("R3", "a fleet that only lives: what the orchestrator takes", measure_fleet)
