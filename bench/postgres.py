"""What PostgreSQL allows, and what the store makes of it: `python -m bench.postgres`.

As many producers as in W1, each awaiting the commit of its step before the next, two rows a step. On one side bare
asyncpg: one table, one index, what came in during a commit is inserted by the next one in one statement. On the other
side `PostgresStore.append` with all its guards, three indexes on the log, and each execution's row moved with it. Both
sides are on one server that syncs each commit, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from msgspec.structs import replace

from bench.figures import Figure
from bench.limits import PAYLOAD
from bench.machine import describe
from bench.printing import line
from podium.ids import shard_of
from podium.store.postgres import PostgresStore
from podium.store.protocol import Append, ExecutionChange, ExecutionRow, LogRow
from podium.testing.postgresserver import postgres_server
from podium.testing.scribe import ALL_SHARDS

BARE = "bare asyncpg, group commit"
ROWS_A_STEP = 2
_TABLE = (
    "CREATE TABLE IF NOT EXISTS bare (id bigserial PRIMARY KEY, execution text NOT NULL, input_id text NOT NULL, "
    "payload bytea NOT NULL)"
)
_INSERT = "INSERT INTO bare (execution, input_id, payload) SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])"
Step = tuple[str, int]  # the execution, and which step it is
Commit = Callable[[Sequence[Step]], Awaitable[None]]


class Together:
    """Commits together what has come in during the last commit."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: list[tuple[Step, asyncio.Future[None]]] = []
        self._busy: asyncio.Task[None] | None = None

    async def write(self, step: Step) -> None:
        """Write a step and await its commit."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((step, done))
        if self._busy is None:
            self._busy = loop.create_task(self._commit_all())
        await done

    async def _commit_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._commit([step for step, _ in batch])
            for _, done in batch:
                done.set_result(None)
        self._busy = None


class Appends:
    """Makes an append of steps, as the engine does: rows in order, and where each execution and shard is then."""

    def __init__(self, store: PostgresStore, fences: dict[int, int], positions: dict[int, int]) -> None:
        self._store = store
        self._fences = fences
        self._positions = positions
        self._executions: dict[str, ExecutionRow] = {}

    async def commit(self, steps: Sequence[Step]) -> None:
        """Append the steps."""
        rows, changes, fences = [], [], {}
        for execution, nth in steps:
            before = self._executions.get(execution) or _created(execution)
            fences[before.shard] = self._fences[before.shard]
            sequence = before.sequence
            for part in range(ROWS_A_STEP):
                self._positions[before.shard] += 1
                position = self._positions[before.shard]
                input_id = f"succeeded:{execution}:1:step:{nth}-{part}"
                rows.append(
                    LogRow(
                        before.shard, position, "default", execution, sequence + 1, 2, input_id, "succeeded", nth,
                        PAYLOAD[:75], PAYLOAD[75:],
                    )
                )  # fmt: skip
                sequence += 2
            after = replace(before, sequence=sequence, updated_us=nth)
            changes.append(ExecutionChange(after, before.sequence))
            self._executions[execution] = after
        await self._store.append(Append(fences, rows, changes, now_us=1))


def _created(execution: str) -> ExecutionRow:
    summary = b'{"total":10,"completed":4,"failed":0,"running":1,"ready":0,"partial":false}'
    return ExecutionRow(
        execution, "default", shard_of(execution), "chain", "1.0", "0" * 64, "running", 1, 0, None, True, 1, 1,
        summary=summary,
    )  # fmt: skip


async def bare_seconds(url: str, steps: int, producers: int, run: str = "0") -> float:
    """Return the seconds that so many steps take with nothing but asyncpg."""
    connection = await asyncpg.connect(url)
    await connection.execute(_TABLE)
    statement = await connection.prepare(_INSERT)

    async def commit(batch: Sequence[Step]) -> None:
        rows = [(execution, f"{nth}:{part}") for execution, nth in batch for part in range(ROWS_A_STEP)]
        executions, inputs = [execution for execution, _ in rows], [input_id for _, input_id in rows]
        await statement.fetch(executions, inputs, [PAYLOAD] * len(rows))

    seconds = await _seconds(commit, steps, producers, run)
    await connection.close()
    return seconds


async def store_seconds(url: str, steps: int, producers: int, run: str = "0") -> float:
    """Return the seconds that so many steps take with the store."""
    store = await PostgresStore.open(url, migrate=True)
    taken = await store.take("bench", ALL_SHARDS, 1)
    fences = {shard: row.fence for shard, row in taken.items()}
    appends = Appends(store, fences, {shard: row.position for shard, row in taken.items()})
    seconds = await _seconds(appends.commit, steps, producers, run)
    await store.close()
    return seconds


async def _seconds(commit: Commit, steps: int, producers: int, run: str) -> float:
    together = Together(commit)
    left = iter(range(steps))

    async def producer(name: str) -> None:
        for step in left:
            await together.write((name, step))

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for n in range(producers):
            group.create_task(producer(f"01a213ae-f7b2-7929-{int(run):04d}-{n:012d}"))
    return time.perf_counter() - begin


def measure(steps: int, producers: int, runs: int) -> list[Figure]:
    """Run both sides in turns on a server of their own; the first turn is the warm-up."""
    measured: dict[str, list[float]] = {"rows by PostgresStore.append": [], BARE: []}
    sides: list[tuple[str, Any]] = [("rows by PostgresStore.append", store_seconds), (BARE, bare_seconds)]
    with postgres_server(durable=True) as server:
        url = server.create_database("bench")
        for run in range(runs + 1):
            for name, side in sides:
                seconds = asyncio.run(side(url, steps, producers, f"{run}"))
                if run:
                    measured[name].append(steps * ROWS_A_STEP / seconds)
    store, bare = measured.values()
    return [
        Figure(
            workload="append", name="rows by PostgresStore.append", unit="rows/s", runs=tuple(store), better="more",
            beside=BARE,
        ),
        Figure(workload="append", name=BARE, unit="rows/s", runs=tuple(bare), better="more", is_limit=True),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.postgres", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("reports/bench"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    print("\n".join(describe(given.folder).lines()))
    for producers in (100, 1_000):
        print(f"\n{producers} producers, {ROWS_A_STEP} rows a step", flush=True)
        figures = measure(given.steps, producers, given.runs)
        print("\n".join(line(figure, figures) for figure in figures), flush=True)


if __name__ == "__main__":
    main()
