"""Writes a failing run as a pytest test that needs nothing but Podium, the workflow's text within it and its agents."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from podium.testing.faults import Faults
from podium.testing.shrinking import Trial


def saved_test(
    target: Path,
    workflow: str,
    seed: int,
    faults: Faults | None,
    trial: Trial,
    given: bytes,
    agents: Sequence[str] | None,
    problems: Sequence[str],
    replicas: int | None = None,
) -> str:
    """Return the test's text. `agents` are specs; None means that the agents are scripted."""
    options = [f"seed={seed}"]
    if faults is not None:
        struck = {name: rate for name in Faults.__struct_fields__ if (rate := getattr(faults, name))}
        options.append(f"faults=Faults({', '.join(f'{name}={rate!r}' for name, rate in struck.items())})")
    if trial.without:
        options.append(f"without={trial.without!r}")
    if trial.strikes is not None:
        options.append(f"strikes={trial.strikes}")
    if replicas is not None:
        options.append(f"replicas={replicas}")
    options.append(f"given={given!r}")
    if agents is not None:
        options.append("code=code_behind(workflow, AGENTS)")
    arguments = "".join(f"        {option},\n" for option in options)
    uses = ["Faults"] * (faults is not None) + ["code_behind"] * (agents is not None) + ["simulate"]
    specs = "".join(f"    {_spec(spec, target)},\n" for spec in agents or ())
    text = workflow.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    found = "\n".join(f"  {' '.join(problem.split())[:160]}" for problem in problems).replace("\\", "/")
    return (
        f'"""Written by `podium simulate`, seed {seed}, which found:\n\n'
        f"{found.replace(chr(34) * 3, chr(39) * 3)}\n"
        '"""\n\n'
        + ("from pathlib import Path\n\n" if agents and any(_is_file(spec) for spec in agents) else "")
        + f"from podium import load_workflow\nfrom podium.testing import {', '.join(uses)}\n\n"
        + f'WORKFLOW = """\n{text.strip(chr(10))}\n"""\n'
        + (f"AGENTS = [\n{specs}]\n" if agents is not None else "")
        + f"\n\ndef test_the_workflow_stands_what_seed_{seed}_does_to_it():\n"
        "    workflow = load_workflow(WORKFLOW)\n"
        f"    report = simulate(\n        workflow,\n{arguments}    )\n"
        "    report.check()\n"
    )


def _spec(spec: str, target: Path) -> str:
    """Return the expression of a spec: a file is found from where the test lies."""
    if not _is_file(spec):
        return repr(spec)
    before, equals, place = spec.rpartition("=")
    path, colon, name = place.partition(".py")
    relative = os.path.relpath(f"{path}{colon}", target.absolute().parent)
    parts = [repr(before + equals)] * bool(equals) + [f"str(Path(__file__).parent / {relative!r})"]
    return " + ".join([*parts, *([repr(name)] if name else [])])


def _is_file(spec: str) -> bool:
    place = spec.rpartition("=")[2]
    return ".py" in place or "/" in place
