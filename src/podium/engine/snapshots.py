"""When snapshots are written: when the tail of a history outweighs the last one. One at a time, off the loop."""

from __future__ import annotations

import asyncio
from typing import Any

from podium.engine.recovery import Definitions, Offload, take_snapshot
from podium.exceptions import CorruptHistoryError, StoreUnavailableError
from podium.store.protocol import Store
from podium.telemetry.logs import get_logger

_log = get_logger("podium.engine")


class Snapshots:
    """Counts what was written of each execution in memory, and writes a snapshot when it is time."""

    def __init__(self, store: Store, definitions: Definitions, offload: Offload[Any], least_bytes: int) -> None:
        self._store = store
        self._definitions = definitions
        self._offload = offload
        self._least_bytes = least_bytes
        self._tails: dict[str, int] = {}  # bytes since the last snapshot
        self._sizes: dict[str, int] = {}  # of the last snapshot
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()

    def grown(self, execution: str, by_bytes: int) -> None:
        """Count what was committed."""
        tail = self._tails[execution] = self._tails.get(execution, 0) + by_bytes
        if tail > max(self._sizes.get(execution, 0), self._least_bytes) and execution not in self._due:
            self._due[execution] = None
            self._wake.set()

    def forget(self, execution: str) -> None:
        """The execution has ended or left the memory: it needs no snapshot now."""
        for known in (self._tails, self._sizes, self._due):
            known.pop(execution, None)

    async def write(self) -> None:
        """Write what is due, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                await self._write_one(next(iter(self._due)))

    async def _write_one(self, execution: str) -> None:
        try:
            size = await take_snapshot(self._store, self._definitions, execution, self._offload)
            if execution in self._tails:
                self._tails[execution], self._sizes[execution] = 0, size
        except (StoreUnavailableError, CorruptHistoryError, KeyError) as error:
            _log.warning("no snapshot", execution=execution, error=str(error))
        self._due.pop(execution, None)
