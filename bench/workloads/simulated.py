"""S1: a scientific workflow of 1,312 tasks on 16 simulated agents: the real engine on virtual time.

The workflow is the Montage trace of WfCommons where it lies beside the repository; else one of its size and shape is
made. In this process it is simulated alone; the command's time has the start of a process and the YAML file in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.figures import Figure, Setup, Workload
from podium.simulation.running import simulate
from podium.workflow.wfformat import read_trace, workflow_of
from podium.workflow.yaml import dump_workflow

TRACE = Path(__file__).parents[2].parent / "shared/data/wfinstances/montage-chameleon-2mass-04d-001.json"
AGENTS = 16
IMPORT = "a trace of 1,312 tasks read"
SIMULATED = "1,312 tasks on 16 agents"
COMMAND = "podium run --simulate, from its start to its end"
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
    found: dict[str, list[float]] = {SIMULATED: [], COMMAND: [], IMPORT: []}
    for run in range(-1, setup.runs):  # the first fills the caches
        begin = time.perf_counter()
        workflow_of(read_trace(content))
        after_import = time.perf_counter()
        outcome = simulate(workflow, AGENTS)
        after_run = time.perf_counter()
        document = json.loads(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout)
        end = time.perf_counter()
        _check(document, outcome.makespan_seconds, len(workflow.tasks))
        if run >= 0:
            found[IMPORT].append(after_import - begin)
            found[SIMULATED].append(after_run - after_import)
            found[COMMAND].append(end - after_run)
    return [
        Figure(
            workload="S1", name=name, unit="s", runs=tuple(runs), better="less",
            asked=5.0 if name != IMPORT else None,
        )
        for name, runs in found.items()
    ]  # fmt: skip


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
