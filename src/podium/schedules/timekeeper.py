"""Who fires the schedules of a process's shards: it waits for their times, has each decided, writes what was decided,
and only then lets the starts out.

A start goes into the inbox of its execution's shard, under an id that follows from the schedule and the time. Whoever
takes over in between finds what was decided and lets it out again, which changes nothing where it is there already.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial

from podium.clock import SECOND
from podium.engine.whereabouts import recorded_or_posted
from podium.exceptions import StoreUnavailableError
from podium.ids import shard_of
from podium.schedules.rows import RUNG, key_of, ours, read_shard, write_shard
from podium.schedules.starts import cancel_of, start_of
from podium.scheduling.firing import decide
from podium.scheduling.schedules import MOST_READ, SCHEDULES, Schedule
from podium.store.protocol import ExecutionRow, Store
from podium.telemetry.logs import get_logger
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus

LOOK_SECONDS = 1.0  # for changes of others, a wall that jumps, ends that a firing waits for
READ_ANEW_SECONDS = 30.0  # though nobody has rung
PAUSE_SECONDS = 0.5  # after the store didn't answer
_UNTELLABLE = (ValueError, OverflowError)  # a zone that is known only where it was made; a time beyond all calendars
_log = get_logger("podium.schedules")


class Shelf:
    """One shard's schedules, as they were read or written last."""

    def __init__(self, writes: int, schedules: Iterable[Schedule]) -> None:
        self.writes = writes
        self.schedules = {key_of(one.tenant, one.name): one for one in schedules}
        self.wakes: dict[str, int | None] = {key: _wake_of(one) for key, one in self.schedules.items()}

    def put(self, schedule: Schedule) -> None:
        """Hold what was written."""
        key = key_of(schedule.tenant, schedule.name)
        self.schedules[key] = schedule
        self.wakes[key] = _wake_of(schedule)

    def due(self, now_us: int) -> list[Schedule]:
        """Return the schedules for which something is to be decided."""
        return [self.schedules[key] for key, at_us in self.wakes.items() if at_us is not None and at_us <= now_us]


def _wake_of(schedule: Schedule) -> int | None:
    """Return when there is something to decide; one whose times can't be told here holds up no other."""
    try:
        return schedule.wake_us()
    except _UNTELLABLE as error:
        _set_aside(schedule, error)
        return None


def _set_aside(schedule: Schedule, error: Exception) -> None:
    _log.error("a schedule can't be fired here", schedule=schedule.name, error=str(error))


class Timekeeper:
    """Fires the schedules of the shards that it has. `start` it, tell it of shards that move, `stop` it."""

    def __init__(self, store: Store, now: Callable[[], int], posted: Callable[[], None] = lambda: None) -> None:
        """`now` is the wall's time, which may jump; `posted` is called when something was put into inboxes."""
        self._store = store
        self._now = now
        self._posted = posted
        self._shelves: dict[int, Shelf] = {}
        self._unread: set[int] = set()
        self._rung = -1
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.outcomes: Counter[str] = Counter()  # since the start: started, skipped, missed

    # --- its life ----------------------------------------------------------------------------------------------

    def start(self, shards: Iterable[int]) -> None:
        """Fire from now on, in these shards."""
        self._unread |= ours(shards)
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="podium-schedules")

    async def stop(self) -> None:
        """Fire no more. What was decided and isn't let out, the next owner lets out. Safe twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def moved(self, acquired: Collection[int], released: Collection[int]) -> None:
        """Shards have come or gone."""
        for shard in released:
            self._shelves.pop(shard, None)
            self._unread.discard(shard)
        self._unread |= ours(acquired)
        self.look()

    def look(self) -> None:
        """Somebody may have changed schedules: look now."""
        self._rung = -1
        self._wake.set()

    @property
    def held(self) -> dict[str, float]:
        """How many schedules of its shards there are, by what they do."""
        counts = Counter(
            "paused" if schedule.paused else "over" if shelf.wakes[key] is None else "active"
            for shelf in self._shelves.values()
            for key, schedule in shelf.schedules.items()
        )
        return {state: float(counts[state]) for state in ("active", "paused", "over")}

    @property
    def overdue_seconds(self) -> float:
        """By how much the firing that waits longest is late; 0.0 when none is."""
        now_us = self._now()
        wakes = [at for shelf in self._shelves.values() for at in shelf.wakes.values() if at]
        return max(0.0, (now_us - min(wakes)) / SECOND) if wakes else 0.0

    async def _keep(self) -> None:
        read_anew_at = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            try:
                if await self._rings() or loop.time() >= read_anew_at:
                    await self._read_all()
                    read_anew_at = loop.time() + READ_ANEW_SECONDS
                again = await self._look_at_all()
            except StoreUnavailableError as error:
                _log.warning("schedules can't be looked at", error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except Exception as error:  # noqa: BLE001 - the next look may go better, and must not wait for a new owner
                _log.error("schedules can't be fired", error=str(error), exc_info=error)
                await asyncio.sleep(LOOK_SECONDS)
                continue
            if not again:
                await self._rest()

    async def _rest(self) -> None:
        """Wait for the next time, for a second at most, or until somebody says that it is time to look."""
        now_us = self._now()
        wakes = [at_us for shelf in self._shelves.values() for at_us in shelf.wakes.values() if at_us]
        seconds = min(LOOK_SECONDS, max(0.0, (min(wakes) - now_us) / SECOND)) if wakes else LOOK_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    # --- reading -----------------------------------------------------------------------------------------------

    async def _rings(self) -> bool:
        """Whether somebody has changed schedules since this was asked last."""
        rung = await self._store.cursor(RUNG, 0)
        before, self._rung = self._rung, rung
        return rung != before or bool(self._unread)

    async def _read_all(self) -> None:
        """Read what is kept of all our shards; most have nothing, and are told by one look."""
        wanted = self._unread | set(self._shelves)
        rows = await self._store.model(SCHEDULES, limit=MOST_READ)
        filled = {shard_of(row.key) for row in rows}
        for shard in sorted(wanted):
            if shard in filled or (shard in self._shelves and self._shelves[shard].schedules):
                await self._read(shard)
            else:
                self._shelves[shard] = Shelf(0, ())
                self._unread.discard(shard)

    async def _read(self, shard: int) -> None:
        had = shard in self._shelves or shard in self._unread
        writes, schedules = await read_shard(self._store, shard)
        if had and (shard in self._shelves or shard in self._unread):  # it hasn't gone meanwhile
            self._shelves[shard] = Shelf(writes, schedules)
            self._unread.discard(shard)

    # --- firing ------------------------------------------------------------------------------------------------

    async def _look_at_all(self) -> bool:
        """Decide what is due in each shard; True when there may be more to do at once."""
        again = False
        for shard in list(self._shelves):
            shelf = self._shelves.get(shard)
            if shelf is not None and (due := shelf.due(self._now())):
                again |= await self._look_at(shard, shelf, due)
        return again

    async def _look_at(self, shard: int, shelf: Shelf, due: list[Schedule]) -> bool:
        await self._let_out(due)
        changed = []
        for before in due:
            ended = await self._ended(before)
            try:
                after = decide(before, self._now(), ended)
            except _UNTELLABLE as error:  # it holds up no other; it is looked at again when it is read anew
                _set_aside(before, error)
                shelf.wakes[key_of(before.tenant, before.name)] = None
                continue
            if after != before:
                changed.append((before, after))
        if not changed:
            return False
        durable = any(after.begun or after.decided_us != before.decided_us for before, after in changed)
        if not await write_shard(self._store, shard, shelf.writes, [after for _, after in changed], durable=durable):
            await self._read(shard)
            return True
        shelf.writes += 1
        for before, after in changed:
            shelf.put(after)
            self._count(before, after)
        await self._let_out([after for _, after in changed])
        return any(after.begun or after.backfills for _, after in changed)

    async def _ended(self, schedule: Schedule) -> set[str]:
        """Return those of the executions that it follows that have an end, or were refused."""
        ended = set()
        for one in schedule.following:
            find = partial(self._store.execution, one.execution)
            row = await recorded_or_posted(self._store, one.execution, find)
            if row is None or (isinstance(row, ExecutionRow) and ExecutionStatus(row.status) in FINAL_EXECUTION):
                ended.add(one.execution)
        return ended

    async def _let_out(self, schedules: Iterable[Schedule]) -> None:
        """Put what was decided into inboxes; what is there already stays as it is."""
        rows = [
            row
            for schedule in schedules
            for row in (
                *(start_of(schedule, firing, self._now()) for firing in schedule.begun),
                *(cancel_of(schedule, one, self._now()) for one in schedule.cancelling),
            )
        ]
        news = False
        for row in rows:
            news |= await self._store.post(row)
        if news:
            self._posted()

    def _count(self, before: Schedule, after: Schedule) -> None:
        self.outcomes["started"] += len(after.begun)
        self.outcomes["skipped"] += after.skipped - before.skipped
        self.outcomes["missed"] += after.missed - before.missed
