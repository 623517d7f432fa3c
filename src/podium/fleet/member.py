"""One registered agent: what it said of itself, how it stands, what it holds, how well it is. Pure.

The registry alone changes it; others are shown an `AgentInfo`, a value of that moment.
"""

from __future__ import annotations

from msgspec import Struct

from podium.clock import SECOND
from podium.fleet.descriptor import SLA, AgentDescriptor
from podium.fleet.discovery import Candidate
from podium.fleet.health import Silence, SLAStatus, SLATracker, forgiven, health_score, within
from podium.fleet.states import AgentEvent, AgentState, AgentStateMachine

AVAILABLE = frozenset({AgentState.REGISTERED, AgentState.IDLE, AgentState.BUSY})


class AgentInfo(Struct, frozen=True):
    """A registered agent as it stood when it was asked for (document 000): for people, status answers and rows."""

    descriptor: AgentDescriptor
    state: AgentState
    health: float  # 0.0 to 1.0
    held: int  # slots that are taken
    registered_us: int  # when it last told something new of itself
    last_heartbeat_us: int  # when it was last heard of, by the registry's clock
    heartbeat_age_seconds: float
    metrics: dict[str, float]
    sla: SLAStatus

    @property
    def agent_id(self) -> str:
        """The agent's id."""
        return self.descriptor.agent_id

    @property
    def load(self) -> float:
        """The share of its slots that is taken."""
        return self.held / self.descriptor.slots

    @property
    def healthy(self) -> bool:
        """Whether it isn't unhealthy."""
        return self.state is not AgentState.UNHEALTHY


class Member(Candidate):
    """A registered agent."""

    __slots__ = (
        "draining", "former", "heard_us", "held", "machine", "metrics", "registered_us", "silence",
        "success_rate", "tracker",
    )  # fmt: skip

    def __init__(self, descriptor: AgentDescriptor, now_us: int) -> None:
        super().__init__(descriptor)
        self.machine = AgentStateMachine()
        self.registered_us = now_us
        self.heard_us = now_us
        self.silence = Silence.FRESH
        self.held = 0
        self.draining = False
        self.metrics: dict[str, float] = {}
        self.success_rate = 1.0
        self.former: tuple[str, ...] = ()  # its latest incarnations before this one
        self.tracker = SLATracker(now_us)

    @property
    def state(self) -> AgentState:
        """Where it stands."""
        return self.machine.state

    def heard(self, now_us: int) -> bool:
        """Take a sign of life; True when it was unhealthy before."""
        recovered = self.state is AgentState.UNHEALTHY
        if self.success_rate < 1.0:
            self.success_rate = forgiven(self.success_rate, (now_us - self.heard_us) / SECOND)
        self.heard_us = max(now_us, self.heard_us)
        self.silence = Silence.FRESH
        self.machine.process(AgentEvent.HEARTBEAT)
        if recovered:
            self.tracker.up(now_us)
            if self.draining:
                self.machine.process(AgentEvent.DRAIN)
            elif self.held:
                self.machine.process(AgentEvent.PROCESS)
        return recovered

    def hold(self, held: int) -> None:
        """It holds so many tasks now."""
        before, self.held = self.held, held
        if held and not before:
            self.machine.process(AgentEvent.PROCESS)
        elif before and not held:
            self.machine.process(AgentEvent.COMPLETE)

    def rerank(self) -> bool:
        """Reckon its health, load and openness anew; whether any of them changed."""
        descriptor = self.descriptor
        health = health_score(
            silence=self.silence, metrics=self.metrics, success_rate=self.success_rate, sla=descriptor.sla
        )
        rank = (-health, self.held / descriptor.slots, descriptor.agent_id)
        is_open = self.machine.state in AVAILABLE
        if rank == self.rank and is_open == self.open:
            return False
        self.health, self.rank, self.open = health, rank, is_open
        return True

    def keeps(self, sla: SLA, now_us: int) -> bool:
        """Whether it is known to keep a level of service: as measured or, until then, as promised."""
        promised = self.descriptor.sla or SLA()
        response = self.metrics.get("response_time_ms", promised.response_time_ms)
        errors = self.metrics.get("error_rate", promised.error_rate)
        if (sla.response_time_ms is not None and response is None) or (sla.error_rate is not None and errors is None):
            return False
        if not within(response, sla.response_time_ms) or not within(errors, sla.error_rate):
            return False
        return sla.availability is None or self.tracker.availability(now_us) >= sla.availability

    def info(self, now_us: int) -> AgentInfo:
        """Return how it stands."""
        return AgentInfo(
            descriptor=self.descriptor,
            state=self.state,
            health=self.health,
            held=self.held,
            registered_us=self.registered_us,
            last_heartbeat_us=self.heard_us,
            heartbeat_age_seconds=max(now_us - self.heard_us, 0) / SECOND,
            metrics=dict(self.metrics),
            sla=self.tracker.status(self.descriptor.sla, now_us),
        )
