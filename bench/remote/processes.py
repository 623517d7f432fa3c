"""Processes beside a measured one: agents, bare responders, a fleet that only beats. Each tells in a line when it is
up, and ends when its standard input does, so that none outlives who started it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podium.settings import Settings

AGENT_PROCESSES = 4
END_SECONDS = 15.0


def settings_in(folder: Path) -> Settings:
    """Return the settings of `podium up` in an empty folder: all at their defaults but the ports, of which free ones
    are taken, and HTTP, which nobody asks here.
    """
    return Settings(database=str(folder / "podium.db"), data=str(folder), nats="127.0.0.1:0", http="", metrics="")


@contextmanager
def processes(module: str, *arguments: str, count: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Start `python -m module` so many times; when the block begins each of them has said a line."""
    command = [sys.executable, "-m", module, *arguments]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        for process in started:
            said(process)
        yield started
    finally:
        for process in started:
            if process.stdin is not None:
                process.stdin.close()
        for process in started:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line of a process. Raises RuntimeError if it has ended instead."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError(f"a process ended before it was ready: {process.args}")
    return line.strip()


async def until_input_ends() -> None:
    """Return when who started this process closes its input, or has died."""
    await asyncio.to_thread(sys.stdin.read)


def say(text: str) -> None:
    """Tell who started this process."""
    print(text, flush=True)
