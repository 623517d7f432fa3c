"""Reads the tables and the drawings of a page of the documentation."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BAR = re.compile(r"(?<!\\)\|")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", text, re.MULTILINE)
    assert found is not None, f"the page has no heading {title!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def tables(text: str) -> list[list[dict[str, str]]]:
    """Every table: its rows by column, texts without their back-quotes."""
    found: list[list[dict[str, str]]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("|"):
            continue
        names = _cells(line)
        next(lines)
        rows = []
        for row in lines:
            if not row.startswith("|"):
                break
            rows.append(dict(zip(names, _cells(row), strict=True)))
        found.append(rows)
    return found


def drawing(text: str) -> str:
    """The first mermaid block."""
    found = re.search(r"^```mermaid\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, "there is no drawing"
    return found[1]


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("`").replace("\\|", "|") for cell in _BAR.split(line.strip())[1:-1]]
