"""Amounts as people write them are read exactly, and everything else is refused with an example."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.workflow.units import format_duration, parse_cores, parse_duration, parse_memory_mb


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("2d", 172_800),
        ("1h 30m", 5400),
        (" 1.5 h ", 5400),
        ("10 seconds", 10),
        ("1 minute", 60),
        ("90", 90),
        ("0.5", 0.5),
        ("1S", 1),
        (0, 0),
        (30, 30),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_read_in_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [
        ("4GB", 4000),
        ("4GiB", 4295),
        ("512MB", 512),
        ("4Gi", 4295),
        ("1 TB", 1_000_000),
        ("1500kB", 2),
        ("1B", 1),
        ("0.5GB", 500),
        ("512", 512),
        (512, 512),
        (0.5, 1),
        (0, 0),
    ],
)
def test_memory_is_read_in_megabytes_rounded_up(text, megabytes):
    assert parse_memory_mb(text) == megabytes


@pytest.mark.parametrize(
    ("text", "cores"),
    [("2 cores", 2), ("1 core", 1), ("500m", 0.5), ("0.5", 0.5), (2, 2), (0.25, 0.25), ("4 cpus", 4), ("1500m", 1.5)],
)
def test_cores_are_read(text, cores):
    assert parse_cores(text) == cores


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "soon",
        "30 parsecs",
        "-5s",
        "s",
        "1h30",
        "30m1h",
        "1m1m",
        "1e5s",
        "٣s",
        "1_000",
        "1" * 65,
        "9" * 30 + "d",
        "9" * 30,
        True,
        None,
        -1,
        math.nan,
        math.inf,
        10**400,
        10**16,
        [],
        "1s,",
        "0x10",
        "1..5s",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(value):
    with pytest.raises(ValueError, match='such as "30s"') as caught:
        parse_duration(value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "value", ["", "4 GB 2 MB", "4 bananas", "-1GB", "GB", True, None, -1, math.nan, "9" * 40 + "TB"]
)
def test_what_is_no_memory_is_refused_with_an_example(value):
    with pytest.raises(ValueError, match='such as "4GB"'):
        parse_memory_mb(value)


@pytest.mark.parametrize("value", ["", "two", "2 cores 1 core", "-1", "2 GB", False, {}, -0.5, math.inf])
def test_what_is_no_number_of_cores_is_refused_with_an_example(value):
    with pytest.raises(ValueError, match='"2 cores"'):
        parse_cores(value)


@given(st.integers(0, 10**14))
def test_a_formatted_duration_is_read_back_exactly(milliseconds):
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (60, "1m"),
        (5400, "1h30m"),
        (90061.25, "1d1h1m1.25s"),
        (0.0001, "0s"),
        (3600.5, "1h0.5s"),
    ],
)
def test_a_duration_is_formatted_shortly(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_what_is_no_time_is_not_formatted(seconds):
    with pytest.raises(ValueError, match="no duration"):
        format_duration(seconds)


@given(st.text(max_size=80) | st.integers() | st.floats() | st.none() | st.booleans())
def test_any_value_is_read_or_refused_never_worse(value):
    for parse in (parse_duration, parse_memory_mb, parse_cores):
        try:
            amount = parse(value)
        except ValueError as refusal:
            if "expected" not in str(refusal):
                raise
        else:
            assert amount >= 0
