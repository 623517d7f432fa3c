"""Virtual time as tests and simulations have it: with one source of chance, and processes that can stand still.

For anything that waits: a lease of 15 seconds or a timer of a day takes microseconds, and all is the same each time.
The loop itself is `podium.simulation.virtual`'s.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from podium.clock import VirtualClock
from podium.simulation import virtual
from podium.simulation.virtual import DeadlockError, EndlessError, UnhandledError, run_on, where
from podium.testing.processes import Step, process_of

T = TypeVar("T")
_LOOK_SECONDS = 10.0


class VirtualLoop(virtual.VirtualLoop):
    """The loop. `clock` is its time, `chance` the one source of chance of what runs on it."""

    def __init__(self, seed: int = 0, clock: VirtualClock | None = None) -> None:
        super().__init__(clock)
        self.chance = random.Random(seed)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Call soon, in the process that asks for it."""
        process = process_of(context)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        step = Step(process, callback, args)
        step.handle = super().call_soon(step, context=context)
        return step.handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]
        """Call at a time, in the process that asks for it."""
        process = process_of(context)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        step = Step(process, callback, args)
        step.handle = handle = super().call_at(when, step, context=context)
        return handle

    def create_task(self, coro: Any, **about: Any) -> asyncio.Task[Any]:
        """Start a task, in the process that asks for it."""
        task = super().create_task(coro, **about)
        process = process_of(about.get("context"))
        if process is not None:
            process.take(task)
        return task

    def resume(self, handle: asyncio.Handle) -> None:
        """Make a call that was put off, unless it was cancelled meanwhile."""
        if not handle.cancelled():
            self._ready.append(handle)  # type: ignore[attr-defined]


def run_virtually(work: Coroutine[Any, Any, T], seed: int = 0, clock: VirtualClock | None = None) -> T:
    """Run a coroutine to its end on a loop of its own, as `asyncio.run` does, in no time.

    Raises DeadlockError when it waits for what will never come, UnhandledError when something failed unseen.
    """
    return run_on(VirtualLoop(seed, clock), work)


def virtual_loop() -> VirtualLoop:
    """Return the virtual loop that runs. Raises RuntimeError on any other."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise RuntimeError("this needs virtual time: start it with run_virtually")
    return loop


async def first_of(tasks: Collection[asyncio.Task[Any]], seconds: float) -> bool:
    """Wait until one of these has ended, for at most so many seconds; return whether one has.

    When the clock leaps, no time has passed in which anybody could have done anything: that counts as one look.
    """
    for _ in range(max(1, round(seconds / _LOOK_SECONDS))):
        done, _ = await asyncio.wait(tasks, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return True
    return False


__all__ = [
    "DeadlockError", "EndlessError", "UnhandledError", "VirtualLoop", "first_of", "run_virtually", "virtual_loop",
    "where",
]  # fmt: skip
