"""Watching executions: committed events handed to whoever looks, each with a queue of its own that has a bound.

Who doesn't keep up isn't waited for: the queue is emptied and the watcher told to look at the store again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from msgspec import Struct

from podium.engine import events as ev
from podium.engine.arrivals import Batch
from podium.exceptions import PodiumError
from podium.workflow.model import ExecutionStatus

MAX_NEWS = 10_000


class News(Struct, frozen=True):
    """One committed row: its first sequence, its time, its events, and the execution's status after the batch."""

    sequence: int
    now_us: int
    events: list[ev.Event]
    status: ExecutionStatus


class Watch:
    """One watcher's queue."""

    def __init__(self, watchers: Watchers, execution: str) -> None:
        self._watchers = watchers
        self.execution = execution
        self._news: deque[News] = deque()
        self._lost = False
        self._there = asyncio.Event()
        self._error: PodiumError | None = None

    async def next(self) -> News | None:
        """Wait for the next news; None when some were lost and the store must be asked. Raises when the engine ends."""
        while not self._news and not self._lost:
            if self._error is not None:
                raise self._error
            self._there.clear()
            await self._there.wait()
        if self._lost:
            self._lost = False
            return None
        return self._news.popleft()

    def put(self, news: News) -> None:
        """Hand over news."""
        if len(self._news) >= MAX_NEWS:
            self.lose()
        else:
            self._news.append(news)
            self._there.set()

    def lose(self) -> None:
        """What came may not be all that there is: have the store asked."""
        self._news.clear()
        self._lost = True
        self._there.set()

    def end(self, error: PodiumError) -> None:
        """No news will come any more."""
        self._error = error
        self._there.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchers.forget(self)


class Watchers:
    """Everybody who watches, by execution."""

    def __init__(self) -> None:
        self._watching: dict[str, list[Watch]] = {}
        self._commits: list[asyncio.Future[None]] = []
        self._error: PodiumError | None = None

    def watch(self, execution: str) -> Watch:
        """Begin to watch an execution."""
        watch = Watch(self, execution)
        if self._error is not None:
            watch.end(self._error)
        self._watching.setdefault(execution, []).append(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        """End a watch. Once more changes nothing."""
        watching = self._watching.get(watch.execution, [])
        if watch in watching:
            watching.remove(watch)
        if not watching:
            self._watching.pop(watch.execution, None)

    def committed(self, landed: Batch) -> None:
        """Tell the watchers what a batch brought."""
        if self._watching:
            for row, decided in zip(landed.rows, landed.decided, strict=True):
                for watch in self._watching.get(row.execution, ()):
                    watch.put(News(row.sequence, row.now_us, decided.events, landed.status_of[row.execution]))
        self._ring()

    @property
    def watched(self) -> list[str]:
        """The executions that somebody watches."""
        return list(self._watching)

    def unsure(self, executions: Iterable[str]) -> None:
        """An append that was reported as failed may have been committed: who watches these must ask the store."""
        for execution in executions:
            for watch in self._watching.get(execution, ()):
                watch.lose()
        self._ring()

    async def next_commit(self) -> None:
        """Wait for the next commit."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.append(future)
        await future

    def close(self, error: PodiumError) -> None:
        """Tell everybody that the engine has ended."""
        self._error = error
        for watching in self._watching.values():
            for watch in watching:
                watch.end(error)
        self._ring()

    def _ring(self) -> None:
        commits, self._commits = self._commits, []
        for future in commits:
            if not future.done():
                future.set_result(None)
