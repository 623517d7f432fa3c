"""The times at which a schedule fires by its cron expression, its interval or its one date: the next one, the one
before. Pure: given an instant, the same answer for ever.

On a day on which the clocks change, a cron expression whose hours begin with `*` fires at every instant at which clocks
show one of its times. One with fixed hours fires once for each of them: at the first of two, and for those that are
left out at the first instant after the gap, together.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Protocol

from msgspec import Struct

from podium.workflow.schedules.cron import Cron, parse_cron
from podium.workflow.schedules.zones import end_of_gap, instants_of, local_of, zone_named

SECOND_US = 1_000_000
_DAY = timedelta(days=1)
_FARTHEST = timedelta(days=366 * 41)  # a 29 February that is a Sunday comes each 28 years, but for 2100
_LAST_DAY = date(9998, 12, 31)
_FIRST_DAY = date(2, 1, 1)
_LAST_SECOND, _FIRST_SECOND = ((day - date(1970, 1, 1)).days * 86_400 for day in (_LAST_DAY, _FIRST_DAY))


class Recurrence(Protocol):
    """Times in microseconds since the epoch."""

    def after(self, time_us: int) -> int | None:
        """Return the first time after this one; None: there is none."""
        ...

    def before(self, time_us: int, floor_us: int) -> int | None:
        """Return the last time before this one and after `floor_us`; None: there is none."""
        ...


class Once(Struct, frozen=True):
    """One time."""

    at_us: int

    def after(self, time_us: int) -> int | None:
        """Return the time, if it is later."""
        return self.at_us if self.at_us > time_us else None

    def before(self, time_us: int, floor_us: int) -> int | None:
        """Return the time, if it is within."""
        return self.at_us if floor_us < self.at_us < time_us else None


class Every(Struct, frozen=True):
    """An interval: the times are so far apart, however clocks are set. The first is one interval after `anchor_us`,
    or at it.
    """

    interval_us: int
    anchor_us: int
    at_anchor: bool = False

    @property
    def _first_us(self) -> int:
        return self.anchor_us if self.at_anchor else self.anchor_us + self.interval_us

    def after(self, time_us: int) -> int | None:
        """Return the first time after this one."""
        first_us = self._first_us
        if time_us < first_us:
            return first_us
        return first_us + ((time_us - first_us) // self.interval_us + 1) * self.interval_us

    def before(self, time_us: int, floor_us: int) -> int | None:
        """Return the last time before this one."""
        first_us = self._first_us
        if time_us <= first_us:
            return None
        found = first_us + (time_us - 1 - first_us) // self.interval_us * self.interval_us
        return found if found > floor_us else None


class CronTimes(Struct, frozen=True):
    """A cron expression in a time zone."""

    cron: str
    zone: str = "UTC"

    def after(self, time_us: int) -> int | None:
        """Return the first time after this one."""
        seconds = time_us // SECOND_US  # a time is a whole second: later than this one, or than its second
        cron, first = parse_cron(self.cron), self._day_of(seconds)
        for day in _days_forward(cron, first - _DAY):
            later = [at for at in self._instants(day) if at > seconds]
            if later:
                # Where the clocks go back over midnight, two days' times lie among each other.
                later += [at for at in self._instants(day + _DAY) if at > seconds]
                return min(later) * SECOND_US
        return None

    def before(self, time_us: int, floor_us: int) -> int | None:
        """Return the last time before this one."""
        seconds, floor = -(-time_us // SECOND_US), floor_us // SECOND_US
        cron, last, lowest = parse_cron(self.cron), self._day_of(seconds), self._day_of(floor) - _DAY
        for day in _days_backward(cron, last + _DAY, lowest):
            earlier = [at for at in self._instants(day) if at < seconds]
            if earlier:
                earlier += [at for at in self._instants(day - _DAY) if at < seconds]
                found = max(earlier) * SECOND_US
                return found if found > floor_us else None
        return None

    def _day_of(self, seconds: int) -> date:
        within = min(max(seconds, _FIRST_SECOND), _LAST_SECOND)
        return local_of(within, zone_named(self.zone)).date()

    def _instants(self, day: date) -> tuple[int, ...]:
        return _instants_on(self.cron, self.zone, day) if parse_cron(self.cron).has_day(day) else ()


def _days_forward(cron: Cron, day: date) -> Iterator[date]:
    last = min(day + _FARTHEST, _LAST_DAY) if day < _LAST_DAY - _FARTHEST else _LAST_DAY
    while day <= last:
        if day.month not in cron.months:
            day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
            continue
        if cron.has_day(day):
            yield day
        day += _DAY


def _days_backward(cron: Cron, day: date, lowest: date) -> Iterator[date]:
    lowest = max(lowest, _FIRST_DAY)
    while day >= lowest:
        if day.month not in cron.months:
            day = day.replace(day=1) - _DAY
            continue
        if cron.has_day(day):
            yield day
        day -= _DAY


@lru_cache(maxsize=2_048)
def _instants_on(text: str, zone_name: str, day: date) -> tuple[int, ...]:
    """Return the instants at which an expression fires by the local times of a day, in order."""
    cron, zone = parse_cron(text), zone_named(zone_name)
    midnight = datetime.combine(day, time.min)
    before, after = instants_of(midnight - _DAY, zone), instants_of(midnight + 2 * _DAY, zone)
    if len(before) == len(after) == 1 and after[0] - before[0] == 3 * 86_400:  # no clock changes
        start = before[0] + 86_400
        return tuple(start + hour * 3_600 + minute * 60 for hour, minute in cron.times_of_day())
    found: set[int] = set()
    for hour, minute in cron.times_of_day():
        local = datetime.combine(day, time(hour, minute))
        there = instants_of(local, zone)
        if cron.each_hour:
            found.update(there)
        else:
            found.add(there[0] if there else end_of_gap(local, zone))
    return tuple(sorted(found))
