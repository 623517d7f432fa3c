"""How late the event loop wakes up: the first thing to look at when everything is slow.

A probe sleeps, and measures how much longer that took than it should have: whoever blocked the loop is in that time.
"""

from __future__ import annotations

import asyncio

from podium.telemetry.logs import get_logger
from podium.telemetry.metrics import Metrics

INTERVAL_SECONDS = 0.25
WARN_SECONDS = 1.0

_log = get_logger(__name__)


class LoopLag:
    """Measures the loop that it is started on, into `podium_event_loop_lag_seconds`."""

    def __init__(
        self, metrics: Metrics, interval_seconds: float = INTERVAL_SECONDS, warn_seconds: float = WARN_SECONDS
    ) -> None:
        self.last_seconds = 0.0
        self._lag = metrics.histogram("podium_event_loop_lag_seconds")
        self._interval = interval_seconds
        self._warn = warn_seconds
        self._probing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Measure from now on. Once more changes nothing."""
        if self._probing is None:
            self._probing = asyncio.get_running_loop().create_task(self._probe(), name="podium-loop-lag")

    async def stop(self) -> None:
        """Measure no more. Safe twice."""
        probing, self._probing = self._probing, None
        if probing is not None:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval
            await asyncio.sleep(self._interval)
            self.last_seconds = max(loop.time() - due, 0.0)
            self._lag.observe(self.last_seconds)
            if self.last_seconds >= self._warn:
                _log.warning("the event loop was held up", seconds=round(self.last_seconds, 3))
