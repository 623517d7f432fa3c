"""A simulated run as a Gantt chart in the terminal: a row a task where they are few, else a row an agent.

Pure text of a given width. In a row an agent the shade says which share of what it can do at once it does.
"""

from __future__ import annotations

from collections.abc import Sequence

from podium.cli.printing import cut
from podium.cli.times import shown_duration
from podium.simulation.schedule import Ran

FEW = 24
"""Of so many attempts each has a row."""

MOST_ROWS = 32
"""Of more agents, neighbours share a row."""

_SHADES = " ░▒▓█"
_BAR = "█"
_LEAST = "▏"  # of what is too short for a column
_NAME = 28
_AGENT = 14


def chart(ran: Sequence[Ran], agents: Sequence[str], columns: int) -> list[str]:
    """Return the lines of the chart, each of at most so many columns; none where nothing took any time."""
    seconds = max((one.end_seconds for one in ran), default=0.0)
    if seconds <= 0:
        return []
    return _by_task(ran, seconds, columns) if len(ran) <= FEW else _by_agent(ran, agents, seconds, columns)


def _by_task(ran: Sequence[Ran], seconds: float, columns: int) -> list[str]:
    names = [one.task if one.attempt == 1 else f"{one.task} #{one.attempt}" for one in ran]
    name = min(max(map(len, names)), _NAME, columns // 3)
    agent = min(max(len(one.agent) for one in ran), _AGENT, columns // 6)
    left = name + agent + 4
    room = max(columns - left, 10)
    lines = [" " * left + _axis(seconds, room)]
    for one, called in zip(ran, names, strict=True):
        lines.append(f"{cut(called, name):<{name}}  {cut(one.agent, agent):<{agent}}  {_bar(one, seconds, room)}")
    return lines


def _bar(one: Ran, seconds: float, room: int) -> str:
    first, last = round(one.start_seconds / seconds * room), round(one.end_seconds / seconds * room)
    if last <= first:
        return " " * min(first, room - 1) + _LEAST
    return " " * first + _BAR * (last - first)


def _by_agent(ran: Sequence[Ran], agents: Sequence[str], seconds: float, columns: int) -> list[str]:
    each = -(-len(agents) // MOST_ROWS)
    groups = [agents[at : at + each] for at in range(0, len(agents), each)]
    names = [group[0] if len(group) == 1 else f"{group[0]} +{len(group) - 1}" for group in groups]
    name = min(max(map(len, names)), _NAME, columns // 3)
    room = max(columns - name - 2, 10)
    row_of = {agent: row for row, group in enumerate(groups) for agent in group}
    busy = [[0.0] * room for _ in groups]
    column_seconds = seconds / room
    for one in ran:
        _fill(busy[row_of[one.agent]], one, column_seconds)
    most = _most_at_once(ran)
    lines = [" " * (name + 2) + _axis(seconds, room)]
    for row, group in enumerate(groups):
        full = column_seconds * sum(most.get(agent, 1) for agent in group)
        shades = "".join(_shade(share / full) for share in busy[row])
        lines.append(f"{cut(names[row], name):<{name}}  {shades}".rstrip())
    return lines


def _fill(row: list[float], one: Ran, column_seconds: float) -> None:
    """Add an attempt's seconds to the columns in which it ran."""
    first = min(int(one.start_seconds / column_seconds), len(row) - 1)
    last = min(int(one.end_seconds / column_seconds), len(row) - 1)
    for column in range(first, last + 1):
        begins, ends = column * column_seconds, (column + 1) * column_seconds
        row[column] += max(0.0, min(one.end_seconds, ends) - max(one.start_seconds, begins))


def _most_at_once(ran: Sequence[Ran]) -> dict[str, int]:
    """Return how many attempts each agent had at once at most."""
    changes = sorted(
        change for one in ran for change in ((one.start_seconds, 1, one.agent), (one.end_seconds, -1, one.agent))
    )
    now: dict[str, int] = {}
    most: dict[str, int] = {}
    for _, by, agent in changes:
        now[agent] = now.get(agent, 0) + by
        most[agent] = max(most.get(agent, 1), now[agent])
    return most


def _shade(share: float) -> str:
    """Return the shade of a share; what isn't nothing is seen."""
    if share < 0.005:
        return _SHADES[0]
    return _SHADES[min(len(_SHADES) - 1, max(1, round(share * (len(_SHADES) - 1))))]


def _axis(seconds: float, room: int) -> str:
    """Return the times of the beginning, the middle and the end."""
    begin, middle, end = "0 s", shown_duration(seconds / 2), shown_duration(seconds)
    gap = room // 2 - len(begin)
    line = begin + middle.center(2 * gap) if gap > len(middle) else begin
    return f"{line[: room - len(end)]:<{room - len(end)}}{end}"
