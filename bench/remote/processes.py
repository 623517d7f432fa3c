"""Processes beside a measured one: agents, bare responders, clients, a fleet that only beats. Each tells in a line when
it is up, and ends when it is told to, so that none outlives who started it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from podium.settings import Settings

AGENT_PROCESSES = 4
END_SECONDS = 20.0


def settings_in(folder: Path) -> Settings:
    """Return the settings of `podium up` in an empty folder: all at their defaults but its addresses, of which free
    ones are taken.
    """
    return Settings(
        database=str(folder / "podium.db"),
        data=str(folder),
        nats="127.0.0.1:0",
        http="127.0.0.1:0",
        metrics="127.0.0.1:0",
    )


def agent_command(url: str) -> list[str]:
    """Return the command of an agent that does nothing, as a user starts one."""
    return ["podium", "agent", "bench.flows:Noop", "--bus", url, "--json"]


@contextmanager
def processes(command: Sequence[str], count: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Start `python -m` of a command so many times; when the block begins each of them has said a line."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        for process in started:
            said(process)
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.communicate(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line of a process. Raises RuntimeError if it has ended instead."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError(f"a process ended before it said what it was to say: {process.args!s}")
    return line.strip()


async def until_input_ends() -> None:
    """Return when who started this process closes its input, or has died."""
    await asyncio.to_thread(sys.stdin.read)


def say(text: str) -> None:
    """Tell who started this process."""
    print(text, flush=True)
