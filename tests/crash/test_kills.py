"""A real process killed with -9 at every event, and what the next process makes of it (faults 1, 2 and 22)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from podium.store.sqlite import SqliteStore
from podium.testing.ledger import FileLedger, Told
from podium.testing.oracle import Examination

DRIVER = Path(__file__).with_name("driver.py")
POINTS = ("before", "after", "sent")
EVENTS = 46  # a run without faults has some forty; an index that no run reaches kills nobody
SAMPLE = (1, 4, 7, 13, 22, 31, 38)
KILLED = -9


def drive(folder: Path, scenario: str, *kill: object) -> int:
    """Run the driver; return its exit code, -9 when it was killed."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), scenario, *map(str, kill)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode


def results(folder: Path) -> dict[str, Any]:
    """Return what a run came to, without what differs from run to run."""
    found = json.loads((folder / "result.json").read_bytes())
    tasks = {name: (task["status"], task.get("result")) for name, task in found["tasks"].items()}
    return {"status": found["status"], "result": found.get("result"), "tasks": tasks}


def check(folder: Path, kills: int) -> None:
    """Ask the oracle, and hold the ledger of effects against what was recorded."""
    acknowledged = folder / "acknowledged"
    told = Told(executions={acknowledged.read_text(): None})
    effects = FileLedger(folder / "ledger").effects()

    async def examine() -> list[str]:
        store = SqliteStore.open(folder / "podium.db", read_only=True)
        try:
            return await Examination(store, told, effects).examine()
        finally:
            await store.close()

    assert asyncio.run(examine()) == []
    for key, times in Counter(effect.key for effect in effects).items():
        assert times <= 1 + kills, f"{key} had {times} effects after {kills} kills"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run comes to without a fault, each effect exactly once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert drive(folder, "order") == 0
    check(folder, 0)
    return results(folder)


def survive(folder: Path, undisturbed: dict[str, Any], point: str, at_event: int) -> None:
    kills = int(drive(folder, "order", point, at_event) == KILLED)
    if kills:
        assert drive(folder, "order") == 0
    assert results(folder) == undisturbed
    check(folder, kills)


@pytest.mark.parametrize("at_event", SAMPLE)
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_changes_nothing_at_a_sample_of_events(tmp_path, undisturbed, point, at_event):
    survive(tmp_path, undisturbed, point, at_event)


@pytest.mark.slow
@pytest.mark.parametrize("at_event", range(1, EVENTS))
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_changes_nothing_at_any_event(tmp_path, undisturbed, point, at_event):
    survive(tmp_path, undisturbed, point, at_event)


@pytest.mark.parametrize("first", [5, 15, 25])
def test_three_more_kills_during_the_recovery_change_nothing(tmp_path, undisturbed, first):
    kills = [("after", first), ("before", 1), ("after", 1), ("sent", 1)]
    died = sum(drive(tmp_path, "order", point, at_event) == KILLED for point, at_event in kills)
    assert died == len(kills)
    assert drive(tmp_path, "order") == 0
    assert results(tmp_path) == undisturbed
    check(tmp_path, died)


def test_a_submission_killed_before_its_commit_was_never_acknowledged(tmp_path):
    assert drive(tmp_path, "order", "before", 1) == KILLED
    assert not (tmp_path / "acknowledged").exists()
    assert FileLedger(tmp_path / "ledger").effects() == []


def test_a_task_that_kills_its_worker_each_time_ends_as_a_crash_loop_and_harms_nobody(tmp_path):
    assert drive(tmp_path, "deadly") == 0
    found = json.loads((tmp_path / "result.json").read_bytes())
    assert found["status"] == "completed"
    assert found["partial"] is True
    deadly = found["tasks"]["deadly"]
    assert deadly["status"] == "failed"
    assert deadly["attempts"] == 3
    assert "CrashLoop: its worker died 3 times" in deadly["error"]
    assert found["tasks"]["each"]["result"] == [2, 4, 6]
    check(tmp_path, 0)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("at_event", [3, 8, 9, 10, 12, 17])
def test_a_graph_that_grows_comes_to_the_same_end_whenever_it_is_killed(tmp_path, grown_undisturbed, point, at_event):
    kills = int(drive(tmp_path, "grow", point, at_event) == KILLED)
    if kills:
        assert drive(tmp_path, "grow") == 0
    assert results(tmp_path) == grown_undisturbed
    check(tmp_path, kills)


@pytest.fixture(scope="session")
def grown_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the growing run comes to without a fault."""
    folder = tmp_path_factory.mktemp("grown")
    assert drive(folder, "grow") == 0
    check(folder, 0)
    found = results(folder)
    assert found["tasks"]["each"] == ("completed", [2, 6])
    return found


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("at_event", [2, 5, 9, 14, 20, 27, 33])
def test_children_come_to_the_same_end_whenever_their_process_is_killed(
    tmp_path, children_undisturbed, point, at_event
):
    kills = int(drive(tmp_path, "child", point, at_event) == KILLED)
    if kills:
        assert drive(tmp_path, "child") == 0
    found = results(tmp_path)
    assert found == children_undisturbed
    check(tmp_path, kills)


@pytest.fixture(scope="session")
def children_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run with children comes to without a fault."""
    folder = tmp_path_factory.mktemp("children")
    assert drive(folder, "child") == 0
    check(folder, 0)
    found = results(folder)
    assert found["tasks"]["sub"][1]["each"] == [2, 6]
    assert found["tasks"]["lost"][0] == "failed"
    return found
