"""`podium agent --reload`: the same command in a process of its own, started anew whenever a Python file changes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from podium.cli.printing import complain, wrapped

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 15.0  # for tasks to end, before the old process is killed
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


def run_reloading(specs: Iterable[str]) -> int:
    """Run this command without `--reload` again and again; return the code of its last run, once that was stopped."""
    command = [sys.executable, "-m", "podium", *(word for word in sys.argv[1:] if word != "--reload")]
    folders = sorted({Path.cwd(), *(Path(spec.partition(":")[0]).parent.resolve() for spec in specs if "/" in spec)})
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    while True:
        before = _seen(folders)
        child = subprocess.Popen(command, start_new_session=True)
        changed = _wait(child, folders, before, asked)
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if asked.is_set():
            return max(child.returncode, 0)
        if changed is None:
            complain(wrapped(f"the agent ended with code {child.returncode}; it is started again at the next change"))
            changed = _next_change(folders, _seen(folders), asked)
            if changed is None:
                return max(child.returncode, 0)
        complain(wrapped(f"{changed} has changed: the agents start again"))


def _wait(
    child: subprocess.Popen[bytes], folders: list[Path], before: dict[Path, int], asked: threading.Event
) -> Path | None:
    """Return the file that changed first; None when the process ended or a stop was asked for."""
    while child.poll() is None and not asked.wait(LOOK_SECONDS):
        changed = _changed(before, _seen(folders))
        if changed is not None:
            return changed
    return None


def _next_change(folders: list[Path], before: dict[Path, int], asked: threading.Event) -> Path | None:
    while not asked.wait(LOOK_SECONDS):
        changed = _changed(before, _seen(folders))
        if changed is not None:
            return changed
    return None


def _seen(folders: list[Path]) -> dict[Path, int]:
    """Return the Python files and when each was written."""
    found: dict[Path, int] = {}
    for folder in folders:
        for path in folder.rglob("*.py"):
            inside = path.relative_to(folder).parts[:-1]
            if any(part in _LEFT_OUT or part.startswith(".") for part in inside):
                continue
            try:
                found[path] = path.stat().st_mtime_ns
            except OSError:
                continue
    return found


def _changed(before: dict[Path, int], after: dict[Path, int]) -> Path | None:
    for path in after.keys() | before.keys():
        if before.get(path) != after.get(path):
            return path
    return None
