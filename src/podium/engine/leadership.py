"""Placing for all replicas: how it is taken up once the placement shard has come, and how it is given up.

A new leader first reads what the store's executions have ready and live; it leads when those that are in its own memory
are the only ones it needn't read. What goes to other owners later is read then. A grant of an earlier leader that was
decided meanwhile isn't on its way any more: what it has come to, its execution says.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from podium.clock import Clock
from podium.engine.allocation import Allocations
from podium.engine.arrivals import Batches
from podium.engine.braking import Brakes
from podium.engine.changes import Exports
from podium.engine.intake import Intake
from podium.engine.leading import Leading, Pending
from podium.engine.loading import Loader
from podium.engine.residency import Residency
from podium.engine.shards import OwnedShards
from podium.engine.staffing import Staffing
from podium.ids import PLACEMENT_SHARD


class Leadership:
    """Whether this process places for all, and the way there."""

    def __init__(
        self,
        leading: Leading,
        shards: OwnedShards,
        residency: Residency,
        staffing: Staffing,
        allocations: Allocations,
        exports: Exports,
        intake: Intake,
        loader: Loader,
        batches: Batches,
        brakes: Brakes,
        clock: Clock,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
    ) -> None:
        """`exports` is the desk while another replica leads."""
        self._leading = leading
        self._shards = shards
        self._residency = residency
        self._staffing = staffing
        self._placing = staffing.placing
        self._allocations = allocations
        self._exports = exports
        self._intake = intake
        self._loader = loader
        self._batches = batches
        self._brakes = brakes
        self._clock = clock
        self._spawn = spawn

    async def take(self) -> None:
        """Place for all from now on: with the queue and the slots as the store's executions have them."""
        pending = await self._intake.retrying(self._leading.pending)
        active = await self._intake.retrying(self._leading.active)
        here = [execution for execution in active if self._is_here(execution)]
        await self._read([execution for execution in active if not self._is_here(execution)])
        while True:
            async with self._brakes.quiet():
                if PLACEMENT_SHARD not in self._shards.fences:  # taken from us meanwhile
                    self._placing.forget_all()
                    return
                gone = [execution for execution in here if not self._is_here(execution)]
                still = await self._intake.retrying(partial(self._leading.still_pending, pending))
                decided = {grant.execution for grant in pending.grants} - {grant.execution for grant in still.grants}
                if not gone and all(map(self._is_here, decided)):
                    self._begin(still)
                    return
            here, pending = [execution for execution in here if execution not in gone], still
            await self._read([*gone, *(each for each in decided if not self._is_here(each) and each not in gone)])

    def follow(self) -> None:
        """Another replica places, or none does yet: what it must know is told."""
        self._shards.leads = False
        self._staffing.desk = self._exports

    def lose(self) -> None:
        """The placement shard is another replica's."""
        self.follow()
        self._placing.forget_all()
        self._allocations.forget()

    def place_for_others(self, executions: list[str]) -> None:
        """These were ours, and aren't any more: should we place, what they have ready and live is read."""
        if self._shards.leads and executions:
            self._spawn(self._read(executions), "podium-reads-others")

    def _begin(self, pending: Pending) -> None:
        self._shards.leads = True
        self._staffing.desk = self._placing
        self._placing.assume_used(self._clock.now_us())
        for state in self._residency.states.values():
            self._placing.adopt(state)
        for arrival in pending.grants:
            self._placing.posted(arrival)
        self._loader.settle(pending.told, PLACEMENT_SHARD)
        for inbox_id in pending.told:
            self._batches.filling.drain(inbox_id, PLACEMENT_SHARD)

    def _is_here(self, execution: str) -> bool:
        return execution in self._residency.states

    def _read(self, executions: list[str]) -> Coroutine[Any, Any, None]:
        readings = {execution: self._placing.await_reading(execution) for execution in executions}
        return self._intake.retrying(partial(self._leading.read, self._is_placed_here, readings))

    def _is_placed_here(self, execution: str) -> bool:
        """Whether an execution's owner tells the queue itself; before we lead, it tells the inbox even here."""
        return self._shards.leads and self._is_here(execution)
