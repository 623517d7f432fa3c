"""A schedule as a picture: a row an agent, a bar a task, time from left to right, and how many are busy below."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from podium.workflow.drawing import svg

_MARGIN = 20.0
_TOP = 78.0
_LEFT = 76.0  # of the agents' names
_WIDTH = 1_000.0  # of the time
_ROW, _LOW_ROW, _LOWEST_ROW = 22.0, 12.0, 5.0
_MANY, _VERY_MANY = 40, 150  # rows; of more, they are lower
_BUSY = 46.0  # the height of the curve of busy agents
_MOST_BARS = 20_000
_LEAST_LABELLED = 48.0


class Bar(Struct, frozen=True):
    """One task, or an attempt of it, in one row; seconds since the beginning."""

    name: str
    row: int
    start: float
    end: float
    strong: bool = False  # it held the end up


def gantt_svg(title: str, facts: str, bars: Sequence[Bar], rows: Sequence[str]) -> str:
    """Return the picture of a schedule as an SVG document; `rows` are the names of the agents.

    Of more than 20,000 bars the shortest aren't drawn, and the picture says so.
    """
    seconds = max((bar.end for bar in bars), default=0.0)
    scale = _WIDTH / seconds if seconds else 0.0
    height = _ROW if len(rows) <= _MANY else _LOW_ROW if len(rows) <= _VERY_MANY else _LOWEST_ROW
    bottom = _TOP + height * len(rows)
    shown = sorted(sorted(bars, key=lambda bar: bar.start - bar.end)[:_MOST_BARS], key=lambda bar: (bar.start, bar.row))
    notes = ["what held the end up is in the stronger colour"] if any(bar.strong for bar in shown) else []
    if len(shown) < len(bars):
        notes.append(f"{len(bars) - len(shown):,} short ones aren't drawn")
    body = [
        svg.text(_MARGIN, 26, title, "title"),
        svg.text(_MARGIN, 44, facts, "small"),
        *_rows(rows, height),
        *_ticks(seconds, scale, bottom + _BUSY + 10),
        *(_bar(bar, scale, height) for bar in shown),
        *_busy(bars, scale, len(rows), bottom + 10),
        svg.text(_LEFT, bottom + _BUSY + 28, "; ".join(notes), "small"),
    ]
    return svg.document(_LEFT + _WIDTH + 2 * _MARGIN, bottom + _BUSY + 42, title, facts, body)


def _rows(rows: Sequence[str], height: float) -> list[str]:
    drawn = []
    each = 1 if height >= _LOW_ROW else 10
    for at, name in enumerate(rows):
        top = _TOP + at * height
        if at % 2 == 0:
            drawn.append(svg.rect(_LEFT, top, _WIDTH, height, "row"))
        if at % each == 0:
            drawn.append(
                svg.text(_LEFT - 6, top + height / 2 + 3.5, svg.fitted(name, _LEFT - _MARGIN + 12), "small", "end")
            )
    return drawn


def _ticks(seconds: float, scale: float, bottom: float) -> list[str]:
    drawn = []
    step = _step(seconds)
    for count in range(math.floor(seconds / step + 1e-9) + 1 if step else 1):
        x = _LEFT + count * step * scale
        drawn.append(svg.path(f"M{svg.number(x)},{svg.number(_TOP - 6)}V{svg.number(bottom)}", "grid"))
        drawn.append(svg.text(x, _TOP - 10, svg.seconds_of(count * step), "small", "middle"))
    return drawn


def _step(seconds: float) -> float:
    """Return the pause between two marks of time, a round one, so that there are about ten."""
    if seconds <= 0:
        return 0.0
    wanted = seconds / 10
    round_ones = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
    if 1 <= wanted <= round_ones[-1]:
        return float(next(step for step in round_ones if step >= wanted))
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted * (1 - 1e-9))


def _bar(bar: Bar, scale: float, height: float) -> str:
    left, width = _LEFT + bar.start * scale, max((bar.end - bar.start) * scale, 0.6)
    top = _TOP + bar.row * height
    inset = 2.0 if height >= _ROW else 0.5
    times = f"{svg.seconds_of(bar.start)} to {svg.seconds_of(bar.end)}, {svg.seconds_of(bar.end - bar.start)}"
    kind = "strongbar" if bar.strong else "bar"
    drawn = svg.rect(left, top + inset, width, height - 2 * inset, kind, min(3.0, width / 4), f"{bar.name}\n{times}")
    if height < _ROW or width < _LEAST_LABELLED:
        return drawn
    name = svg.fitted(bar.name, (width - 8) / 0.85)
    return drawn + svg.text(left + width / 2, top + height / 2 + 3.5, name, "onbar", "middle")


def _busy(bars: Sequence[Bar], scale: float, rows: int, top: float) -> list[str]:
    """Draw how many agents are busy over time."""
    if not bars or not scale:
        return []
    changes: dict[float, int] = {}
    for bar in bars:
        # Rounded, so that one that ends and the next one on its agent are at one time.
        start, end = round(bar.start, 6), round(bar.end, 6)
        changes[start] = changes.get(start, 0) + 1
        changes[end] = changes.get(end, 0) - 1
    most, busy, levels = 0, 0, []
    for at in sorted(changes):
        busy += changes[at]
        most = max(most, busy)
        levels.append((at, busy))
    floor = top + _BUSY
    commands, last = [f"M{svg.number(_LEFT)},{svg.number(floor)}"], ""
    for at, count in levels:
        point = f"H{svg.number(_LEFT + at * scale)}V{svg.number(floor - _BUSY * count / max(rows, most, 1))}"
        if point != last:
            commands.append(point)
        last = point
    return [
        svg.path("".join(commands) + f"V{svg.number(floor)}z", "area"),
        svg.text(_LEFT - 6, top + 12, f"{max(rows, most)}", "small", "end"),
        svg.text(_LEFT - 6, floor, "busy", "small", "end"),
    ]
