"""Plain tables that fit the width: fixed columns as wide as what is in them, one column that takes what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from podium.cli.printing import cut, width

GAP = "  "
NARROWEST = 8  # of the column that gives way

Paint = Callable[[str, Sequence[str]], str]


def table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    gives_way: int = -1,
    right: frozenset[int] = frozenset(),
    paint: dict[int, Callable[[str], str]] | None = None,
) -> str:
    """Return a table as text, at most as wide as the terminal.

    The column `gives_way` is cut where the others leave no room; those in `right` are aligned to the right; `paint`
    colours a column's cells. Columns with nothing in them are left out.
    """
    flexible = gives_way % len(titles)
    shown = [at for at in range(len(titles)) if at == flexible or any(row[at] for row in rows)]
    widths = {at: max(len(titles[at]), *(len(row[at]) for row in rows), 0) for at in shown}
    others = sum(widths[at] for at in shown if at != flexible) + len(GAP) * (len(shown) - 1)
    widths[flexible] = max(NARROWEST, min(widths[flexible], width() - others))
    return "\n".join(
        _line([row[at] for at in shown], [widths[at] for at in shown], [at in right for at in shown],
              [(paint or {}).get(at) if number else None for at in shown])
        for number, row in enumerate([titles, *rows])
    )  # fmt: skip


def _line(
    cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], paint: Sequence[Callable[[str], str] | None]
) -> str:
    parts = []
    for number, (cell, size, is_right, color) in enumerate(zip(cells, widths, right, paint, strict=True)):
        text = cut(cell, size) if len(cell) > size or not cell.isprintable() else cell
        space = " " * (size - len(text))
        painted = color(text) if color else text
        last = number == len(cells) - 1
        parts.append(space + painted if is_right else painted if last else painted + space)
    return GAP.join(parts).rstrip()
