"""A text that is drawn again and again in its place on the terminal, by rich."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from podium.cli.printing import no_color


class Screen:
    """Use it as a context; `draw` as often as you like."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, no_color=no_color(), highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def draw(self, text: str) -> None:
        """Show this in place of what was shown."""
        self._live.update(Text.from_ansi(text, no_wrap=True, overflow="crop"), refresh=True)
