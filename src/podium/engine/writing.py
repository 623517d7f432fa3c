"""To the store and back: what is decided is appended in batches, one at a time, while the next batch is being filled.

Of an append that has failed the store is asked where our shards are, since it may have been committed all the same.
"""

from __future__ import annotations

import asyncio

from podium.clock import Clock, seconds_to_us
from podium.engine.arrivals import Batch, Batches
from podium.engine.intake import Intake
from podium.engine.redoing import Redoing
from podium.engine.releasing import Releasing
from podium.engine.shards import OwnedShards
from podium.exceptions import (
    DuplicateInputError,
    FenceLostError,
    LimitReachedError,
    SequenceConflictError,
    StoreUnavailableError,
    UnstorableError,
)
from podium.store.protocol import Store
from podium.telemetry.logs import get_logger

_DONE_AGAIN = (SequenceConflictError, DuplicateInputError, LimitReachedError, StoreUnavailableError, UnstorableError)
_log = get_logger("podium.engine")


class Writing:
    """The append that is under way, and what comes of it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        batches: Batches,
        shards: OwnedShards,
        intake: Intake,
        releasing: Releasing,
        redoing: Redoing,
        *,
        shared: bool,
        pause_seconds: float,
    ) -> None:
        """`pause_seconds` is how long a store that was unavailable is left alone."""
        self.blocked_until_us = 0  # the store was unavailable; it is tried again then
        self.in_doubt = False  # the store has yet to say what became of an append: everything waits for that
        self.token = ""  # by which rows for the replica that places differ from another process'
        self._store = store
        self._clock = clock
        self._batches = batches
        self._shards = shards
        self._intake = intake
        self._releasing = releasing
        self._redoing = redoing
        self._again = (*_DONE_AGAIN, FenceLostError) if shared else _DONE_AGAIN
        self._pause_us = seconds_to_us(pause_seconds)
        self._flight: asyncio.Task[None] | None = None
        self._told = 0  # rows of changes for the replica that places

    @property
    def under_way(self) -> bool:
        """Whether an append is under way, or has ended and nothing has come of it yet."""
        return self._flight is not None

    @property
    def has_come_back(self) -> bool:
        """Whether it has ended."""
        return self._flight is not None and self._flight.done()

    def may_launch(self, now_us: int) -> bool:
        """Whether there is something to write, and nothing keeps it back."""
        return self._flight is None and not self._batches.filling.empty and now_us >= self.blocked_until_us

    def launch(self, now_us: int) -> None:
        """Write the batch; the next one is filled meanwhile."""
        batch = self._batches.take_off()
        self._told += 1
        append = batch.sealed(self._shards.fences, now_us, f"{self.token}:{self._told}")
        self._flight = asyncio.create_task(self._store.append(append), name="podium-append")
        self._flight.add_done_callback(self._flown)

    def _flown(self, flight: asyncio.Task[None]) -> None:
        """Wake the loop for what came of an append; should the loop end before it looks, a failure counts as seen."""
        if not flight.cancelled():
            flight.exception()
        self._intake.wake.set()

    async def land(self) -> None:
        """Let out what waited for the append, or have what it was to write decided again."""
        flight, landed = self._flight, self._batches.flying
        if flight is None or landed is None:
            return
        error = flight.exception()
        if error is None:
            self._flight = self._batches.flying = None
            self._releasing.release(landed)
        elif isinstance(error, self._again) and not (isinstance(error, UnstorableError) and _follows_by_itself(landed)):
            _log.warning("an append failed", error=str(error))
            # until then the batch counts as flying: nothing of it leaves the memory
            self.in_doubt = True
            known = await self._redoing.look_up_positions()
            self.in_doubt = False
            self._flight = self._batches.flying = None
            if isinstance(error, StoreUnavailableError):
                self.blocked_until_us = self._clock.now_us() + self._pause_us
            if known:
                self._redoing.redo(landed, error)
        else:
            self._flight = self._batches.flying = None
            if isinstance(error, FenceLostError):
                _log.error("another owner has taken over")
            raise error


def _follows_by_itself(batch: Batch) -> bool:
    """Whether nothing in a batch came from anybody: the engine would make the same one again and again."""
    return all(decided.arrival.renewable for decided in batch.decided)
