"""What the replica that places gives out: grants for its own executions, which are decided, and for those of others,
which are posted to their inboxes.
"""

from __future__ import annotations

from collections.abc import Iterator

from podium.engine.allocation import Allocations
from podium.engine.arrivals import Arrival, Batches
from podium.engine.braking import Brakes
from podium.engine.changes import decode_changes
from podium.engine.codec import encode_input
from podium.engine.intake import Intake
from podium.engine.lookback import LookBack
from podium.engine.placing import Placing
from podium.engine.residency import Residency
from podium.engine.shards import OwnedShards
from podium.engine.state import State
from podium.exceptions import CorruptHistoryError
from podium.ids import PLACEMENT_SHARD, shard_of
from podium.store.protocol import DEFAULT_TENANT, InboxRow
from podium.telemetry.logs import get_logger

_log = get_logger("podium.engine")


class Granting:
    """Takes what placement decides to the executions' owners, and what these tell to placement."""

    def __init__(
        self,
        placing: Placing,
        allocations: Allocations,
        shards: OwnedShards,
        residency: Residency,
        intake: Intake,
        batches: Batches,
        brakes: Brakes,
        look_back: LookBack,
        *,
        shared: bool,
        max_batch: int,
    ) -> None:
        self._placing = placing
        self._allocations = allocations
        self._shards = shards
        self._residency = residency
        self._intake = intake
        self._batches = batches
        self._brakes = brakes
        self._look_back = look_back
        self._fenced_by = PLACEMENT_SHARD if shared else 0
        self._max_batch = max_batch

    def grants(self, now_us: int) -> Iterator[tuple[Arrival, State]]:
        """Yield what is granted to our executions, to be decided; what is granted to others is posted."""
        batch, room = self._batches.filling, self._batches.room(self._max_batch)
        if self._brakes.draining or room <= 0 or not self._shards.leads:
            return
        arrivals = self._placing.grants(self._shards.fences[self._fenced_by], room, now_us)
        self._look_back.look_if_asked()
        for arrival in arrivals:
            state = self._residency.states.get(arrival.execution)
            if state is not None:
                yield arrival, state
            else:
                batch.guard(self._fenced_by)
                batch.posted.append(_inbox_row(arrival, now_us))
                self._placing.posted(arrival)

    def next_due_us(self) -> int | None:
        """Return when a rate limit that keeps tasks back has room again, where this replica places."""
        return self._placing.next_due_us() if self._shards.leads and not self._brakes.draining else None

    def placed(self, row: InboxRow) -> None:
        """Another replica has told us, who place, what has changed."""
        try:
            self._placing.apply(decode_changes(row.payload))
        except CorruptHistoryError as error:
            _log.error("what another replica told can't be read", error=str(error))
        self._batches.filling.drain(row.id, PLACEMENT_SHARD)
        self._intake.wake.set()

    def give_up_waiting(self, now_us: int) -> None:
        """Fail the attempts of ready tasks that no registered agent could ever take, and that wait too long for one."""
        if self._brakes.draining or not self._shards.leads:
            return
        for overdue in self._allocations.overdue(now_us):
            arrival = Arrival(overdue.execution, overdue.input_id, overdue.given)
            if self._shards.owns(overdue.execution):
                self._intake.put_once(arrival)
            else:
                self._batches.filling.guard(PLACEMENT_SHARD)
                self._batches.filling.posted.append(_inbox_row(arrival, now_us))
                self._intake.wake.set()


def _inbox_row(arrival: Arrival, now_us: int) -> InboxRow:
    """Return an input of placement's as it goes to the owner of its execution."""
    kind = str(arrival.given.__struct_config__.tag)
    shard, payload = shard_of(arrival.execution), encode_input(arrival.given)
    return InboxRow(arrival.execution, arrival.input_id, DEFAULT_TENANT, shard, kind, payload, now_us)
