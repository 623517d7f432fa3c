"""What an engine is made of, and how its parts know each other: made once, from what is nearest to the executions to
the loop that turns it all.

Nothing here does anything. Each part is handed what it needs; only where two need each other is one told of the other
afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from podium.clock import Clock, seconds_to_us
from podium.engine.admission import Admission
from podium.engine.allocation import Allocations
from podium.engine.arrivals import Batch, Batches
from podium.engine.braking import Brakes
from podium.engine.changes import Exports
from podium.engine.circuits import Circuits
from podium.engine.conducting import Conductor
from podium.engine.deciding import Deciding
from podium.engine.declining import Declining
from podium.engine.dispatch import Dispatcher
from podium.engine.forwarding import Forwarding
from podium.engine.granting import Granting
from podium.engine.inside import Inside
from podium.engine.intake import Intake
from podium.engine.leadership import Leadership
from podium.engine.leading import Leading
from podium.engine.leases import Leases
from podium.engine.loading import Loader
from podium.engine.lookback import LookBack
from podium.engine.moving import Moved, Moving
from podium.engine.placing import Placing
from podium.engine.readying import Readying
from podium.engine.receiving import Receiving
from podium.engine.recovery import Definitions, Offload, Restored
from podium.engine.redoing import Redoing
from podium.engine.releasing import Releasing
from podium.engine.residency import Residency
from podium.engine.settings import EngineSettings
from podium.engine.shards import OwnedShards
from podium.engine.snapshots import Snapshots
from podium.engine.staffing import Staffing
from podium.engine.starting import Starting
from podium.engine.state import State
from podium.engine.waiting import WaitingRoom
from podium.engine.watching import Watchers
from podium.engine.writing import Writing
from podium.fleet import messages as msg
from podium.ids import IdSource
from podium.scheduling.placement import Placement
from podium.store.protocol import Store


class Parts:
    """The parts of one engine."""

    def __init__(
        self,
        store: Store,
        carrier: msg.Carrier,
        clock: Clock,
        ids: IdSource,
        settings: EngineSettings,
        placement: Placement,
        offload: Offload[Any],
        *,
        adopted: Callable[[State], None] | None,
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
        runs: Callable[[], bool],
        landed: Sequence[Callable[[Batch], None]],
        moved: Sequence[Moved],
        unusable: Callable[[str, str, str], None],
    ) -> None:
        """`spawn` starts a task that the engine owns; `landed`, `moved` and `unusable` are the engine's listeners."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._spawn = spawn
        self._hold(placement)
        self._let_in(carrier, adopted, unusable)
        self._let_out(offload, landed, moved, unusable)
        self._turn(offload, adopted, runs)

    def _hold(self, placement: Placement) -> None:
        """Make what is in memory: executions, inputs, batches, agents."""
        settings, store = self._settings, self._store
        self.definitions = Definitions(store)
        self.residency = Residency(seconds_to_us(settings.idle_seconds))
        self.watchers = Watchers()
        self.admission = Admission(settings.max_executions)
        self.shards = OwnedShards(leads=not settings.shared)
        self.batches = Batches(self.shards.positions)
        self.intake = Intake(store, settings.max_arrivals, settings.unavailable_pause_seconds, self._spawn)
        self.brakes = Brakes(self.intake, self.batches, draining=not settings.starts_tasks)
        leases = Leases(settings.lease_seconds)
        circuits = Circuits(placement, self._clock.now_us, settings.circuit_breaker)
        self.placing = Placing(placement, leases.length_us, circuits)
        self.look_back = LookBack(store, self._clock, self.placing, self.intake, spawn=self._spawn)
        self.staffing = Staffing(self.placing, leases, self.intake.put_once, settings.foreign_lease_seconds)
        self.allocations = Allocations(placement, settings.allocation_timeout_seconds)
        self.exports = Exports()

    def _let_in(
        self,
        carrier: msg.Carrier,
        adopted: Callable[[State], None] | None,
        unusable: Callable[[str, str, str], None],
    ) -> None:
        """Make what inputs come in by, and what takes those that aren't decided here to where they belong."""
        settings, store, intake = self._settings, self._store, self.intake
        self.dispatcher = Dispatcher(
            store, carrier, self.staffing, self._clock,
            arrive=intake.put_once, spawn=self._spawn, retrying=intake.retrying,
        )  # fmt: skip
        self.declining = Declining(
            intake, self.batches, self.shards, self.residency, self.watchers, self.dispatcher,
            unusable=unusable,
        )  # fmt: skip
        self.waiting_room = WaitingRoom(
            store, self.definitions, self.admission, intake, self.shards, self.batches,
            spawn=self._spawn, reject=self.declining.reject,
        )  # fmt: skip
        intake.repeated = self.declining.repeated
        self.declining.start_repeated = self.waiting_room.begun_before
        self.declining.start_refused = self.waiting_room.gone
        self.granting = Granting(
            self.placing, self.allocations, self.shards, self.residency, intake, self.batches, self.brakes,
            self.look_back, shared=settings.shared, max_batch=settings.max_batch,
        )  # fmt: skip
        self.forwarding = Forwarding(
            store, self._clock, self._ids, intake, self.dispatcher, self.waiting_room,
            spawn=self._spawn, reject=self.declining.reject,
        )  # fmt: skip
        self.receiving = Receiving(
            self._clock, intake, self.shards, self.staffing, self.forwarding, self.brakes,
            max_forwarded=settings.max_arrivals, unusable=unusable,
        )  # fmt: skip
        self.starting = Starting(
            store, self.definitions, self._clock, self._ids, intake, self.shards, self.admission, self.waiting_room
        )
        self.loader = Loader(
            store, self.definitions, self.residency, self.staffing, intake, self._clock, self.shards, self.waiting_room,
            spawn=self._spawn, adopted=adopted, reject=self.declining.reject, placed=self.granting.placed,
            restored=self._restored,
        )  # fmt: skip
        self.forwarding.delivered = self.loader.look_at_repeated
        self.staffing.losses.under_way = intake.known.__contains__
        if settings.shared:
            self.staffing.losses.look = self.loader.inbox_wake.set

    def _let_out(
        self,
        offload: Offload[Any],
        landed: Sequence[Callable[[Batch], None]],
        moved: Sequence[Moved],
        unusable: Callable[[str, str, str], None],
    ) -> None:
        """Make what brings decisions to the store and out of it, and what moves with the shards."""
        settings, store, shared = self._settings, self._store, self._settings.shared
        self.snapshots = Snapshots(
            store, self.definitions, offload, settings.snapshot_bytes, self._clock, settings.checkpoint_seconds
        )
        self.leadership = Leadership(
            Leading(store, self.definitions, self.placing), self.shards, self.residency, self.staffing,
            self.allocations, self.exports, self.intake, self.loader, self.batches, self.brakes,
            self._clock, spawn=self._spawn,
        )  # fmt: skip
        self.moving = Moving(
            self.shards, self.residency, self.staffing, self.admission, self.intake, self.loader,
            self.waiting_room, self.snapshots, self.watchers, self.leadership, self.brakes,
            agents_end_with_process=settings.agents_end_with_process, moved=moved,
        )  # fmt: skip
        releasing = Releasing(
            self._clock, self.shards, self.batches, self.residency, self.intake, self.loader, self.dispatcher,
            self.admission, self.waiting_room, self.snapshots, self.watchers,
            landed=landed, unusable=unusable,
        )  # fmt: skip
        redoing = Redoing(
            store, self.shards, self.batches, self.residency, self.placing, self.intake, self.loader,
            self.waiting_room, self.watchers, self.declining, self.forwarding, self.moving, self.brakes,
            shared=shared, pause_seconds=settings.unavailable_pause_seconds,
        )  # fmt: skip
        self.writing = Writing(
            store, self._clock, self.batches, self.shards, self.intake, releasing, redoing,
            shared=shared, pause_seconds=settings.unavailable_pause_seconds,
        )  # fmt: skip

    def _turn(self, offload: Offload[Any], adopted: Callable[[State], None] | None, runs: Callable[[], bool]) -> None:
        """Make the loop, and what looks into it."""
        settings = self._settings
        readying = Readying(
            self._store, self.intake, offload, spawn=self._spawn, reject=self.declining.reject
        )  # fmt: skip
        deciding = Deciding(
            self.intake, self.residency, self.shards, self.batches, self.staffing, self.exports, self.loader,
            readying, self.declining, self.forwarding,
            shared=settings.shared, max_batch=settings.max_batch, adopted=adopted,
        )  # fmt: skip
        self.conductor = Conductor(
            self._clock, self.intake, self.residency, self.batches, self.brakes, deciding, self.granting,
            self.staffing, self.dispatcher, self.writing,
        )  # fmt: skip
        self.inside = Inside(
            self.shards, self.residency, self.intake, self.loader, self.staffing, self.admission,
            batches=lambda: (self.batches.filling, self.batches.flying), runs=runs,
            in_doubt=lambda: self.writing.in_doubt,
        )  # fmt: skip

    def _restored(self, found: Restored) -> None:
        """An execution was brought into memory."""
        self.admission.note(found.state)
        self.snapshots.found(found.state.id, found.tail_bytes, found.tail_since_us)
