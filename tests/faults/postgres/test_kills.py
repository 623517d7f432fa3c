"""A replica killed with -9 at every event, and what the next one makes of it (faults 1 and 2)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from podium.store.postgres import PostgresStore
from podium.testing.ledger import FileLedger, Told
from podium.testing.oracle import Examination
from podium.testing.postgresserver import PostgresServer
from tests.crash.test_kills import EVENTS, KILLED, POINTS, results

DRIVER = Path(__file__).with_name("driver.py")
SAMPLE = (1, 22)
# Each event at one of the points in turn; tests/crash has each at all of them, and the engine is the same.
EACH_EVENT = [(POINTS[event % len(POINTS)], event) for event in range(1, EVENTS)]


class Killed:
    """A database whose only replica is killed again and again."""

    def __init__(self, server: PostgresServer, database: str, folder: Path) -> None:
        self.folder = folder
        self._server = server
        self._database = database

    def drive(self, *kill: object) -> int:
        """Run the driver once the leases of those before are over; return its exit code, -9 when it was killed."""
        self._server.execute("UPDATE replicas SET lease_until_us = 0", self._database)
        command = [sys.executable, str(DRIVER), str(self.folder), self._server.url(self._database), *map(str, kill)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, KILLED), done.stderr
        return done.returncode

    def check(self, kills: int) -> None:
        """Ask the oracle, and hold the ledger of effects against what was recorded."""
        told = Told(executions={(self.folder / "acknowledged").read_text(): None})
        effects = FileLedger(self.folder / "ledger").effects()

        async def examine() -> list[str]:
            store = await PostgresStore.open(self._server.url(self._database))
            try:
                return await Examination(store, told, effects).examine()
            finally:
                await store.close()

        assert asyncio.run(examine()) == []
        for key, times in Counter(effect.key for effect in effects).items():
            assert times <= 1 + kills, f"{key} had {times} effects after {kills} kills"


@pytest.fixture
def killed(server: PostgresServer, database: str, tmp_path: Path) -> Killed:
    return Killed(server, database, tmp_path)


WANTED: dict[str, Any] = {}


@pytest.fixture
def undisturbed(server: PostgresServer, database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run comes to without a fault, each effect exactly once; found out once."""
    if not WANTED:
        name = f"{database}_undisturbed"
        server.create_database(name, template="podium_tables")
        alone = Killed(server, name, tmp_path_factory.mktemp("undisturbed"))
        assert alone.drive() == 0
        alone.check(0)
        WANTED.update(results(alone.folder))
        server.drop_database(name)
    return WANTED


def survive(killed: Killed, undisturbed: dict[str, Any], point: str, at_event: int) -> None:
    kills = int(killed.drive(point, at_event) == KILLED)
    if kills:
        assert killed.drive() == 0
    assert results(killed.folder) == undisturbed
    killed.check(kills)


@pytest.mark.parametrize("at_event", SAMPLE)
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_changes_nothing_at_a_sample_of_events(killed, undisturbed, point, at_event):
    survive(killed, undisturbed, point, at_event)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "at_event"), EACH_EVENT)
def test_a_kill_changes_nothing_at_any_event(killed, undisturbed, point, at_event):
    survive(killed, undisturbed, point, at_event)


@pytest.mark.parametrize("first", [5, *(pytest.param(each, marks=pytest.mark.slow) for each in (15, 25))])
def test_three_more_kills_during_the_recovery_change_nothing(killed, undisturbed, first):
    kills = [("after", first), ("before", 1), ("after", 1), ("sent", 1)]
    died = sum(killed.drive(point, at_event) == KILLED for point, at_event in kills)
    assert died == len(kills)
    assert killed.drive() == 0
    assert results(killed.folder) == undisturbed
    killed.check(died)


def test_a_submission_killed_before_its_commit_was_never_acknowledged(killed):
    assert killed.drive("before", 1) == KILLED
    assert not (killed.folder / "acknowledged").exists()
    assert FileLedger(killed.folder / "ledger").effects() == []
