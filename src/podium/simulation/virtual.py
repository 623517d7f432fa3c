"""An asyncio event loop on virtual time: instead of waiting it moves its clock to the next call.

There are no threads and no sockets on it; who waits for something that nobody will ever do is told so, by name, instead
of hanging. A paced loop does the same, and keeps to a real clock's pace meanwhile. `podium.testing` builds its worlds,
with chance and processes, on this.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from asyncio import base_events
from collections.abc import Callable, Coroutine, Iterator
from math import ceil
from typing import Any, TypeVar

from podium.clock import Clock, SystemClock, VirtualClock

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
            self._loop.pass_time(self._loop.microseconds(timeout))
        return []


class VirtualLoop(base_events.BaseEventLoop):
    """The loop. `clock` is its time."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        super().__init__()
        self.max_turns = 3_000_000
        self.clock = clock or VirtualClock()
        self.unhandled: list[str] = []
        self._began_us = self.clock.now_us()
        self._selector = _Jumps(self)
        self._clock_resolution = 1e-6
        self.set_exception_handler(_keep_unhandled)

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return (self.clock.now_us() - self._began_us) / 1_000_000

    def pass_time(self, by_us: int) -> None:
        """Let so many microseconds pass, in which nothing is to be done."""
        self.clock.advance(by_us)

    def microseconds(self, seconds: float) -> int:
        """Return for how long to wait, if it is so many seconds to the next call: it must have come then."""
        return ceil(seconds * 1_000_000)

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


class ExactLoop(VirtualLoop):
    """Virtual time in which a time that is a whole microsecond stays one, whatever a difference's last digit says."""

    def microseconds(self, seconds: float) -> int:
        """Return the microseconds, with a nanosecond's allowance for rounding."""
        return ceil(seconds * 1_000_000 - 1e-3)


class PacedLoop(ExactLoop):
    """Virtual time that passes no faster than `speed` times as fast as real time.

    What happens, and at which virtual time, is the same as without a pace; what takes longer to compute is caught up.
    """

    def __init__(self, speed: float, clock: VirtualClock | None = None, real: Clock | None = None) -> None:
        super().__init__(clock)
        self._speed = speed
        self._real = real or SystemClock()
        self._real_began_us = self._real.now_us()

    def pass_time(self, by_us: int) -> None:
        """Let the time pass, in reality too."""
        super().pass_time(by_us)
        passed_us = (self.clock.now_us() - self._began_us) / self._speed
        early_us = self._real_began_us + passed_us - self._real.now_us()
        if early_us > 0:
            time.sleep(early_us / 1_000_000)


def run_on(loop: VirtualLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop, which is closed then.

    Raises DeadlockError when it waits for what will never come, UnhandledError when something failed unseen.
    """
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
