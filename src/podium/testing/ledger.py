"""The ledger of effects and of what clients were told: kept outside of Podium, so that the oracle can hold the log
against it.

One in memory for simulations, one in a file for tests with real processes: a line an effect, appended in one write, so
that a kill tears none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct


class Effect(Struct, frozen=True):
    """Something that a task did to the world: under which key, by which attempt."""

    key: str
    attempt: str
    outcome: str = "succeeded"


class Ledger(Protocol):
    """Where tasks write what they did."""

    def record(self, effect: Effect) -> None:
        """Write an effect down, for good."""
        ...

    def effects(self) -> list[Effect]:
        """Return every effect, in order."""
        ...


class MemoryLedger:
    """A ledger in memory."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []

    def record(self, effect: Effect) -> None:
        """Write an effect down."""
        self._effects.append(effect)

    def effects(self) -> list[Effect]:
        """Return every effect."""
        return self._effects


class FileLedger:
    """A ledger in a file that many processes append to, and that a kill -9 of any of them doesn't harm."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def record(self, effect: Effect) -> None:
        """Append a line: one write of a file opened for appending is whole or not there."""
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, msgspec.json.encode(effect) + b"\n")
        finally:
            os.close(file)

    def effects(self) -> list[Effect]:
        """Return every effect."""
        return list(self._read())

    def _read(self) -> Iterator[Effect]:
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                yield msgspec.json.decode(line, type=Effect)


class Told(Struct):
    """What clients were told: executions whose start was acknowledged, inputs whose recording was."""

    executions: dict[str, None] = {}
    inputs: dict[tuple[str, str], None] = {}
