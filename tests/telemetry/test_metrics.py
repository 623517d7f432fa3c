"""Metrics: what is counted is what Prometheus reads; labels are bounded; one wrong number hides no other."""

import asyncio
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from podium.telemetry.families import FAMILIES, Family, Kind
from podium.telemetry.metrics import OTHER, Metrics

FEW = {
    "calls_total": Family("calls_total", Kind.COUNTER, "Calls", ("who",), limit=3),
    "pairs": Family("pairs", Kind.GAUGE, "Pairs", ("a", "b"), limit=2),
    "load": Family("load", Kind.GAUGE, "Load"),
    "time": Family("time", Kind.HISTOGRAM, "Time", (), "", (1.0, 2.0)),
    "podium_metrics_left_out": FAMILIES["podium_metrics_left_out"],
}


def scraped(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """What Prometheus reads: values by labels, by the sample's name."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_the_documents_examples_are_scraped_as_they_are_written() -> None:
    metrics = Metrics()
    metrics.counter("message_bus_sent_total", "agent.messages", "REQUEST").inc(12_345)
    metrics.gauge("registry_agents_total", "ACTIVE").set(10_000)
    lines = metrics.render().decode().splitlines()
    assert 'message_bus_sent_total{topic="agent.messages",type="REQUEST"} 12345.0' in lines
    assert 'registry_agents_total{status="ACTIVE"} 10000.0' in lines


def test_every_family_is_shown_and_nothing_is_shown_twice() -> None:
    lines = Metrics().render().decode().splitlines()
    kinds = [line for line in lines if line.startswith("# TYPE ")]
    assert len(kinds) == len(set(kinds))
    for family in FAMILIES.values():
        assert f"# TYPE {family.name} {family.kind}" in kinds
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_the_table_makes_sense() -> None:
    for name, family in FAMILIES.items():
        assert name == family.name
        assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
        assert list(family.buckets) == sorted(set(family.buckets))
        assert name.endswith("_total") or family.kind is not Kind.COUNTER
        assert family.help
        assert not family.help.endswith(".")


@given(st.lists(st.floats(0, 4, allow_nan=False), max_size=30))
def test_a_histogram_counts_what_is_at_most_each_bucket(values: list[float]) -> None:
    metrics = Metrics(FEW)
    for value in values:
        metrics.histogram("time").observe(value)
    found = scraped(metrics)
    assert list(found["time_bucket"].values()) == [
        sum(value <= 1 for value in values), sum(value <= 2 for value in values), len(values),
    ]  # fmt: skip
    assert found["time_count"][()] == len(values)
    assert found["time_sum"][()] == pytest.approx(sum(values))


def test_a_value_observed_several_times_counts_as_often() -> None:
    metrics = Metrics(FEW)
    metrics.histogram("time").observe(1.5, times=3)
    assert (metrics.values("time"), scraped(metrics)["time_sum"][()]) == ({(): 3.0}, 4.5)


def test_what_was_never_set_is_not_shown_but_what_was_never_counted_is_nothing() -> None:
    found = scraped(Metrics())
    assert found["podium_attempts_lost_total"] == {(): 0.0}
    assert found["coordination_latency_count"] == {(): 0.0}
    assert "workflow_completion_rate" not in found
    assert "registry_agents_total" not in found


def test_label_values_beyond_the_limit_are_counted_together_and_said() -> None:
    metrics = Metrics(FEW)
    for who in ("a", "b", "c", "d", "e", "a", "d"):
        metrics.counter("calls_total", who).inc()
    found = scraped(metrics)
    assert found["calls_total"] == {("a",): 2.0, ("b",): 1.0, ("c",): 1.0, (OTHER,): 3.0}
    assert found["podium_metrics_left_out"] == {("calls_total",): 2.0}


def test_each_label_has_its_own_limit() -> None:
    metrics = Metrics(FEW)
    for a in "xyz":
        for b in "klm":
            metrics.gauge("pairs", a, b).inc()
    assert set(metrics.values("pairs")) == {(a, b) for a in ("x", "y", OTHER) for b in ("k", "l", OTHER)}


def test_a_million_label_values_take_no_memory() -> None:
    metrics = Metrics(FEW)
    for number in range(10_000):
        metrics.counter("calls_total", str(number)).inc()
    assert sum(metrics.values("calls_total").values()) == 10_000
    assert len(metrics.values("calls_total")) == 4


def test_what_is_forgotten_makes_room() -> None:
    metrics = Metrics(FEW)
    for who in "abcd":
        metrics.counter("calls_total", who).inc()
    metrics.forget("calls_total", "a")
    metrics.forget("calls_total", "a")
    metrics.counter("calls_total", "d").inc(5)
    assert metrics.values("calls_total") == {("b",): 1, ("c",): 1, (OTHER,): 1, ("d",): 5}


def test_watched_values_are_asked_for_at_each_scrape_and_added() -> None:
    metrics, load = Metrics(FEW), {"now": 1.0}
    metrics.watch("load", lambda: load["now"])
    end = metrics.watch("load", lambda: 10)
    assert metrics.values("load") == {(): 11.0}
    load["now"] = 2.0
    end()
    end()
    assert scraped(metrics)["load"] == {(): 2.0}


def test_watched_values_come_by_labels() -> None:
    metrics = Metrics(FEW)
    metrics.watch("pairs", lambda: {("a", "b"): 1, ("c", "d"): 2})
    metrics.watch("pairs", lambda: None)
    metrics.counter("calls_total", "a").inc(2)
    metrics.watch("calls_total", lambda: {"a": 3})
    assert metrics.values("pairs") == {("a", "b"): 1.0, ("c", "d"): 2.0}
    assert metrics.values("calls_total") == {("a",): 5.0}


def test_watched_label_values_beyond_the_limit_are_left_out_and_said() -> None:
    metrics = Metrics(FEW)
    metrics.watch("calls_total", lambda: {str(number): number for number in range(10)})
    found = scraped(metrics)
    assert found["calls_total"] == {("0",): 0.0, ("1",): 1.0, ("2",): 2.0}
    assert found["podium_metrics_left_out"] == {("calls_total",): 7.0}


def test_one_wrong_number_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(FEW)
    metrics.watch("load", lambda: 1 / 0)
    metrics.watch("load", lambda: {"a": 1.0})
    metrics.watch("load", lambda: 3)
    assert scraped(metrics)["load"] == {(): 3.0}
    assert "ZeroDivisionError" in caplog.text


def test_texts_with_quotes_and_line_ends_arrive_as_they_are() -> None:
    metrics, strange = Metrics(FEW), 'a"b\\c\nd'
    metrics.counter("calls_total", strange).inc()
    assert scraped(metrics)["calls_total"] == {(strange,): 1.0}


def test_wrong_use_raises() -> None:
    metrics = Metrics(FEW)
    with pytest.raises(KeyError):
        metrics.counter("nothing")
    with pytest.raises(ValueError, match="labels"):
        metrics.counter("calls_total")
    for wrong in (metrics.counter, metrics.histogram):
        with pytest.raises(TypeError, match="load is no"):
            wrong("load")
    with pytest.raises(TypeError, match="time is no gauge"):
        metrics.gauge("time")
    with pytest.raises(TypeError, match="can't be watched"):
        metrics.watch("time", lambda: 1)
    with pytest.raises(ValueError, match="only grows"):
        metrics.counter("calls_total", "a").inc(-1)


def test_two_services_in_one_process_count_apart() -> None:
    one, other = Metrics(FEW), Metrics(FEW)
    one.gauge("load").set(1)
    other.gauge("load").set(2)
    assert (scraped(one)["load"], scraped(other)["load"]) == ({(): 1.0}, {(): 2.0})


def test_refreshing_awaits_what_is_wanted_and_passes_over_what_fails(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(FEW)

    async def sets() -> None:
        metrics.gauge("load").set(7)

    async def fails() -> None:
        raise OSError("gone")

    async def hangs() -> None:
        await asyncio.Event().wait()

    end = metrics.refresh_with(sets)
    metrics.refresh_with(fails)
    metrics.refresh_with(hangs)
    asyncio.run(metrics.refresh(timeout_seconds=0.05))
    assert metrics.values("load") == {(): 7.0}
    assert "gone" in caplog.text
    assert "TimeoutError" in caplog.text
    end()
    end()


def test_counting_imports_no_library() -> None:
    program = (
        "import sys; from podium.telemetry.metrics import Metrics;"
        "Metrics().counter('podium_attempts_lost_total').inc();"
        "sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
