"""The statistics say what the histories say, wherever their reader was interrupted; a rebuild says the same again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from msgspec import structs

from podium.engine import events as ev
from podium.engine.codec import decode_row
from podium.engine.readmodels import ReadModels, StatisticsModel, rebuilt, statistics
from podium.engine.statistics import NAME, OTHER_TASKS, Group, key_of, total
from podium.exceptions import StoreUnavailableError
from podium.store.memory import MemoryStore
from podium.store.protocol import ModelRow
from podium.testing.simulation import simulate
from podium.workflow.model import Task, Workflow
from tests.runtime.support import ONE, TWO, Hand, crash, start, virtual, workflow

ENDS = {"ExecutionCompleted": "completed", "ExecutionFailed": "failed", "ExecutionCancelled": "cancelled"}


async def counted_by_hand(store: MemoryStore) -> tuple[Counter[str], Counter[tuple[str, str]], int, int]:
    """Count ends, attempts by task, all durations and all run times in the simplest way."""
    ends: Counter[str] = Counter()
    tasks: Counter[tuple[str, str]] = Counter()
    durations = run = 0
    for row in await store.executions(None, limit=100_000):
        began = row.created_us
        granted: dict[tuple[str, int], int] = {}
        for entry in await store.history(row.id, limit=1_000_000):
            payload = await store.get(entry.tenant, entry.payload_blob) if entry.payload_blob else None
            for event in decode_row(entry, payload)[1]:
                name = type(event).__name__
                task = str(getattr(event, "task", "")).partition("[")[0]
                attempt = (getattr(event, "task", ""), getattr(event, "number", 0))
                if name == "ExecutionStarted":
                    ends["started"] += 1
                elif name == "ExecutionRetried":
                    ends["retried"] += 1
                    began = entry.now_us
                elif name in ENDS:
                    ends[ENDS[name]] += 1
                    durations += entry.now_us - began
                    granted.clear()
                elif name == "AttemptGranted":
                    granted[attempt] = entry.now_us
                    tasks[task, "attempts"] += 1
                elif name == "AttemptReturned" and granted.pop(attempt, None) is not None:
                    tasks[task, "attempts"] -= 1
                elif name == "AttemptFailed":
                    assert isinstance(event, ev.AttemptFailed)
                    tasks[task, "failures"] += 1
                    tasks[task, "lost"] += event.how == "lost"
                    run += entry.now_us - granted.pop(attempt, entry.now_us)
                elif name == "TaskCompleted" and attempt in granted:
                    tasks[task, "completed"] += 1
                    run += entry.now_us - granted.pop(attempt)
    return ends, +tasks, durations, run


def in_short(entries: list[ModelRow]) -> tuple[Counter[str], Counter[tuple[str, str]], int, int]:
    ends: Counter[str] = Counter()
    tasks: Counter[tuple[str, str]] = Counter()
    durations = run = 0
    for each in total(entries):
        for name in ("started", "retried", *ENDS.values()):
            ends[name] += getattr(each.executions, name)
        durations += each.executions.duration_us
        for task, counts in each.tasks.items():
            for name in ("attempts", "failures", "lost", "completed"):
                tasks[task, name] += getattr(counts, name)
            run += counts.run_us
    return +ends, +tasks, durations, run


@pytest.mark.parametrize("seed", range(6))
def test_they_say_what_the_histories_say_wherever_the_reader_was_interrupted(seed: int) -> None:
    store = simulate(seed=seed).store
    chance = random.Random(seed)

    async def work() -> None:
        expected = await counted_by_hand(store)
        assert sum(expected[0].values())
        for shard in [row.shard for row in await store.shards()]:
            model = StatisticsModel(store)
            place = await model.at(shard)
            while True:
                rows = await store.follow(shard, place, chance.randint(1, 5))
                if not rows and await store.cursor(NAME, shard) == place:
                    break
                await model.take([(row, None) for row in rows])
                place = rows[-1].position if rows else place
                if chance.random() < 0.5:
                    assert await model.save(shard, place) or not rows
                if chance.random() < 0.3:  # another process goes on from what is stored
                    model = StatisticsModel(store)
                    place = await model.at(shard)
        entries = await store.model(NAME)
        assert in_short(entries) == expected
        for shard in [row.shard for row in await store.shards()]:
            await rebuilt(store, NAME, shard)
        assert await store.model(NAME) == entries
        assert await store.model(f"{NAME}.new") == []

    asyncio.run(work())


@virtual
async def test_an_engines_commits_are_in_them_also_after_kills_and_before_they_are_written() -> None:
    hand = Hand(auto=True)
    engine, _, store = await start(hand=hand)
    models = ReadModels(store)
    await models.start()
    engine.landed.append(models.landed)
    for turn in range(4):
        for _ in range(10):
            await engine.finished(await engine.submit(ONE if turn % 2 else TWO))
        await asyncio.sleep(1.5 * turn)  # sometimes it is written, sometimes not
        versions, left = await statistics(store)
        assert left == 0
        assert sum(each.executions.completed for each in versions) == 10 * (turn + 1)
        if turn == 2:
            await models.stop()
        await crash(engine)
        engine, hand, store = await start(store.reopen(), hand)
        models = ReadModels(store)
        await models.start()
        engine.landed.append(models.landed)
    await models.readers[NAME].caught_up()
    assert models.lag() == {NAME: 0.0}
    await models.stop()
    ends, tasks, durations, run = await counted_by_hand(store)
    assert in_short(await store.model(NAME)) == (ends, tasks, durations, run)
    assert tasks["b", "completed"] == 20
    await crash(engine)


@virtual
async def test_durations_failures_and_run_times() -> None:
    engine, hand, store = await start()
    first = await engine.submit(workflow(Task(id="a", agent="hand", retries=1), name="w/1 %"))
    assignment = await hand.assigned(1)
    await asyncio.sleep(3)
    hand.fail(assignment.attempt)
    assignment = await hand.assigned(2)
    await asyncio.sleep(2)
    hand.succeed(assignment.attempt)
    await engine.finished(first)
    ((version,), _) = await statistics(store)
    assert (version.workflow, version.executions.started, version.executions.completed) == ("w/1 %", 1, 1)
    assert version.executions.last_us == version.executions.duration_us == version.executions.longest_us
    assert version.executions.last_us >= 5_000_000
    counts = version.tasks["a"]
    assert (counts.attempts, counts.completed, counts.failures, counts.lost) == (2, 1, 1, 0)
    assert 5_000_000 <= counts.run_us < 5_100_000
    assert 3_000_000 <= counts.longest_us < 3_100_000
    assert await statistics(store, "another") == ([], 0)
    await crash(engine)


@virtual
async def test_a_model_that_differs_is_mended_while_it_is_in_use() -> None:
    engine, _, store = await start(hand=Hand(auto=True))
    models = ReadModels(store)
    await models.start()
    engine.landed.append(models.landed)
    for _ in range(20):
        await engine.finished(await engine.submit(ONE))
    await asyncio.sleep(5)
    sound = await store.model(NAME)
    places = models.readers[NAME].places
    for shard, place in places.items():  # somebody has meddled with what is stored
        if place:
            await store.drop_model(NAME, shard)
            key = key_of("default", "w", "1.0.0")
            await store.put_model(NAME, shard, place, [ModelRow(key, b'{"started":1000}'), ModelRow(f"{key}x", b"{}")])
    asked: dict[str, Any] = {"model": NAME, "token": "t", "shards": list(range(64))}
    answer = await models.answer_rebuild(asked)
    while answer["left"]:
        assert len(await store.model(NAME)) >= 2 * sum(place > 0 for place in places.values()) - 2
        await engine.submit(ONE)
        await asyncio.sleep(0.01)
        answer = await models.answer_rebuild(asked)
    assert answer["failed"] == ""
    assert len(answer["done"]) == 64  # type: ignore[arg-type]
    await asyncio.sleep(60)
    await models.readers[NAME].caught_up()
    await asyncio.sleep(5)
    assert in_short(await store.model(NAME)) == await counted_by_hand(store)
    assert len(await store.model(NAME)) >= len(sound)
    await models.stop()
    await crash(engine)


@virtual
async def test_what_a_crash_of_the_database_took_back_is_counted_again() -> None:
    engine, _, store = await start(hand=Hand(auto=True))
    models = ReadModels(store)
    await models.start()
    engine.landed.append(models.landed)

    async def some(number: int, workflow: Workflow = ONE) -> None:
        for _ in range(number):
            await engine.finished(await engine.submit(workflow))
        await models.readers[NAME].caught_up()
        await models.readers[NAME].save()

    await some(40)
    data = store._data
    before = {at: dict(entries) for at, entries in data.models.items()}, dict(data.cursors)
    await some(40, structs.replace(ONE, name="another"))  # written without being durable
    data.models, data.cursors = before
    await some(40)
    await some(0)  # what had begun again
    found, left = await statistics(store)
    assert {each.workflow: each.executions.completed for each in found} == {ONE.name: 80, "another": 40}
    assert left == 0
    await models.stop()
    await crash(engine)


@virtual
async def test_a_store_that_fails_loses_no_count() -> None:
    engine, _, store = await start(hand=Hand(auto=True))
    model = StatisticsModel(store)
    for _ in range(5):
        await engine.finished(await engine.submit(ONE))
    failing = [True]
    put = store.put_model

    async def unreliable(*given: Any, **more: Any) -> bool:
        if failing.pop() if failing else False:
            raise StoreUnavailableError("not now")
        return await put(*given, **more)

    store.put_model = unreliable  # type: ignore[method-assign]
    for shard in range(64):
        rows = await store.follow(shard, 0)
        if rows:
            await model.take([(row, None) for row in rows])
            if failing:
                with pytest.raises(StoreUnavailableError):
                    await model.save(shard, rows[-1].position)
            assert await model.save(shard, rows[-1].position)
    assert in_short(await store.model(NAME)) == await counted_by_hand(store)
    await crash(engine)


def test_tasks_beyond_a_number_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.engine.statistics.MOST_TASKS", 2)
    group = Group()
    for task in ("a", "b[1]", "b[2]", "c", "d", "a", "c"):
        group.of_task(task).attempts += 1
    again = Group(group.changes(key_of("t", "w", "1")))
    assert {task: counts.attempts for task, counts in again.tasks.items()} == {"a": 2, "b": 2, OTHER_TASKS: 3}
    assert group.changes("") == []
