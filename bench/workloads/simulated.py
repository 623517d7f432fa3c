"""S1: a scientific workflow of 1,312 tasks on 16 simulated agents: the real engine on virtual time.

The workflow is the Montage trace of WfCommons where it lies beside the repository; else one of its size and shape is
made. In this process it is simulated alone; the command's time has the start of a process and the YAML file in it.
Beside each stands the processor time that it took, which tells what a busy machine made of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bench.figures import Figure, Setup, Workload
from podium.simulation.running import simulate
from podium.workflow.wfformat import read_trace, workflow_of
from podium.workflow.yaml import dump_workflow

T = TypeVar("T")
TRACE = Path(__file__).parents[2].parent / "shared/data/wfinstances/montage-chameleon-2mass-04d-001.json"
AGENTS = 16
IMPORT = "the trace read"
SIMULATED = "1,312 tasks on 16 agents"
SIMULATED_CPU = "1,312 tasks on 16 agents: processor time"
COMMAND = "podium run --simulate, the whole command"
COMMAND_CPU = "podium run --simulate: processor time"
_BANDS = 180  # images that are projected and corrected; each pair that overlaps is compared
_PAIRS = 936
_VIEWERS = 12


def measure(setup: Setup) -> list[Figure]:
    """Read, simulate in this process, and simulate by the command, in turns."""
    content = TRACE.read_bytes() if TRACE.exists() else json.dumps(made_trace()).encode()
    workflow = workflow_of(read_trace(content))
    file = setup.folder / "simulated.yaml"
    file.write_text(dump_workflow(workflow), encoding="utf-8")
    command = [sys.executable, "-m", "podium", "run", str(file), "--simulate", "--agents", str(AGENTS), "--json"]
    found: dict[str, list[float]] = {name: [] for name in (SIMULATED, SIMULATED_CPU, COMMAND, COMMAND_CPU, IMPORT)}
    for run in range(-1, setup.runs):  # the first fills the caches
        took = {IMPORT: _timed(lambda: workflow_of(read_trace(content)))[0]}
        took[SIMULATED], took[SIMULATED_CPU], outcome = _timed(lambda: simulate(workflow, AGENTS))
        took[COMMAND], took[COMMAND_CPU], done = _timed(
            lambda: subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        )
        _check(json.loads(done.stdout), outcome.makespan_seconds, len(workflow.tasks))
        if run >= 0:
            for name, seconds in took.items():
                found[name].append(seconds)
    return [
        Figure(
            workload="S1", name=name, unit="s", runs=tuple(runs), better="less",
            asked=5.0 if name in (SIMULATED, COMMAND) else None,
        )
        for name, runs in found.items()
    ]  # fmt: skip


def _timed(work: Callable[[], T]) -> tuple[float, float, T]:
    """Return the seconds that some work takes, its processor time with that of its processes, and what it gives."""
    before, begin = _processor_seconds(), time.perf_counter()
    given = work()
    return time.perf_counter() - begin, _processor_seconds() - before, given


def _processor_seconds() -> float:
    here = os.times()
    return here.user + here.system + here.children_user + here.children_system


def _check(document: dict[str, Any], makespan_seconds: float, tasks: int) -> None:
    """Raise RuntimeError unless both ways have run every task, to the same end."""
    same = abs(document["makespan_seconds"] - makespan_seconds) < 1e-3
    if document["status"] != "completed" or len(document["tasks"]) != tasks or not same:
        raise RuntimeError(f"the simulation came to something else: {document['status']}, {makespan_seconds:g} s")


def made_trace() -> dict[str, Any]:
    """Return a trace of the size and shape of the Montage workflow, schema 1.5."""
    parents: dict[str, list[str]] = {f"project_{at}": [] for at in range(_BANDS)}
    for at in range(_PAIRS):
        one, other = at % _BANDS, (at * 7 + 1 + at // _BANDS) % _BANDS
        parents[f"diff_{at}"] = sorted({f"project_{one}", f"project_{other}"})
    parents["concat"] = [f"diff_{at}" for at in range(_PAIRS)]
    parents["model"] = ["concat"]
    parents |= {f"background_{at}": ["model", f"project_{at}"] for at in range(_BANDS)}
    parents["table"] = [f"background_{at}" for at in range(_BANDS)]
    parents["add"] = ["table"]
    parents |= {f"viewer_{at}": ["add"] for at in range(_VIEWERS)}
    runtimes = {"project": 13.0, "diff": 0.6, "concat": 1.2, "model": 3.5, "background": 0.7, "viewer": 5.0}
    return {
        "name": "made",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {
                "tasks": [{"name": name, "id": name, "parents": own, "children": []} for name, own in parents.items()]
            },
            "execution": {
                "tasks": [
                    {"id": name, "runtimeInSeconds": runtimes.get(name.partition("_")[0], 1.0) * (1 + at % 5 / 10)}
                    for at, name in enumerate(parents)
                ]
            },
        },
    }


WORKLOAD = Workload("S1", "a scientific workflow of 1,312 tasks on 16 simulated agents", measure)
