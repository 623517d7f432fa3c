"""V1: a workflow of 10,000 tasks is validated: its YAML read, every rule held against it, every expression compiled.

Beside it what PyYAML's C loader takes to make lists and mappings of the same text, without a place and without a rule.
The typed check has its agents' functions at hand; the command is whole, from the start of the process to its end.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.figures import Figure, Setup, Workload
from podium.workflow.expressions import compiler, templates
from podium.workflow.typed import Signature, type_problems
from podium.workflow.yaml import check_workflow

ASKED = 3.0
EACH = 3  # dependencies a task, of the hundred before it
SIGNATURES = {
    "reader": {
        "read": Signature(
            arguments={"url": {"type": "string"}, "limit": {"type": "integer"}, "seen": {"type": "array"}},
            required=frozenset({"url"}),
            result={"type": "object", "properties": {"text": {"type": "string"}, "links": {"type": "array"}}},
        )
    }
}

Way = Callable[[bytes], Any]


def made(tasks: int) -> bytes:
    """Return the YAML of a workflow of so many tasks, the same each time; each task has an expression of its own."""
    chance = random.Random(tasks)
    lines = ["name: large", "inputs: {url: string, limit: 10}", "tasks:"]
    for number in range(tasks):
        before = sorted(chance.sample(range(max(0, number - 100), number), min(EACH, number)))
        lines += [f"  - id: task_{number}", "    agent: reader", "    function: read", "    timeout: 30s"]
        if not before:
            lines.append('    input: {url: "${input.url}"}')
            continue
        lines.append(f"    depends_on: [{', '.join(f'task_{needed}' for needed in before)}]")
        lines.append(f"    when: len(tasks.task_{before[0]}.result.links) < input.limit")
        lines += ["    input:", f'      url: "${{tasks.task_{before[-1]}.result.text}}/{number}"', "      limit: 3"]
    return "\n".join(lines).encode()


def checked(text: bytes) -> Any:
    """Read and check a workflow by itself."""
    _, problems = check_workflow(text)
    assert not problems
    return problems


def checked_with_types(text: bytes) -> Any:
    """Read and check a workflow, and its tasks against the functions that they call."""
    _, problems = check_workflow(text, further=lambda workflow: type_problems(workflow, SIGNATURES))
    assert not problems
    return problems


def loaded(text: bytes) -> Any:
    """Make lists and mappings of a text by PyYAML's C loader."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


WAYS: Mapping[str, Way] = {"validate": checked, "validate with types": checked_with_types, "PyYAML's C loader": loaded}
BESIDE = "PyYAML's C loader"


def measure(setup: Setup) -> list[Figure]:
    """Validate in this process, in turns with the bare loader, and by the command."""
    text = made(setup.size.validated)
    file = setup.folder / "large.yaml"
    file.write_bytes(text)
    names = [*WAYS, "podium validate, the whole command"]
    runs: dict[str, list[float]] = {name: [] for name in [*names, *(f"{name}: processor time" for name in names)]}
    for run in range(-1, setup.runs):
        for name, way in WAYS.items():
            _forget_expressions()
            began, used = time.perf_counter(), time.process_time()
            way(text)
            if run >= 0:
                runs[name].append(time.perf_counter() - began)
                runs[f"{name}: processor time"].append(time.process_time() - used)
        seconds, used = _by_command(file)
        if run >= 0:
            runs[names[-1]].append(seconds)
            runs[f"{names[-1]}: processor time"].append(used)
    return [_figure(name, tuple(figures), setup.size.validated) for name, figures in runs.items()]


def _forget_expressions() -> None:
    """Have none compiled already: the same text in the same process would be checked in half the time."""
    compiler.compile_expression.cache_clear()
    templates._compile_text.cache_clear()


def _figure(name: str, runs: tuple[float, ...], tasks: int) -> Figure:
    is_limit = name.startswith(BESIDE)
    is_processor = name.endswith("processor time")
    beside = f"{BESIDE}: processor time" if is_processor else BESIDE
    return Figure(
        workload="V1", name=f"{name}: {tasks:,} tasks", unit="s", runs=runs, better="less",
        asked=None if is_limit or is_processor else ASKED,
        beside="" if is_limit else f"{beside}: {tasks:,} tasks", is_limit=is_limit,
    )  # fmt: skip


def _by_command(file: Path) -> tuple[float, float]:
    """Return how long `podium validate` takes, and the processor time that it takes."""
    began, used = time.perf_counter(), _children()
    subprocess.run([sys.executable, "-m", "podium", "validate", str(file)], check=True, capture_output=True)
    return time.perf_counter() - began, _children() - used


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


WORKLOAD = Workload(name="V1", title="a workflow of 10,000 tasks, validated", measure=measure)
