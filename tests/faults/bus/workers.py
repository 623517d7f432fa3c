# ruff: noqa: ASYNC110, ASYNC240, ASYNC251 - gates are files, and one task is to block its loop
"""The agents of the fault tests on a bus: they run in a folder, write down what they begin and each effect there, and
hold where a file is missing.

`notes` has a line for each beginning: which task, which attempt, in which process. `effects` is the ledger.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from podium.agents.context import Context
from podium.agents.sdk import agent, task
from podium.testing.ledger import Effect, FileLedger

EFFECTS = FileLedger("effects")


def note(what: str, context: Context) -> None:
    """Write down, in one write, that a task has begun."""
    file = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, f"{what} {context.attempt_id} {os.getpid()}\n".encode())
    os.close(file)


def done(context: Context, result: Any) -> Any:
    EFFECTS.record(Effect(context.idempotency_key, context.attempt_id))
    return result


@agent(type="worker", slots=4)
class Worker:
    @task
    async def split(self, context: Context, count: int = 3) -> list[int]:
        note("split", context)
        return done(context, list(range(1, count + 1)))

    @task
    async def double(self, item: int, context: Context) -> int:
        note(f"double-{item}", context)
        return done(context, item * 2)

    @task
    async def join(self, doubled: list[int], context: Context) -> int:
        note("join", context)
        return done(context, sum(doubled))

    @task
    async def gate(self, name: str, context: Context) -> str:
        """Hold until the file `go-NAME` is there."""
        note(name, context)
        while not Path(f"go-{name}").exists():
            await asyncio.sleep(0.01)
        return done(context, name)

    @task
    async def hog(self, name: str, context: Context) -> str:
        """Keep the whole event loop busy until the file `go-NAME` is there."""
        note(name, context)
        while not Path(f"go-{name}").exists():
            time.sleep(0.001)
        return done(context, name)

    @task
    async def deadly(self, context: Context) -> None:
        """Take the whole process along."""
        note("deadly", context)
        os.kill(os.getpid(), signal.SIGKILL)
