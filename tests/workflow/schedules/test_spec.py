"""What may be said of a schedule, and how it is refused."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from podium.exceptions import InvalidInputError
from podium.workflow.schedules.recurrence import CronTimes, Every, Once
from podium.workflow.schedules.spec import ScheduleSpec, checked, in_words, micros, recurrence_of, spec_problems
from podium.workflow.schedules.zones import zone_named

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "one of cron, every and at; you gave none"),
        ({"cron": "* * * * *", "every_seconds": 5}, "you gave more than one"),
        ({"cron": "61 * * * *"}, "cron: minute: '61'"),
        ({"cron": "* * * * *", "time_zone": "Europe/Zurch"}, 'did you mean "Europe/Zurich"?'),
        ({"cron": "* * * * *", "time_zone": "../etc/passwd"}, "there is no time zone"),
        ({"cron": "* * * * *", "time_zone": ""}, "there is no time zone"),
        ({"every_seconds": 5, "time_zone": "Europe/Zurich"}, "time_zone is cron's"),
        ({"every_seconds": 0.5}, "every: 0.5 s can't be used; it is from a second"),
        ({"every_seconds": float("nan")}, "every: nan"),
        ({"at": datetime(2026, 3, 1)}, "at has no time zone"),  # noqa: DTZ001
        (
            {"at": datetime(1969, 12, 31, tzinfo=UTC)},
            "at: 1969-12-31T00:00:00+00:00 can't be used; years are from 1970",
        ),
        (
            {"at": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))},
            "at: 9999-12-31T23:00:00-12:00 can't",
        ),
        ({"cron": "@daily", "starts_at": datetime(2201, 1, 1, tzinfo=UTC)}, "from 1970 to 2200"),
        ({"cron": "@daily", "ends_at": datetime(1, 1, 1, tzinfo=UTC)}, "from 1970 to 2200"),
        ({"at": NOON, "max_firings": 2}, "`at` fires once"),
        ({"every_seconds": 5, "starts_at": NOON, "ends_at": datetime(2025, 3, 1, tzinfo=UTC)}, "ends_at is before"),
        ({"every_seconds": 5, "max_firings": 0}, "max_firings must be 1"),
        ({"every_seconds": 5, "catch_up_seconds": -1}, "catch_up: -1 s"),
        ({"every_seconds": 5, "catch_up_limit": 0}, "catch_up_limit must be from 1 to 1,000"),
        ({"every_seconds": 5, "jitter_seconds": 5}, "jitter must be shorter than the interval"),
        ({"cron": "* * * * *", "jitter_seconds": 7_200}, "jitter: 7200 s"),
    ],
)
def test_what_cant_be_kept_is_refused_by_its_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        checked(ScheduleSpec(**given))
    assert said in str(refused.value)


def test_an_interval_of_nothing_is_the_only_thing_wrong_with_it() -> None:
    assert [field for field, _ in spec_problems(ScheduleSpec(every_seconds=0))] == ["every_seconds"]


def test_the_times_are_of_the_kind_that_was_said() -> None:
    cron = ScheduleSpec(cron="@daily", time_zone="Europe/Zurich")
    assert recurrence_of(checked(cron), 7) == CronTimes("@daily", "Europe/Zurich")
    assert in_words(cron) == "@daily (Europe/Zurich)"
    every = ScheduleSpec(every_seconds=900)
    assert recurrence_of(checked(every), 7) == Every(900_000_000, 7)
    assert recurrence_of(ScheduleSpec(every_seconds=900, starts_at=NOON), 7) == Every(900_000_000, micros(NOON), True)
    assert in_words(every) == "every 15m"
    once = ScheduleSpec(at=NOON)
    assert recurrence_of(checked(once), 7) == Once(micros(NOON))
    assert in_words(once) == "at 2026-03-01T12:00:00+00:00"


def test_only_what_fires_once_is_never_too_late() -> None:
    assert ScheduleSpec(at=NOON).catch_up_us is None
    assert ScheduleSpec(at=NOON, catch_up_seconds=1).catch_up_us == 1_000_000
    assert ScheduleSpec(every_seconds=5).catch_up_us == 3_600_000_000


def test_a_zone_is_found_by_its_name() -> None:
    assert zone_named("Europe/Zurich").key == "Europe/Zurich"
