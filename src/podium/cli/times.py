"""Times and durations as people read them: local time, "3.2 s", "1 m 4 s"."""

from __future__ import annotations

from datetime import UTC, datetime


def shown_duration(seconds: float) -> str:
    """Return a duration with two units at most: "4 ms", "0.3 s", "12 s", "1 m 4 s", "2 h 5 m", "3 d 4 h"."""
    seconds = max(seconds, 0.0)
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} m {second} s" if second else f"{minutes} m"
    hours, minute = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minute} m" if minute else f"{hours} h"
    days, hour = divmod(hours, 24)
    return f"{days} d {hour} h" if hour else f"{days} d"


def between_us(begin_us: int, end_us: int) -> str:
    """Return the duration between two times in microseconds."""
    return shown_duration((end_us - begin_us) / 1e6)


def local(time_us: int) -> datetime:
    """Return a time in the machine's own zone."""
    return datetime.fromtimestamp(time_us / 1e6, tz=UTC).astimezone()


def clock_time(time_us: int, milliseconds: bool = False) -> str:
    """Return the local time of day."""
    at = local(time_us)
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}" if milliseconds else f"{at:%H:%M:%S}"


def date_and_time(time_us: int) -> str:
    """Return the local date and time."""
    return f"{local(time_us):%Y-%m-%d %H:%M:%S}"


def iso(time_us: int | None) -> str | None:
    """Return the time in UTC as ISO 8601, for JSON."""
    if time_us is None:
        return None
    return datetime.fromtimestamp(time_us / 1e6, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
