"""What waits for the commit: commands, answers, confirmations and news leave when their batch is on the disk, and
executions that have ended leave the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from podium.clock import Clock
from podium.engine import events as ev
from podium.engine.admission import Admission
from podium.engine.arrivals import Batch, Batches, Decided
from podium.engine.decide import NO_SUCH_ATTEMPT
from podium.engine.dispatch import Dispatcher
from podium.engine.intake import Intake
from podium.engine.loading import Loader
from podium.engine.residency import Residency
from podium.engine.shards import OwnedShards
from podium.engine.snapshots import Snapshots
from podium.engine.waiting import WaitingRoom
from podium.engine.watching import Watchers


class Releasing:
    """Lets out what a committed batch brings."""

    def __init__(
        self,
        clock: Clock,
        shards: OwnedShards,
        batches: Batches,
        residency: Residency,
        intake: Intake,
        loader: Loader,
        dispatcher: Dispatcher,
        admission: Admission,
        waiting_room: WaitingRoom,
        snapshots: Snapshots,
        watchers: Watchers,
        *,
        landed: Sequence[Callable[[Batch], None]],
        unusable: Callable[[str, str, str], None],
    ) -> None:
        """`landed` are told of each batch at last; `unusable` of what an agent said of an attempt that isn't there."""
        self._clock = clock
        self._shards = shards
        self._batches = batches
        self._residency = residency
        self._intake = intake
        self._loader = loader
        self._dispatcher = dispatcher
        self._admission = admission
        self._waiting_room = waiting_room
        self._snapshots = snapshots
        self._watchers = watchers
        self._landed = landed
        self._unusable = unusable

    def release(self, landed: Batch) -> None:
        """Let it out."""
        for row in landed.rows:
            self._shards.committed[row.shard] = row.position
        self._loader.drained(landed.drained)
        for decided in landed.decided:
            for command in decided.commands:
                self._dispatcher.give(command, decided.state)
            self._intake.settle(decided.arrival, decided.events)
            if decided.arrival.agent:
                self._note_unknown(decided)  # before it is confirmed, and so forgotten
                self._dispatcher.answer(decided)
        self._note_rest(landed)
        self._waiting_room.landed(landed)
        self._loader.holding.landed(landed)
        if any(self._shards.owns(row.execution) for row in (*landed.letters, *landed.refusals)):
            self._loader.inbox_wake.set()  # they are for executions that are ours
        self._watchers.committed(landed)
        self._watchers.unsure(landed.refused)  # in the store their inputs were to be found until now
        for tell in self._landed:
            tell(landed)

    def _note_rest(self, landed: Batch) -> None:
        now_us, filling = self._clock.now_us(), self._batches.filling
        for execution, (state, _) in landed.touched.items():
            self._admission.note(state)
            if not state.final:
                self._residency.note_rest(state, now_us)
                self._snapshots.grown(execution, landed.bytes_of[execution])
            elif execution not in filling.touched:
                self._residency.drop(execution)
                self._snapshots.forget(execution)

    def _note_unknown(self, decided: Decided) -> None:
        first, arrival = decided.events[0], decided.arrival
        if isinstance(first, ev.InputIgnored) and first.reason == NO_SUCH_ATTEMPT:
            self._unusable(arrival.agent, arrival.attempt, first.reason)
