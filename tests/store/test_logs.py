"""Attempt logs are bounded, never block, and can be read from another process while they are written."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podium.fleet.messages import LogLine, LogSink
from podium.store.logs import MAX_TEXT_BYTES, AttemptLogs, MemoryLogs, SqliteLogs, cut
from podium.store.postgres.logs import PostgresLogs

Make = Callable[..., AttemptLogs]


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[AttemptLogs] = []

    def one(**bounds: Any) -> AttemptLogs:
        match request.param:
            case "memory":
                logs: AttemptLogs = MemoryLogs(**bounds)
            case "sqlite":
                logs = SqliteLogs(tmp_path / "l", **bounds)
            case _:
                databases = request.getfixturevalue("podium_databases")
                logs = PostgresLogs(asyncio.run(databases.empty("logs")), **bounds)
        made.append(logs)
        return logs

    yield one
    for logs in made:
        logs.close()


def line(number: int, attempt: str = "attempt", task: str = "task", execution: str = "execution") -> LogLine:
    return LogLine(execution, task, attempt, number, "info", f"line {number}")


def settled(logs: AttemptLogs) -> AttemptLogs:
    if isinstance(logs, SqliteLogs | PostgresLogs):
        logs.flush()
    return logs


def test_lines_come_back_in_order_and_by_task(make: Make) -> None:
    logs = make()
    sink: LogSink = logs
    for number in range(10):
        sink.write(line(number, task=f"task {number % 2}", attempt=f"attempt {number % 2}"))
    sink.write(line(99, execution="other"))
    kept = settled(logs).read("execution")
    assert [each.at_us for each in kept] == list(range(10))
    assert kept[3].text == "line 3"
    assert kept[3].level == "info"
    assert kept[3].attempt == "attempt 1"
    assert [each.at_us for each in logs.read("execution", "task 1")] == [1, 3, 5, 7, 9]
    assert logs.read("nothing") == []
    assert logs.dropped == 0


def test_a_reader_goes_on_behind_the_last_line_it_has_seen(make: Make) -> None:
    logs = make()
    for number in range(10):
        logs.write(line(number))
    first = settled(logs).read("execution", limit=4)
    second = logs.read("execution", after_id=first[-1].id)
    assert [each.at_us for each in first + second] == list(range(10))
    assert logs.read("execution", after_id=second[-1].id) == []
    logs.write(line(10))
    (last,) = settled(logs).read("execution", after_id=second[-1].id)
    assert last.at_us == 10


def test_an_attempt_keeps_its_newest_lines(make: Make) -> None:
    logs = make(lines_an_attempt=5)
    for number in range(12):
        logs.write(line(number))
        logs.write(line(number, "quiet")) if number < 3 else None
        settled(logs)
    kept = logs.read("execution")
    assert [each.at_us for each in kept if each.attempt == "attempt"] == [7, 8, 9, 10, 11]
    assert [each.at_us for each in kept if each.attempt == "quiet"] == [0, 1, 2]


def test_all_attempts_together_keep_their_newest_lines(make: Make) -> None:
    logs = make(lines_in_all=20)
    for number in range(50):
        logs.write(line(number, f"attempt {number}"))
    assert [each.at_us for each in settled(logs).read("execution")] == list(range(30, 50))


def test_a_long_text_is_cut_to_eight_kibibytes(make: Make) -> None:
    logs = make()
    for text in ("é" * 100_000, "x" * MAX_TEXT_BYTES, "x" * (MAX_TEXT_BYTES + 1)):
        logs.write(LogLine("execution", "task", "attempt", 1, "info", text))
    cut_one, whole, cut_other = settled(logs).read("execution")
    assert len(cut_one.text.encode()) <= MAX_TEXT_BYTES
    assert cut_one.text.endswith("(cut)")
    assert whole.text == "x" * MAX_TEXT_BYTES
    assert cut_other.text.endswith("(cut)")


def test_any_text_can_be_kept(make: Make) -> None:
    logs = make()
    for text in ("\0 nul", "\ud800 lone surrogate", "", "new\nline\ttab \"quote' \\", "😀"):
        logs.write(LogLine("execution", "task", "attempt", 1, "info", text))
    kept = [each.text for each in settled(logs).read("execution")]
    assert kept == ["␀ nul", "? lone surrogate", "", "new\nline\ttab \"quote' \\", "😀"]


def test_close_keeps_what_was_written_and_is_safe_twice(tmp_path: Path) -> None:
    logs = SqliteLogs(tmp_path / "logs.db")
    logs.write(line(1))
    logs.close()
    logs.close()
    logs.write(line(2))
    logs.flush()
    assert logs.dropped == 1
    assert [each.at_us for each in logs.read("execution")] == [1]


def test_after_close_memory_takes_nothing_either() -> None:
    logs = MemoryLogs()
    logs.write(line(1))
    logs.close()
    logs.close()
    logs.write(line(2))
    assert logs.dropped == 1
    assert len(logs.read("execution")) == 1


def test_a_full_buffer_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    logs = SqliteLogs(tmp_path / "logs.db", lines_buffered=10)
    with logs._file_lock:  # the thread can't write meanwhile
        for number in range(30):
            logs.write(line(number))
    logs.close()
    kept = [each.at_us for each in logs.read("execution")]
    assert kept[-10:] == list(range(20, 30))
    assert len(kept) + logs.dropped == 30


def test_another_process_reads_while_lines_are_written(tmp_path: Path) -> None:
    logs = SqliteLogs(tmp_path / "logs.db")
    program = (
        "import sys; from podium.store.logs import SqliteLogs\n"
        "logs = SqliteLogs(sys.argv[1], read_only=True)\n"
        "print([each.at_us for each in logs.read('execution')]); logs.close()"
    )
    for number in range(3):
        logs.write(line(number))
        logs.flush()
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "logs.db")], capture_output=True, text=True, timeout=30
        )
        assert done.stdout.strip() == str(list(range(number + 1))), done.stderr
    logs.close()


def test_where_there_is_no_file_there_are_no_lines(tmp_path: Path) -> None:
    logs = SqliteLogs(tmp_path / "logs.db", read_only=True)
    assert logs.read("execution") == []
    logs.write(line(1))
    assert logs.dropped == 1
    logs.close()


def test_a_file_that_cant_be_written_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    logs = SqliteLogs(folder / "logs.db")
    logs.write(line(1))
    logs.flush()
    assert logs.dropped == 1
    folder.mkdir()
    logs.write(line(2))
    logs.flush()
    assert [each.at_us for each in logs.read("execution")] == [2]
    logs.close()


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    path.write_bytes(b"damaged" * 1_000)
    logs = SqliteLogs(path)
    logs.write(line(1))
    logs.flush()
    assert logs.dropped == 1
    logs.write(line(2))
    logs.flush()
    assert [each.at_us for each in logs.read("execution")] == [2]
    logs.close()


@pytest.mark.parametrize("length", [0, 1, MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1, 3 * MAX_TEXT_BYTES])
def test_cut_never_passes_the_limit(length: int) -> None:
    for letter in "xé€😀":
        assert len(cut(letter * length).encode()) <= MAX_TEXT_BYTES
