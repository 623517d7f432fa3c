"""Schedules as people have them: made, looked at, paused, triggered, made up for, deleted, from any process.

Nobody needs to run anything for that: what is said is written, and whoever owns the schedule's shard goes by it from
then on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from podium.agents.crew import Crew
from podium.app.owning import Owning
from podium.app.submitting import encoded_input
from podium.engine.values import value_of
from podium.engine.whereabouts import recorded_or_posted
from podium.exceptions import BackpressureError, ConflictError, InvalidInputError, ScheduleNotFoundError
from podium.ids import IdSource
from podium.schedules.rows import TRIES, change, check_name, read_all, read_one
from podium.schedules.starts import post_starts
from podium.scheduling.explaining import reasons
from podium.scheduling.firing import resumed
from podium.scheduling.schedules import MOST_TRIGGERS, Backfill, Beginning, Firing, Schedule, written
from podium.store.protocol import Blob, ExecutionRow, Store
from podium.workflow.inputs import check_input
from podium.workflow.model import FINAL_EXECUTION, Workflow
from podium.workflow.problems import did_you_mean
from podium.workflow.schedules.spec import ScheduleSpec, check_moment, checked, micros
from podium.workflow.validation import validate

MOST_BACKFILLS = 10
STARTING = "starting"
REFUSED = "refused"
_ENDED = frozenset({*FINAL_EXECUTION, REFUSED})


class Schedules:
    """The schedules of one tenant."""

    def __init__(
        self, store: Store, tenant: str, ids: IdSource, crew: Crew, owning: Owning, now: Callable[[], Awaitable[int]]
    ) -> None:
        """`now` is the time that schedules go by."""
        self._store = store
        self._tenant = tenant
        self._ids = ids
        self._crew = crew
        self._owning = owning
        self._now = now

    async def create(
        self,
        name: str,
        workflow: Workflow,
        spec: ScheduleSpec | None = None,
        given: Any = None,
        *,
        priority: int | None = None,
        timeout_seconds: float | None = None,
        replaces: bool = False,
    ) -> Schedule:
        """Have a workflow started with this input whenever the schedule fires; it is on disk when this returns.

        Without a `spec` it is the workflow's own `schedule`. One that `replaces` another of its name goes on where that
        was: no time fires twice. Raises InvalidInputError, WorkflowInvalidError, AgentBindingError before anything is
        kept, ConflictError where the name is taken.
        """
        check_name(name)
        spec = workflow.schedule if spec is None else spec
        if spec is None:
            raise InvalidInputError(f"when? {workflow.name} says no `schedule`, and no spec is given")
        now_us = await self._now()
        if checked(spec).at is not None and micros(spec.at) < now_us:  # type: ignore[arg-type]
            raise InvalidInputError(f"at: {spec.at} has passed already")
        workflow = validate(workflow)
        encoded = encoded_input(given)
        check_input(workflow, given)
        beginning = await self._kept(workflow, encoded, priority, timeout_seconds, now_us)

        def becomes(before: Schedule | None) -> Schedule:
            if before is None:
                return _firing(Schedule(
                    id=self._ids.uuid7(), tenant=self._tenant, name=name, spec=spec, beginning=beginning,
                    created_us=now_us, decided_us=now_us,
                ))  # fmt: skip
            if not replaces:
                raise ConflictError(f"there is a schedule {name} already; delete it, replace it, or take another name")
            decided_us, waits = max(before.decided_us, now_us), before.buffered is not None
            return _firing(replace(
                before, spec=spec, beginning=beginning, created_us=now_us, decided_us=decided_us, fired=int(waits),
                skipped=0, missed=0,
            ))  # fmt: skip

        return await self._changed(name, becomes, now_us)

    async def all(self) -> list[Schedule]:
        """Return all schedules, in order of name."""
        return await read_all(self._store, self._tenant)

    async def get(self, name: str) -> Schedule:
        """Return a schedule. Raises ScheduleNotFoundError, with the nearest name."""
        found = await read_one(self._store, self._tenant, name)
        if found is None:
            known = [schedule.name for schedule in await self.all()]
            hint = did_you_mean(name, known) or "`podium schedule list` lists them"
            raise ScheduleNotFoundError(f"there is no schedule {name[:80]!r}; {hint}")
        return found

    async def pause(self, name: str, reason: str = "") -> Schedule:
        """Let a schedule fire no more until it is resumed; what it has begun goes on."""
        await self.get(name)
        return await self._changed(name, lambda one: replace(_there(one, name), paused=True, reason=reason))

    async def resume(self, name: str) -> Schedule:
        """Let a paused schedule fire again, from now on: what it would have fired meanwhile isn't made up for."""
        await self.get(name)
        now_us = await self._now()

        def becomes(before: Schedule | None) -> Schedule:
            before = _there(before, name)
            if not before.paused:
                raise ConflictError(f"the schedule {name} isn't paused")
            return resumed(before, now_us)

        return await self._changed(name, becomes, now_us)

    async def trigger(self, name: str) -> str:
        """Have a schedule's workflow started now, besides its times and whatever runs; return the execution's id."""
        await self.get(name)
        now_us = await self._now()
        firing = Firing(now_us, f"trigger:{self._ids.uuid7()}")

        def becomes(before: Schedule | None) -> Schedule:
            before = _there(before, name)
            if len(before.triggers) >= MOST_TRIGGERS:
                raise BackpressureError(f"{MOST_TRIGGERS} triggers of {name} wait for an orchestrator already")
            return replace(before, triggers=(*before.triggers, firing))

        triggered = await self._changed(name, becomes, now_us)
        await post_starts(self._store, triggered, (firing,), now_us)  # so that it is found by its id at once
        return triggered.execution_of(firing)

    async def backfill(self, name: str, begin: datetime, end: datetime) -> int:
        """Make up for the times from `begin` to `end`, both included, in order; return how many they are.

        A time that has fired isn't fired again. Where executions mustn't overlap, each begins after the one before.
        """
        check_moment("the begin of a backfill", begin)
        check_moment("the end of a backfill", end)
        schedule, now_us = await self.get(name), await self._now()
        span = Backfill(micros(begin) - 1, min(micros(end), now_us))
        if span.until_us <= span.after_us:
            raise InvalidInputError("a backfill begins before it ends, and in the past")
        count = _count(schedule, span)
        if not count:
            raise InvalidInputError(f"the schedule {name} has no times from {begin} to {end}")

        def becomes(before: Schedule | None) -> Schedule:
            before = _there(before, name)
            if len(before.backfills) >= MOST_BACKFILLS:
                raise BackpressureError(f"{MOST_BACKFILLS} backfills of {name} are under way already")
            return replace(before, backfills=(*before.backfills, span))

        await self._changed(name, becomes, now_us)
        return count

    async def delete(self, name: str) -> None:
        """Take a schedule away; what it has begun, or was triggered, goes on. Raises ScheduleNotFoundError."""
        let_out: set[Firing] = set()

        def becomes(before: Schedule | None) -> Schedule | None:
            before = _there(before, name)
            return None if let_out.issuperset((*before.begun, *before.triggers)) else before

        for _ in range(TRIES):
            schedule, now_us = await self.get(name), await self._now()
            firings = (*schedule.begun, *schedule.triggers)
            await post_starts(self._store, schedule, firings, now_us)
            let_out.update(firings)
            if await change(self._store, self._tenant, name, becomes, now_us) is None:
                self._tell()
                return
        raise BackpressureError(f"the schedule {name} begins too much to be deleted now; try again")

    async def status_of(self, schedule: Schedule, execution: str) -> str:
        """Return how an execution stands that a schedule has begun: its status, starting, or refused."""
        row = await recorded_or_posted(self._store, execution, lambda: self._store.execution(execution))
        if isinstance(row, ExecutionRow):
            return row.status
        begins = row is not None or any(schedule.execution_of(firing) == execution for firing in schedule.begun)
        return STARTING if begins else REFUSED

    async def explain(self, name: str, owned: bool, shown: Callable[[int], str] = written) -> list[str]:
        """Return sentences about a schedule: why it fires next when it does or doesn't, what waits, what was left out.

        `owned` is whether an orchestrator runs, `shown` says a time in microseconds. Raises ScheduleNotFoundError.
        """
        schedule = await self.get(name)
        statuses = {one.execution: await self.status_of(schedule, one.execution) for one in schedule.following}
        running = [execution for execution, status in statuses.items() if status not in _ENDED]
        return reasons(schedule, await self._now(), running, owned, shown)

    async def _kept(
        self, workflow: Workflow, encoded: bytes, priority: int | None, timeout_seconds: float | None, now_us: int
    ) -> Beginning:
        """Keep what is to be started, and return where it is."""
        bindings = await self._crew.staff(workflow)
        definition, stored = self._owning.definitions.compile(workflow)
        value, content = value_of(encoded)
        blobs = [Blob(self._tenant, definition.digest, stored)]
        if content is not None and value.blob is not None:
            blobs.append(Blob(self._tenant, value.blob, content))
        await self._store.put(blobs, now_us)
        return Beginning(
            workflow.name, workflow.version, definition.digest, "null" if value.blob else encoded.decode(),
            value.blob, value.size, bindings, priority, timeout_seconds,
        )  # fmt: skip

    async def _changed(
        self, name: str, becomes: Callable[[Schedule | None], Schedule], now_us: int | None = None
    ) -> Schedule:
        now_us = await self._now() if now_us is None else now_us
        found = await change(self._store, self._tenant, name, becomes, now_us)
        assert found is not None
        self._tell()
        return found

    def _tell(self) -> None:
        """Have our own schedules looked at now; other processes look within a second."""
        if self._owning.timekeeper is not None:
            self._owning.timekeeper.look()


def _firing(schedule: Schedule) -> Schedule:
    """Return a schedule as it is made. Raises InvalidInputError for one that would never fire."""
    if replace(schedule, fired=0).next_time_us() is None:
        ends_at = schedule.spec.ends_at
        end = f": none of its times comes before its end, {ends_at.isoformat()}" if ends_at is not None else ""
        raise InvalidInputError(f"the schedule {schedule.name} would never fire{end}")
    return schedule


def _there(schedule: Schedule | None, name: str) -> Schedule:
    if schedule is None:
        raise ScheduleNotFoundError(f"the schedule {name} has just been deleted")
    return schedule


def _count(schedule: Schedule, span: Backfill, most: int = 100_000) -> int:
    count, at = 0, schedule.recurrence.after(span.after_us)
    while at is not None and at <= span.until_us:
        count, at = count + 1, schedule.recurrence.after(at)
        if count > most:
            raise InvalidInputError(f"a backfill has at most {most:,} times; this one has more")
    return count
