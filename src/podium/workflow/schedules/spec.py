"""What a person says of a schedule: when it fires, and what shall be done when a firing meets another one's execution,
or comes late. Checked at the door; the times that follow are `recurrence`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from podium.exceptions import InvalidInputError
from podium.workflow.schedules.cron import parse_cron
from podium.workflow.schedules.recurrence import SECOND_US, CronTimes, Every, Once, Recurrence
from podium.workflow.schedules.zones import zone_named

CATCH_UP_SECONDS = 3_600.0
CATCH_UP_LIMIT = 100
MOST_CAUGHT_UP = 1_000
MOST_JITTER_SECONDS = 3_600.0
MOST_SECONDS = 100 * 366 * 86_400.0
FIRST_YEAR, LAST_YEAR = 1970, 2200
_EARLIEST, _LATEST = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)

_FIELDS: Final = {
    name: name
    for name in (
        *("cron", "every", "at", "time_zone", "starts_at", "ends_at", "max_firings"),
        *("catch_up", "catch_up_limit", "jitter"),
    )
}
WHEN: Final = frozenset({"cron", "every_seconds", "at"})
_MOMENTS: Final = ("at", "starts_at", "ends_at")


class Overlap(StrEnum):
    """What becomes of a firing while an earlier one's execution hasn't ended."""

    SKIP = "skip"  # it is left out
    BUFFER_ONE = "buffer_one"  # one waits for the end, further ones are left out
    ALLOW = "allow"  # both go on side by side
    CANCEL_PREVIOUS = "cancel_previous"  # the earlier one is cancelled, the newest begins when that has ended


class ScheduleSpec(Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """When a schedule fires, and how: one of `cron`, `every_seconds`, `at`.

    `time_zone` is that of `cron`. It fires from `starts_at` to `ends_at`, both included, and `max_firings` times at
    most. A firing that is later than `catch_up_seconds` is missed (None: an hour; of `at`, never), and so are all but
    the newest `catch_up_limit` of those that are late together. Each waits for a part of `jitter_seconds`, always the
    same for the same firing.
    """

    cron: str = ""
    every_seconds: float | None = None
    at: datetime | None = None
    time_zone: str = "UTC"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    max_firings: int | None = None
    overlap: Overlap = Overlap.SKIP
    catch_up_seconds: float | None = None
    catch_up_limit: int = CATCH_UP_LIMIT
    jitter_seconds: float = 0.0

    @property
    def catch_up_us(self) -> int | None:
        """How late a firing may be; None: however late."""
        if self.catch_up_seconds is None:
            return None if self.at is not None else round(CATCH_UP_SECONDS * SECOND_US)
        return round(self.catch_up_seconds * SECOND_US)

    @property
    def jitter_us(self) -> int:
        """How long a firing may wait at most."""
        return round(self.jitter_seconds * SECOND_US)


def checked(spec: ScheduleSpec, names: Mapping[str, str] = {}) -> ScheduleSpec:
    """Return a spec that can be kept. Raises InvalidInputError, naming the field, for one that can't.

    `names` has other names for the fields, where people say them by other ones.
    """
    for _, problem in spec_problems(spec, names):
        raise InvalidInputError(problem)
    return spec


def spec_problems(spec: ScheduleSpec, names: Mapping[str, str] = {}) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a spec: the field, empty for the whole, and a sentence; `names` as of `checked`."""
    said = {**_FIELDS, **names}
    given = [bool(spec.cron), spec.every_seconds is not None, spec.at is not None]
    if sum(given) != 1:
        one_of = f"a schedule has one of {said['cron']}, {said['every']} and {said['at']}"
        yield "", f"{one_of}; you gave {'none' if not any(given) else 'more than one'}"
        return
    yield from _zone_problems(spec, said)
    if spec.cron:
        try:
            parse_cron(spec.cron)
        except ValueError as error:
            yield "cron", f"{said['cron']}: {error}"
    yield from _bound_problems(spec, said)
    yield from _number_problems(spec, said)


def other_than(spec: ScheduleSpec | None, said: Mapping[str, Any]) -> ScheduleSpec:
    """Return a spec of which other things are said.

    One of `cron`, `every_seconds`, `at` takes the others' place. With them goes what was said of them: the zone, the
    jitter, and for `at` the bounds of what recurs.
    """
    found = spec or ScheduleSpec()
    if not WHEN.isdisjoint(said):
        found = replace(found, cron="", every_seconds=None, at=None, time_zone="UTC", jitter_seconds=0.0)
    if "at" in said:
        found = replace(found, starts_at=None, ends_at=None, max_firings=None)
    return replace(found, **said)


def _zone_problems(spec: ScheduleSpec, said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    try:
        zone_named(spec.time_zone)
    except ValueError as error:
        yield "time_zone", f"{said['time_zone']}: {error}"
        return
    if spec.time_zone != "UTC" and not spec.cron:
        yield "time_zone", f"{said['time_zone']} is cron's; an interval knows none, and `at` has its own"


def _bound_problems(spec: ScheduleSpec, said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    wrong = [(name, why) for name in _MOMENTS if (why := _moment_problem(said[name], getattr(spec, name)))]
    yield from wrong
    begin, end, count = said["starts_at"], said["ends_at"], said["max_firings"]
    if spec.at is not None and (spec.starts_at or spec.ends_at or spec.max_firings is not None):
        yield "at", f"{begin}, {end} and {count} are of what recurs; `at` fires once"
    if not wrong and spec.starts_at is not None and spec.ends_at is not None and spec.ends_at < spec.starts_at:
        yield "ends_at", f"{end} is before {begin}"
    if spec.max_firings is not None and spec.max_firings < 1:
        yield "max_firings", f"{count} must be 1 or more"


def _number_problems(spec: ScheduleSpec, said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    every, late, jitter = spec.every_seconds, spec.catch_up_seconds, spec.jitter_seconds
    if every is not None and (why := _number_problem(every, 1.0, MOST_SECONDS, "a second")):
        yield "every_seconds", f"{said['every']}: {why}"
    if late is not None and (why := _number_problem(late, 0.0, MOST_SECONDS, "nothing")):
        yield "catch_up_seconds", f"{said['catch_up']}: {why}"
    if not 1 <= spec.catch_up_limit <= MOST_CAUGHT_UP:
        yield "catch_up_limit", f"{said['catch_up_limit']} must be from 1 to {MOST_CAUGHT_UP:,}"
    if why := _number_problem(jitter, 0.0, MOST_JITTER_SECONDS, "nothing"):
        yield "jitter_seconds", f"{said['jitter']}: {why}"
    elif jitter and every is not None and jitter >= every:
        yield "jitter_seconds", f"{said['jitter']} must be shorter than the interval"


def check_moment(name: str, moment: datetime) -> None:
    """Raise InvalidInputError for a moment that schedules can't go by."""
    if why := _moment_problem(name, moment):
        raise InvalidInputError(why)


def _moment_problem(name: str, moment: datetime | None) -> str:
    if moment is None:
        return ""
    if moment.tzinfo is None:
        return f"{name} has no time zone; end it with `Z` or with an offset such as `+02:00`"
    if not _EARLIEST <= moment < _LATEST:
        return f"{name}: {moment.isoformat()} can't be used; years are from {FIRST_YEAR} to {LAST_YEAR}"
    return ""


def _number_problem(seconds: float, low: float, high: float, least: str) -> str:
    return "" if low <= seconds <= high else f"{seconds:g} s can't be used; it is from {least} to {high:,.0f} s"


def recurrence_of(spec: ScheduleSpec, created_us: int) -> Recurrence:
    """Return the times of a schedule that was made then, without regard to its end conditions."""
    if spec.cron:
        return CronTimes(spec.cron, spec.time_zone)
    if spec.every_seconds is not None:
        anchored = spec.starts_at is not None
        anchor_us = created_us if spec.starts_at is None else micros(spec.starts_at)
        return Every(round(spec.every_seconds * SECOND_US), anchor_us, anchored)
    assert spec.at is not None
    return Once(micros(spec.at))


def micros(moment: datetime) -> int:
    """Return a moment as microseconds since the epoch."""
    whole = round(moment.timestamp() * 1_000)
    return whole * 1_000


def in_words(spec: ScheduleSpec) -> str:
    """Return in a few words when it fires."""
    from podium.workflow.units import format_duration

    if spec.cron:
        return f"{spec.cron} ({spec.time_zone})"
    if spec.every_seconds is not None:
        return f"every {format_duration(spec.every_seconds)}"
    assert spec.at is not None
    return f"at {spec.at.isoformat()}"
