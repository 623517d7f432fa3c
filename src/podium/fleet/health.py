"""How well an agent is: its health score, and whether it keeps its SLA. Pure; `docs/fleet.md` has the formula.

A score changes by events only: what an agent reports, how its tasks end, and the moments at which its silence grows
too long. Between two of them it stands still, which is what lets discovery cache exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from msgspec import Struct

from podium.fleet.descriptor import SLA

LATE_INTERVALS = 1.5  # of heartbeats, after which an agent is late
FRESHNESS = (1.0, 0.8, 0.3, 0.0)  # of a fresh, a late, an unhealthy, a lost agent
BUSY_FROM = 0.8  # of CPU or memory: what is below costs nothing
LEAST_LOAD_FACTOR = 0.5  # at full CPU or memory
LEAST_SPEED_FACTOR = 0.5  # of an agent that is endlessly slow
OUTCOME_WEIGHT = 0.1  # of one task's outcome against those before it
OUTCOME_HALF_LIFE_SECONDS = 600.0  # in which an agent that is heard of is forgiven half of its failures
MAX_METRICS = 32  # kept of an agent
MAX_METRIC_NAME = 64


class Silence(IntEnum):
    """How long an agent has been silent, in steps: the index of its freshness."""

    FRESH = 0  # up to one and a half heartbeat intervals
    LATE = 1  # up to the unhealthy limit
    UNHEALTHY = 2  # up to the lost limit
    LOST = 3


def health_score(
    *,
    silence: Silence = Silence.FRESH,
    metrics: Mapping[str, float] | None = None,
    success_rate: float = 1.0,
    sla: SLA | None = None,
) -> float:
    """Return an agent's health, 0.0 to 1.0: the product of six factors, rounded to three decimals.

    - freshness: 1 while heartbeats come, 0.8 when one is missed (1.5 intervals of silence), 0.3 when
      unhealthy;
    - errors: 1 - `error_rate`;
    - outcomes: `success_rate`, of its latest tasks as Podium saw them end (see `next_success_rate`);
    - speed: 1 within the SLA's `response_time_ms` (and without one), else 0.5 + 0.5 × promised / measured;
    - CPU and memory: 1 up to a `cpu_usage`, `memory_usage` of 0.8, then in a line down to 0.5 at 1.0.

    It never rises when an input gets worse. A metric that isn't there costs nothing; rates beyond 0 to 1 count as
    the nearest of these.
    """
    said = metrics or {}
    score = FRESHNESS[silence] * _unit(success_rate) * (1.0 - _unit(said.get("error_rate", 0.0)))
    score *= _speed(said.get("response_time_ms"), sla.response_time_ms if sla is not None else None)
    score *= _headroom(said.get("cpu_usage", 0.0)) * _headroom(said.get("memory_usage", 0.0))
    return round(score, 3)


def next_success_rate(rate: float, succeeded: bool) -> float:
    """Return the moving rate after one more task: a tenth of it is the newest outcome."""
    return rate + OUTCOME_WEIGHT * ((1.0 if succeeded else 0.0) - rate)


def forgiven(rate: float, seconds: float) -> float:
    """Return the rate after so many seconds of life: failures count half after ten minutes.

    Without it an agent that once failed often would be shunned for ever, and could never show that it is well again.
    """
    kept: float = 0.5 ** (max(seconds, 0.0) / OUTCOME_HALF_LIFE_SECONDS)
    return 1.0 - (1.0 - rate) * kept


def usable_metrics(given: Mapping[Any, Any]) -> dict[str, float]:
    """Return the metrics that are finite numbers not below 0, at most 32 of them; the rest tells us nothing."""
    found: dict[str, float] = {}
    for name, value in given.items():
        if len(found) == MAX_METRICS:
            break
        if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(name, str):
            continue
        if len(name) <= MAX_METRIC_NAME and 0 <= value < math.inf:
            found[name] = float(min(value, 1e300))
    return found


class SLAStatus(Struct, frozen=True):
    """How an agent keeps what it promised. `attainment` is the share of observations without a violation."""

    observations: int
    violations: int
    attainment: float
    availability: float  # the share of its time since it registered in which it wasn't unhealthy
    met: bool  # no violation in the latest observation, and the availability is what was promised


class SLATracker:
    """Counts observations of one agent against its SLA, and its time out of service."""

    __slots__ = ("_down_since_us", "_down_us", "_latest_met", "observations", "since_us", "violations")

    def __init__(self, since_us: int) -> None:
        self.since_us = since_us
        self.observations = 0
        self.violations = 0
        self._latest_met = True
        self._down_us = 0
        self._down_since_us: int | None = None

    def observe(self, sla: SLA, response_time_ms: float | None = None, error_rate: float | None = None) -> None:
        """Hold what was measured against the promise; what isn't measured or isn't promised is met."""
        if response_time_ms is None and error_rate is None:
            return
        self.observations += 1
        self._latest_met = within(response_time_ms, sla.response_time_ms) and within(error_rate, sla.error_rate)
        self.violations += not self._latest_met

    def down(self, now_us: int) -> None:
        """From now on it is out of service."""
        if self._down_since_us is None:
            self._down_since_us = now_us

    def up(self, now_us: int) -> None:
        """It is back."""
        if self._down_since_us is not None:
            self._down_us += max(now_us - self._down_since_us, 0)
            self._down_since_us = None

    def availability(self, now_us: int) -> float:
        """Return the share of its time in which it was in service."""
        whole = now_us - self.since_us
        if whole <= 0:
            return 1.0
        down = self._down_us + (max(now_us - self._down_since_us, 0) if self._down_since_us is not None else 0)
        return max(1.0 - down / whole, 0.0)

    def status(self, sla: SLA | None, now_us: int) -> SLAStatus:
        """Return how the promise is kept."""
        availability = self.availability(now_us)
        promised = sla.availability if sla is not None else None
        return SLAStatus(
            observations=self.observations,
            violations=self.violations,
            attainment=1.0 - self.violations / self.observations if self.observations else 1.0,
            availability=availability,
            met=self._latest_met and (promised is None or availability >= promised),
        )


def within(measured: float | None, limit: float | None) -> bool:
    """Whether something measured is at most its limit; True where either is missing."""
    return measured is None or limit is None or measured <= limit


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _speed(measured_ms: float | None, promised_ms: float | None) -> float:
    if measured_ms is None or promised_ms is None or measured_ms <= promised_ms:
        return 1.0
    return LEAST_SPEED_FACTOR + (1.0 - LEAST_SPEED_FACTOR) * promised_ms / measured_ms


def _headroom(usage: float) -> float:
    over = max(_unit(usage) - BUSY_FROM, 0.0) / (1.0 - BUSY_FROM)
    return 1.0 - (1.0 - LEAST_LOAD_FACTOR) * min(over, 1.0)
