"""Schedules of a process: made, fired by whoever owns the store, and what people say to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import podium.schedules.timekeeper as timekeeping
from podium.app import Podium
from podium.clock import VirtualClock
from podium.engine.sweeping import sweep
from podium.exceptions import (
    BackpressureError,
    ConflictError,
    CorruptHistoryError,
    ExecutionNotFoundError,
    InvalidInputError,
    ScheduleNotFoundError,
)
from podium.ids import SHARDS
from podium.schedules.rows import change, read_all, read_one
from podium.scheduling.firing import decide
from podium.scheduling.schedules import SCHEDULES, Firing, Schedule
from podium.settings import Settings
from podium.store.memory import MemoryStore
from podium.store.protocol import ModelRow
from podium.workflow.schedules.spec import Overlap, ScheduleSpec
from podium.workflow.yaml import load_workflow

GREET = load_workflow(
    "name: greet\n"
    "inputs: {who: {type: string, default: you}}\n"
    "tasks: [{id: say, agent: echo, input: {text: '${input.who}'}}]\n"
)
HOURLY = ScheduleSpec(every_seconds=3_600.0)


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


async def until(holds: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await holds()):  # noqa: ASYNC110 - another process, or the loop's own second
            await asyncio.sleep(0.01)
        return found


def in_podium(work: Callable[[Podium], Awaitable[None]], folder: Path | None = None, **options: Any) -> None:
    async def whole() -> None:
        settings = Settings(database=str(folder / "podium.db") if folder else ":memory:")
        async with await Podium.open(settings, **options) as podium:
            await work(podium)

    asyncio.run(whole())


def test_what_is_due_is_started_and_names_its_schedule() -> None:
    async def work(podium: Podium) -> None:
        at = datetime.now(UTC) + timedelta(seconds=0.2)
        await podium.schedules.create("soon", GREET, ScheduleSpec(at=at), {"who": "me"})

        async def begun() -> str:
            return next((r.execution for r in (await podium.schedules.get("soon")).records), "")

        execution = await until(begun)
        result = await podium.result(execution)
        assert (result.status, result.result) == ("completed", {"text": "me"})
        row = await podium.find(execution)
        assert msgspec.json.decode(row.summary)["schedule"] == "soon"
        assert (await podium.follower(execution)).state.schedule == "soon"

        async def over() -> bool:
            return (await podium.schedules.get("soon")).over

        await until(over)
        assert await podium.schedules.status_of(await podium.schedules.get("soon"), execution) == "completed"
        keeper = podium.timekeeper
        assert keeper is not None
        assert keeper.outcomes["started"] == 1
        assert keeper.held == {"active": 0.0, "paused": 0.0, "over": 1.0}

    in_podium(work)


def test_a_guest_makes_and_triggers_what_the_next_owner_fires(tmp_path: Path) -> None:
    executions = []

    async def say(podium: Podium) -> None:
        assert not podium.owner
        await podium.schedules.create("hourly", GREET, HOURLY, {"who": "x" * 10_000})
        executions.append(await podium.schedules.trigger("hourly"))

    in_podium(say, tmp_path, own=False, may_own=False, works=False, elsewhere=True)

    async def fire(podium: Podium) -> None:
        async def there() -> bool:
            return await podium.schedules.status_of(await podium.schedules.get("hourly"), executions[0]) == "completed"

        await until(there)
        assert (await podium.result(executions[0])).result == {"text": "x" * 10_000}

    in_podium(fire, tmp_path)


def test_an_owner_sees_within_a_second_what_another_process_says(tmp_path: Path) -> None:
    async def work(podium: Podium) -> None:
        guest = await Podium.open(
            podium.settings, own=False, may_own=False, works=False, elsewhere=True
        )  # fmt: skip
        async with guest:
            await guest.schedules.create("hourly", GREET, HOURLY)
            execution = await guest.schedules.trigger("hourly")
            await until(lambda: podium.store.execution(execution))
            assert str(await guest.finished(execution)) == "completed"

    in_podium(work, tmp_path)


def test_names_and_times_are_checked_before_anything_is_kept() -> None:
    async def work(podium: Podium) -> None:
        schedules = podium.schedules
        with pytest.raises(InvalidInputError, match="a schedule's name"):
            await schedules.create("../x", GREET, HOURLY)
        with pytest.raises(InvalidInputError, match="has passed"):
            await schedules.create("x", GREET, ScheduleSpec(at=datetime(2020, 1, 1, tzinfo=UTC)))
        with pytest.raises(InvalidInputError, match="who"):
            await schedules.create("x", GREET, HOURLY, {"whom": 1})
        over = ScheduleSpec(every_seconds=60.0, ends_at=datetime(2020, 1, 1, tzinfo=UTC))
        with pytest.raises(
            InvalidInputError, match="would never fire: none of its times comes before its end, 2020-01-01"
        ):
            await schedules.create("x", GREET, over)
        with pytest.raises(InvalidInputError, match="would never fire"):
            await schedules.create("x", GREET, ScheduleSpec(cron="0 0 29 2 *", ends_at=tomorrow()))
        assert await schedules.all() == []
        await schedules.create("hourly", GREET, HOURLY)
        with pytest.raises(ConflictError, match="already"):
            await schedules.create("hourly", GREET, HOURLY)
        with pytest.raises(ScheduleNotFoundError, match='did you mean "hourly"'):
            await schedules.get("hourli")
        with pytest.raises(ConflictError, match="isn't paused"):
            await schedules.resume("hourly")
        with pytest.raises(InvalidInputError, match="time zone"):
            await schedules.backfill("hourly", datetime(2020, 1, 1), datetime(2020, 1, 2))  # noqa: DTZ001
        with pytest.raises(InvalidInputError, match="in the past"):
            await schedules.backfill("hourly", tomorrow(), tomorrow())

    in_podium(work)


def test_one_that_replaces_another_goes_on_where_that_was() -> None:
    async def work(podium: Podium) -> None:
        before = await podium.schedules.create("hourly", GREET, HOURLY)
        after = await podium.schedules.create("hourly", GREET, ScheduleSpec(cron="@daily"), replaces=True)
        assert (after.id, after.spec.cron) == (before.id, "@daily")
        assert after.decided_us >= before.decided_us

    in_podium(work)


def test_pause_resume_and_delete() -> None:
    async def work(podium: Podium) -> None:
        await podium.schedules.create("often", GREET, ScheduleSpec(every_seconds=1.0, overlap=Overlap.ALLOW))
        paused = await podium.schedules.pause("often", "a reason")
        assert (paused.paused, paused.reason, paused.wake_us()) == (True, "a reason", None)
        assert not (await podium.schedules.resume("often")).paused
        await podium.schedules.delete("often")
        assert await podium.schedules.all() == []
        with pytest.raises(ScheduleNotFoundError):
            await podium.schedules.delete("often")

    in_podium(work)


def test_a_backfill_runs_each_time_once_though_it_is_asked_for_twice() -> None:
    async def work(podium: Podium) -> None:
        await podium.schedules.create("daily", GREET, ScheduleSpec(cron="@daily"))
        begin, end = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
        for _ in range(2):
            assert await podium.schedules.backfill("daily", begin, end) == 3

            async def done() -> bool:
                one = await podium.schedules.get("daily")
                return not one.backfills and not one.begun

            await until(done)
        rows = await podium.store.executions(None)
        assert len(rows) == 3
        await asyncio.gather(*(podium.finished(row.id) for row in rows))

    in_podium(work)


def test_what_was_triggered_is_known_at_once_and_begins_though_its_schedule_is_deleted(tmp_path: Path) -> None:
    executions = []

    async def say(podium: Podium) -> None:
        for name in ("hourly", "begun"):
            await podium.schedules.create(name, GREET, HOURLY)
            executions.append(await podium.schedules.trigger(name))
        with pytest.raises(ExecutionNotFoundError, match="hasn't begun: its start waits for an orchestrator"):
            await podium.find(executions[0])
        firing = Firing(1)  # decided by an orchestrator that was killed then

        def begins(schedule: Schedule | None) -> Schedule:
            assert schedule is not None
            executions.append(schedule.execution_of(firing))
            return replace(schedule, begun=(firing,))

        await change(podium.store, "default", "begun", begins, 1)
        for name in ("hourly", "begun"):
            await podium.schedules.delete(name)
        assert await podium.schedules.all() == []

    in_podium(say, tmp_path, own=False, may_own=False, works=False, elsewhere=True)

    async def fire(podium: Podium) -> None:
        for execution in executions:
            assert (await podium.result(execution)).status == "completed"
        assert len(await podium.store.executions(None)) == 3

    in_podium(fire, tmp_path)


def test_what_begins_while_a_schedule_is_deleted_is_let_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(podium: Podium) -> None:
        made = await podium.schedules.create("hourly", GREET, HOURLY)
        firings = [Firing(1), Firing(2)]

        async def begins_meanwhile(*given: Any) -> Schedule | None:
            if firings:
                begun = replace(made, begun=(firings.pop(),))
                await change(podium.store, "default", "hourly", lambda _: begun, 1)
            return await change(*given)

        monkeypatch.setattr("podium.app.schedules.change", begins_meanwhile)
        await podium.schedules.delete("hourly")
        assert await podium.schedules.all() == []
        starts = {row.execution for row in await podium.store.inbox(range(SHARDS), 0, 10)}
        assert starts == {made.execution_of(Firing(1)), made.execution_of(Firing(2))}

    in_podium(work, own=False, works=False, elsewhere=True)


def test_too_much_that_waits_is_pushed_back(tmp_path: Path) -> None:
    async def work(podium: Podium) -> None:
        await podium.schedules.create("hourly", GREET, ScheduleSpec(cron="@hourly"))
        begin = datetime(2026, 3, 1, tzinfo=UTC)
        with pytest.raises(InvalidInputError, match="has more"):
            await podium.schedules.backfill("hourly", datetime(1990, 1, 1, tzinfo=UTC), begin)
        with pytest.raises(InvalidInputError, match="no times"):
            await podium.schedules.backfill("hourly", begin + timedelta(minutes=1), begin + timedelta(minutes=2))
        for _ in range(10):
            await podium.schedules.backfill("hourly", begin, begin)
        with pytest.raises(BackpressureError, match="backfills"):
            await podium.schedules.backfill("hourly", begin, begin)
        for _ in range(100):
            await podium.schedules.trigger("hourly")
        with pytest.raises(BackpressureError, match="triggers"):
            await podium.schedules.trigger("hourly")

    in_podium(work, tmp_path, own=False, may_own=False, works=False, elsewhere=True)


def test_what_a_schedule_starts_isnt_swept_away() -> None:
    async def work(podium: Podium) -> None:
        await podium.schedules.create("hourly", GREET, HOURLY, {"who": "x" * 10_000})
        assert await sweep(podium.store, 2**62) == 0
        await podium.schedules.delete("hourly")
        assert await sweep(podium.store, 2**62) == 2

    in_podium(work, own=False, works=False, elsewhere=True)


def test_a_schedule_that_cant_be_read_holds_up_no_other() -> None:
    async def work() -> None:
        store = MemoryStore(clock=VirtualClock())
        await store.put_model(SCHEDULES, 5, 1, [ModelRow("default/bad", b"{}")])
        assert await read_all(store) == []
        with pytest.raises(CorruptHistoryError, match="default/bad"):
            await sweep(store, 0)

    asyncio.run(work())


def test_who_writes_in_between_is_seen() -> None:
    async def work() -> None:
        store = MemoryStore(clock=VirtualClock())
        asked = []

        def becomes(before: Schedule | None) -> None:
            asked.append(before)
            for shard in range(64 if len(asked) < 3 else 0):
                store._data.cursors[SCHEDULES, shard] = len(asked)

        assert await change(store, "default", "x", becomes, 1) is None
        assert len(asked) == 3
        assert await read_one(store, "default", "x") is None
        store._data.cursors.clear()

        def always(before: Schedule | None) -> None:
            for shard in range(64):
                store._data.cursors[SCHEDULES, shard] = store._data.cursors.get((SCHEDULES, shard), 0) + 1

        with pytest.raises(BackpressureError, match="too often"):
            await change(store, "default", "x", always, 1)

    asyncio.run(work())


def test_replicas_fire_each_time_once_also_when_one_goes() -> None:
    async def work() -> None:
        shared = MemoryStore()
        settings = Settings()
        one = await Podium.open(settings, store=shared, bus="nats://x", incarnation="1")
        other = await Podium.open(settings, store=shared.reopen(), bus="nats://x", incarnation="2")
        async with other:
            spec = ScheduleSpec(every_seconds=1.0, overlap=Overlap.ALLOW, max_firings=3)
            for name in "abcdef":
                await other.schedules.create(name, GREET, spec)

            async def begun(count: int) -> bool:
                return sum(schedule.fired for schedule in await other.schedules.all()) >= count

            await until(lambda: begun(6))
            await one.close()
            await until(lambda: begun(18))

            async def ended() -> bool:
                rows = await other.store.executions(None)
                return len(rows) == 18 and {row.status for row in rows} == {"completed"}

            await until(ended)
            schedules = await other.schedules.all()
            assert {(each.fired, each.skipped, each.missed) for each in schedules} == {(3, 0, 0)}

    asyncio.run(work())


def test_a_zone_that_isnt_known_here_holds_up_no_other_schedule() -> None:
    async def work(podium: Podium) -> None:
        await podium.schedules.create("hourly", GREET, HOURLY)

        def moves(schedule: Schedule | None) -> Schedule:
            assert schedule is not None
            return replace(schedule, spec=ScheduleSpec(cron="@daily", time_zone="Mars/Base"))

        await change(podium.store, "default", "hourly", moves, 1)
        assert podium.timekeeper is not None
        podium.timekeeper.look()
        at = datetime.now(UTC) + timedelta(seconds=0.2)
        await podium.schedules.create("soon", GREET, ScheduleSpec(at=at))

        async def fired() -> bool:
            return (await podium.schedules.get("soon")).fired == 1

        await until(fired)

    in_podium(work)


def test_times_beyond_the_calendar_are_refused_and_hold_up_no_other_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    far = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

    async def work(podium: Podium) -> None:
        with pytest.raises(InvalidInputError, match="years are from 1970 to 2200"):
            await podium.schedules.create("far", GREET, ScheduleSpec(cron="0 9 * * *", starts_at=far))
        made = await podium.schedules.create("far", GREET, ScheduleSpec(cron="0 9 * * *", time_zone="Europe/Zurich"))
        with pytest.raises(InvalidInputError, match="years are from 1970 to 2200"):
            await podium.schedules.backfill("far", datetime(1, 1, 1, tzinfo=UTC), tomorrow())
        kept = replace(made, spec=replace(made.spec, starts_at=far))
        assert kept.over
        await change(podium.store, "default", "far", lambda _: kept, 1)

        def overflows(schedule: Schedule, now_us: int, ended: Collection[str]) -> Schedule:
            if schedule.name == "far":
                raise OverflowError("date value out of range")
            return decide(schedule, now_us, ended)

        monkeypatch.setattr(timekeeping, "decide", overflows)
        await change(podium.store, "default", "far", lambda _: replace(kept, triggers=(Firing(1, "trigger:1"),)), 1)
        await podium.schedules.create("soon", GREET, ScheduleSpec(at=datetime.now(UTC) + timedelta(seconds=0.2)))

        async def fired() -> bool:
            return (await podium.schedules.get("soon")).fired == 1

        await until(fired)

    in_podium(work)


def test_a_workflow_with_a_time_of_its_own_begins_then(tmp_path: Path) -> None:
    ids = []
    at = datetime.now(UTC) + timedelta(seconds=1.5)

    async def submit(podium: Podium) -> None:
        ids.append(await podium.submit(replace(GREET, scheduled_at=at)))
        headline, (only,) = await podium.explain(ids[0])
        assert headline.startswith("running: 0 of 1 done")
        assert only.because.startswith("the execution begins at")

    in_podium(submit, tmp_path)

    async def end(podium: Podium) -> None:  # the next owner knows of it
        assert str(await podium.finished(ids[0])) == "completed"
        row = await podium.find(ids[0])
        assert row.finished_us is not None
        assert row.finished_us >= at.timestamp() * 1_000_000

    in_podium(end, tmp_path)
