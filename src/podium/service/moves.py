"""What follows for a service when shards come to its replica, or go to another: who announces their rows, who answers
for the fleet, and what is counted of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from podium.engine.ownership import Ownership
from podium.engine.projections import Projection
from podium.engine.runtime import Engine
from podium.engine.shards import ALL_SHARDS
from podium.fleet import messages as msg
from podium.fleet.link import FleetLink
from podium.service.announcing import Announcer
from podium.store.protocol import Replica
from podium.store.replicas import incarnation_of
from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics

_log = get_logger("podium.service")


class Moves:
    """Give `moved` to the engine; `stop` it with the service."""

    def __init__(
        self,
        engine: Engine,
        ownership: Ownership | None,
        link: FleetLink,
        projection: Projection,
        announcer: Announcer,
        metrics: Metrics,
    ) -> None:
        """`ownership` is None where the engine shares its store with nobody."""
        self._engine = engine
        self._ownership = ownership
        self._announcer = announcer
        self._link = link
        self._projection = projection
        self._metrics = metrics
        self._led = engine.leads
        self._tasks: set[asyncio.Task[None]] = set()
        if ownership is not None:
            ownership.gone.append(self.gone)
            ownership.cut_off.append(link.give_back)
            ownership.reaches_bus = lambda: engine.staffing.reachable()

    def count(self) -> None:
        """Have it measured what this replica owns."""
        executions = frozenset(ALL_SHARDS)
        self._metrics.watch("podium_shards_owned", lambda: float(len(self._engine.owned & executions)))
        self._metrics.watch("podium_placement_leads", lambda: float(self._engine.leads))
        ownership = self._ownership
        if ownership is not None:
            self._metrics.watch("podium_replica_lease_seconds", lambda: ownership.lease_seconds)
            self._metrics.watch("podium_replica_joins_total", lambda: float(ownership.joined))
            self._metrics.watch("podium_shards_taken_over_total", lambda: float(ownership.taken_over))

    def moved(self, acquired: frozenset[int], released: frozenset[int]) -> None:
        """Shards have come or gone."""
        self._projection.own(acquired)
        for direction, shards in (("acquired", acquired), ("released", released)):
            if shards:
                self._metrics.counter("podium_shards_moved_total", direction).inc(len(shards))
        if acquired:
            self._begin(self._link.ask_for(self._unknown_holders()), "podium-link-asks-for-agents")
        if released:
            self._announcer.forget(released)
            self._begin(self._projection.disown(released), "podium-announcer-gives-away")
        led_before, self._led = self._led, self._engine.leads
        if self._led and not led_before:
            self._metrics.counter("podium_take_overs_total").inc()
            self._begin(self._link.take_over(), "podium-link-takes-over")

    def gone(self, replica: Replica) -> None:
        """Another replica is no longer there: so are its process' agents, and what they had is begun anew elsewhere."""
        incarnation, cluster = incarnation_of(replica), self._ownership.cluster if self._ownership is not None else None
        live = [one for one in cluster.replicas if cluster.live(one)] if cluster is not None else []
        if not incarnation or any(incarnation_of(one) == incarnation for one in live):  # it has joined anew
            return
        for agent, member in list(self._engine.staffing.members.items()):
            if member.registration.incarnation == f"{msg.REMOTE}{incarnation}":
                self._engine.give_up(agent, f"the process of agent {agent} is gone")

    def _unknown_holders(self) -> set[str]:
        """Return the agents elsewhere that hold attempts of this replica's executions, and that it hasn't heard of."""
        leases = self._engine.staffing.leases.all()
        elsewhere = (lease.agent for lease in leases if lease.incarnation.startswith((msg.REMOTE, msg.FOREIGN)))
        return {agent for agent in elsewhere if not (agent.startswith("podium_") or self._link.knows(agent))}

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
