"""Projections: whoever follows the log by cursor is given every committed row, each shard's in order, at least once.

What the engine has just committed is handed over from memory; what was missed (a start, a shard that came, a reader
that fell behind) is read from the store. A reader follows the shards that its process owns, and they come and go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from podium.engine import events as ev
from podium.engine.arrivals import Batch
from podium.engine.beginning import begin_now
from podium.exceptions import ConflictError, StoreUnavailableError
from podium.ids import SHARDS
from podium.store.protocol import LogRow, Store
from podium.telemetry.logs import get_logger

MOST_WAITING = 20_000  # rows in memory; a reader that is further behind reads the store
TAKEN_AT_ONCE = 500
SAVE_SECONDS = 5.0  # a save is a commit for each shard that has moved
LOOK_SECONDS = 30.0  # an append whose outcome was unknown isn't handed over: now and then the store is asked
PAUSE_SECONDS = 0.5
LET_FINISH_SECONDS = 1.0  # what is being taken when its shard goes
_log = get_logger("podium.engine")

T = TypeVar("T")
Row = tuple[LogRow, list[ev.Event] | None]  # with its events where they are at hand
Take = Callable[[Sequence[Row]], Awaitable[None]]


class Places(Protocol):
    """Where a reader keeps how far it is in each shard."""

    async def begin(self) -> None:
        """Get ready; called once, before everything else."""
        ...

    async def at(self, shard: int) -> int:
        """Return the position of the last row that is dealt with."""
        ...

    async def save(self, shard: int, position: int) -> bool:
        """Keep the place, with what was made of the rows. False: somebody else was there already, begin again."""
        ...

    def forget(self, shard: int) -> None:
        """The shard is somebody else's now, or is begun again."""
        ...


class Cursors:
    """Places as plain cursors: what was dealt with last before a crash is given again. The first start begins now."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name

    async def begin(self) -> None:
        """The first time ever, begin with what is committed from now on."""
        await begin_now(self._store, self._name)

    async def at(self, shard: int) -> int:
        """Return the saved place."""
        return await self._store.cursor(self._name, shard)

    async def save(self, shard: int, position: int) -> bool:
        """Save the place."""
        await self._store.save_cursor(self._name, shard, position)
        return True

    def forget(self, shard: int) -> None:
        """Do nothing: there is nothing besides the place."""


class Projection:
    """One reader of the log. `start` it with the engine's commits from then on, `stop` it before the store."""

    def __init__(
        self,
        store: Store,
        name: str,
        take: Take,
        places: Places | None = None,
        *,
        save_seconds: float = SAVE_SECONDS,
        patience_seconds: float = 0.0,
    ) -> None:
        """`take` is given rows in order; when it returns they count as dealt with. It may raise StoreUnavailableError:
        then it is given them again. Where `places` are saved together with what `take` made, it must not yield between
        its first change and its return. `patience_seconds`: so long it leaves the moments after shards came to others.
        """
        self.name = name
        self._store = store
        self._take = take
        self._kept = places or Cursors(store, name)
        self._save_seconds = save_seconds
        self._patience_seconds = patience_seconds
        self._waiting: deque[Row] = deque()
        self._arriving: dict[int, None] = {}  # shards whose place isn't known yet
        self._behind: dict[int, None] = {}  # shards to be read from the store
        self._places: dict[int, int] = {}
        self._saved: dict[int, int] = {}
        self._heads: dict[int, int] = {}  # the last committed position, as far as it is known
        self._begins_at = 0.0
        self._busy = True
        self._turn = asyncio.Lock()  # held while rows are taken
        self._wake = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[None] | None = None

    # --- the shards --------------------------------------------------------------------------------------------

    async def start(self, shards: Iterable[int] = range(SHARDS)) -> None:
        """Go on where this reader was, in these shards."""
        await self._kept.begin()
        self.own(shards)
        self._reading = self._begun(self._read(), "reads")
        self._saving = self._begun(self._save_now_and_then(), "saves")

    def _begun(self, work: Coroutine[Any, Any, None], part: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"podium-projection-{self.name}-{part}")
        task.add_done_callback(_say_failure)
        return task

    async def stop(self) -> None:
        """Read no more, and save the place. Safe twice."""
        tasks = [task for task in (self._reading, self._saving) if task is not None]
        self._reading = self._saving = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            try:
                await self.save()
            except StoreUnavailableError as error:
                _log.warning("a reader's place could not be saved", reader=self.name, error=str(error))

    def own(self, shards: Iterable[int]) -> None:
        """Follow these shards too from now on, each from the place where its last reader was."""
        for shard in shards:
            if shard < SHARDS and shard not in self._places:
                self._arriving[shard] = None
        loop = asyncio.get_running_loop()
        self._begins_at = loop.time() + self._patience_seconds
        loop.call_at(self._begins_at, self._wake.set)

    async def disown(self, shards: Collection[int]) -> None:
        """Follow these shards no more: when this returns nothing of them is taken, and their places are saved.

        What is being taken just now may finish within a second; what doesn't is for the next reader.
        """
        for shard in shards:
            self._arriving.pop(shard, None)
        gone = [shard for shard in shards if shard in self._places]
        if not gone:
            return
        stopped = not await self._have_turn()
        try:
            for shard in gone:
                await self._give_away(shard)
        finally:
            self._turn.release()
            if stopped and self._reading is not None:
                self._reading = self._begun(self._read(), "reads")

    async def _have_turn(self) -> bool:
        """Wait for what is being taken; False: it was broken off, and is to be given again."""
        try:
            async with asyncio.timeout(LET_FINISH_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.wait([self._reading])
            self._behind.update(dict.fromkeys(self._places))
            await self._turn.acquire()
            return False
        return True

    async def _give_away(self, shard: int) -> None:
        position = self._places.pop(shard, None)
        self._behind.pop(shard, None)
        try:
            if position is not None and position > self._saved.pop(shard, 0):
                await self._kept.save(shard, position)
        except StoreUnavailableError as error:
            _log.warning("a reader's place could not be saved", reader=self.name, shard=shard, error=str(error))
        self._kept.forget(shard)

    async def begin_again(self, shard: int) -> None:
        """Read a shard from its saved place once more: what is there isn't what this reader left."""
        async with self._turn:
            self._begin_at_its_place(shard)

    async def begin_again_after(self, shard: int, change: Callable[[], Awaitable[T]]) -> T:
        """Have what is kept of a shard changed while this reader stands still, and go on from there.

        Raises ConflictError if the shard isn't this reader's any more.
        """
        async with self._turn:
            if shard not in self._places:
                raise ConflictError(f"shard {shard} is another replica's now")
            try:
                return await change()
            finally:
                self._begin_at_its_place(shard)

    def _begin_at_its_place(self, shard: int) -> None:
        if self._places.pop(shard, None) is not None:
            self._saved.pop(shard, None)
            self._behind.pop(shard, None)
            self._kept.forget(shard)
            self.own([shard])

    # --- how far it is -----------------------------------------------------------------------------------------

    def landed(self, batch: Batch) -> None:
        """Take what was just committed; to be called in the order of commits."""
        if len(self._waiting) + len(batch.rows) > MOST_WAITING:
            self._waiting.clear()
            self._behind.update(dict.fromkeys(self._places))
        for row, decided in zip(batch.rows, batch.decided, strict=True):
            self._heads[row.shard] = row.position
            if row.shard in self._places and row.shard not in self._behind:
                self._waiting.append((row, decided.events))
        self._wake.set()

    @property
    def lag(self) -> int:
        """How many committed rows of its shards wait to be taken, as far as it knows."""
        return sum(max(0, self._heads.get(shard, 0) - place) for shard, place in self._places.items())

    @property
    def places(self) -> dict[int, int]:
        """How far it is in each of its shards."""
        return dict(self._places)

    @property
    def failure(self) -> BaseException | None:
        """Why the reader ended by itself, if it did."""
        for task in (self._reading, self._saving):
            if task is not None and task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None

    async def caught_up(self) -> None:
        """Return when everything that was committed before the call has been taken."""
        while self._arriving or self._behind or self._waiting or self._busy:  # noqa: ASYNC110 - for stops and tests; the reader has no such event
            await asyncio.sleep(0.005)

    # --- reading -----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            self._busy = True  # until everything is taken that there is
            try:
                async with self._turn:
                    more = await self._read_on()
            except StoreUnavailableError as error:
                _log.warning("the log can't be read", reader=self.name, error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if not more:
                self._busy = False
                self._wake.clear()
                await self._wake.wait()
                await asyncio.sleep(0)  # what the commit lets out to agents goes first

    async def _read_on(self) -> bool:
        """Take some rows; False when there are none."""
        if self._arriving and asyncio.get_running_loop().time() >= self._begins_at:
            await self._arrive()
        elif self._behind:
            await self._catch_up(next(iter(self._behind)))
        elif self._waiting:
            count = min(len(self._waiting), TAKEN_AT_ONCE)
            await self._take_new([self._waiting.popleft() for _ in range(count)])
        else:
            return False
        return True

    async def _arrive(self) -> None:
        """Learn where this reader was in the shards that have come."""
        await self._look_at_heads()
        for shard in list(self._arriving):
            place = await self._kept.at(shard)
            if self._arriving.pop(shard, 0) is None:  # it hasn't gone meanwhile
                self._places[shard] = self._saved[shard] = place
                if self._heads.get(shard, 0) > place:
                    self._behind[shard] = None
            else:
                self._kept.forget(shard)

    async def _catch_up(self, shard: int) -> None:
        rows = await self._store.follow(shard, self._places[shard], TAKEN_AT_ONCE)
        if rows:
            self._heads[shard] = max(self._heads.get(shard, 0), rows[-1].position)
            await self._take_new([(row, None) for row in rows])
        if not rows or self._places[shard] >= self._heads.get(shard, 0):
            self._behind.pop(shard, None)

    async def _take_new(self, rows: Sequence[Row]) -> None:
        """Take the rows that weren't taken yet; where one is missing before them, the store is read."""
        new: list[Row] = []
        places: dict[int, int] = {}
        for row in rows:
            shard, position = row[0].shard, row[0].position
            place = places.get(shard, self._places.get(shard))
            if place is None:
                continue  # the shard has gone
            if position == place + 1:
                places[shard] = position
                new.append(row)
            elif position > place:
                self._behind[shard] = None
        if not new:
            return
        try:
            await self._take(new)
        except BaseException:
            self._behind.update(dict.fromkeys(places))
            raise
        self._places.update(places)

    # --- saving ------------------------------------------------------------------------------------------------

    async def _save_now_and_then(self) -> None:
        until_look = LOOK_SECONDS
        while True:
            await asyncio.sleep(self._save_seconds)
            until_look -= self._save_seconds
            try:
                await self.save()
                if until_look <= 0:
                    until_look = LOOK_SECONDS
                    await self._look_for_missed()
            except StoreUnavailableError as error:
                _log.warning("a reader's place could not be saved", reader=self.name, error=str(error))

    async def save(self) -> None:
        """Save the places now. Raises StoreUnavailableError."""
        for shard, position in list(self._places.items()):
            position = self._places.get(shard, 0)
            if position <= self._saved.get(shard, 0):
                continue
            if await self._kept.save(shard, position):
                if shard in self._places:
                    self._saved[shard] = position
            else:
                await self.begin_again(shard)

    async def _look_at_heads(self) -> None:
        for row in await self._store.shards():
            self._heads[row.shard] = max(self._heads.get(row.shard, 0), row.position)

    async def _look_for_missed(self) -> None:
        """Ask the store for rows that were committed without being handed over."""
        if self._busy:
            return
        await self._look_at_heads()
        if not self._waiting:
            self._behind.update((s, None) for s, place in self._places.items() if self._heads.get(s, 0) > place)
            self._wake.set()


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("a reader of the log ended", part=task.get_name(), exc_info=task.exception())
