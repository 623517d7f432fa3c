"""After an append that failed: what it and the batch behind it decided is discarded, and their inputs are decided again
on what the store has now.

Some inputs aren't decided again: those that the engine makes anew by itself, that are recorded already, that a limit
keeps out, or whose waiters should rather say them again to a store that answers.
"""

from __future__ import annotations

import asyncio

from podium.engine import events as ev
from podium.engine.arrivals import Arrival, Batch, Batches, Decided
from podium.engine.braking import Brakes
from podium.engine.deciding import limit_key
from podium.engine.declining import Declining
from podium.engine.forwarding import Forwarding
from podium.engine.intake import Intake
from podium.engine.loading import Loader
from podium.engine.moving import Moving
from podium.engine.placing import Placing
from podium.engine.residency import Residency
from podium.engine.shards import OwnedShards
from podium.engine.state import State
from podium.engine.waiting import WaitingRoom
from podium.engine.watching import Watchers
from podium.exceptions import (
    ConflictError,
    DuplicateInputError,
    FenceLostError,
    LimitReachedError,
    PodiumError,
    SequenceConflictError,
    StoreUnavailableError,
    UnstorableError,
)
from podium.store.protocol import ShardRow, Store
from podium.telemetry.logs import get_logger

_log = get_logger("podium.engine")


class Redoing:
    """Finds out where the store is, and has inputs decided again."""

    def __init__(
        self,
        store: Store,
        shards: OwnedShards,
        batches: Batches,
        residency: Residency,
        placing: Placing,
        intake: Intake,
        loader: Loader,
        waiting_room: WaitingRoom,
        watchers: Watchers,
        declining: Declining,
        forwarding: Forwarding,
        moving: Moving,
        brakes: Brakes,
        *,
        shared: bool,
        pause_seconds: float,
    ) -> None:
        """`pause_seconds` is how long a store that doesn't answer is left alone."""
        self._store = store
        self._shards = shards
        self._batches = batches
        self._residency = residency
        self._placing = placing
        self._intake = intake
        self._loader = loader
        self._waiting_room = waiting_room
        self._watchers = watchers
        self._declining = declining
        self._forwarding = forwarding
        self._moving = moving
        self._shared = shared
        self._pause_seconds = pause_seconds
        self._brakes = brakes

    async def look_up_positions(self) -> bool:
        """Ask the store where the shards are: an append that was reported as failed may have been committed.

        False when it doesn't answer and the engine is to stop: what is decided is given up, the next owner decides
        again. Raises FenceLostError when the one owner isn't it any more.
        """
        rows: list[ShardRow] | None = None
        while rows is None:
            try:
                rows = await self._store.shards()
            except StoreUnavailableError as error:
                _log.warning("the store doesn't answer", error=str(error))
                if self._brakes.closing:
                    self._batches.begin_anew()
                    return False
                await asyncio.sleep(self._pause_seconds)
        lost = self._shards.moved(rows)
        if lost and not self._shared:
            raise FenceLostError
        for row in rows:
            if row.shard in self._shards.fences:
                self._shards.committed[row.shard] = row.position
        if lost:
            _log.warning("another replica has taken shards of ours", shards=lost)
            self._moving.disown(lost)
        return True

    def redo(self, landed: Batch, error: PodiumError) -> None:
        """Discard what the failed append and the batch behind it decided, keep their inputs, decide again."""
        behind = self._batches.begin_anew()
        discarded = [*landed.decided, *behind.decided]
        touched = {**landed.touched, **behind.touched}
        for lost in (landed, behind):
            self._batches.filling.carry_over(lost, self._shards.fences)
        self._shards.positions.update(self._shards.committed)
        for execution in touched:
            self._residency.drop(execution)
            self._placing.withdraw_all(execution)  # its slots stay taken until it is read again
        arrivals = [d.arrival for d in discarded]
        over = _over_limit(discarded, touched, error)
        if isinstance(error, UnstorableError):
            over = self._at_fault(landed, len(arrivals))
        self._go_on([a for a in arrivals if self._keeps(a, error, over)], list(touched))
        self._watchers.unsure(touched)

    def _at_fault(self, refused: Batch, decisions: int) -> Arrival | None:
        """Return the input that the store can't keep, if it was alone; else have all of them written one by one."""
        if len(refused.decided) == 1:
            return refused.decided[0].arrival
        self._batches.one_by_one = 2 * decisions
        return None

    def _go_on(self, kept: list[Arrival], touched: list[str]) -> None:
        """Have inputs decided again: those of new executions at once, the others when theirs are read again."""
        begun_anew = {a.execution for a in kept if a.definition is not None}
        self._intake.put_first([a for a in kept if a.execution in begun_anew])
        theirs = []
        for execution in touched:
            again = [a for a in kept if a.execution == execution]
            ours = self._shards.owns(execution)
            if not ours:
                theirs.append(execution)
            if execution in begun_anew:
                self._placing.forget(execution)
            elif ours:
                self._loader.load_for(execution, again)
            else:
                for arrival in again:
                    self._forwarding.forward(arrival)
        self._moving.place_for_others(theirs)

    def _keeps(self, arrival: Arrival, error: PodiumError, over: Arrival | None) -> bool:
        """Whether a discarded input is decided again; who waits for one that isn't (`over` a limit) is told why."""
        if arrival.renewable:
            self._intake.known.pop(arrival.key, None)
            return False
        if isinstance(error, DuplicateInputError) and arrival.key in error.inputs:
            self._declining.repeated(arrival)
            return False
        if isinstance(error, StoreUnavailableError) and arrival.waiter is not None:
            if arrival.inbox_id:  # another one has written it, and may count on it
                self._intake.disappoint(arrival, error)
                return True
            self._declining.reject(arrival, error)
            return False
        if arrival is over and isinstance(error, UnstorableError):
            _log.error("an input can't be recorded", execution=arrival.execution, error=str(error))
            self._declining.reject(arrival, error)
            return False
        if arrival is over and self._waiting_room.back(arrival):
            return False
        if arrival is over:
            self._declining.reject(arrival, ConflictError(str(error)))
            return False
        if isinstance(error, SequenceConflictError) and arrival.execution in error.executions:
            arrival.definition = None  # it exists: load it instead of beginning it
        return True


def _over_limit(decided: list[Decided], touched: dict[str, tuple[State, int]], error: PodiumError) -> Arrival | None:
    """Return the arrival that passed a limit of concurrent executions: the last that counts towards the one named."""
    if not isinstance(error, LimitReachedError):
        return None
    for each in reversed(decided):
        arrival = each.arrival
        state = touched[arrival.execution][0]
        counts = any(isinstance(event, ev.ExecutionStarted | ev.ExecutionRetried) for event in each.events)
        if counts and str(error).startswith(f"{limit_key(state)} of tenant {state.tenant} "):
            return arrival
    return None
