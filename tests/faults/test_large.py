"""What is far too large (fault 24): an error text of 20 MB, a graph of 100,000 tasks."""

from __future__ import annotations

import asyncio

import pytest

from podium.store.protocol import LogRow
from podium.store.sqlite import SqliteStore
from tests.cli.support import eventually
from tests.faults.support import DATABASE, driver, examine, lines, to_end

TASKS = 100_000


def rows(folder, execution: str) -> list[LogRow]:
    async def read() -> list[LogRow]:
        store = SqliteStore.open(folder / DATABASE)
        try:
            return await store.history(execution, limit=1_000)
        finally:
            await store.close()

    return asyncio.run(read())


def test_an_error_text_of_20_mb_is_cut_and_the_reason_kept(shell, folder):
    assert to_end(driver(folder, "shouting")) == 0
    ((_, execution),) = lines(folder, "execution")
    assert lines(folder, "ended") == [["ended", execution, "completed"]]
    found = shell.json("status", execution)
    for task in ("shout", "apart"):
        assert found["tasks"][task]["status"] == "failed"
        assert "RuntimeError: the disk of the other side is full: é" in found["tasks"][task]["error"]
    assert sum(len(row.payload) + len(row.events) for row in rows(folder, execution)) < 200_000
    for path in (folder / ".podium").iterdir():
        assert path.stat().st_size < 5 << 20, f"{path} holds the whole text"
    assert sum(map(len, shell("explain", execution, "shout").out)) < 10_000
    examine(folder)


@pytest.mark.slow
def test_a_graph_of_100_000_tasks_runs_is_killed_goes_on_and_ends(shell, folder):
    process = driver(folder, "wide", TASKS)
    eventually(lambda: lines(folder, "execution") or process.poll() is not None, "its start", 90)
    ((_, execution),) = lines(folder, "execution")

    def done() -> int:
        return int(shell.json("ps")[0]["summary"].get("completed", 0))

    eventually(lambda: done() > TASKS // 10, "a good part", 90)
    process.kill()
    to_end(process)
    reached = done()
    assert "interrupted" in shell("ps").out[1]
    explained = shell("explain", execution)
    assert len(explained.out) < 200
    process = driver(folder, "adopt", execution)
    eventually(lambda: lines(folder, "ended") or process.poll() is not None, f"the end, from {reached} on", 150)
    assert to_end(process) == 0
    assert lines(folder, "ended") == [["ended", execution, "completed"]]
    assert done() == TASKS
