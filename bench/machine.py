"""The machine that was measured on, in words: figures without it mean nothing."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from bench.figures import percentile
from bench.limits import fsync_seconds
from podium.testing.postgresserver import find_programs


class Machine(Struct, frozen=True, kw_only=True):
    """Where and when it was measured; times in milliseconds."""

    date: str
    cores: int
    processor: str
    memory_gb: float
    filesystem: str
    fsync_p50_ms: float
    fsync_p99_ms: float
    system: str
    python: str
    sqlite: str
    postgres: str  # that P1 to P6 start; empty where there is none
    load_before: float  # of the last minute: what else was running

    def lines(self) -> list[str]:
        """Return the machine as lines to print."""
        return [
            f"{self.date} · {self.cores} cores of {self.processor}, {self.memory_gb:.0f} GB, {self.system}",
            f"{self.python}, SQLite {self.sqlite}" + (f", PostgreSQL {self.postgres}" if self.postgres else ""),
            f"disk: {self.filesystem}, 4 KiB written and synced in {self.fsync_p50_ms:.2f} ms (p50), "
            f"{self.fsync_p99_ms:.2f} ms (p99)",
            f"load average before: {self.load_before:.2f}",
        ]


def describe(folder: Path) -> Machine:
    """Return the machine as it is now, with the latency of the folder's disk measured."""
    load = os.getloadavg()[0]
    synced = sorted(fsync_seconds(folder))
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=_processor(),
        memory_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        filesystem=_filesystem(folder),
        fsync_p50_ms=percentile(synced, 50) * 1_000,
        fsync_p99_ms=percentile(synced, 99) * 1_000,
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        postgres=_postgres(),
        load_before=load,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _postgres() -> str:
    programs = find_programs()
    if programs is None:
        return ""
    said = subprocess.run([str(programs / "postgres"), "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\d+(\.\d+)*", said)
    return found[0] if found else ""


def _filesystem(folder: Path) -> str:
    """Return the kind of filesystem that a folder is on; where it is mounted is nobody's business."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown filesystem"
    mounts = [line.split()[1:3] for line in lines]
    over = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(over, key=lambda mount: len(mount[0]))[1] if over else "unknown filesystem"
