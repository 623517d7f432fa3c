"""Projections: whoever follows the log by cursor is given every committed row, each shard's in order, at least once.

What the engine has just committed is handed over from memory; what was missed (a start, a reader that fell behind) is
read from the store. The reader's place is saved now and then, so that a crash gives it some rows again and none never.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from podium.engine import events as ev
from podium.engine.arrivals import Batch
from podium.exceptions import StoreUnavailableError
from podium.ids import SHARDS
from podium.store.protocol import LogRow, Store
from podium.telemetry.logs import get_logger

MOST_WAITING = 20_000  # rows in memory; a reader that is further behind reads the store
TAKEN_AT_ONCE = 500
SAVE_SECONDS = 5.0  # a save is a commit for each shard that has moved
PAUSE_SECONDS = 0.5
_BEGUN = "begun"  # the cursor that says that a reader's place in all shards was set once
_log = get_logger("podium.engine")

Row = tuple[LogRow, list[ev.Event] | None]  # with its events where they are at hand
Take = Callable[[Sequence[Row]], Awaitable[None]]


class Projection:
    """One reader of the whole log. `start` it with the engine's commits from then on, `stop` it before the store."""

    def __init__(self, store: Store, name: str, take: Take) -> None:
        """`take` is given rows in order; when it returns they count as dealt with. It may raise StoreUnavailableError:
        then it is given them again.
        """
        self._store = store
        self._name = name
        self._take = take
        self._waiting: deque[Row] = deque()
        self._behind = True
        self._busy = True
        self._places: dict[int, int] = {}
        self._saved: dict[int, int] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Go on where this reader was; the first time, begin with what is committed from now on."""
        begun = await self._store.cursor(f"{self._name}.{_BEGUN}", 0)
        for shard in range(SHARDS):
            self._places[shard] = await self._store.cursor(self._name, shard)
        if not begun:
            for row in await self._store.shards():
                self._places[row.shard] = row.position
                await self._store.save_cursor(self._name, row.shard, row.position)
            await self._store.save_cursor(f"{self._name}.{_BEGUN}", 0, 1)
        self._saved = dict(self._places)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._read(), name=f"podium-projection-{self._name}"),
            loop.create_task(self._save_now_and_then(), name=f"podium-projection-{self._name}-saves"),
        ]

    async def stop(self) -> None:
        """Read no more, and save the place. Safe twice."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            try:
                await self._save()
            except StoreUnavailableError as error:
                _log.warning("a reader's place could not be saved", reader=self._name, error=str(error))

    def landed(self, batch: Batch) -> None:
        """Take what was just committed; to be called in the order of commits."""
        if len(self._waiting) + len(batch.rows) > MOST_WAITING:
            self._waiting.clear()
            self._behind = True
        else:
            self._waiting.extend((row, decided.events) for row, decided in zip(batch.rows, batch.decided, strict=True))
        self._wake.set()

    @property
    def lag(self) -> int:
        """How many rows in memory wait to be taken."""
        return len(self._waiting)

    @property
    def failure(self) -> BaseException | None:
        """Why the reader ended by itself, if it did."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None

    async def caught_up(self) -> None:
        """Return when everything that was committed before the call has been taken."""
        while self._behind or self._waiting or self._busy:  # noqa: ASYNC110 - for stops and tests; the reader has no such event
            await asyncio.sleep(0.005)

    async def _read(self) -> None:
        while True:
            self._busy = True  # until everything is taken that there is
            try:
                if self._behind:
                    self._behind = False
                    await self._catch_up()
                elif self._waiting:
                    count = min(len(self._waiting), TAKEN_AT_ONCE)
                    await self._take_new([self._waiting.popleft() for _ in range(count)])
                else:
                    self._busy = False
                    self._wake.clear()
                    await self._wake.wait()
                    await asyncio.sleep(0)  # what the commit lets out to agents goes first
            except StoreUnavailableError as error:
                self._behind = True  # what was not taken is read again from the place where this reader is
                _log.warning("the log can't be read", reader=self._name, error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)

    async def _catch_up(self) -> None:
        for shard in range(SHARDS):
            while rows := await self._store.follow(shard, self._places[shard], TAKEN_AT_ONCE):
                await self._take_new([(row, None) for row in rows])

    async def _take_new(self, rows: Sequence[Row]) -> None:
        """Take the rows that weren't taken yet; where one is missing before them, read the store first."""
        new: list[Row] = []
        places = dict(self._places)
        for row in rows:
            shard, position = row[0].shard, row[0].position
            if position > places[shard] + 1:
                self._behind = True
                break
            if position == places[shard] + 1:
                places[shard] = position
                new.append(row)
        if new:
            await self._take(new)
            self._places = places

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            try:
                await self._save()
            except StoreUnavailableError as error:
                _log.warning("a reader's place could not be saved", reader=self._name, error=str(error))

    async def _save(self) -> None:
        for shard, position in self._places.items():
            if position > self._saved.get(shard, 0):
                await self._store.save_cursor(self._name, shard, position)
                self._saved[shard] = position
