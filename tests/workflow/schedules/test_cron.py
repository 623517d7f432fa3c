"""Cron expressions: what they hold, and what is refused."""

from datetime import date

import pytest

from podium.workflow.schedules.cron import ALIASES, parse_cron


def test_fields_hold_numbers_names_ranges_lists_and_steps() -> None:
    cron = parse_cron("*/20,7 9-17/4 1,15 jan-mar,DEC mon-fri")
    assert cron.minutes == (0, 7, 20, 40)
    assert cron.hours == (9, 13, 17)
    assert cron.days == {1, 15}
    assert cron.months == {1, 2, 3, 12}
    assert cron.weekdays == {1, 2, 3, 4, 5}
    assert cron.either
    assert not cron.each_hour


def test_a_step_behind_a_number_goes_to_the_end() -> None:
    assert parse_cron("50/4 * * * *").minutes == (50, 54, 58)
    assert parse_cron("0 0 * * 4/2").weekdays == {4, 6}


@pytest.mark.parametrize("text", ["0", "7", "sun", "0,7"])
def test_sunday_is_0_and_7(text: str) -> None:
    assert parse_cron(f"0 0 * * {text}").weekdays == {0}


@pytest.mark.parametrize("text", ["5-7", "fri-7", "fri-sun"])
def test_a_range_may_end_on_sunday(text: str) -> None:
    assert parse_cron(f"0 0 * * {text}").weekdays == {5, 6, 0}


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_stand_for_what_they_say(alias: str) -> None:
    assert parse_cron(alias.upper()).times_of_day() == parse_cron(ALIASES[alias]).times_of_day()


def test_of_two_restricted_days_one_is_enough() -> None:
    either, both = parse_cron("0 0 13 * fri"), parse_cron("0 0 */13 * fri")
    assert either.has_day(date(2026, 11, 13))
    assert either.has_day(date(2026, 11, 20))
    assert either.has_day(date(2026, 10, 13))
    assert not both.has_day(date(2026, 11, 13))
    assert both.has_day(date(2026, 8, 14))  # a Friday that is the 1st, 14th or 27th


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("* * * *", "has 4 fields, a cron expression has 5: minute, hour, day of month, month, day of week"),
        ("0 9 * * * *", "has 6 fields"),
        ("", "has 0 fields"),
        ("60 * * * *", "minute: '60' isn't from 0 to 59"),
        ("* 24 * * *", "hour: '24' isn't from 0 to 23"),
        ("* * 0 * *", "day of month: '0' isn't from 1 to 31"),
        ("* * * 13 *", "month: '13' isn't from 1 to 12"),
        ("* * * * 8", "day of week: '8' isn't from 0 to 7"),
        ("* * * * fri-mon", "day of week: 'fri-mon' goes backwards"),
        ("*/0 * * * *", "minute: the step in '*/0' must be from 1 to 59"),
        ("*/x * * * *", "minute: '*/x' can't be read"),
        ("1, * * * *", "minute: '' can't be read"),
        ("-5 * * * *", "minute: '-5' can't be read"),
        ("* * * * monday", 'did you mean "mon"?'),
        ("* * * january *", 'did you mean "jan"?'),
        ("0 0 L * *", "day of month: 'l' can't be read"),
        ("٣ * * * *", "can't be read"),
        ("0 0 31 feb,apr *", "never fires: no month that it names has a day 31"),
        ("@reboot", "@reboot is no cron expression"),
        ("@houry", 'did you mean "@hourly"?'),
        ("* " * 200, "at most 200 characters"),
    ],
)
def test_what_cant_be_used_is_refused_by_its_field(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        parse_cron(text)
    assert said in str(refused.value)


def test_a_day_that_only_the_weekday_gives_isnt_refused() -> None:
    assert parse_cron("0 0 31 feb mon").has_day(date(2026, 2, 2))
