"""Writing to the terminal: lines, JSON documents, widths, colours.

Everything for people has at most the terminal's width; nothing but what is asked for goes to standard output.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import Any, TextIO

_COLORS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "dim": "2", "bold": "1"}
_no_color = False


def set_up_printing(no_color: bool) -> None:
    """Say how to print, before anything is."""
    global _no_color
    _no_color = no_color
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def width(limit: int = 160) -> int:
    """Return how many columns a line may have: the terminal's or COLUMNS, 80 where neither is known."""
    return max(40, min(shutil.get_terminal_size((80, 24)).columns, limit))


def wrapped(text: str, indent: str = "  ") -> str:
    """Return a text in lines of at most the width; words, ids and paths stay whole."""
    lines = []
    for line in text.splitlines() or [""]:
        lines += textwrap.wrap(
            line, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [""]  # fmt: skip
    return "\n".join(lines)


def cut(text: str, length: int) -> str:
    """Return the text on one line of at most so many characters, `…` at its end where something is missing."""
    flat = text if text.isprintable() else " ".join(text.split())
    flat = flat if flat.isprintable() else "".join(c if c.isprintable() else "�" for c in flat)
    return flat if len(flat) <= length else flat[: max(length - 1, 0)].rstrip() + "…"


def say(text: str = "") -> None:
    """Print lines to standard output, at once. Raises BrokenPipeError when nobody reads."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Print lines to standard error; if nobody reads, nobody does."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        return


def print_json(document: Any) -> None:
    """Print one JSON document on one line."""
    import msgspec

    say(msgspec.json.encode(document).decode())


def colored(stream: TextIO) -> bool:
    """Whether colours are wanted there: a terminal that can, and nobody said no."""
    wanted = not _no_color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()


def painted(text: str, color: str) -> str:
    """Return the text in a colour, if standard output is a terminal that may have colours."""
    code = _COLORS.get(color)
    return f"\x1b[{code}m{text}\x1b[0m" if code and text and colored(sys.stdout) else text


def no_color() -> bool:
    """Whether colours were refused, by option or by environment."""
    return _no_color or bool(os.environ.get("NO_COLOR"))


def installed_version() -> str:
    """Return the version of Podium that runs."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("podium")
    except PackageNotFoundError:
        return "unknown"
