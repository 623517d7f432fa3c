"""The agents of the long run. Each effect is a line in the ledger; each result follows from the arguments alone, so
that the client knows what it must be.

They run in a folder: `effects` is the ledger, `gates` has a file for each gate that is open.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeVar

from podium.agents.context import Context
from podium.agents.sdk import agent, task
from podium.exceptions import AgentError
from podium.testing.ledger import Effect, FileLedger

EFFECTS = FileLedger("effects")
GATES = Path("gates")
T = TypeVar("T")
BIG = 20_000  # characters of a large result


@agent(type="soaker", slots=6)
class Soaker:
    """Does what the workflows of the long run are made of."""

    @task
    async def work(self, token: str, context: Context, seconds: float = 0.0) -> str:
        """Take so long, and return the token."""
        if seconds:
            await asyncio.sleep(seconds)
        return _done(context, token)

    @task
    async def numbers(self, count: int, context: Context) -> list[int]:
        """Return 1 to `count`."""
        return _done(context, list(range(1, count + 1)))

    @task
    async def double(self, item: int, context: Context) -> int:
        """Return twice as much."""
        await asyncio.sleep(0.05)
        return _done(context, item * 2)

    @task
    async def add(self, doubled: list[int], context: Context) -> int:
        """Return the sum."""
        return _done(context, sum(doubled))

    @task
    async def flaky(self, token: str, failures: int, context: Context) -> str:
        """Fail in the first attempts."""
        if context.attempt <= failures:
            raise AgentError(f"attempt {context.attempt} fails on purpose")
        return _done(context, token)

    @task
    async def gate(self, token: str, context: Context) -> str:
        """Fail unless the gate of this name is open."""
        if not await asyncio.to_thread((GATES / token).exists):
            raise AgentError("the gate is closed")
        return _done(context, token)

    @task
    async def big(self, token: str, context: Context) -> str:
        """Return a text that is kept as a blob."""
        return _done(context, (token * (BIG // len(token) + 1))[:BIG])

    @task
    def threaded(self, token: str, context: Context) -> str:
        """Return the token, from a thread."""
        return _done(context, token)


def _done(context: Context, result: T) -> T:
    EFFECTS.record(Effect(context.idempotency_key, context.attempt_id))
    return result
