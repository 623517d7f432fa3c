"""The limits beside the figures: what SQLite and the disk allow, with nothing of Podium in between."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PAYLOAD = b"x" * 150  # as long as the mean row of a no-op step: input and events
_TABLE = (
    "CREATE TABLE log (id INTEGER PRIMARY KEY, execution TEXT NOT NULL, input_id TEXT NOT NULL, payload BLOB NOT NULL)"
)
_INSERT = "INSERT INTO log (execution, input_id, payload) VALUES (?, ?, ?)"
Row = tuple[str, str, bytes]


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to a new file: WAL, synchronous=FULL, one table, no index."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_TABLE)
    return connection


class GroupCommit:
    """Commits together what has come in during the last commit, on one thread; `write` returns once it is on disk."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._thread = ThreadPoolExecutor(1)
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
            await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, rows)
            for _, done in batch:
                done.set_result(None)
        self._busy = None

    def _commit(self, rows: list[Row]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_INSERT, rows)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Let the thread and the file go."""
        self._thread.shutdown()
        self._connection.close()


async def acknowledged_steps(path: Path, steps: int, producers: int, rows_a_step: int) -> float:
    """Return the seconds that so many steps take, each awaited by its producer before the next."""
    commit = GroupCommit(connect(path))
    left = iter(range(steps))

    async def producer(name: str) -> None:
        for step in left:
            await commit.write([(name, f"{step}:{n}", PAYLOAD) for n in range(rows_a_step)])

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for n in range(producers):
            group.create_task(producer(f"execution-{n:036d}"))
    seconds = time.perf_counter() - begin
    commit.close()
    return seconds


def commits_seconds(path: Path, times: int, commits: int) -> list[float]:
    """Return how long so many bare commits of a row take, one after another, so many times."""
    connection = connect(path)
    found = []
    for time_ in range(times + 10):
        begin = time.perf_counter()
        for n in range(commits):
            connection.execute(_INSERT, ("execution", f"{time_}:{n}", PAYLOAD))
        found.append(time.perf_counter() - begin)
    connection.close()
    return found[10:]


def fsync_seconds(folder: Path, times: int = 200) -> list[float]:
    """Return how long it takes to write 4 KiB to a file and have it on disk, so many times."""
    path = folder / "fsync"
    found = []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            begin = time.perf_counter()
            file.write(b"x" * 4_096)
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - begin)
    path.unlink()
    return found
