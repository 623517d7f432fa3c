"""A kill at any moment of an append leaves all of it or nothing, and what was acknowledged survives."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from podium.store.sqlite import SqliteStore
from podium.testing.scribe import Scribe, check_gapless

CHILD = Path(__file__).with_name("crash_child.py")


def killed_at_each_point(folder: Path, kind: str, step: int) -> int:
    done = subprocess.run(
        [sys.executable, str(CHILD), str(folder), kind, str(step)], capture_output=True, text=True, timeout=1_800
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_killed_between_any_two_steps_of_an_append_it_is_all_or_nothing(tmp_path: Path) -> None:
    assert killed_at_each_point(tmp_path, "statements", 24) >= 20


@pytest.mark.slow
def test_killed_at_every_fourth_statement_of_an_append_it_is_all_or_nothing(tmp_path: Path) -> None:
    assert killed_at_each_point(tmp_path, "statements", 4) >= 125


@pytest.mark.slow
def test_killed_every_thirty_instructions_of_an_append_it_is_all_or_nothing(tmp_path: Path) -> None:
    assert killed_at_each_point(tmp_path, "instructions", 30) >= 150


async def _acknowledged(path: Path, appends: int) -> list[int]:
    """Append one by one; return the size of the WAL at each acknowledgement."""
    store = SqliteStore.open(path)
    scribe = Scribe(store)
    await scribe.take()
    wal = path.with_name(path.name + "-wal")
    sizes = [wal.stat().st_size]
    for number in range(appends):
        await scribe.append({f"e{number % 3}": [(f"i{number}", 2)]}, payload=b"p" * 300)
        sizes.append(wal.stat().st_size)
    shutil.copy(path, path.with_name("torn.db"))
    shutil.copy(wal, path.with_name("whole-wal"))
    await store.close()
    return sizes


@pytest.mark.parametrize("garbage", [False, True], ids=["cut", "overwritten"])
def test_a_wal_torn_behind_the_last_sync_opens_at_a_prefix_with_all_that_was_acknowledged(
    tmp_path: Path, garbage: bool
) -> None:
    sizes = asyncio.run(_acknowledged(tmp_path / "store.db", 12))
    whole = (tmp_path / "whole-wal").read_bytes()
    middles = [(low + high) // 2 for low, high in pairwise(sizes)]
    for cut in sorted({*sizes, *middles, *(size - 1 for size in sizes), *(size + 30 for size in sizes)}):
        torn = tmp_path / f"torn-{cut}.db"
        shutil.copy(tmp_path / "torn.db", torn)
        rest = b"\xa5" * (len(whole) - cut) if garbage else b""
        torn.with_name(torn.name + "-wal").write_bytes(whole[:cut] + rest)

        async def seen(path: Path = torn) -> int:
            store = SqliteStore.open(path)
            await check_gapless(store)
            rows = [row async for row in store.mentions()]
            await store.close()
            return len(rows)

        acknowledged = max(number for number, size in enumerate(sizes) if size <= max(cut, sizes[0]))
        found = asyncio.run(seen())
        assert found == acknowledged if cut >= sizes[0] else found == 0
