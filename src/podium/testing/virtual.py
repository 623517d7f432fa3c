"""An asyncio event loop on virtual time: it never blocks, jumps to the next call when nothing is ready, and is the same
each time.

For tests and simulations of anything that waits: a lease of 15 seconds or a timer of a day takes microseconds. There
are no threads and no sockets on it; who waits for something that nobody will ever do is told so, by name, instead of
hanging.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from asyncio import base_events
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from math import ceil
from typing import Any, TypeVar

from podium.clock import VirtualClock
from podium.testing.processes import Step, process_of

T = TypeVar("T")
_SHOWN = 20


class DeadlockError(RuntimeError):
    """Nothing is ready and nothing is scheduled: the tasks that are left wait for ever."""


class EndlessError(RuntimeError):
    """Something goes round and round: the loop has turned far more often than anything needs."""


class UnhandledError(RuntimeError):
    """Something failed where nobody looked: a callback, or a task whose exception was never asked for."""


class _Jumps:
    """Stands where a loop's selector is: instead of waiting for files it moves the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        self.turns += 1
        if self.turns > self._loop.max_turns:
            raise EndlessError(f"the loop turned {self.turns} times; these are alive: {_alive(self._loop)}")
        if timeout is None:
            raise DeadlockError(f"nothing is ready and nothing is scheduled; these wait for ever: {_alive(self._loop)}")
        if timeout > 0:
            self._loop.clock.advance(ceil(timeout * 1_000_000))
        return []


class VirtualLoop(base_events.BaseEventLoop):
    """The loop. `clock` is its time, `chance` the one source of chance of what runs on it."""

    def __init__(self, seed: int = 0, clock: VirtualClock | None = None) -> None:
        super().__init__()
        self.max_turns = 3_000_000
        self.clock = clock or VirtualClock()
        self.chance = random.Random(seed)
        self.unhandled: list[str] = []
        self._began_us = self.clock.now_us()
        self._selector = _Jumps(self)
        self._clock_resolution = 1e-6
        self.set_exception_handler(_keep_unhandled)

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return (self.clock.now_us() - self._began_us) / 1_000_000

    # --- processes -----------------------------------------------------------------------------------------------

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

    @property
    def turns(self) -> int:
        """How often it has turned."""
        return self._selector.turns

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Refuse: what a thread does isn't the same each time."""
        raise RuntimeError(f"no threads on virtual time: {getattr(func, '__qualname__', func)}")

    def _process_events(self, event_list: Any) -> None:
        """There are no files, so no events."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector who would have to be woken."""


def run_virtually(work: Coroutine[Any, Any, T], seed: int = 0, clock: VirtualClock | None = None) -> T:
    """Run a coroutine to its end on a loop of its own, as `asyncio.run` does, in no time.

    Raises DeadlockError when it waits for what will never come, UnhandledError when something failed unseen.
    """
    loop = VirtualLoop(seed, clock)
    try:
        result = loop.run_until_complete(work)
        _end_tasks(loop)
        if loop.unhandled:
            raise UnhandledError("; ".join(loop.unhandled))
        return result
    finally:
        work.close()
        _end_tasks(loop)
        asyncio.set_event_loop(None)
        loop.close()


def virtual_loop() -> VirtualLoop:
    """Return the virtual loop that runs. Raises RuntimeError on any other."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise RuntimeError("this needs virtual time: start it with run_virtually")
    return loop


def _end_tasks(loop: VirtualLoop) -> None:
    """Cancel what is left, in the order of its names, until nothing is."""
    while left := sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
        for task in left:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, DeadlockError, EndlessError):
            loop.max_turns += 100_000
            loop.run_until_complete(asyncio.wait(left, timeout=60))
        if any(not task.done() for task in left):
            raise DeadlockError(
                f"these tasks ignore their cancellation: {', '.join(t.get_name() for t in left if not t.done())}"
            )


def _keep_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    told = (
        f"{context.get('message')}: {type(error).__name__}: {error}"
        if error is not None
        else str(context.get("message"))
    )
    task = context.get("future") or context.get("task")
    if isinstance(task, asyncio.Task):
        told = f"{task.get_name()}: {told}"
    if isinstance(loop, VirtualLoop):
        loop.unhandled.append(told)


def _alive(loop: VirtualLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    names = [f"{task.get_name()} at {where(task)}" for task in tasks]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def where(task: asyncio.Task[Any]) -> str:
    """Return where a task waits: its innermost frame."""
    frames = list(_frames(task.get_coro()))
    return f"{frames[-1].f_code.co_qualname} line {frames[-1].f_lineno}" if frames else "its end"


def _frames(waiting: Any) -> Iterator[Any]:
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            yield frame
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
