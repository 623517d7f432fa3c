"""A process that is killed with -9 within an append: run by test_crash.py, one fork a point.

    python crash_child.py FOLDER KIND STEP

KIND `statements`: at each STEP-th statement or trigger that SQLite begins. KIND `instructions`: at each STEP-th
instruction of SQLite's machine. After each kill the file is opened again and looked at; the last line says how many
points there were.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from podium.store.protocol import DEFAULT_TENANT, Append, CounterChange
from podium.store.sqlite import SqliteStore
from podium.testing.scribe import ALL_SHARDS, Scribe, check_gapless, everything
from podium.testing.store_tools import blob

COUNTER = (DEFAULT_TENANT, "running")
BLOBS = [blob(b"of the batch" * 500), blob(b"another" * 500)]


async def prepare(path: Path) -> None:
    store = SqliteStore.open(path)
    scribe = Scribe(store)
    await scribe.take()
    await scribe.append({f"e{number}": [("start", 2)] for number in range(8)}, counters=[CounterChange(*COUNTER, 1)])
    await store.post(scribe.post("e1", "signal"))
    await store.close()


async def append_once(path: Path, arm: Callable[[sqlite3.Connection], None]) -> None:
    store = SqliteStore.open(path)
    scribe = Scribe(store)
    await scribe.learn()
    scribe.fences = {row.shard: row.fence for row in await store.shards()}
    scribe.positions = {row.shard: row.position for row in await store.shards()}
    (posted,) = await store.inbox(ALL_SHARDS, 0, 9)
    batch = the_batch(scribe, posted.id)
    writer = store._writer
    assert writer is not None
    await writer.do(arm)
    await store.append(batch)
    os._exit(0)  # acknowledged


def the_batch(scribe: Scribe, posted: int) -> Append:
    return scribe.batch(
        {f"e{number}": [("signal", 1), ("result", 3)] for number in range(1, 12)},
        payload=b"x" * 700,
        drained=[posted],
        inbox=[scribe.post("child", "start")],
        blobs=BLOBS,
        counters=[CounterChange(*COUNTER, 1, 5)],
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_statement(point: int) -> Callable[[sqlite3.Connection], None]:
    def arm(connection: sqlite3.Connection) -> None:
        seen = 0

        def traced(_: str) -> None:
            nonlocal seen
            if seen == point:
                die()
            seen += 1

        connection.set_trace_callback(traced)

    return arm


def at_instruction(step: int) -> Callable[[int], Callable[[sqlite3.Connection], None]]:
    def at(point: int) -> Callable[[sqlite3.Connection], None]:
        def arm(connection: sqlite3.Connection) -> None:
            seen = 0

            def progressed() -> int:
                nonlocal seen
                if seen == point:
                    die()
                seen += 1
                return 0

            connection.set_progress_handler(progressed, step)

        return arm

    return at


async def seen_in(path: Path) -> object:
    store = SqliteStore.open(path)
    await check_gapless(store)
    found = await everything(store, [COUNTER], [each.hash for each in BLOBS])
    await store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return found


def forked(work: Callable[[], None]) -> int:
    """Return the wait status of a child that does this and nothing else (no thread of this process is alive here)."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(3)
    return os.waitpid(child, 0)[1]


def main() -> None:
    folder, kind, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    base = folder / "base.db"
    asyncio.run(prepare(base))
    before = asyncio.run(seen_in(base))

    whole = folder / "whole.db"
    shutil.copy(base, whole)
    assert forked(lambda: asyncio.run(append_once(whole, lambda _: None))) == 0
    after = asyncio.run(seen_in(whole))
    assert after != before, "acknowledged, and not there"

    arming = at_statement if kind == "statements" else at_instruction(step)
    points = 0
    while True:
        point = points * (step if kind == "statements" else 1)
        path = folder / f"{kind}-{point}.db"
        shutil.copy(base, path)
        status = forked(lambda at=point, file=path: asyncio.run(append_once(file, arming(at))))  # type: ignore[misc]
        found = asyncio.run(seen_in(path))
        path.unlink()
        if not os.WIFSIGNALED(status):
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert found in (before, after), f"killed at point {point}, and a part of the batch is there"
        points += 1
    assert os.WEXITSTATUS(status) == 0
    assert found == after, "acknowledged, and not there"
    print(points)


if __name__ == "__main__":
    main()
