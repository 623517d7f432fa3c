"""When snapshots are written: when the tail of a history outweighs the last one; of an execution that goes on, also
when that is some minutes old (document 004's checkpoint interval). One at a time, off the loop; by the clock not too
many.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from podium.clock import SECOND, Clock, SystemClock, seconds_to_us
from podium.engine.recovery import Definitions, Offload, take_snapshot
from podium.exceptions import CorruptHistoryError, StoreUnavailableError
from podium.store.protocol import Store
from podium.telemetry.logs import get_logger

LOOKS = 30  # so many of them in an interval
MOST_AT_A_LOOK = 100
WORTH_BYTES = 64 << 10  # of history that a load folds: less needs no snapshot for its own sake
_log = get_logger("podium.engine")


class Snapshots:
    """Counts what was written of each execution in memory, and writes a snapshot when it is time."""

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        offload: Offload[Any],
        least_bytes: int,
        clock: Clock | None = None,
        interval_seconds: float = 0.0,
    ) -> None:
        """0 seconds: only the size counts."""
        self._store = store
        self._definitions = definitions
        self._offload = offload
        self._least_bytes = least_bytes
        self._clock = clock or SystemClock()
        self._interval_us = seconds_to_us(interval_seconds)
        self._tails: dict[str, int] = {}  # bytes since the last snapshot
        self._sizes: dict[str, int] = {}  # of the last snapshot
        self._moved: dict[str, int] = {}  # since when there is a tail, the oldest first
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()

    def grown(self, execution: str, by_bytes: int) -> None:
        """Count what was committed."""
        tail = self._tails[execution] = self._tails.get(execution, 0) + by_bytes
        if self._interval_us and execution not in self._moved:
            self._moved[execution] = self._clock.now_us()
        if tail > max(self._sizes.get(execution, 0), self._least_bytes) and execution not in self._due:
            self._due[execution] = None
            self._wake.set()

    def found(self, execution: str, tail_bytes: int, since_us: int) -> None:
        """An execution was loaded whose tail has so many bytes, the first of them from that time."""
        if not tail_bytes:
            return
        self.grown(execution, tail_bytes)
        old = self._interval_us and self._clock.now_us() - since_us >= self._interval_us
        if old and tail_bytes >= WORTH_BYTES:
            self._due[execution] = None
            self._wake.set()

    def leave(self, execution: str) -> None:
        """An execution that goes on leaves the memory: it gets a snapshot if its next load would be long without."""
        tail = self._tails.get(execution, 0)
        self.forget(execution)
        if tail >= WORTH_BYTES:
            self._due[execution] = None
            self._wake.set()

    def forget(self, execution: str) -> None:
        """An execution has ended: it needs no snapshot any more."""
        for known in (self._tails, self._sizes, self._moved, self._due):
            known.pop(execution, None)

    async def look_at_the_clock(self) -> None:
        """Have snapshots written, for ever, of executions whose last one is long ago and that have moved since."""
        while self._interval_us:
            await asyncio.sleep(self._interval_us / LOOKS / SECOND)
            self._note_overdue(self._clock.now_us())

    def _note_overdue(self, now_us: int) -> None:
        for execution, since_us in itertools.islice(self._moved.items(), max(MOST_AT_A_LOOK - len(self._due), 0)):
            if now_us - since_us < self._interval_us:
                break
            self._due[execution] = None
        if self._due:
            self._wake.set()

    async def write(self) -> None:
        """Write what is due, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                await self._write_one(next(iter(self._due)))

    async def _write_one(self, execution: str) -> None:
        try:
            counted = self._tails.get(execution, 0)
            self._moved.pop(execution, None)  # what is committed from here on may not be in it
            size = await take_snapshot(self._store, self._definitions, execution, self._offload)
            if execution in self._tails:
                self._tails[execution], self._sizes[execution] = self._tails[execution] - counted, size
        except (StoreUnavailableError, CorruptHistoryError, KeyError) as error:
            _log.warning("no snapshot", execution=execution, error=str(error))
        self._due.pop(execution, None)
