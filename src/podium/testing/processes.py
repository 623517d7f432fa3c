"""Processes on a virtual loop: what runs in one can stand still, as after SIGSTOP, go on, and be killed, while the rest
of the world goes on.

Whatever a process starts belongs to it: the loop asks in whose context a call is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from podium.testing.virtual import VirtualLoop

T = TypeVar("T")
_current: ContextVar[Process | None] = ContextVar("simulated_process", default=None)
_MANY = 256


def process_of(context: Context | None) -> Process | None:
    """Return the process that a call in this context (None: the present one) belongs to."""
    return _current.get() if context is None else context.get(_current)


class Step:
    """One call that a process has to make. `handle` is the loop's."""

    __slots__ = ("_arguments", "_callback", "_process", "handle")

    def __init__(self, process: Process, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._process = process
        self._callback = callback
        self._arguments = arguments
        self.handle: asyncio.Handle

    def __call__(self) -> None:
        """Make the call, now or when the process goes on; never once it is over."""
        if self._process.stands:
            self._process.put_off(self)
        elif not self._process.over:
            self._callback(*self._arguments)


class Process:
    """One process of a simulated world."""

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self.name = name
        self.outside = copy_context()
        self.stands = False
        self.over = False
        self._loop = loop
        self._context = copy_context()
        self._context.run(_current.set, self)
        self._tasks: list[asyncio.Task[Any]] = []
        self._put_off: list[Step] = []

    @property
    def context(self) -> Context:
        """The context of a call that is made in this process."""
        return self._context.copy()

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task in it."""
        return self._loop.create_task(work, name=name, context=self.context)

    def take(self, task: asyncio.Task[Any]) -> None:
        """Count a task as this process'."""
        if len(self._tasks) > _MANY:
            self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)

    # --- what happens to it --------------------------------------------------------------------------------------

    def stand(self) -> None:
        """Stand still: what it has to do waits."""
        self.stands = True

    def move(self) -> None:
        """Go on, with what it would have done meanwhile, in that order."""
        self.stands = False
        waiting, self._put_off = self._put_off, []
        for step in waiting:
            self._loop.resume(step.handle)

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        """What runs in it."""
        return [task for task in self._tasks if not task.done()]

    async def end(self) -> None:
        """Clear away what is left of it."""
        self.move()
        while left := self.tasks:
            for task in left:
                task.cancel()
            await asyncio.wait(left)
        self.over = True

    def put_off(self, step: Step) -> None:
        """Keep a call until it goes on."""
        self._put_off.append(step)
