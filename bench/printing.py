"""How figures are shown: lines for a terminal, the table of `docs/benchmarks.md`, JSON. Pure but for `rewrite`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.figures import Figure, ratio
from bench.machine import Machine

BEGIN = "<!-- figures: begin (written by `python -m bench --write docs/benchmarks.md`) -->"
END = "<!-- figures: end -->"
POSTGRES_BEGIN = "<!-- postgres: begin (written by `make bench-postgres ARGS='--write docs/benchmarks.md'`) -->"
POSTGRES_END = "<!-- postgres: end -->"


def line(figure: Figure, figures: Sequence[Figure]) -> str:
    """Return a figure as a line: name, median, spread, what is asked, how it compares."""
    text = f"  {'· ' if figure.is_limit else ''}{figure.name}"
    said = f"{text:<44}{number(figure.value):>9} {figure.unit:<8} ({_spread(figure)})"
    compared = ratio(figure, figures)
    if figure.asked is not None:
        said += f"  {_asked(figure)}: {'yes' if figure.holds else 'NO'}"
    if compared is not None:
        said += f"  {compared:.2f} × {figure.beside}"
    return said


def table(machine: Machine, runs: int, figures: Sequence[Figure]) -> str:
    """Return the figures as the Markdown between the markers."""
    rows = [
        f"Medians of {runs} runs, {machine.date}; the spread is the least and the greatest run.",
        "",
        "| | what | asked | median | spread | beside it | ratio |",
        "|---|---|---|---|---|---|---|",
        *(_row(figure, figures) for figure in figures if not figure.is_limit or figure.workload == "W4"),
        "",
        "Measured with:",
        "",
        *(f"- {text}" for text in machine.lines()),
    ]
    return "\n".join(rows)


def _row(figure: Figure, figures: Sequence[Figure]) -> str:
    other = next((f for f in figures if f.workload == figure.workload and f.name == figure.beside), None)
    compared = ratio(figure, figures)
    asked = _asked(figure) if figure.asked is not None else ""
    if figure.holds is False:
        asked += ", **missed**"
    beside = f"{other.name}: {number(other.value)} {other.unit}" if other is not None else ""
    cells = (
        figure.workload, figure.name, asked, f"{number(figure.value)} {figure.unit}", _spread(figure),
        beside, "" if compared is None else f"{compared:.2f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _spread(figure: Figure) -> str:
    return f"{number(min(figure.runs))} – {number(max(figure.runs))}"


def _asked(figure: Figure) -> str:
    return f"at {'least' if figure.better == 'more' else 'most'} {number(figure.asked or 0.0)} {figure.unit}"


def number(value: float) -> str:
    """Return a number with three digits that count, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def as_json(machine: Machine, runs: int, figures: Sequence[Figure]) -> bytes:
    """Return everything that was measured."""
    every = [
        {**msgspec.to_builtins(f), "median": f.value, "ratio": ratio(f, figures), "holds": f.holds} for f in figures
    ]
    return msgspec.json.format(msgspec.json.encode({"machine": machine, "runs": runs, "figures": every}))


def rewrite(path: Path, text: str, markers: tuple[str, str] = (BEGIN, END)) -> None:
    """Put the text between the markers of a page. Raises ValueError if it hasn't both."""
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise ValueError(f"{path} has no place for the figures; expected the lines\n{markers[0]}\n{markers[1]}")
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
