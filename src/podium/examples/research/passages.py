"""Splits the text of a document into passages: stretches of exact text, a paragraph or so long, under their headings.

Pure: text in, character offsets out, so that `text[start:end]` is what a reader may quote. It knows just enough of
reStructuredText and Markdown to find headings, code and footnotes, and treats plain text as paragraphs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

Kind = Literal["prose", "header", "note"]

LONGEST_PASSAGE = 1400
"""Characters; a longer stretch is cut at the end of a line."""

JOINED_UP_TO = 700
"""Characters; list items and very short paragraphs are joined to their neighbours up to this length."""

SHORT_PASSAGE = 100
"""Characters; a paragraph shorter than this says too little alone."""

_HEADER_FIELD = re.compile(r"[A-Z][A-Za-z-]*:(\s|$)")
_MARKDOWN_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_ADORNMENT = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}$")
_LIST_ITEM = re.compile(r"([-*+•]|\d+[.)]|\(?[a-z]\)|#\.)\s")
_FOOTNOTE = re.compile(r"\.\. \[|\.\. _|__ |\[\^?\w+\]:")
_CODE_DIRECTIVE = re.compile(r"\.\. (code|code-block|sourcecode|literalinclude)::|```|~~~")
_FENCE = re.compile(r"\s*(```|~~~)")


class Passage(msgspec.Struct, frozen=True):
    """Where one quotable stretch stands: character offsets, the headings above it joined by ` › `, and its kind."""

    start: int
    end: int
    section: str
    kind: Kind


class Line(msgspec.Struct, frozen=True):
    """One line without its line end; `end` is the offset behind its last character."""

    start: int
    end: int
    text: str

    @property
    def is_blank(self) -> bool:
        """Whether nothing but space stands in it."""
        return not self.text.strip()

    @property
    def is_indented(self) -> bool:
        """Whether it begins with space, as code and what belongs to a list item do."""
        return self.text[:1] in (" ", "\t")


class Block(msgspec.Struct, frozen=True):
    """A run of lines between blank lines, with the section that it stands in."""

    lines: tuple[Line, ...]
    section: str

    @property
    def start(self) -> int:
        """The offset of its first character."""
        return self.lines[0].start

    @property
    def end(self) -> int:
        """The offset behind its last character."""
        return self.lines[-1].end

    @property
    def opening(self) -> str:
        """Its first line."""
        return self.lines[0].text

    @property
    def is_list_item(self) -> bool:
        """Whether it begins like an item of a list, or is a term with its indented definition."""
        is_definition = len(self.lines) > 1 and not self.lines[0].is_indented and self.lines[1].is_indented
        return is_definition or _LIST_ITEM.match(self.opening) is not None


def split_passages(text: str) -> list[Passage]:
    """The passages of `text` in their order; they do not overlap, and none is blank."""
    passages: list[Passage] = []
    for group in _grouped(_blocks(_lines(text))):
        passages.extend(_cut(group))
    return passages


def header_fields(text: str) -> dict[str, str]:
    """The `Name: value` lines that open a document (as in a PEP), continuation lines joined; empty without such."""
    fields: dict[str, str] = {}
    name = ""
    for line in _lines(text):
        if line.is_indented and name and not line.is_blank:
            fields[name] += " " + line.text.strip()
        elif _HEADER_FIELD.match(line.text):
            name, _, value = line.text.partition(":")
            fields[name] = value.strip()
        else:
            break
    return fields if len(fields) > 1 else {}


def first_heading(text: str) -> str | None:
    """The first heading of a document, or None."""
    return next((block.section.split(" › ")[0] for block in _blocks(_lines(text)) if block.section), None)


def _lines(text: str) -> list[Line]:
    lines = []
    position = 0
    for raw in text.split("\n"):
        content = raw.rstrip("\r")
        lines.append(Line(position, position + len(content), content.lstrip("\ufeff") if not position else content))
        position += len(raw) + 1
    return lines


def _blocks(lines: list[Line]) -> Iterator[Block]:
    headings: list[tuple[str, str]] = []
    pending: list[Line] = []
    section = ""
    inside_fence = False
    index = 0
    while index < len(lines):
        line = lines[index]
        found = None if inside_fence else _heading_at(lines, index)
        if (found or line.is_blank) and pending and not inside_fence:
            yield Block(tuple(pending), section)
            pending = []
        if found:
            style, title, height = found
            headings = [*_below(headings, style), (style, title)]
            section = " › ".join(name for _, name in headings)
            index += height
            continue
        if _FENCE.match(line.text):
            inside_fence = not inside_fence
        if pending or not line.is_blank:
            pending.append(line)
        index += 1
    if pending:
        yield Block(tuple(_without_blank_end(pending)), section)


def _without_blank_end(lines: list[Line]) -> list[Line]:
    last = max(index for index, line in enumerate(lines) if not line.is_blank)
    return lines[: last + 1]


def _below(headings: list[tuple[str, str]], style: str) -> list[tuple[str, str]]:
    """The headings that stay open above a new one: those before the first of its own style or, in Markdown, rank."""
    for depth, (known, _) in enumerate(headings):
        if known == style or (style.startswith("h") and known.startswith("h") and known > style):
            return headings[:depth]
    return headings


def _heading_at(lines: list[Line], index: int) -> tuple[str, str, int] | None:
    """The heading that starts on this line, as (style, title, number of lines), or None."""
    line = lines[index]
    if line.is_blank or line.is_indented:
        return None
    if markdown := _MARKDOWN_HEADING.match(line.text):
        return f"h{len(markdown[1])}", markdown[2], 1
    following = [after.text.rstrip() for after in lines[index + 1 : index + 3]]
    if _is_adornment(line.text.rstrip()):
        if len(following) == 2 and following[0].strip() and following[1] == line.text.rstrip():
            return "over" + line.text[0], following[0].strip(), 3
        return None
    stands_alone = index == 0 or lines[index - 1].is_blank
    if stands_alone and following and _is_adornment(following[0]) and len(following[0]) + 1 >= len(line.text.rstrip()):
        return "under" + following[0][0], line.text.strip(), 2
    return None


def _is_adornment(text: str) -> bool:
    return _ADORNMENT.match(text) is not None


def _grouped(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks that are read together: a paragraph with its code, a list with its introduction, short neighbours."""
    group: list[Block] = []
    for block in blocks:
        if group and not _continues(group, block):
            yield group
            group = []
        group.append(block)
    if group:
        yield group


def _continues(group: list[Block], block: Block) -> bool:
    before = group[-1]
    length = block.end - group[0].start
    if block.section != before.section or length > LONGEST_PASSAGE:
        return False
    if _FOOTNOTE.match(block.opening) or _FOOTNOTE.match(before.opening):
        return False
    if block.lines[0].is_indented or _CODE_DIRECTIVE.match(block.opening):
        return True
    if before.lines[-1].text.rstrip().endswith(":"):
        return True
    is_short = before.end - group[0].start < SHORT_PASSAGE
    is_list = block.is_list_item and any(earlier.is_list_item for earlier in group)
    return (is_short or is_list) and length <= JOINED_UP_TO


def _cut(group: list[Block]) -> Iterator[Passage]:
    """One passage for a group, or several, cut between lines, when it is too long."""
    section, kind = group[0].section, _kind(group[0])
    lines = [piece for block in group for line in block.lines if not line.is_blank for piece in _pieces(line)]
    start = lines[0]
    last = start
    for line in lines[1:]:
        if line.end - start.start > LONGEST_PASSAGE:
            yield Passage(start.start, last.end, section, kind)
            start = line
        last = line
    yield Passage(start.start, last.end, section, kind)


def _pieces(line: Line) -> Iterator[Line]:
    """The line itself, or its parts, divided between words, when it alone is longer than a passage may be."""
    start = 0
    while len(line.text) - start > LONGEST_PASSAGE:
        gap = line.text.rfind(" ", start + 1, start + LONGEST_PASSAGE)
        end = gap if gap > start else start + LONGEST_PASSAGE
        yield Line(line.start + start, line.start + end, line.text[start:end])
        start = end
    yield Line(line.start + start, line.end, line.text[start:])


def _kind(block: Block) -> Kind:
    if block.start == 0 and _HEADER_FIELD.match(block.opening):
        return "header"
    if _FOOTNOTE.match(block.opening):
        return "note"
    return "prose"
