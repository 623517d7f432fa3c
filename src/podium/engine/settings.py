"""The bounds and pauses of an engine."""

from __future__ import annotations

from msgspec import Struct

from podium.engine.leases import FOREIGN_LEASE_SECONDS
from podium.workflow.model import CircuitBreaker


class EngineSettings(Struct, frozen=True):
    """The bounds and pauses of an engine; times in seconds."""

    lease_seconds: float = 15.0
    lease_check_seconds: float = 1.0
    inbox_poll_seconds: float = 0.25
    timer_poll_seconds: float = 30.0
    idle_seconds: float = 30.0
    unavailable_pause_seconds: float = 0.5
    max_batch: int = 1_000  # rows
    max_arrivals: int = 100_000
    snapshot_bytes: int = 8 << 20  # of history since the last one; folding so much takes some tenths of a second
    agents_end_with_process: bool = True  # in-process agents: what they held is lost at a take-over
    starts_tasks: bool = True  # False: inputs are decided, nothing is given to agents
    foreign_lease_seconds: float = FOREIGN_LEASE_SECONDS  # of agents that don't renew
    shared: bool = False  # other replicas own shards of this store too
    max_executions: int = 0  # at work at once, in all replicas together; 0: any number
    circuit_breaker: CircuitBreaker | None = None  # of agents elsewhere
    allocation_timeout_seconds: float = 0.0  # of tasks that no registered agent could ever take; 0: for ever
    checkpoint_seconds: float = 0.0  # between snapshots of an execution that goes on; 0: by the size alone
