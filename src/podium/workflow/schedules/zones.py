"""Time zones: what a local time means as an instant, also on the days on which the clocks change.

A local time is there once; twice, when the clocks go back over it; or never, when they go forward over it. Each of the
three has one answer here, which `docs/schedules.md` writes down for people.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from podium.workflow.problems import did_you_mean

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


@lru_cache(maxsize=256)
def zone_named(name: str) -> ZoneInfo:
    """Return a time zone by its name in the tz database. Raises ValueError, with the nearest name."""
    try:
        return ZoneInfo(name)
    except (OSError, KeyError, ValueError):  # what it is depends on the name: no file, a folder, no key
        hint = did_you_mean(name, sorted(available_timezones())) or "such as Europe/Zurich or UTC"
        raise ValueError(f"there is no time zone {name!r} here; {hint}") from None


def local_of(seconds: int, zone: ZoneInfo) -> datetime:
    """Return what clocks show at an instant, without a zone."""
    return (_EPOCH + timedelta(seconds=seconds)).astimezone(zone).replace(tzinfo=None)


def instants_of(local: datetime, zone: ZoneInfo) -> list[int]:
    """Return the instants at which clocks show this local time, in order: none, one or two."""
    found: list[int] = []
    for fold in (0, 1):
        seconds = _seconds(local.replace(tzinfo=zone, fold=fold))
        if local_of(seconds, zone) == local.replace(fold=0) and seconds not in found:
            found.append(seconds)
    return sorted(found)


def end_of_gap(local: datetime, zone: ZoneInfo) -> int:
    """Return the first instant after the gap in which a local time lies that no clock shows."""
    low, high = sorted(_seconds(local.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return high


def _seconds(at: datetime) -> int:
    return (at - _EPOCH) // _SECOND


def _offset(seconds: int, zone: ZoneInfo) -> timedelta | None:
    return (_EPOCH + timedelta(seconds=seconds)).astimezone(zone).utcoffset()
