"""W4: a cold start: `podium run` of one no-op task in a fresh process and a fresh folder, from call to exit.

Beside it the bare interpreter, `import podium`, and `podium --version`. Byte code is compiled, as after a first use.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench.figures import Figure, Setup, Workload

RUN = "podium run of one task"
BARE = "python -c pass"
_AGENT = '''"""Does nothing."""

from podium import agent, task


@agent(type="noop_agent")
class Noop:
    """Does nothing."""

    @task
    async def noop(self) -> None:
        """Do nothing."""
'''
_WORKFLOW = """
workflow:
  name: one_task
  tasks:
    - id: noop
      agent_type: noop_agent
"""
_SCRIPT = "import podium; podium.run('workflow.yaml', agents=['agent.py:Noop'])"
_PODIUM = [sys.executable, "-m", "podium"]
COMMANDS = {
    RUN: [*_PODIUM, "run", "workflow.yaml", "--agents", "agent.py:Noop"],
    "podium.run() in a script": [sys.executable, "-c", _SCRIPT],
    "podium --version": [*_PODIUM, "--version"],
    'python -c "import podium"': [sys.executable, "-c", "import podium"],
    BARE: [sys.executable, "-c", "pass"],
}


def measure(setup: Setup) -> list[Figure]:
    """Run each command in turns, each time in a folder of its own."""
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(-1, setup.runs):  # the first fills the caches: of byte code and of the disk
        for number, name in enumerate(found):
            folder = setup.folder / f"cold-{run}-{number}"
            seconds = _seconds(COMMANDS[name], folder)
            if run >= 0:
                found[name].append(seconds)
    return [
        Figure(
            workload="W4", name=name, unit="s", runs=tuple(runs), better="less", asked=1.0 if name == RUN else None,
            beside=BARE if name != BARE else "", is_limit=name != RUN,
        )
        for name, runs in found.items()
    ]  # fmt: skip


def _seconds(command: list[str], folder: Path) -> float:
    folder.mkdir()
    (folder / "agent.py").write_text(_AGENT, encoding="utf-8")
    (folder / "workflow.yaml").write_text(_WORKFLOW, encoding="utf-8")
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return seconds


WORKLOAD = Workload("W4", "cold start: from a fresh process and folder to the end of one task", measure)
