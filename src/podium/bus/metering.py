"""What a bus counts, by the names of documents 003 and 004: once a frame, never once a message."""

from __future__ import annotations

from collections.abc import Mapping

from podium.bus.message import MessageType
from podium.clock import Clock
from podium.telemetry.metrics import Histogram, Metrics
from podium.telemetry.windows import Window

_WINDOW_SECONDS = 10.0


class Meter:
    """The counters of one bus."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        """Counts into the metrics of a service; the bus's own numbers are beside them."""
        self.sent = 0
        self.received = 0
        self.dead_letters = 0
        self._metrics = metrics
        self._clock = clock
        self._latency = metrics.histogram("message_bus_latency_ms")
        self._own_latency = Histogram(self._latency.buckets)
        self._sent_lately = Window(_WINDOW_SECONDS)
        self._received_lately = Window(_WINDOW_SECONDS)

    def count_sent(self, topic: str, types: Mapping[MessageType, int], count: int) -> None:
        """A frame is made."""
        self.sent += count
        self._sent_lately.add(self._clock.now_us(), count)
        for kind, number in types.items():
            self._metrics.counter("message_bus_sent_total", topic, kind).inc(number)

    def count_received(self, count: int, way_ms: float) -> None:
        """A frame is handed out, so long after it was begun."""
        self.received += count
        self._received_lately.add(self._clock.now_us(), count)
        self._latency.observe(way_ms, count)
        self._own_latency.observe(way_ms, count)

    def count_dealt_with(self, topic: str, count: int, each_ms: float) -> None:
        """A frame is dealt with."""
        self._metrics.histogram("message_processing_time", topic).observe(each_ms, count)

    def figures(self) -> dict[str, float]:
        """Return the counts, the rates of the last ten seconds and the percentiles of the way."""
        now_us = self._clock.now_us()
        sent, received = self._sent_lately.rate(now_us), self._received_lately.rate(now_us)
        return {
            "sent": self.sent,
            "received": self.received,
            "dead_letters": self.dead_letters,
            "throughput_per_second": max(sent, received),
            "sent_per_second": sent,
            "received_per_second": received,
            "latency_p50_ms": percentile_of(self._own_latency, 0.50),
            "latency_p95_ms": percentile_of(self._own_latency, 0.95),
            "latency_p99_ms": percentile_of(self._own_latency, 0.99),
        }


def percentile_of(histogram: Histogram, share: float) -> float:
    """Return about the value that this share of the observations doesn't exceed: the upper bound of its bucket."""
    wanted = share * sum(histogram.counts)
    if not wanted:
        return 0.0
    so_far = 0
    for bound, count in zip(histogram.buckets, histogram.counts, strict=False):
        so_far += count
        if so_far >= wanted:
            return bound
    return histogram.buckets[-1]
