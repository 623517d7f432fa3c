"""Times of schedules against minute after minute, in zones whose clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from podium.workflow.schedules.cron import parse_cron
from podium.workflow.schedules.recurrence import CronTimes, Every, Once

SECOND = 1_000_000
MINUTE = 60 * SECOND
# Zones with the days on which their clocks change, or a day is left out.
CHANGES = [
    ("Europe/Zurich", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Zurich", datetime(2026, 10, 25, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, tzinfo=UTC)),  # at midnight
    ("America/Sao_Paulo", datetime(2018, 2, 18, tzinfo=UTC)),  # back over midnight
    ("America/St_Johns", datetime(2010, 11, 7, tzinfo=UTC)),  # back over midnight, a minute after it
    ("Australia/Lord_Howe", datetime(2026, 10, 4, tzinfo=UTC)),  # by half an hour
    ("Australia/Lord_Howe", datetime(2026, 4, 5, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),  # a day that wasn't
    ("Asia/Kathmandu", datetime(2026, 1, 1, tzinfo=UTC)),
    ("UTC", datetime(2024, 2, 29, tzinfo=UTC)),
]


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, set[int]]:
    """Return a field's text and what it holds, known without reading it."""
    match draw(st.sampled_from(["*", "*/n", "a", "a-b", "a-b/n", "a,b"])):
        case "*":
            return "*", set(range(low, high + 1))
        case "*/n":
            step = draw(st.integers(1, high))
            return f"*/{step}", set(range(low, high + 1, step))
        case "a":
            value = draw(st.integers(low, high))
            return str(value), {value}
        case "a,b":
            values = draw(st.lists(st.integers(low, high), min_size=2, max_size=4))
            return ",".join(map(str, values)), set(values)
        case shape:
            first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
            step = draw(st.integers(1, 7)) if shape == "a-b/n" else 1
            return f"{first}-{last}" + (f"/{step}" if shape == "a-b/n" else ""), set(range(first, last + 1, step))


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, tuple[set[int], ...]]:
    parts = [draw(fields(*bounds)) for bounds in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))]
    return " ".join(text for text, _ in parts), tuple(held for _, held in parts)


def matches(text: str, held: tuple[set[int], ...], local: datetime) -> bool:
    minutes, hours, days, months, weekdays = held
    words = text.split()
    in_month, in_week = local.day in days, local.isoweekday() % 7 in weekdays
    both_said = not words[2].startswith("*") and not words[4].startswith("*")
    day = in_month or in_week if both_said else in_month and in_week
    return local.minute in minutes and local.hour in hours and local.month in months and day


def by_the_minute(text: str, held: tuple[set[int], ...], zone: ZoneInfo, begin: datetime, minutes: int) -> list[int]:
    """Return the instants at which an expression fires, found by looking at each minute."""
    found = []
    before = (begin - timedelta(minutes=1)).astimezone(zone)
    each_hour = text.split()[1].startswith("*")
    for number in range(minutes):
        local = (begin + timedelta(minutes=number)).astimezone(zone)
        fires = matches(text, held, local) and (each_hour or local.fold == 0)
        shown, expected = local.replace(tzinfo=None), before.replace(tzinfo=None) + timedelta(minutes=1)
        while not each_hour and expected < shown:  # the clocks skip this one
            fires |= matches(text, held, expected)
            expected += timedelta(minutes=1)
        if fires:
            found.append(int((begin + timedelta(minutes=number)).timestamp()) * SECOND)
        before = local
    return found


@settings(max_examples=30)
@given(expression=expressions(), change=st.sampled_from(CHANGES))
@example(("30 2 * * *", ({30}, {2}, {*range(1, 32)}, {*range(1, 13)}, {*range(7)})), CHANGES[0])
@example(("30 2 * * *", ({30}, {2}, {*range(1, 32)}, {*range(1, 13)}, {*range(7)})), CHANGES[1])
@example(("30 * * * *", ({30}, {*range(24)}, {*range(1, 32)}, {*range(1, 13)}, {*range(7)})), CHANGES[0])
@example(("30 * * * *", ({30}, {*range(24)}, {*range(1, 32)}, {*range(1, 13)}, {*range(7)})), CHANGES[1])
@example(("0,30 0,23 * * *", ({0, 30}, {0, 23}, {*range(1, 32)}, {*range(1, 13)}, {*range(7)})), CHANGES[6])
@example(("0 */8 * * *", ({0}, {0, 8, 16}, {*range(1, 32)}, {*range(1, 13)}, {*range(7)})), CHANGES[9])
@example(("0 12 * * *", ({0}, {12}, {*range(1, 32)}, {*range(1, 13)}, {*range(7)})), CHANGES[9])
def test_cron_fires_as_if_each_minute_was_looked_at(
    expression: tuple[str, tuple[set[int], ...]], change: tuple[str, datetime]
) -> None:
    text, held = expression
    try:
        parse_cron(text)
    except ValueError:
        assume(False)
    zone, day = change
    begin, minutes = day - timedelta(days=1), 3 * 1_440
    expected = by_the_minute(text, held, ZoneInfo(zone), begin, minutes)
    times, floor = CronTimes(text, zone), int(begin.timestamp()) * SECOND - 1
    end = floor + 1 + minutes * MINUTE
    found, at = [], times.after(floor)
    while at is not None and at < end:
        found.append(at)
        at = times.after(at)
    assert found == expected
    backwards, at = [], times.before(end, floor)
    while at is not None:
        backwards.append(at)
        at = times.before(at, floor)
    assert backwards[::-1] == expected


@given(
    cron=st.sampled_from(["*/7 * * * *", "0 9 * * mon-fri", "0 0 29 2 *", "@yearly", "15 3 1 */2 *"]),
    at=st.integers(0, 4_000_000_000 * SECOND),
    zone=st.sampled_from([zone for zone, _ in CHANGES]),
)
def test_the_time_before_the_next_one_isnt_later_than_now(cron: str, at: int, zone: str) -> None:
    times = CronTimes(cron, zone)
    following = times.after(at)
    assert following is not None
    assert following > at
    assert times.before(following + 1, at) == following
    assert times.before(following, at) is None


def test_what_comes_once_in_decades_is_found() -> None:
    times = CronTimes("0 0 29 2 */7")
    found = times.after(int(datetime(2032, 3, 1, tzinfo=UTC).timestamp()) * SECOND)
    assert found == int(datetime(2060, 2, 29, tzinfo=UTC).timestamp()) * SECOND


def test_at_the_end_of_the_calendar_nothing_follows() -> None:
    assert CronTimes("0 0 29 2 *").after(int(datetime(9998, 12, 30, tzinfo=UTC).timestamp()) * SECOND) is None


@given(
    interval=st.integers(1, 10_000),
    anchor=st.integers(-1_000, 1_000),
    at=st.integers(-2_000, 50_000),
    at_anchor=st.booleans(),
)
def test_an_interval_counts_from_its_anchor(interval: int, anchor: int, at: int, at_anchor: bool) -> None:
    times = Every(interval, anchor, at_anchor)
    following, last = times.after(at), times.before(at, -(10**9))
    for found in (following, last):
        assert found is None or ((found - anchor) % interval == 0 and found >= anchor + (0 if at_anchor else interval))
    assert following is not None
    assert following > at
    if last is None:
        assert at <= anchor + (0 if at_anchor else interval)
    else:
        assert last < at <= last + interval
        assert times.before(at, last) is None


@pytest.mark.parametrize(("now", "after", "before"), [(4, 5, None), (5, None, None), (6, None, 5)])
def test_once_is_once(now: int, after: int | None, before: int | None) -> None:
    assert Once(5).after(now) == after
    assert Once(5).before(now, 0) == before
    assert Once(5).before(now, 5) is None
