"""The live table on a terminal: a row a task, redrawn in place some times a second. The only module that needs rich."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.live import Live
from rich.text import Text

from podium.cli.printing import cut, no_color, painted, width
from podium.cli.progress import hint, how_far
from podium.cli.rows import COLORS, TITLES, Activity, Row, rows_of
from podium.cli.tables import table
from podium.engine import events as ev
from podium.engine.state import State

FEWEST_ROWS = 3
MOST_ROWS = 40
_AROUND = 4  # lines above and below the rows


class LiveTable:
    """Shows the tasks in a table that stays in its place; its last state remains on the screen."""

    pause_seconds = 0.2
    wants_activity = True

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, no_color=no_color(), highlight=False)
        self._live: Live | None = None

    def hear(self, state: State, event: ev.Event, now_us: int) -> None:
        """Take no note: the table shows what is."""

    def show(self, state: State, activity: Activity, now_us: int, last: bool) -> None:
        """Draw the table."""
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
        room = max(FEWEST_ROWS, min(self._console.height - _AROUND, MOST_ROWS))
        rows = rows_of(state, now_us, activity, room)
        drawn = drawn_table(rows)
        if not (last and state.final):  # then the last words follow
            foot = cut(f"{state.status}: {how_far(state, now_us)}{hint(state)}", width())
            drawn += f"\n{painted(foot, 'bold')}"
        self._live.update(Text.from_ansi(drawn, no_wrap=True, overflow="crop"), refresh=True)

    def close(self) -> None:
        """Give the cursor back."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()


def drawn_table(rows: list[Row]) -> str:
    """Return the rows as a coloured table."""
    return table(TITLES, [row.cells for row in rows], paint={1: _painted_state}, right=frozenset({3, 4}))


def _painted_state(text: str) -> str:
    return painted(text, next((color for status, color in COLORS.items() if status == text), ""))
