"""A simulated world of schedules: orchestrators that fire them die, stand still, lose answers and take over; the wall's
clock jumps. What must hold whatever happens: each time is decided once, and what was decided is started once.

Executions are the world's: it takes starts out of inboxes as an owner does, and lets them run for a while. The oracle:
S1 nothing fires before its time · S2 every time that has passed was fired, left out or missed, once · S3 what was
fired was started · S4 where executions must not overlap, none does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from podium.clock import SECOND
from podium.engine import inputs as inp
from podium.engine.codec import decode_input
from podium.exceptions import StoreUnavailableError
from podium.ids import SHARDS
from podium.schedules.rows import read_all, shard_of_schedule, write_shard
from podium.schedules.timekeeper import Timekeeper
from podium.scheduling.schedules import Beginning, Firing, Schedule
from podium.store.memory import MemoryStore
from podium.store.protocol import DEFAULT_TENANT, ExecutionRow, InboxRow
from podium.testing.virtual import VirtualLoop, virtual_loop
from podium.workflow.schedules.spec import Overlap, ScheduleSpec

T = TypeVar("T")
WORLD_SECONDS = 3_600.0
CALM_SECONDS = 300.0
DIES, FAILS, UNKNOWN, SLOW = 0.01, 0.01, 0.02, 0.05
_JUMPS = (-3_600, -600, -60, -1, 1, 30, 120, 3_600)


class Outcome(Struct, frozen=True):
    """What is left of a world: what was broken, and how much there was of what."""

    broken: tuple[str, ...]
    counts: dict[str, int]


class FaultyHandle(MemoryStore):
    """One process's way to the store: late, failing, its answers lost; a process may die in the middle of it."""

    def __init__(self, healthy: MemoryStore, world: ScheduleWorld, dies: Callable[[], None]) -> None:
        super().__init__(healthy._data)
        self._world = world
        self._dies = dies

    async def _through(self, work: Callable[[], Awaitable[T]]) -> T:
        chance, calm = self._world.chance, self._world.calm
        await asyncio.sleep(chance.uniform(0, 20) if chance.random() < SLOW and not calm else chance.uniform(0, 0.01))
        if not calm and chance.random() < FAILS:
            raise StoreUnavailableError("simulated: nothing was done")
        if not calm and chance.random() < DIES / 2:
            self._dies()
            await asyncio.get_running_loop().create_future()
        done = await work()
        if not calm and chance.random() < DIES / 2:
            self._dies()
            await asyncio.get_running_loop().create_future()
        if not calm and chance.random() < UNKNOWN:
            raise StoreUnavailableError("simulated: the answer was lost")
        await asyncio.sleep(chance.uniform(0, 0.01))
        return done

    async def cursor(self, name: str, shard: int) -> int:
        """Return a place, perhaps."""
        return await self._through(lambda: MemoryStore.cursor(self, name, shard))

    async def model(self, *asked: Any, **more: Any) -> Any:
        """Return entries, perhaps."""
        return await self._through(lambda: MemoryStore.model(self, *asked, **more))

    async def put_model(self, *given: Any, **more: Any) -> bool:
        """Write entries, perhaps."""
        return await self._through(lambda: MemoryStore.put_model(self, *given, **more))

    async def post(self, row: InboxRow) -> bool:
        """Put an input into an inbox, perhaps."""
        return await self._through(lambda: MemoryStore.post(self, row))


class ScheduleWorld:
    """One world; `run` it on a virtual loop."""

    def __init__(self, loop: VirtualLoop, spec: ScheduleSpec, keepers: int) -> None:
        """So many orchestrators believe that every shard is theirs, all at once."""
        self.chance = loop.chance
        self.calm = False
        self.disk = MemoryStore(clock=loop.clock)
        self.broken: list[str] = []
        self.counts: dict[str, int] = dict.fromkeys(("deaths", "jumps", "starts", "cancels"), 0)
        self._loop = loop
        self._offset_us = 0
        self._latest_us = loop.clock.now_us()
        self._keepers = keepers
        self._taken = 0  # the inbox up to here
        self._running: set[str] = set()
        self._started: set[str] = set()
        self._cancelled: set[str] = set()
        self.begin = Schedule(
            id="simulated", tenant=DEFAULT_TENANT, name="simulated", spec=spec, created_us=self._latest_us,
            decided_us=self._latest_us, beginning=Beginning("w", "1", "d"),
        )  # fmt: skip

    def wall_us(self) -> int:
        """Return what the wall shows."""
        now_us = self._loop.clock.now_us() + self._offset_us
        self._latest_us = max(self._latest_us, now_us)
        return now_us

    async def run(self) -> Outcome:
        """Run the world to its end, and examine what is left."""
        shard = shard_of_schedule(DEFAULT_TENANT, self.begin.name)
        await write_shard(self.disk, shard, 0, [self.begin])
        works = [self._keep() for _ in range(self._keepers)]
        tasks = [self._loop.create_task(work) for work in (*works, self._take_starts(), self._turn_clocks())]
        await asyncio.sleep(WORLD_SECONDS)
        self.calm = True
        self._offset_us = self._latest_us - self._loop.clock.now_us()  # it goes on from the latest time it has shown
        await asyncio.sleep(CALM_SECONDS)
        await self._examine()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return Outcome(tuple(self.broken), self.counts)

    # --- processes ---------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Have an orchestrator fire, and another one whenever it is gone."""
        while True:
            dead = asyncio.Event()
            keeper = Timekeeper(FaultyHandle(self.disk, self, dead.set), self.wall_us)
            keeper.start(range(SHARDS))
            try:
                await dead.wait()
            finally:
                await keeper.stop()
            self.counts["deaths"] += 1
            await asyncio.sleep(self.chance.choice((0.0, 1.0, 30.0, 240.0)))

    async def _turn_clocks(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(60, 900))
            if self.calm:
                return
            self._offset_us += self.chance.choice(_JUMPS) * SECOND
            self.counts["jumps"] += 1

    async def _take_starts(self) -> None:
        while True:
            await self._take_inbox()
            await asyncio.sleep(0.25)

    async def _take_inbox(self) -> None:
        for row in await self.disk.inbox(range(SHARDS), self._taken, 100_000):
            self._taken = row.id
            given = decode_input(row.payload)
            if isinstance(given, inp.Start) and row.execution not in self._started:
                self._begin(row.execution)
            elif isinstance(given, inp.Cancel) and row.execution not in self._cancelled:
                self._cancelled.add(row.execution)
                self.counts["cancels"] += 1
                self._loop.call_later(self.chance.uniform(0, 5), self._end, row.execution)

    def _begin(self, execution: str) -> None:
        self.counts["starts"] += 1
        self._started.add(execution)
        self._running.add(execution)
        if len(self._running) > 1 and self.begin.spec.overlap is not Overlap.ALLOW:
            self.broken.append(f"S4: {len(self._running)} executions run at once")
        self._loop.call_later(self.chance.choice((1, 10, 30, 90, 300)), self._end, execution)

    def _end(self, execution: str) -> None:
        self._running.discard(execution)
        self.disk._data.executions[execution] = ExecutionRow(
            id=execution, tenant=DEFAULT_TENANT, shard=0, workflow="w", version="1", definition="d", status="completed",
            run=1, sequence=1, wake_at_us=None, active=False, created_us=0, updated_us=0, finished_us=1,
        )  # fmt: skip

    # --- the oracle --------------------------------------------------------------------------------------------

    async def _examine(self) -> None:
        (schedule,) = await read_all(self.disk)
        await self._take_inbox()  # what was put there a moment ago counts as started
        passed, at = set(), schedule.recurrence.after(self.begin.decided_us)
        while at is not None and at <= self._latest_us:
            passed.add(at)
            at = schedule.recurrence.after(at)
        expected = {schedule.execution_of(Firing(time_us)): time_us for time_us in passed}
        if early := self._started - set(expected):
            self.broken.append(f"S1: {len(early)} executions are of no time that has come")
        decided = sum(time_us <= schedule.decided_us for time_us in passed)
        if decided != schedule.fired + schedule.missed:
            self.broken.append(f"S2: of {decided} times {schedule.fired} fired and {schedule.missed} were missed")
        waiting = schedule.buffered is not None
        unlet = len(schedule.begun)
        if len(self._started) + schedule.skipped + waiting + unlet < schedule.fired:
            self.broken.append(f"S3: of {schedule.fired} that fired {len(self._started)} were started")
        if len(self._started) + schedule.skipped + waiting > schedule.fired:
            self.broken.append(f"S3: {len(self._started)} were started, of {schedule.fired} that fired")
        following = schedule.next_time_us()
        if following is not None and schedule.due_us(following) + 60 * SECOND < self.wall_us():
            self.broken.append("S2: the schedule stands still")


async def simulate_schedules(spec: ScheduleSpec, keepers: int = 2) -> Outcome:
    """Run one world on the virtual loop that runs; its chance is the seed."""
    return await ScheduleWorld(virtual_loop(), spec, keepers).run()
