"""SVG by hand: elements as text, with names that are never trusted, and colours for light and for dark.

A picture brings its own background, so that it can be read wherever it is put; what shows pictures and knows nothing of
dark schemes shows the light one. Colours are told apart by people who don't see red and green as others do.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from html import escape

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_LIGHT = {
    "paper": "#ffffff", "ink": "#1f2328", "soft": "#59636e", "line": "#8c959f", "faint": "#d1d9e0", "box": "#f6f8fa",
    "strong": "#bc4c00", "strongbox": "#fff1e5", "strongbar": "#fb8f44", "bar": "#54aeff", "second": "#b6e3ff",
    "onbar": "#0b1f33",
}  # fmt: skip
_DARK = {
    "paper": "#0d1117", "ink": "#f0f6fc", "soft": "#9198a1", "line": "#656c76", "faint": "#2f353d", "box": "#151b23",
    "strong": "#f0883e", "strongbox": "#3d1300", "strongbar": "#bc4c00", "bar": "#1f6feb", "second": "#0c2d6b",
    "onbar": "#ffffff",
}  # fmt: skip
_RULES = """text {{ font-family: {font}; font-size: 12px; fill: {ink}; }}
.small {{ font-size: 10px; fill: {soft}; }} .title {{ font-size: 14px; font-weight: 600; }}
.paper {{ fill: {paper}; }} .box {{ fill: {box}; stroke: {line}; }}
.strongbox {{ fill: {strongbox}; stroke: {strong}; }}
.edge {{ fill: none; stroke: {line}; }} .implied {{ fill: none; stroke: {faint}; stroke-dasharray: 3 3; }}
.strongedge {{ fill: none; stroke: {strong}; stroke-width: 2.5; }} .grid {{ stroke: {faint}; }}
.head {{ fill: {line}; }} .stronghead {{ fill: {strong}; }} .row {{ fill: {box}; }}
.spare {{ fill: {paper}; stroke: {line}; stroke-dasharray: 4 3; }} .onbar {{ font-size: 10px; fill: {onbar}; }}
.bar {{ fill: {bar}; stroke: {paper}; }} .strongbar {{ fill: {strongbar}; stroke: {paper}; }}
.area {{ fill: {second}; }}
"""
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NARROW, _CAPITAL, _WIDE = 6.8, 8.6, 12.4  # of a character at 12 px, on the safe side


def document(width: float, height: float, title: str, description: str, body: Iterable[str]) -> str:
    """Return a whole picture; `title` and `description` are for those who hear it instead of seeing it."""
    light = _RULES.format(font=FONT, **_LIGHT)
    dark = _RULES.format(font=FONT, **_DARK)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width)}" height="{number(height)}"'
            f' viewBox="0 0 {number(width)} {number(height)}" role="img">',
            f"<title>{text_of(title)}</title>",
            f"<desc>{text_of(description)}</desc>",
            f"<style>\n{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n</style>",
            f'<rect class="paper" width="{number(width)}" height="{number(height)}" rx="6"/>',
            *body,
            "</svg>\n",
        ]
    )


def rect(x: float, y: float, width: float, height: float, kind: str, radius: float = 0.0, tip: str = "") -> str:
    """Return a box, with a tip that is shown where the pointer rests."""
    rounded = f' rx="{number(radius)}"' if radius else ""
    place = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
    return f'<rect class="{kind}" {place}{rounded}' + (f"><title>{text_of(tip)}</title></rect>" if tip else "/>")


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    """Return a line of text."""
    shown = f' class="{kind}"' if kind else ""
    put = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{number(x)}" y="{number(y)}"{shown}{put}>{text_of(content)}</text>'


def path(commands: str, kind: str) -> str:
    """Return a line."""
    return f'<path class="{kind}" d="{commands}"/>'


def number(value: float) -> str:
    """Return a coordinate, to a tenth: more isn't seen."""
    return (
        f"{value:.1f}".removesuffix(".0").replace("-0", "0") if abs(value) < 0.05 else f"{value:.1f}".removesuffix(".0")
    )


def text_of(content: str) -> str:
    """Return a text that can stand in XML, whatever it holds."""
    return escape(_NOT_XML.sub("�", content))


def width_of(content: str) -> float:
    """Return about how many pixels a text is wide."""
    if content.isascii():
        capitals = sum(map(str.isupper, content)) + content.count("_")
        return _NARROW * (len(content) - capitals) + _CAPITAL * capitals
    return sum(_WIDE if unicodedata.east_asian_width(one) in "WF" else _CAPITAL for one in content)


def fitted(content: str, width: float) -> str:
    """Return a text that is at most so wide, with `…` where something is left out: the end tells more."""
    content = " ".join(content.split())
    if width_of(content) <= width:
        return content
    kept = len(content) - 1
    while kept > 1 and width_of(_without_middle(content, kept)) > width:
        kept -= 1
    return _without_middle(content, kept)


def _without_middle(content: str, kept: int) -> str:
    head = kept // 3
    return f"{content[:head]}…{content[len(content) - (kept - head) :]}"


def seconds_of(seconds: float) -> str:
    """Return a duration in few characters: 0.4 s, 12 s, 3 m 5 s, 2 h 4 m."""
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small, units = (*divmod(whole, 60), "m s") if whole < 3600 else (*divmod(round(whole / 60), 60), "h m")
    first, second = units.split()
    return f"{large} {first} {small} {second}" if small else f"{large} {first}"
