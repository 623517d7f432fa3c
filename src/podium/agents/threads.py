"""The threads that one agent's plain functions run in: at most one a slot, made when needed, kept for the next.

They are daemons on purpose: a function that never returns must not keep the process from ending (the standard
library's executor joins its threads at exit). Nothing here stops a thread; that can't be done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

logger = logging.getLogger(__name__)

Work = Callable[[], None]


class Threads:
    """A bounded pool of daemon threads; the caller gives it no more work at a time than `limit`."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0
        self._closed = False

    def submit(self, work: Work) -> None:
        """Run this in a thread; it must not raise."""
        self._work.put(work)
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            self._count += 1
            threading.Thread(target=self._run, name=f"{self._name} thread {self._count}", daemon=True).start()

    def close(self) -> None:
        """Let the threads end when they have done what they do; waits for none."""
        if not self._closed:
            self._closed = True
            for _ in range(self._count):
                self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except BaseException:  # a thread of the pool outlives whatever its work does
                logger.exception("a piece of work raised in %s", threading.current_thread().name)
            del work  # what it holds must not live until the next comes
            self._idle.release()
