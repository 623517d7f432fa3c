"""Counting: what components count into, and the text that Prometheus scrapes.

A component takes a `Metrics` by argument and keeps the counters it needs; counting is an addition, and the library
that writes the text is imported at the first scrape. What somebody keeps anyhow is watched, not counted twice.
Everything belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from podium.telemetry.families import FAMILIES, Family, Kind
from podium.telemetry.logs import get_logger

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"  # stands for all label values beyond a family's limit

Labels = str | tuple[str, ...]
Watched = Callable[[], float | Mapping[Any, float] | None]  # by label, or labels in a tuple; None: nothing to show

_log = get_logger(__name__)


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add to it. Raises ValueError for less than nothing."""
        if amount < 0:
            raise ValueError("a counter only grows")
        self.value += amount


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Say what it is."""
        self.value = value

    def inc(self, amount: float = 1.0) -> None:
        """Add to it."""
        self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        """Take from it."""
        self.value -= amount


class Histogram:
    """How many observations were at most so large, for each bucket."""

    __slots__ = ("buckets", "counts", "total")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self.buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, so many times."""
        self.counts[bisect_left(self.buckets, value)] += times
        self.total += value * times


class Metrics:
    """All metrics of one service, by the names of `podium.telemetry.families`.

    Labels are given in the table's order. An unknown name or a wrong number of labels is a bug and raises.
    """

    def __init__(self, families: Mapping[str, Family] = FAMILIES) -> None:
        self._families = families
        self._series: dict[str, _Series] = {name: _Series(family) for name, family in families.items()}
        self._refreshers: list[Callable[[], Awaitable[None]]] = []
        self._registry: Any = None

    def counter(self, name: str, *labels: str) -> Counter:
        """Return a counter; the same labels give the same one."""
        child = self._series[name].child(labels)
        if not isinstance(child, Counter):
            raise TypeError(f"{name} is no counter")
        return child

    def gauge(self, name: str, *labels: str) -> Gauge:
        """Return a gauge; the same labels give the same one."""
        child = self._series[name].child(labels)
        if not isinstance(child, Gauge):
            raise TypeError(f"{name} is no gauge")
        return child

    def histogram(self, name: str, *labels: str) -> Histogram:
        """Return a histogram; the same labels give the same one."""
        child = self._series[name].child(labels)
        if not isinstance(child, Histogram):
            raise TypeError(f"{name} is no histogram")
        return child

    def forget(self, name: str, *labels: str) -> None:
        """Show these labels no more: what they stood for is gone."""
        self._series[name].forget(labels)

    def watch(self, name: str, watched: Watched) -> Callable[[], None]:
        """Ask for a counter's or a gauge's value at each scrape; what several say of the same labels is added.

        Returns what ends the watching; ending it twice is safe.
        """
        series = self._series[name]
        if series.family.kind is Kind.HISTOGRAM:
            raise TypeError(f"{name} is a histogram, which can't be watched")
        series.watched.append(watched)

        def end() -> None:
            if watched in series.watched:
                series.watched.remove(watched)

        return end

    def refresh_with(self, refresh: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        """Have this awaited before a scrape, for what can't be known at once (a consumer's lag). Returns its end."""
        self._refreshers.append(refresh)

        def end() -> None:
            if refresh in self._refreshers:
                self._refreshers.remove(refresh)

        return end

    async def refresh(self, timeout_seconds: float = 2.0) -> None:
        """Await what is wanted before a scrape; what fails or takes too long leaves its metrics as they were."""

        async def one(refresh: Callable[[], Awaitable[None]]) -> None:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await refresh()
            except Exception as error:  # noqa: BLE001 - a scrape shows what can be shown
                _log.warning("a metric couldn't be refreshed", error=repr(error))

        await asyncio.gather(*(one(refresh) for refresh in tuple(self._refreshers)))

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Return a family's values by labels, watched ones included; of histograms the number of observations."""
        return {labels: _number(child) for labels, child in self._series[name].shown().items()}

    def render(self) -> bytes:
        """Return everything in Prometheus's text format (`CONTENT_TYPE`), with the process's own metrics."""
        if self._registry is None:
            self._registry = _registry(self._collect)
        from prometheus_client import generate_latest

        text: bytes = generate_latest(self._registry)
        return text

    def _collect(self) -> Iterator[Any]:
        left_out = "podium_metrics_left_out"
        counts: dict[tuple[str, ...], _Child] = {}
        for name, series in self._series.items():
            if name != left_out:
                yield _exposed(series.family, series.shown())
                if series.left_out:
                    counts[(name,)] = child = Gauge()
                    child.set(series.left_out)
        if left_out in self._series:
            yield _exposed(self._families[left_out], counts)


_Child = Counter | Gauge | Histogram


class _Series:
    """The children of one family, by their labels."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.watched: list[Watched] = []
        self.left_out = 0  # at the last look
        self._children: dict[tuple[str, ...], _Child] = {}
        self._known: tuple[dict[str, int], ...] = tuple({} for _ in family.labels)  # children with each value
        self._others: tuple[set[str], ...] = tuple(set() for _ in family.labels)  # bounded as well
        if not family.labels and family.kind is not Kind.GAUGE:
            self.child(())  # nothing counted yet is 0; nothing set yet is unknown

    def child(self, labels: tuple[str, ...]) -> _Child:
        """Return the child with these labels, making it when it is new."""
        found = self._children.get(labels)
        if found is not None:
            return found
        if len(labels) != len(self.family.labels):
            raise ValueError(f"{self.family.name} has the labels {self.family.labels}, not {len(labels)} of them")
        bounded = tuple(self._bounded(place, str(value)) for place, value in enumerate(labels))
        found = self._children.get(bounded)
        if found is None:
            found = self._children[bounded] = self._made()
            for known, value in zip(self._known, bounded, strict=True):
                known[value] = known.get(value, 0) + 1
        return found

    def forget(self, labels: tuple[str, ...]) -> None:
        """Drop the child with these labels, if there is one."""
        if self._children.pop(labels, None) is None:
            return
        for known, value in zip(self._known, labels, strict=True):
            known[value] -= 1
            if not known[value]:
                del known[value]

    def shown(self) -> dict[tuple[str, ...], _Child]:
        """Return what a scrape shows: what was counted, and what the watched ones say now."""
        children = dict(self._children)
        watched = self._asked()
        kept = self.family.limit * (10 if len(self.family.labels) > 1 else 1)
        self.left_out = sum(map(len, self._others)) + max(len(watched) - kept, 0)
        for labels, value in list(watched.items())[:kept]:
            before = children.get(labels)
            total = Counter() if self.family.kind is Kind.COUNTER else Gauge()
            total.value = value + (_number(before) if before is not None else 0.0)
            children[labels] = total
        return children

    def _asked(self) -> dict[tuple[str, ...], float]:
        values: dict[tuple[str, ...], float] = {}
        for watched in tuple(self.watched):
            try:
                for labels, value in _by_labels(watched()):
                    if len(labels) != len(self.family.labels):
                        raise ValueError(f"labels {labels}, expected {self.family.labels}")
                    values[labels] = values.get(labels, 0.0) + value
            except Exception as error:  # noqa: BLE001 - one wrong number must not hide all others
                _log.warning("a metric couldn't be read", metric=self.family.name, error=repr(error))
        return values

    def _bounded(self, place: int, value: str) -> str:
        known = self._known[place]
        if value in known:
            return value
        if len(known) - (OTHER in known) < self.family.limit:
            self._others[place].discard(value)
            return value
        if len(self._others[place]) < self.family.limit:
            self._others[place].add(value)
        return OTHER

    def _made(self) -> _Child:
        match self.family.kind:
            case Kind.COUNTER:
                return Counter()
            case Kind.GAUGE:
                return Gauge()
            case Kind.HISTOGRAM:
                return Histogram(self.family.buckets)


def _number(child: _Child) -> float:
    return float(sum(child.counts)) if isinstance(child, Histogram) else child.value


def _by_labels(said: float | Mapping[Any, float] | None) -> Iterator[tuple[tuple[str, ...], float]]:
    if said is None:
        return
    if not isinstance(said, Mapping):
        yield (), float(said)
        return
    for labels, value in said.items():
        yield tuple(map(str, labels)) if isinstance(labels, tuple) else (str(labels),), float(value)


def _registry(collect: Callable[[], Iterator[Any]]) -> Any:
    """Return a registry of our own: a process may have several services, each with its metrics."""
    from prometheus_client import GCCollector, ProcessCollector
    from prometheus_client.registry import Collector, CollectorRegistry

    class Ours(Collector):
        def collect(self) -> Iterator[Any]:
            return collect()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Ours())
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _exposed(family: Family, children: Mapping[tuple[str, ...], _Child]) -> Any:
    """Return a family as prometheus_client writes it."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    kinds = {
        Kind.COUNTER: CounterMetricFamily,
        Kind.GAUGE: GaugeMetricFamily,
        Kind.HISTOGRAM: HistogramMetricFamily,
    }
    exposed: Any = kinds[family.kind](family.name, family.help, labels=family.labels)
    for labels, child in children.items():
        if isinstance(child, Histogram):
            exposed.add_metric(labels, buckets=_cumulative(child), sum_value=child.total)
        else:
            exposed.add_metric(labels, child.value)
    return exposed


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = (*map(str, histogram.buckets), "+Inf")
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))
