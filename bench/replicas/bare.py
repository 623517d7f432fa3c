"""The limit beside P1: bare asyncpg with group commit, one table, rows by COPY, each awaited by its producer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import asyncpg

from bench.limits import PAYLOAD

_TABLE = """
DROP TABLE IF EXISTS bare_log;
CREATE TABLE bare_log (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                       execution TEXT NOT NULL, input_id TEXT NOT NULL, payload BYTEA NOT NULL)
"""
_COLUMNS = ("execution", "input_id", "payload")
Row = tuple[str, str, bytes]


class GroupCommit:
    """Commits together what has come in during the last commit, on one connection; `write` returns once it is done."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[Sequence[Row], asyncio.Future[None]]] = []
        self._busy: asyncio.Task[None] | None = None

    async def write(self, rows: Sequence[Row]) -> None:
        """Write rows and await their commit."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((rows, done))
        if self._busy is None:
            self._busy = loop.create_task(self._commit_all())
        await done

    async def _commit_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            rows = [row for given, _ in batch for row in given]
            await self._connection.copy_records_to_table("bare_log", records=rows, columns=_COLUMNS)
            for _, done in batch:
                done.set_result(None)
        self._busy = None


async def acknowledged_steps(url: str, steps: int, producers: int, rows_a_step: int) -> float:
    """Return the seconds that so many steps take, each awaited by its producer before the next."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TABLE)
        commit = GroupCommit(connection)
        left = iter(range(steps))

        async def producer(name: str) -> None:
            for step in left:
                await commit.write([(name, f"{step}:{n}", PAYLOAD) for n in range(rows_a_step)])

        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for n in range(producers):
                group.create_task(producer(f"execution-{n:036d}"))
        return time.perf_counter() - begin
    finally:
        await connection.close()
