"""What follows for a service when shards come to its replica, or go to another: who announces their rows, who answers
for the fleet, and what is counted of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from podium.engine.projections import Projection
from podium.engine.shards import ALL_SHARDS
from podium.fleet.link import FleetLink
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics

_log = get_logger("podium.service")


class Owning(Protocol):
    """The engine, as far as it says what it owns."""

    @property
    def owned(self) -> frozenset[int]:
        """Its shards."""
        ...

    @property
    def leads(self) -> bool:
        """Whether it places for all."""
        ...


class Moves:
    """Give `moved` to the engine; `stop` it with the service."""

    def __init__(self, engine: Owning, link: FleetLink, projection: Projection, metrics: Metrics) -> None:
        self._engine = engine
        self._link = link
        self._projection = projection
        self._metrics = metrics
        self._led = engine.leads
        self._tasks: set[asyncio.Task[None]] = set()

    def count(self) -> None:
        """Have it measured what this replica owns."""
        executions = frozenset(ALL_SHARDS)
        self._metrics.watch("podium_shards_owned", lambda: float(len(self._engine.owned & executions)))
        self._metrics.watch("podium_placement_leads", lambda: float(self._engine.leads))

    def moved(self, acquired: frozenset[int], released: frozenset[int]) -> None:
        """Shards have come or gone."""
        self._projection.own(acquired)
        for direction, shards in (("acquired", acquired), ("released", released)):
            if shards:
                self._metrics.counter("podium_shards_moved_total", direction).inc(len(shards))
        if released:
            self._begin(self._projection.disown(released), "podium-announcer-gives-away")
        led_before, self._led = self._led, self._engine.leads
        if self._led and not led_before:
            self._metrics.counter("podium_take_overs_total").inc()
            self._begin(self._link.take_over(), "podium-link-takes-over")

    async def stop(self) -> None:
        """Let go. Safe twice."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("what follows from moved shards failed", part=task.get_name(), exc_info=task.exception())
