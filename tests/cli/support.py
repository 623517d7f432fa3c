"""Calls `podium` as a person does: in a process of its own, or quickly within this one; and waits for conditions."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 30.0
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# Each step is written down when it is done; `gate` holds until somebody makes the file `go`.
LEDGER = """
import asyncio
from pathlib import Path

from podium.agents.sdk import Context, task


def note(text):
    with open("ledger.txt", "a", encoding="utf-8") as ledger:
        ledger.write(f"{text}\\n")


@task
async def step(name: str) -> str:
    note(name)
    return name


@task
async def gate(context: Context, name: str = "gate") -> str:
    note(f"{name} begun")
    context.progress(0.5, "half way")
    context.logger.info("waiting at the gate", attempt=context.attempt)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    note(f"{name} passed")
    return name


@task
async def chatter(lines: int = 3) -> None:
    print("printed by a task")
"""

GATED = """
name: gated
tasks:
  - {id: first, agent: ledger, function: step, input: {name: first}}
  - {id: held, agent: ledger, function: gate, depends_on: [first]}
  - {id: last, agent: ledger, function: step, depends_on: [held], input: {name: last}}
"""

NOOP = "name: tiny\ntasks:\n  - {id: one, agent: noop}\n"
FAILS = """
name: fails
tasks:
  - {id: wrong, agent: fail, input: {message: no luck}}
  - {id: after, agent: noop, depends_on: [wrong]}
"""
GATED_RUN = ("run", "gated.yaml", "--agents", "ledger.py")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child: 80 columns, nothing of Podium's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PODIUM_")}
    for name in ("NO_COLOR", "DATABASE_URL"):
        kept.pop(name, None)
    return {**kept, "COLUMNS": "80", "LINES": "24", "PYTHONUNBUFFERED": "1", **more}


class Running:
    """A `podium` that runs; its lines are read as they come."""

    def __init__(self, folder: Path, *arguments: str, **more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "podium", *arguments],
            cwd=folder, env=environment(**more), text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.out: list[str] = []
        self.err: list[str] = []
        self._news: queue.Queue[None] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))
                self._news.put(None)

    def until(self, text: str) -> str:
        """Wait for a line with this text, on either stream, and return it."""

        def found() -> str | None:
            return next((line for line in [*self.out, *self.err] if text in line), None)

        return str(eventually(found, f"{text!r} in {self}"))

    @property
    def id(self) -> str:
        """The execution's id, from the line that says it."""
        said = re.compile(rf"^execution ({ID.pattern})")

        def found() -> str | None:
            return next((match[1] for line in [*self.err, *self.out] if (match := said.match(line))), None)

        return str(eventually(found, f"the id in {self}"))

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(DEADLINE_SECONDS)
        for reader in self._readers:
            reader.join(DEADLINE_SECONDS)
        return code

    def end(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def __repr__(self) -> str:
        return f"out: {self.out}, err: {self.err}"


class Shell:
    """A folder in which `podium` is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[Running] = []
        for name, content in (("ledger.py", LEDGER), ("gated.yaml", GATED), ("noop.yaml", NOOP), ("fails.yaml", FAILS)):
            (folder / name).write_text(content, encoding="utf-8")

    def start(self, *arguments: str, **more: str) -> Running:
        """Start `podium` and return at once."""
        running = Running(self.folder, *arguments, **more)
        self._running.append(running)
        return running

    def __call__(self, *arguments: str, code: int = 0, **more: str) -> Running:
        """Run `podium` to its end; it must end with this exit code."""
        running = self.start(*arguments, **more)
        assert running.wait() == code, running
        return running

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run `podium … --json` and return its one document."""
        return json.loads("\n".join(self(*arguments, "--json", code=code).out))

    def status(self, execution: str = "last") -> str:
        """Return an execution's status."""
        return str(self.json("status", execution)["status"])

    @property
    def ledger(self) -> list[str]:
        """What the steps have written down."""
        path = self.folder / "ledger.txt"
        return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []

    def open_gate(self) -> None:
        """Let what waits at the gate go on."""
        (self.folder / "go").touch()

    def held(self) -> Running:
        """Start the gated workflow and wait until it is held at the gate."""
        running = self.start(*GATED_RUN)
        eventually(lambda: "gate begun" in self.ledger, f"the gate, {running}")
        return running

    def close(self) -> None:
        """End what still runs."""
        for running in self._running:
            running.end()


def eventually(condition: Callable[[], Any], what: str = "a condition", seconds: float = DEADLINE_SECONDS) -> Any:
    """Return the condition's first true value; fail when it has none in time."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not in {seconds} s: {what}")
        time.sleep(0.01)


def too_wide(lines: list[str], width: int = 80) -> Iterator[str]:
    """Yield the lines that are wider, but for those whose one long word can't be parted."""
    for line in lines:
        if len(line) > width and max(len(word) for word in line.split()) <= width // 2:
            yield line
