"""A simulated world of schedules: orchestrators that fire them die, stand still, lose answers and take over; the wall's
clock jumps. What must hold whatever happens: each time is decided once, and what was decided is started once.

Executions are the world's: it takes starts out of inboxes as an owner does, and lets them run for a while. The oracle:
S1 nothing fires before its time · S2 every time that has passed was fired, left out or missed, once · S3 what was
fired was started · S4 where executions must not overlap, none does.

`simulate_schedule(spec, seed)` runs one world for a schedule of anybody's, whether it fires each minute or each year.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from msgspec import Struct

from podium.clock import SECOND, VirtualClock
from podium.engine import inputs as inp
from podium.engine.codec import decode_input
from podium.exceptions import StoreUnavailableError
from podium.ids import SHARDS
from podium.schedules.rows import read_all, shard_of_schedule, write_shard
from podium.schedules.timekeeper import Timekeeper
from podium.scheduling.firing import COUNTED
from podium.scheduling.schedules import Beginning, Firing, Schedule
from podium.store.memory import MemoryStore
from podium.store.protocol import DEFAULT_TENANT, ExecutionRow, InboxRow
from podium.testing.virtual import DeadlockError, EndlessError, UnhandledError, VirtualLoop, run_virtually, virtual_loop
from podium.workflow.schedules.spec import Overlap, ScheduleSpec, checked, micros

T = TypeVar("T")
WORLD_SECONDS = 3_600.0
SHORT_SECONDS, SHORTEST_SECONDS = 600.0, 120.0
OFTEN_SECONDS = 5.0  # what fires more often has enough to do in the shortest world
CALM_SECONDS = 300.0
LEAST_LEAP_US = 60 * SECOND
LAST_LEAP_US = micros(datetime(2190, 1, 1, tzinfo=UTC))  # there is an end to the years that schedules know
LONG = 0.02  # by the second, that an execution goes on until the next time
DIES, FAILS, UNKNOWN, SLOW = 0.01, 0.01, 0.02, 0.05
_JUMPS = (-3_600, -600, -60, -1, 1, 30, 120, 3_600)


class Outcome(Struct, frozen=True):
    """What is left of a world: what was broken, how much there was of what, and what happened when."""

    broken: tuple[str, ...]
    counts: dict[str, int]
    transcript: tuple[tuple[float, str], ...] = ()

    @property
    def sound(self) -> bool:
        """Whether every invariant held."""
        return not self.broken

    def check(self) -> None:
        """Raise AssertionError, with all that happened, unless it is sound."""
        if not self.sound:
            told = "\n".join(f"  {at:11.3f}  {what}" for at, what in self.transcript)
            raise AssertionError("\n".join((*self.broken, "what happened:", told)))


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

    def __init__(
        self, loop: VirtualLoop, spec: ScheduleSpec, keepers: int, *, seconds: float = WORLD_SECONDS,
        faults: bool = True, leaps: bool = False,
    ) -> None:  # fmt: skip
        """So many orchestrators believe that every shard is theirs, all at once. Without `faults` nothing goes wrong;
        with `leaps` time in which nothing is due passes at once.
        """
        self.chance = loop.chance
        self.calm = not faults
        self.transcript: list[tuple[float, str]] = []
        self._seconds = seconds
        self._leaps = leaps
        self._over = False
        self.disk = MemoryStore(clock=loop.clock)
        self.broken: list[str] = []
        self.counts: dict[str, int] = dict.fromkeys(("deaths", "jumps", "starts", "cancels", "skipped", "missed"), 0)
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

    def tell(self, what: str) -> None:
        """Note what happens now."""
        self.transcript.append((self._loop.time(), what))

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
        works += [self._take_starts(), self._turn_clocks()]
        if self._leaps:
            works.append(self._leap())
        tasks = [self._loop.create_task(work) for work in works]
        await asyncio.sleep(self._seconds)
        self.calm = self._over = True
        self._offset_us = self._latest_us - self._loop.clock.now_us()  # it goes on from the latest time it has shown
        await asyncio.sleep(CALM_SECONDS)
        await self._examine()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return Outcome(tuple(self.broken), self.counts, tuple(self.transcript))

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
            self.tell("an orchestrator dies")
            await asyncio.sleep(self.chance.choice((0.0, 1.0, 30.0, 240.0)))

    async def _turn_clocks(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(60, 900))
            if self.calm:
                return
            seconds = self.chance.choice(_JUMPS)
            self._offset_us += seconds * SECOND
            self.counts["jumps"] += 1
            self.tell(f"the clock jumps by {seconds} s")

    async def _leap(self) -> None:
        """Have the time pass in which nothing is due; rarely while something runs, which has taken long then."""
        while not self._over:
            await asyncio.sleep(1.0)
            (schedule,) = await read_all(self.disk)
            waits = schedule.busy or (self._running and self.chance.random() > LONG)
            following = None if waits else schedule.next_time_us()
            if following is None or following > LAST_LEAP_US:
                continue
            ahead_us = schedule.due_us(following) - self.wall_us()
            if ahead_us > LEAST_LEAP_US:
                self._offset_us += ahead_us - self.chance.randint(5, 30) * SECOND
                self.tell(f"nothing is due for {ahead_us // SECOND} s")

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
                self.tell(f"{row.execution} is to be cancelled")
                self._loop.call_later(self.chance.uniform(0, 5), self._end, row.execution)

    def _begin(self, execution: str) -> None:
        self.counts["starts"] += 1
        self._started.add(execution)
        self._running.add(execution)
        self.tell(f"{execution} begins")
        if len(self._running) > 1 and self.begin.spec.overlap is not Overlap.ALLOW:
            self.broken.append(f"S4: {len(self._running)} executions run at once")
        self._loop.call_later(self.chance.choice((1, 10, 30, 90, 300)), self._end, execution)

    def _end(self, execution: str) -> None:
        self._running.discard(execution)
        self.tell(f"{execution} has ended")
        self.disk._data.executions[execution] = ExecutionRow(
            id=execution, tenant=DEFAULT_TENANT, shard=0, workflow="w", version="1", definition="d", status="completed",
            run=1, sequence=1, wake_at_us=None, active=False, created_us=0, updated_us=0, finished_us=1,
        )  # fmt: skip

    # --- the oracle --------------------------------------------------------------------------------------------

    async def _examine(self) -> None:
        (schedule,) = await read_all(self.disk)
        await self._take_inbox()  # what was put there a moment ago counts as started
        self.counts |= {"skipped": schedule.skipped, "missed": schedule.missed}
        passed = set(self._passed(schedule))
        expected = {schedule.execution_of(Firing(time_us)): time_us for time_us in passed}
        if early := self._started - set(expected):
            self.broken.append(f"S1: {len(early)} executions are of no time that has come")
        decided = sum(time_us <= schedule.decided_us for time_us in passed)
        uncounted = schedule.missed >= COUNTED and decided > schedule.fired + schedule.missed
        if decided != schedule.fired + schedule.missed and not uncounted:
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

    def _passed(self, schedule: Schedule) -> Iterator[int]:
        """Yield the times at which it is to fire that have passed."""
        spec, recurrence = schedule.spec, schedule.recurrence
        first_us = 0 if spec.starts_at is None else micros(spec.starts_at)
        last_us = self._latest_us if spec.ends_at is None else min(self._latest_us, micros(spec.ends_at))
        at = recurrence.after(max(self.begin.decided_us, first_us - 1))
        while at is not None and at <= last_us:
            yield at
            at = recurrence.after(at)


async def simulate_schedules(spec: ScheduleSpec, keepers: int = 2, **options: Any) -> Outcome:
    """Run one world on the virtual loop that runs; its chance is the seed. `options` are those of the world."""
    return await ScheduleWorld(virtual_loop(), spec, keepers, **options).run()


def simulate_schedule(spec: ScheduleSpec, seed: int = 0, *, faults: bool = True) -> Outcome:
    """Run one world for this schedule, in which one to three orchestrators fire it. Raises InvalidInputError."""
    often = spec.every_seconds is not None and spec.every_seconds < OFTEN_SECONDS
    seconds = SHORTEST_SECONDS if often else SHORT_SECONDS
    work = simulate_schedules(checked(spec), 1 + seed % 3, seconds=seconds, faults=faults, leaps=True)
    with _without_log_lines():
        try:
            return run_virtually(work, seed, VirtualClock(_begin_us(spec)))
        except (DeadlockError, EndlessError, UnhandledError) as error:
            return Outcome((f"S2: {type(error).__name__}: {error}",), {})


def _begin_us(spec: ScheduleSpec) -> int:
    """Return when a world begins in which a schedule has something to do."""
    usual_us = VirtualClock().now_us()
    if (first := spec.at or spec.starts_at) is not None:
        return max(0, micros(first) - 600 * SECOND)
    if spec.ends_at is not None and micros(spec.ends_at) < usual_us + 86_400 * SECOND:
        return max(0, micros(spec.ends_at) - 86_400 * SECOND)
    return usual_us


@contextmanager
def _without_log_lines() -> Iterator[None]:
    """Keep to itself what orchestrators say of faults that are only simulated."""
    logger = logging.getLogger("podium.schedules")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled
