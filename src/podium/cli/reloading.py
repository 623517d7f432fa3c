"""`podium agent --reload`: the same command in a process of its own, started anew whenever a Python file changes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from podium.cli.printing import complain, wrapped
from podium.cli.watching import LOOK_SECONDS, Seen, first_change, seen, watched_folders

PATIENCE_SECONDS = 15.0  # for tasks to end, before the old process is killed


def run_reloading(specs: Iterable[str]) -> int:
    """Run this command without `--reload` again and again; return the code of its last run, once that was stopped."""
    command = [sys.executable, "-m", "podium", *(word for word in sys.argv[1:] if word != "--reload")]
    folders = watched_folders(specs)
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    while True:
        before = seen(folders)
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
            changed = _next_change(folders, seen(folders), asked)
            if changed is None:
                return max(child.returncode, 0)
        complain(wrapped(f"{changed} has changed: the agents start again"))


def _wait(child: subprocess.Popen[bytes], folders: list[Path], before: Seen, asked: threading.Event) -> Path | None:
    """Return the file that changed first; None when the process ended or a stop was asked for."""
    while child.poll() is None and not asked.wait(LOOK_SECONDS):
        changed = first_change(before, seen(folders))
        if changed is not None:
            return changed
    return None


def _next_change(folders: list[Path], before: Seen, asked: threading.Event) -> Path | None:
    while not asked.wait(LOOK_SECONDS):
        changed = first_change(before, seen(folders))
        if changed is not None:
            return changed
    return None
