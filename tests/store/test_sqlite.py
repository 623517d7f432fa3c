"""What only a file has: migrations, a full or damaged disk, other processes, a busy event loop."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from podium.exceptions import (
    CorruptHistoryError,
    FenceLostError,
    SchemaTooNewError,
    StoreUnavailableError,
)
from podium.ids import shard_of
from podium.store.named_sql import named_blocks
from podium.store.protocol import DEFAULT_TENANT, ModelRow, Snapshot
from podium.store.sqlite import SqliteStore
from podium.store.sqlite.connection import connect_reader, connect_writer, unsynced
from podium.store.sqlite.queries import migrations, split_statements
from podium.testing.scribe import ALL_SHARDS, Scribe, check_gapless, fold
from podium.testing.store_tools import blob


async def written(path: Path, executions: int = 3) -> None:
    store = SqliteStore.open(path)
    scribe = Scribe(store)
    await scribe.take()
    names = [f"e{number}" for number in range(executions)]
    for number in range(3):
        await scribe.append({name: [(f"input {number}", 2)] for name in names}, payload=b"payload of it")
    await store.close()


def changed_by_hand(path: Path, statement: str, *arguments: object) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement, arguments).rowcount != 0
    connection.close()


NEXT = migrations("sqlite")[-1][0] + 1


# --- schema ----------------------------------------------------------------------------------------------------------


def test_a_new_file_gets_the_newest_schema_and_says_when_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    SqliteStore.open(path).close_now()
    SqliteStore.open(path).close_now()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (migrations("sqlite")[-1][0],)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    connection.close()
    assert meta["schema"] == str(migrations("sqlite")[-1][0])
    assert int(meta["created_us"]) > 1_700_000_000_000_000


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_schema_is_refused_with_both_versions_and_what_to_do(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "store.db"
    SqliteStore.open(path).close_now()
    changed_by_hand(path, "PRAGMA user_version = 99")
    with pytest.raises(SchemaTooNewError, match=r"version 99.*versions up to \d+\. Upgrade"):
        SqliteStore.open(path, read_only=read_only)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    asyncio.run(written(path))
    steps = (*migrations("sqlite"), (NEXT, ("CREATE TABLE added (a)", "INSERT INTO nowhere VALUES (1)")))
    monkeypatch.setattr("podium.store.sqlite.connection.migrations", lambda adapter: steps)
    with pytest.raises(StoreUnavailableError):
        SqliteStore.open(path)
    monkeypatch.undo()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'added'").fetchone() == (0,)
    connection.close()
    SqliteStore.open(path).close_now()


def test_a_later_migration_is_applied_to_a_file_with_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    asyncio.run(written(path))
    steps = (*migrations("sqlite"), (NEXT, ("ALTER TABLE executions ADD COLUMN added TEXT",)))
    monkeypatch.setattr("podium.store.sqlite.connection.migrations", lambda adapter: steps)
    with pytest.raises(StoreUnavailableError, match="open it once for writing"):
        SqliteStore.open(path, read_only=True)

    async def go_on() -> None:
        store = SqliteStore.open(path)
        assert len(await store.history("e1")) == 3
        await check_gapless(store)
        await store.close()

    asyncio.run(go_on())


def test_many_processes_may_make_the_file_at_the_same_moment(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    program = "import sys; from podium.store.sqlite import SqliteStore; SqliteStore.open(sys.argv[1]).close_now()"
    starts = [subprocess.Popen([sys.executable, "-c", program, str(path)]) for _ in range(6)]
    assert [each.wait(60) for each in starts] == [0] * 6


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
def test_another_programs_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.db"
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE theirs (a)")
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailableError, match=r"other\.db"):
        SqliteStore.open(path)
    assert path.read_bytes() == before


def test_a_folder_that_isnt_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="can't be opened"):
        SqliteStore.open(tmp_path / "nowhere" / "store.db")


def test_named_blocks_and_scripts_are_split_where_they_should_be() -> None:
    assert {"load", "post", "take"} <= set(named_blocks("sqlite.sql"))
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  SELECT 1;\n  SELECT 2;\nEND;"
    assert split_statements(f"-- why; so\nSELECT ';';\n{trigger}\n-- the end") == ("-- why; so\nSELECT ';';", trigger)
    with pytest.raises(ValueError, match="SELECT 1"):
        split_statements("SELECT 1")


# --- what a disk does ------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_nothing_is_kept_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore.open(tmp_path / "store.db")
        scribe = Scribe(store)
        await scribe.take()
        await scribe.append({"a": [("start", 1)]})
        assert store._writer is not None
        await store._writer.do(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
        for size in (1, 3_000):
            batch = scribe.batch({f"e{n}": [("start", 1)] for n in range(size)}, payload=b"x" * 9_000)
            with pytest.raises(StoreUnavailableError, match="disk is full"):
                await store.append(batch)
            with pytest.raises(StoreUnavailableError, match="disk is full"):
                await store.put([blob(b"x" * 100_000)], 1)
            assert [row.id for row in await store.executions(None)] == ["a"]
        await store._writer.do(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
        await scribe.append({"a": [("next", 1)]}, payload=b"x" * 9_000)
        await check_gapless(store)
        await store.close()

    asyncio.run(run())
    connection = sqlite3.connect(tmp_path / "store.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


_FULL = """
import asyncio, resource, sys
from podium.exceptions import StoreUnavailableError
from podium.store.sqlite import SqliteStore
from podium.testing.scribe import Scribe, check_gapless

async def run():
    store = SqliteStore.open(sys.argv[1])
    scribe = Scribe(store)
    await scribe.take()
    kept = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    for number in range(200):
        try:
            await scribe.append({f"e{number}": [("start", 1)]}, payload=b"x" * 4_000)
        except StoreUnavailableError as error:
            refusal = str(error)
            break
        kept += 1
    else:
        raise SystemExit("never full")
    assert len(await store.executions(None, limit=1_000)) == kept
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await scribe.append({f"e{number}": [("start", 1)]}, payload=b"x" * 4_000)
    await check_gapless(store)
    await store.close()
    print(kept + 1, refusal)

asyncio.run(run())
"""


@pytest.mark.parametrize("limit", [300_000, 701_234])
def test_a_write_that_the_system_refuses_is_said_and_survived(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "store.db"
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(path), str(limit)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    count, refusal = done.stdout.split(" ", 1)
    assert "I/O error" in refusal or "disk is full" in refusal

    async def look() -> None:
        store = SqliteStore.open(path)
        assert len(await store.executions(None, limit=1_000)) == int(count)
        await check_gapless(store)
        await store.close()

    asyncio.run(look())
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_what_a_job_began_is_rolled_back_when_it_fails(tmp_path: Path) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM executions")
        raise RuntimeError("in the middle")

    async def run() -> None:
        store = SqliteStore.open(tmp_path / "store.db")
        scribe = Scribe(store)
        await scribe.take()
        await scribe.append({"a": [("start", 1)]})
        assert store._writer is not None
        with pytest.raises(RuntimeError, match="in the middle"):
            await store._writer.do(fails)
        await scribe.append({"a": [("next", 1)]})
        await check_gapless(store)
        await store.close()

    asyncio.run(run())


def test_a_file_opened_read_only_is_read_and_never_written(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    asyncio.run(written(path))

    async def run() -> None:
        store = SqliteStore.open(path, read_only=True)
        scribe = Scribe(store)
        await scribe.learn()
        assert len(await store.history("e1")) == 3
        assert not await store.changed()
        for write in (
            store.take("x", [1], 1),
            store.append(scribe.batch({"e1": [("x", 1)]})),
            store.post(scribe.post("e1", "x")),
            store.put([blob(b"x")], 1),
            store.add_tenant("x", 1),
        ):
            with pytest.raises(StoreUnavailableError, match="read-only"):
                await write
        await store.close()
        await store.close()

    asyncio.run(run())


def test_a_connection_that_only_reads_cant_write(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    SqliteStore.open(path).close_now()
    connection = connect_reader(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM log")
    connection.close()


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "payload = CAST(X'00' || substr(payload, 2) AS BLOB)",
        "events = CAST(substr(events, 1, 3) AS BLOB)",
        "now_us = now_us + 1",
        "kind = CAST(X'FF61' AS TEXT)",
        "input_id = input_id || 'x'",
        "checksum = checksum + 1",
        "payload = 7",
        "tenant = 1.5",
        "payload_blob = 'x'",
        "event_count = event_count + 1",
        "position = position + 1000",
        "shard = shard + 1",
    ],
)
def test_a_changed_row_is_found_and_only_its_execution_is_affected(tmp_path: Path, change: str) -> None:
    path = tmp_path / "store.db"
    asyncio.run(written(path))
    changed_by_hand(path, f"UPDATE log SET {change} WHERE execution = 'e1' AND input_id = 'input 1'")

    async def run() -> None:
        store = SqliteStore.open(path)
        with pytest.raises(CorruptHistoryError, match=r"e1.*position"):
            await store.load("e1")
        with pytest.raises(CorruptHistoryError, match=r"e1.*position"):
            await store.history("e1")
        for other in ("e0", "e2"):
            loaded = await store.load(other)
            assert loaded is not None
            assert len(loaded.tail) == len(await store.history(other)) == 3
        scribe = Scribe(store)
        await scribe.take()
        await scribe.learn()
        await scribe.append({"e0": [("goes on", 1)]})
        for shard in await store.shards():
            await store.follow(shard.shard, 0)
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM log WHERE execution = 'e1' AND sequence = 3",
        "DELETE FROM log WHERE execution = 'e1' AND sequence = 5",
        "DELETE FROM log WHERE execution = 'e1'",
        "UPDATE executions SET sequence = sequence + 1 WHERE id = 'e1'",
    ],
)
def test_a_missing_sequence_is_found(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "store.db"
    asyncio.run(written(path))
    changed_by_hand(path, statement)

    async def run() -> None:
        store = SqliteStore.open(path)
        with pytest.raises(CorruptHistoryError, match="e1"):
            await store.load("e1")
        assert await store.load("e2") is not None
        await store.close()

    asyncio.run(run())


def test_a_bit_flipped_in_the_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    asyncio.run(written(path))
    content = bytearray(path.read_bytes())
    position = content.rindex(b"payload of it")
    content[position + 3] ^= 0x10
    path.write_bytes(content)

    async def run() -> None:
        store = SqliteStore.open(path)
        corrupt = []
        for name in ("e0", "e1", "e2"):
            try:
                await store.load(name)
            except CorruptHistoryError:
                corrupt.append(name)
        assert len(corrupt) == 1
        await store.close()

    asyncio.run(run())


def test_a_damaged_page_affects_only_the_executions_on_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    asyncio.run(written(path, executions=60))
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute("SELECT pageno FROM dbstat WHERE name = 'log' AND pagetype = 'leaf'").fetchone()
    connection.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4_096 : (page - 1) * 4_096 + 64] = b"\xff" * 64
    path.write_bytes(content)

    async def run() -> None:
        store = SqliteStore.open(path)
        corrupt = sound = 0
        for number in range(60):
            try:
                await store.load(f"e{number}")
                sound += 1
            except CorruptHistoryError:
                corrupt += 1
        assert corrupt
        assert sound
        await store.close()

    asyncio.run(run())


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    asyncio.run(written(path))

    async def keep() -> None:
        store = SqliteStore.open(path)
        for sequence in (2, 4, 6):
            rows = [row for row in await store.history("e1") if row.sequence < sequence]
            await store.put_snapshot(Snapshot("e1", sequence, 1, fold(rows), sequence))
        await store.close()

    async def loaded() -> tuple[int, int]:
        store = SqliteStore.open(path)
        found = await store.load("e1")
        assert found is not None
        assert fold(found.tail, found.snapshot.state if found.snapshot else b"[]") == b"[1, 2, 3, 4, 5, 6]"
        await store.close()
        return found.snapshot.sequence if found.snapshot else 0, len(found.tail)

    asyncio.run(keep())
    assert asyncio.run(loaded()) == (6, 0)
    changed_by_hand(path, "UPDATE snapshots SET state = CAST('[9]' AS BLOB) WHERE sequence = 6")
    assert asyncio.run(loaded()) == (4, 1)
    changed_by_hand(path, "UPDATE snapshots SET run = 7")
    assert asyncio.run(loaded()) == (0, 3)


def test_a_changed_blob_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    content = blob(b"content")

    async def put() -> None:
        store = SqliteStore.open(path)
        await store.put([content], 1)
        await store.close()

    async def get() -> None:
        store = SqliteStore.open(path)
        try:
            await store.get(DEFAULT_TENANT, content.hash)
        finally:
            await store.close()

    asyncio.run(put())
    changed_by_hand(path, "UPDATE blobs SET content = CAST('Content' AS BLOB)")
    with pytest.raises(CorruptHistoryError, match=content.hash):
        asyncio.run(get())


# --- other processes, other threads ----------------------------------------------------------------------------------


def test_an_append_waits_for_another_process_and_says_so_when_it_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    monkeypatch.setattr("podium.store.sqlite.connection.BUSY_TIMEOUT_MS", 50)

    async def run() -> None:
        store = SqliteStore.open(path)
        scribe = Scribe(store)
        await scribe.take()
        other = connect_writer(path, "FULL")
        other.execute("BEGIN IMMEDIATE")
        batch = scribe.batch({"a": [("start", 1)]})
        with pytest.raises(StoreUnavailableError, match="write lock"):
            await store.append(batch)
        assert store._writer is not None
        await store._writer.do(lambda connection: connection.execute("PRAGMA busy_timeout = 10000").fetchone())
        waiting = asyncio.create_task(store.append(batch))
        await asyncio.sleep(0)
        other.execute("COMMIT")
        await waiting
        other.close()
        await store.close()

    asyncio.run(run())


def test_a_caller_who_is_cancelled_loses_the_answer_and_not_the_append(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore.open(tmp_path / "store.db")
        scribe = Scribe(store)
        await scribe.take()
        task = asyncio.create_task(store.append(scribe.batch({"a": [("start", 1)]})))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        scribe.now_us += 1
        with pytest.raises(FenceLostError):
            await scribe.append({"a": [("start", 1)]})
        assert len(await store.history("a")) == 1
        await store.close()

    asyncio.run(run())


def test_a_store_left_open_doesnt_keep_the_process(tmp_path: Path) -> None:
    program = (
        "import sys, asyncio; from podium.store.sqlite import SqliteStore; from podium.testing.scribe import Scribe\n"
        "store = SqliteStore.open(sys.argv[1]); s = Scribe(store)\n"
        "async def run(): await s.take(); await s.append({'a': [('start', 1)]})\n"
        "asyncio.run(run())"
    )
    path = tmp_path / "store.db"
    assert subprocess.run([sys.executable, "-c", program, str(path)], timeout=30).returncode == 0


def test_a_busy_event_loop_doesnt_starve_the_writer(tmp_path: Path) -> None:
    async def run() -> float:
        store = SqliteStore.open(tmp_path / "store.db", synchronous="OFF")
        scribe = Scribe(store)
        await scribe.take()
        busy = True

        async def spin() -> None:
            while busy:
                until = time.perf_counter() + 0.001
                while time.perf_counter() < until:
                    pass
                await asyncio.sleep(0)

        spinning = asyncio.create_task(spin())
        start = time.perf_counter()
        for number in range(60):
            await scribe.append({f"e{n}": [(f"{number}", 1)] for n in range(20)})
        taken = time.perf_counter() - start
        busy = False
        await spinning
        await store.close()
        return taken

    assert asyncio.run(run()) < 20


def test_two_event_loops_may_use_one_store(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "store.db")
    scribe = Scribe(store)
    asyncio.run(scribe.take())

    async def post(number: int) -> None:
        for each in range(20):
            await store.post(scribe.post(f"e{number}", f"{each}"))

    threads = [threading.Thread(target=lambda n=number: asyncio.run(post(n))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asyncio.run(store.inbox(ALL_SHARDS, 0, 1_000))) == 80
    store.close_now()


def test_the_tail_of_a_long_execution_comes_whole(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore.open(tmp_path / "store.db", synchronous="OFF")
        scribe = Scribe(store)
        await scribe.take()
        for start in range(0, 12_000, 4_000):
            await scribe.append({"long": [(f"{number}", 1) for number in range(start, start + 4_000)]})
        loaded = await store.load("long")
        assert loaded is not None
        assert len(loaded.tail) == 12_000
        assert len(await store.follow(shard_of("long"), 0, 100_000)) == 12_000
        await store.close()

    asyncio.run(run())


async def busy_and_quiet(store: SqliteStore) -> tuple[str, str]:
    """Write one row of a quiet execution for each 4,500 of a busy one on another shard."""
    scribe = Scribe(store)
    await scribe.take()
    busy, quiet = "busy", next(name for name in map(str, range(99)) if shard_of(name) != shard_of("busy"))
    for number in range(4):
        await scribe.append({busy: [(f"{number}.{each}", 1) for each in range(4_500)], quiet: [(f"{number}", 1)]})
    return busy, quiet


def test_a_shard_is_followed_from_any_position_in_pages_of_any_size(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore.open(tmp_path / "store.db", synchronous="OFF")
        busy, quiet = await busy_and_quiet(store)
        for name in (busy, quiet):
            shard, rows = shard_of(name), await store.history(name, limit=20_000)
            assert [row.position for row in rows] == list(range(1, len(rows) + 1))
            for after in (0, 1, 2, 3, 4, 4_094, 4_095, 4_096, 4_097, 9_000, 17_998, 17_999, 18_000, 20_000):
                for limit in (1, 2, 100, 5_000, 20_000):
                    assert await store.follow(shard, after, limit) == rows[after : after + limit], (name, after, limit)
        assert await store.follow(63 - shard_of(busy), 0) == []
        await store.close()

    asyncio.run(run())


def test_a_shard_is_followed_across_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def write() -> tuple[str, str]:
        store = SqliteStore.open(path, synchronous="OFF")
        names = await busy_and_quiet(store)
        await store.close()
        return names

    async def read() -> list[int]:
        store = SqliteStore.open(path)
        rows = await store.follow(shard_of(busy), 10, 2)
        await store.close()
        return [row.position for row in rows]

    busy, _ = asyncio.run(write())
    changed_by_hand(path, "DELETE FROM log WHERE execution = 'busy' AND position BETWEEN 12 AND 17000")
    assert asyncio.run(read()) == [11, 17_001]


def test_a_quiet_shard_is_followed_without_reading_the_rows_of_busy_ones(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def write() -> int:
        store = SqliteStore.open(path, synchronous="OFF")
        _, quiet = await busy_and_quiet(store)
        await store.close()
        return shard_of(quiet)

    shard = asyncio.run(write())
    connection = connect_reader(path)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    connection.set_progress_handler(count, 1)
    for after in range(5):
        steps = 0
        connection.execute(named_blocks("sqlite.sql")["follow"], {"shard": shard, "after": after, "limit": 1_000})
        assert steps < 1_000
    connection.close()


def test_lists_use_their_indexes(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    asyncio.run(written(path))
    connection = connect_reader(path)
    expected = {
        "due": "executions_wake",
        "active": "executions_active",
        "executions_of_all": "executions_created",
        "executions_of_tenant": "executions_tenant",
        "history": "log_sequence",
        "follow": "log_position",
        "mentions": "INTEGER PRIMARY KEY",
        "recorded": "log_input",
        "inbox": "INTEGER PRIMARY KEY",
        "unfinished": "executions_unfinished",
        "listed": "USING INDEX",
        "listed_unfinished": "USING INDEX",
        "model": "PRIMARY KEY (name=? AND key>? AND key<?)",
    }
    for name, index in expected.items():
        sql = named_blocks("sqlite.sql")[name]
        arguments = dict.fromkeys(
            [
                "shard",
                "shards",
                "after",
                "until",
                "limit",
                "until_us",
                "before_us",
                "prefix",
                "statuses",
                "tenant",
                "execution",
                "inputs",
                "known",
                "name",
                "prefix_end",
            ],
            "[]",
        )
        plan = " / ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments))
        assert index in plan, (name, plan)
        assert "SCAN log" not in plan
        assert "SCAN executions " not in plan + " " or "USING INDEX" in plan, (name, plan)
    connection.close()


def test_a_checksum_covers_every_column() -> None:
    scribe = Scribe.__new__(Scribe)
    scribe.fences, scribe.positions, scribe.executions, scribe.now_us = {}, {}, {}, 1
    (row,) = scribe.batch({"a": [("start", 1)]}).rows
    different = {
        "shard": 99,
        "position": 99,
        "tenant": "x",
        "execution": "x",
        "sequence": 99,
        "event_count": 99,
        "input_id": "x",
        "kind": "x",
        "now_us": 99,
        "payload": b"x",
        "events": b"x",
        "payload_blob": "x",
        "format": 99,
    }
    checksums = {replace(row, **{column: value}).computed_checksum() for column, value in different.items()}
    assert len(checksums | {row.computed_checksum()}) == len(different) + 1
    assert replace(row, checksum=1).computed_checksum() == row.computed_checksum()


def test_after_what_needs_no_sync_commits_wait_for_the_disk_again(tmp_path: Path) -> None:
    async def levels(synchronous: Any) -> list[int]:
        store = SqliteStore.open(tmp_path / f"{synchronous}.db", synchronous=synchronous)
        seen = []

        def level(connection: sqlite3.Connection) -> int:
            return int(connection.execute("PRAGMA synchronous").fetchone()[0])

        for position in (1, 1, 2):  # the second is refused
            await store.put_model("model", 1, position, [ModelRow("a", b"1")])
            seen.append(await store._write(level))
        seen.append(await store._write(unsynced(level)))
        await store.close()
        return seen

    assert asyncio.run(levels("FULL")) == [2, 2, 2, 1]
    assert asyncio.run(levels("OFF")) == [0, 0, 0, 0]
