"""What an engine counts, by the names of document 004: fed by committed batches, and asked at each scrape.

It looks only: nothing is decided by what it counts, and an engine without it runs the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from podium.clock import MILLISECOND, Clock
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.allocation import ALLOCATION_TIMEOUT
from podium.scheduling.placement import AgentChoice, Placement, Slot
from podium.scheduling.resources import NOTHING, Vector
from podium.telemetry.windows import Window
from podium.workflow.model import ExecutionStatus, TaskStatus

if TYPE_CHECKING:
    from podium.engine.arrivals import Batch
    from podium.engine.runtime import Engine
    from podium.telemetry.metrics import Metrics

COMPLETION_WINDOW_SECONDS = 900.0  # of document 004's alert

_ENDED_TASKS: dict[type[ev.Event], TaskStatus] = {
    ev.TaskCompleted: TaskStatus.COMPLETED,
    ev.FanOutCompleted: TaskStatus.COMPLETED,
    ev.TaskFailed: TaskStatus.FAILED,
    ev.TaskSkipped: TaskStatus.SKIPPED,
    ev.TaskCancelled: TaskStatus.CANCELLED,
}
_ENDED_EXECUTIONS: dict[type[ev.Event], ExecutionStatus] = {
    ev.ExecutionCompleted: ExecutionStatus.COMPLETED,
    ev.ExecutionFailed: ExecutionStatus.FAILED,
    ev.ExecutionCancelled: ExecutionStatus.CANCELLED,
}
_RESULTS = (inp.Succeeded, inp.Failed)


class EngineCounting:
    """The metrics of one engine, from `begin` to `end`."""

    def __init__(self, engine: Engine, metrics: Metrics, clock: Clock) -> None:
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        self._ended = Window(COMPLETION_WINDOW_SECONDS)
        self._coordination = metrics.histogram("coordination_latency")
        self._lost = metrics.counter("podium_attempts_lost_total")
        self._granted = metrics.counter("podium_grants_total")
        self._unplaced = metrics.counter("podium_unplaced_total")
        self._ends: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Count from now on. Once more changes nothing."""
        if self._ends:
            return
        self._engine.landed.append(self.landed)
        watch = self._metrics.watch
        self._ends = [
            watch("workflow_completion_rate", lambda: self._ended.share(self._clock.now_us())),
            watch("podium_executions", self._executions),
            watch("podium_queue_length", lambda: self._engine.staffing.placement.queued()),
            watch("podium_limited_tasks", lambda: self._engine.staffing.placement.limits.waiting()),
            watch("podium_slots", self._slots),
            watch("podium_circuit_breakers", self._circuits),
            watch("podium_circuit_breakers_opened_total", lambda: self._engine.placing.circuits.opened),
            watch("podium_leases", lambda: len(self._engine.staffing.leases)),
        ]

    def end(self) -> None:
        """Count no more. Safe twice."""
        if self.landed in self._engine.landed:
            self._engine.landed.remove(self.landed)
        ends, self._ends = self._ends, []
        for end in ends:
            end()

    def landed(self, batch: Batch) -> None:
        """Count what a committed batch brought."""
        now_us = self._clock.now_us()
        for row, decided in zip(batch.rows, batch.decided, strict=True):
            if isinstance(decided.arrival.given, _RESULTS):
                self._coordination.observe((now_us - row.now_us) / MILLISECOND)
            for event in decided.events:
                self._count(event, now_us)

    def _count(self, event: ev.Event, now_us: int) -> None:
        kind = type(event)
        if kind in _ENDED_TASKS:
            self._metrics.counter("podium_tasks_total", _ENDED_TASKS[kind]).inc()
        elif isinstance(event, ev.AttemptGranted):
            if event.agent:
                self._granted.inc()
        elif isinstance(event, ev.AttemptFailed):
            if event.how == "lost":
                self._lost.inc()
            elif event.error.type == ALLOCATION_TIMEOUT:
                self._unplaced.inc()
        elif kind in _ENDED_EXECUTIONS:
            status = _ENDED_EXECUTIONS[kind]
            self._metrics.counter("podium_executions_ended_total", status).inc()
            if status is not ExecutionStatus.CANCELLED:  # a person's decision, neither success nor failure
                self._ended.add(now_us, 1, int(status is ExecutionStatus.COMPLETED))

    def _executions(self) -> dict[str, int]:
        return dict(Counter(str(state.status) for state in self._engine.residency.states.values() if not state.final))

    def _circuits(self) -> dict[str, int]:
        """Only who places knows them, and of several replicas one shall count the fleet."""
        return self._engine.placing.circuits.states() if self._engine.leads else {}

    def _slots(self) -> dict[str, int]:
        """Likewise: the others know the agents, and not what these hold."""
        if not self._engine.leads:
            return {}
        agents = self._engine.staffing.placement.agents.values()
        return {
            "taken": sum(agent.held for agent in agents),
            "free": sum(max(agent.slots - agent.held, 0) for agent in agents if agent.open),
        }


class MeasuredPlacement(Placement):
    """A placement that tells how long its rounds take."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        choice: AgentChoice | None = None,
        pool: Vector = NOTHING,
        most_here: int | None = None,
    ) -> None:
        super().__init__(choice, pool, most_here)
        self._clock = clock
        self._time = metrics.histogram("planning_time")

    def place(self, limit: int = 1_000_000, now_us: int = 0) -> list[Slot]:
        """Return up to `limit` grants, as any placement does; rounds that grant nothing aren't counted."""
        before_us = self._clock.now_us()
        granted = super().place(limit, now_us)
        if granted:
            self._time.observe((self._clock.now_us() - before_us) / MILLISECOND)
        return granted
