"""Health falls when anything gets worse, and only then; SLAs are counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.clock import SECOND
from podium.fleet.descriptor import SLA
from podium.fleet.health import Silence, SLATracker, forgiven, health_score, next_success_rate

rates = st.floats(0, 1)
silences = st.sampled_from(Silence)
ALL = {
    "silence": silences,
    "success_rate": rates,
    "error_rate": st.floats(0, 2),
    "response_time_ms": st.floats(0, 1e6),
    "cpu_usage": st.floats(0, 2),
    "memory_usage": st.floats(0, 2),
}


def score(values, sla):
    metrics = {name: value for name, value in values.items() if name not in ("silence", "success_rate")}
    return health_score(silence=values["silence"], success_rate=values["success_rate"], metrics=metrics, sla=sla)


@pytest.mark.parametrize("name", ALL)
@given(st.data(), st.none() | st.builds(SLA, response_time_ms=st.floats(1, 1e4)))
def test_the_score_never_rises_when_an_input_gets_worse(name, data, sla):
    values = {each: data.draw(strategy) for each, strategy in ALL.items()}
    worse = {**values, name: data.draw(ALL[name])}
    if (worse[name] < values[name]) != (name == "success_rate"):
        values, worse = worse, values
    assert 0.0 <= score(worse, sla) <= score(values, sla) <= 1.0


def test_an_agent_of_which_nothing_bad_is_known_is_well():
    assert health_score() == 1.0


def test_the_agent_of_document_003_may_be_found_with_0_8():
    assert health_score(metrics={"cpu_usage": 0.45, "error_rate": 0.01, "response_time_ms": 234}) == 0.99


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"silence": Silence.LATE}, 0.8),
        ({"silence": Silence.UNHEALTHY}, 0.3),
        ({"silence": Silence.LOST}, 0.0),
        ({"metrics": {"error_rate": 0.25}}, 0.75),
        ({"success_rate": 0.4}, 0.4),
        ({"metrics": {"response_time_ms": 400}, "sla": SLA(response_time_ms=200)}, 0.75),
        ({"metrics": {"cpu_usage": 0.9}}, 0.75),
        ({"metrics": {"cpu_usage": 1.0, "memory_usage": 1.0}}, 0.25),
        ({"metrics": {"queue_length": 1e9}}, 1.0),
    ],
)
def test_each_factor_is_what_the_page_says(inputs, expected):
    assert health_score(**inputs) == expected


@given(rates, st.booleans())
def test_a_rate_moves_a_tenth_of_the_way(rate, succeeded):
    after = next_success_rate(rate, succeeded)
    assert 0 <= after <= 1
    assert after >= rate if succeeded else after <= rate


@given(rates, st.floats(0, 1e6), st.floats(0, 1e6))
def test_time_forgives_by_its_length_not_by_how_often_it_is_reckoned(rate, first, second):
    assert forgiven(forgiven(rate, first), second) == pytest.approx(forgiven(rate, first + second))
    assert rate <= forgiven(rate, first) + 1e-9 <= 1.0 + 1e-9


def test_an_sla_is_counted_by_observations():
    sla, tracker = SLA(response_time_ms=100, error_rate=0.1), SLATracker(0)
    assert tracker.status(sla, 0).attainment == 1.0
    tracker.observe(sla, 90, 0.05)
    tracker.observe(sla, 110, 0.05)
    tracker.observe(sla)  # nothing was measured
    status = tracker.status(sla, SECOND)
    assert (status.observations, status.violations, status.attainment, status.met) == (2, 1, 0.5, False)
    tracker.observe(sla, error_rate=0.1)
    assert tracker.status(sla, SECOND).met


def test_time_out_of_service_counts_once():
    tracker = SLATracker(0)
    tracker.down(10)
    tracker.down(20)
    tracker.up(30)
    tracker.up(40)
    assert tracker.availability(40) == 0.5
    assert tracker.status(SLA(availability=0.6), 40).met is False
