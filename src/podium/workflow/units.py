"""Durations, memory and processor amounts as people write them: "1h30m", "4GB", "2 cores".

Each parser takes a text or a plain number and returns one fixed unit (seconds, megabytes, cores). What can't be read
raises ValueError with a sentence that gives an example; the reader of a definition adds line and column.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_CEILING, Decimal

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_DURATION_NAMES = {
    "millisecond": "ms", "milliseconds": "ms", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "m", "mins": "m", "minute": "m", "minutes": "m", "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
    "day": "d", "days": "d",
}  # fmt: skip
_MEGABYTES = {
    "": Decimal(1),
    "b": Decimal(1) / 10**6,
    "k": Decimal("0.001"), "kb": Decimal("0.001"), "m": Decimal(1), "mb": Decimal(1),
    "g": Decimal(10**3), "gb": Decimal(10**3), "t": Decimal(10**6), "tb": Decimal(10**6),
    "ki": Decimal(2**10) / 10**6, "kib": Decimal(2**10) / 10**6, "mi": Decimal(2**20) / 10**6,
    "mib": Decimal(2**20) / 10**6, "gi": Decimal(2**30) / 10**6, "gib": Decimal(2**30) / 10**6,
    "ti": Decimal(2**40) / 10**6, "tib": Decimal(2**40) / 10**6,
}  # fmt: skip
_CORES = {
    "": Decimal(1),
    "core": Decimal(1),
    "cores": Decimal(1),
    "cpu": Decimal(1),
    "cpus": Decimal(1),
    "m": Decimal("0.001"),
}

MAX_TEXT = 64  # characters of an amount; more is no amount
MAX_AMOUNT = 10**15  # of any unit: thirty million years, or a zettabyte

# ASCII digits only: \d would take other scripts' digits. The parts can't overlap, so there is no backtracking.
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*")

_EXPECTED_DURATION = 'expected a duration such as "30s", "5m", "1h30m", "250ms", "2d", or a number of seconds'
_EXPECTED_MEMORY = 'expected an amount of memory such as "4GB", "512MB", "4GiB", or a number of megabytes'
_EXPECTED_CORES = 'expected a number of cores such as 2, "2 cores", "0.5", or "500m" for thousandths of a core'


def parse_duration(value: str | int | float) -> float:
    """Return seconds. Units (ms, s, m, h, d, or their names) may follow each other, each once, the largest first."""
    if not isinstance(value, str):
        return float(_checked_number(value, _EXPECTED_DURATION))
    parts = _amounts(value, _EXPECTED_DURATION)
    if len(parts) == 1 and parts[0][1] == "":
        return float(_within_limit(parts[0][0], value, _EXPECTED_DURATION))
    total = Decimal(0)
    previous = Decimal("Infinity")
    for number, name in parts:
        unit = _SECONDS.get(_DURATION_NAMES.get(name.lower(), name.lower()))
        if unit is None:
            raise _unexpected(value, _EXPECTED_DURATION)
        if unit >= previous:
            raise ValueError(f"{_shown(value)} has its units out of order: {_EXPECTED_DURATION}")
        previous = unit
        total += number * unit
    return float(_within_limit(total, value, _EXPECTED_DURATION))


def parse_memory_mb(value: str | int | float) -> int:
    """Return megabytes (10^6 bytes), rounded up: "4GB" is 4000, "4GiB" 4295."""
    if isinstance(value, str):
        amount = _single(value, _MEGABYTES, _EXPECTED_MEMORY)
    else:
        amount = _checked_number(value, _EXPECTED_MEMORY)
    return int(amount.to_integral_value(ROUND_CEILING))


def parse_cores(value: str | int | float) -> float:
    """Return cores: 2, "2 cores", "1 core" and "500m" (thousandths, as Kubernetes writes them)."""
    if isinstance(value, str):
        return float(_single(value, _CORES, _EXPECTED_CORES))
    return float(_checked_number(value, _EXPECTED_CORES))


def format_duration(seconds: float) -> str:
    """Return a duration that `parse_duration` reads back: exactly, when it is a whole number of milliseconds."""
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{seconds!r} is no duration: expected zero or more seconds")
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    whole, fraction = divmod(milliseconds, 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    text = "".join(f"{number}{unit}" for number, unit in ((day, "d"), (hour, "h"), (minute, "m")) if number)
    if fraction:
        return f"{text}{second}.{fraction:03d}".rstrip("0") + "s"
    return f"{text}{second}s" if second or not text else text


def _amounts(text: str, expected: str) -> list[tuple[Decimal, str]]:
    """Return the (number, unit) pairs that a text consists of, wholly."""
    stripped = text.strip()
    if not stripped or len(stripped) > MAX_TEXT:
        raise _unexpected(text, expected)
    parts = []
    at = 0
    while at < len(stripped):
        match = _AMOUNT.match(stripped, at)
        if match is None:
            raise _unexpected(text, expected)
        parts.append((Decimal(match[1]), match[2]))
        at = match.end()
    return parts


def _single(text: str, units: dict[str, Decimal], expected: str) -> Decimal:
    parts = _amounts(text, expected)
    number, name = parts[0]
    unit = units.get(name.lower())
    if len(parts) != 1 or unit is None:
        raise _unexpected(text, expected)
    return _within_limit(number * unit, text, expected)


def _checked_number(value: object, expected: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _unexpected(value, expected)
    if isinstance(value, float) and not math.isfinite(value):
        raise _unexpected(value, expected)
    if value < 0:
        raise ValueError(f"{_shown(value)} is negative: {expected}")
    return _within_limit(Decimal(repr(value)) if isinstance(value, float) else Decimal(value), value, expected)


def _within_limit(amount: Decimal, value: object, expected: str) -> Decimal:
    if amount > MAX_AMOUNT:
        raise ValueError(f"{_shown(value)} is too large: {expected}")
    return amount


def _unexpected(value: object, expected: str) -> ValueError:
    return ValueError(f"{_shown(value)} is not understood: {expected}")


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 256:
        return "the number"  # too long to print, and slow to
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
