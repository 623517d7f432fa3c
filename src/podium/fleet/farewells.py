"""Agents that have said farewell to all replicas, and are part of the fleet for a moment still.

Their last results are in another queue, perhaps on their way through another replica: whoever had them leave at once
would take for lost what they have finished or handed back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LEFT_SECONDS = 0.5


class Farewells:
    """`say` each, `cancel` what has become of it otherwise, `end` before the loop goes."""

    def __init__(self, leave: Callable[[str, str], bool]) -> None:
        """`leave` has this incarnation of an agent leave; False when there is no room for that now."""
        self._leave = leave
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def say(self, agent: str, incarnation: str) -> None:
        """An agent leaves soon."""
        self.cancel(agent)
        loop = asyncio.get_running_loop()
        self._timers[agent] = loop.call_later(LEFT_SECONDS, self._left, agent, incarnation)

    def cancel(self, agent: str) -> None:
        """It has left, or is another one by now."""
        timer = self._timers.pop(agent, None)
        if timer is not None:
            timer.cancel()

    def end(self) -> None:
        """Nobody leaves any more."""
        for agent in tuple(self._timers):
            self.cancel(agent)

    def _left(self, agent: str, incarnation: str) -> None:
        del self._timers[agent]
        if not self._leave(agent, incarnation):
            self.say(agent, incarnation)
