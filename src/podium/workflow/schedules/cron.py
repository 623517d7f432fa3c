"""Cron expressions of five fields, as people write them: parsed and checked once, asked for days and times of day.

Names, ranges, lists and steps; `@hourly` and its kin. What a local time means on a day on which the clocks change is
decided in `recurrence`, not here.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import Final

from msgspec import Struct

from podium.workflow.problems import did_you_mean

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LEAP_YEAR = 2024
MAX_TEXT = 200


class _Field(Struct, frozen=True):
    """What one of the five fields may hold."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # the first one stands for `low`


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


class Cron(Struct, frozen=True):
    """A parsed expression. Weekdays are numbered as cron does: 0 is Sunday.

    `either`: day of month and day of week are both restricted, so that a day needs to be only one of them, as in every
    cron. `each_hour`: the hours begin with `*`, so that time that has passed counts and not what clocks show.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    each_hour: bool

    def has_day(self, day: date) -> bool:
        """Whether it fires on that day, should one of its times of day be there."""
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either else in_month and in_week

    def times_of_day(self) -> list[tuple[int, int]]:
        """Return its hours and minutes in order."""
        return [(hour, minute) for hour in self.hours for minute in self.minutes]


@lru_cache(maxsize=1_024)
def parse_cron(text: str) -> Cron:
    """Return the expression. Raises ValueError, naming the field and what it may hold."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"a cron expression has at most {MAX_TEXT} characters, not {len(text):,}")
    words = text.lower().split()
    if len(words) == 1 and words[0].startswith("@"):
        if words[0] not in ALIASES:
            hint = did_you_mean(words[0], list(ALIASES)) or f"there are {', '.join(ALIASES)}"
            raise ValueError(f"{words[0]} is no cron expression; {hint}")
        words = ALIASES[words[0]].split()
    if len(words) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        raise ValueError(
            f"{text!r} has {len(words)} field{'s' * (len(words) != 1)}, a cron expression has 5: {names}; "
            "such as `0 9 * * mon-fri`"
        )
    minutes, hours, days, months, weekdays = (
        _parsed(word, field) for word, field in zip(words, _FIELDS, strict=True)
    )  # fmt: skip
    either = not words[2].startswith("*") and not words[4].startswith("*")
    if not either and not any(min(days) <= monthrange(_LEAP_YEAR, month)[1] for month in months):
        raise ValueError(f"{text!r} never fires: no month that it names has a day {min(days)}")
    return Cron(
        text=text,
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        either=either,
        each_hour=words[1].startswith("*"),
    )


def _parsed(word: str, field: _Field) -> frozenset[int]:
    """Return the numbers that a field holds."""
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        step = 1
        if slash:
            step = _number(step_text, field, part)
            if not 1 <= step <= field.high:
                raise ValueError(f"{field.name}: the step in {part!r} must be from 1 to {field.high}")
        low, high = _span(span, field, part, open_ended=bool(slash))
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _span(span: str, field: _Field, part: str, *, open_ended: bool) -> tuple[int, int]:
    if span == "*":
        return field.low, 6 if field.names is _WEEKDAYS else field.high
    first, dash, last = span.partition("-")
    low = _value(first, field, part)
    if not dash:
        return low, max(low, 6 if field.names is _WEEKDAYS else field.high) if open_ended else low
    high = _value(last, field, part)
    if field.names is _WEEKDAYS and high == 0 and low > 0:
        high = 7  # to Sunday
    if high < low:
        raise ValueError(f"{field.name}: {part!r} goes backwards; write it as two ranges, with a comma")
    return low, high


def _value(word: str, field: _Field, part: str) -> int:
    if word in field.names:
        return field.low + field.names.index(word)
    number = _number(word, field, part)
    if not field.low <= number <= field.high:
        raise ValueError(f"{field.name}: {part!r} isn't from {field.low} to {field.high}")
    return number


def _number(word: str, field: _Field, part: str) -> int:
    if word.isascii() and word.isdigit() and len(word) <= 4:
        return int(word)
    hint = f'did you mean "{word[:3]}"?' if word[:3] in field.names else ""
    names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
    expected = f"expected {field.low} to {field.high}{names}, `*`, ranges, lists and steps such as `*/5`"
    raise ValueError(f"{field.name}: {part!r} can't be read; {hint or expected}")
