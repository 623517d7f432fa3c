"""Agents that a replica hears and doesn't know, while another one leads: asked to register, should they stay unknown.

The leader is given the time to do that. Then they are asked by a timer, not at their next word, which may be half a
minute away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from podium.exceptions import TransportClosedError

KEPT = 20_000


class Strangers:
    """`seen` of each, `known` once it is, `end` before the loop goes."""

    def __init__(self, ask: Callable[[str, str], Awaitable[None]], patience_seconds: float) -> None:
        """`ask` has an agent register again, by its own word for its incarnation."""
        self._ask = ask
        self._patience_seconds = patience_seconds
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def seen(self, agent: str, named: str) -> None:
        """An agent isn't known."""
        if agent not in self._timers and len(self._timers) < KEPT:
            loop = asyncio.get_running_loop()
            self._timers[agent] = loop.call_later(self._patience_seconds, self._still_unknown, agent, named)

    def known(self, agent: str) -> None:
        """It is now."""
        timer = self._timers.pop(agent, None)
        if timer is not None:
            timer.cancel()

    def end(self) -> None:
        """Nobody is asked any more."""
        for agent in tuple(self._timers):
            self.known(agent)
        for asking in tuple(self._asking):
            asking.cancel()

    def _still_unknown(self, agent: str, named: str) -> None:
        del self._timers[agent]
        asking = asyncio.get_running_loop().create_task(self._have_asked(agent, named), name="podium-link-asks")
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _have_asked(self, agent: str, named: str) -> None:
        with suppress(TransportClosedError):  # we have stopped: the others go on
            await self._ask(agent, named)
