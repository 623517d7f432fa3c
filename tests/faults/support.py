"""What the fault tests share: driving the driver, what it was told, and the oracle over what is left."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from podium.store.sqlite import SqliteStore
from podium.testing.diskfaults import DiskFaults
from podium.testing.ledger import FileLedger, Told
from podium.testing.oracle import Examination
from tests.cli.support import environment

DRIVER = Path(__file__).with_name("driver.py")
DATABASE = Path(".podium") / "podium.db"


def driver(
    folder: Path, *arguments: object, disk: DiskFaults | None = None, synchronous: str = "FULL"
) -> subprocess.Popen[str]:
    """Start the driver."""
    more = {"DRIVER_SYNCHRONOUS": synchronous, **(disk.environment if disk is not None else {})}
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(folder), *map(str, arguments)],
        env=environment(**more), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def lines(folder: Path, kind: str = "") -> list[list[str]]:
    """Return what the driver was told, of this kind."""
    path = folder / "told"
    said = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in said if not kind or line[0] == kind]


def acknowledged(folder: Path) -> Told:
    """Return what the driver was acknowledged."""
    return Told(
        executions={line[1]: None for line in lines(folder, "execution")},
        inputs={(line[1], line[2]): None for line in lines(folder, "input")},
    )


def examine(folder: Path, at_rest: bool = True) -> None:
    """Ask the oracle (I1 to I5), and SQLite for its own."""
    database = folder / DATABASE
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    effects = FileLedger(folder / "effects").effects()

    async def look() -> list[str]:
        store = SqliteStore.open(database)
        try:
            return await Examination(store, acknowledged(folder), effects, at_rest=at_rest).examine()
        finally:
            await store.close()

    broken = asyncio.run(look())
    assert not broken, "\n".join(broken)
    assert not lines(folder, "held"), f"I6: {lines(folder, 'held')}"
    finals: dict[str, str] = {}
    for _, execution, status in lines(folder, "ended"):
        assert finals.setdefault(execution, status) == status, f"{execution} ended twice"


def completed(folder: Path, count: int) -> None:
    """All of the chain has completed, and nothing is broken."""
    assert {line[1] for line in lines(folder, "ended")} == set(acknowledged(folder).executions)
    assert len(acknowledged(folder).executions) == count
    assert {line[2] for line in lines(folder, "ended")} == {"completed"}
    examine(folder)


def to_end(process: subprocess.Popen[str], seconds: float = 60.0) -> int:
    """Wait for the driver's end; return its exit code. It may be killed, but never fail by itself."""
    try:
        _, said = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode in (0, -9), said
    return process.returncode
