"""`podium fmt`: a workflow's text in the canonical order and layout, with its comments, quotes and anchors.

Fields come in the order of the language's tables, blocks are indented by two, lists below their key by two more,
lists and mappings in brackets on one line have one space where one belongs; blank lines are one at most. Nothing else
changes: `formatted` reads what it wrote and compares. A comment goes with what it stands at: above it, or behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import yaml

from podium.workflow.problems import Problem, Problems
from podium.workflow.yaml import declarations, language, schedule
from podium.workflow.yaml.decoding import decoded
from podium.workflow.yaml.fields import Table
from podium.workflow.yaml.nodes import Mapping, Scalar, Sequence
from podium.workflow.yaml.nodes import Node as Read
from podium.workflow.yaml.reader import read_tree
from podium.workflow.yaml.source import Collection, Comment, Entry, Leaf, Node, Source, Unformattable, source_tree


class Each:
    """The order of a block whose keys are names: that of each value."""

    def __init__(self, table: Table) -> None:
        self.table = table


Order = Table | Each | None

_INSIDE: Final[dict[object, Order]] = {
    language.resources: language.RESOURCES,
    language.retry: language.RETRY,
    language.on_failure: language.FAILURE,
    language.included_later: Each(language.INCLUDED),
    language.defaults_later: language.DEFAULTS,
    declarations.inputs: Each(declarations.INPUT),
    declarations.secrets: Each(declarations.SECRET),
    declarations.cache: declarations.CACHE,
    declarations.compensation: declarations.COMPENSATION,
    language.agents_later: Each(language.AGENT),
    language.tasks_later: Each(language.TASK),
    language.child_later: language.WORKFLOW,
    schedule.schedule: schedule.SCHEDULE,
    language.config: language.CONFIG,
    language.coordination: language.COORDINATION,
    language.fault_tolerance: language.FAULT_TOLERANCE,
    language.circuit_breaker: language.CIRCUIT_BREAKER,
    language.saga_pattern: language.SAGA,
    language.constraints: Each(language.CONSTRAINT),
}
_WRAPPED: Final = Table(())
"""The order of a file whose only key is `workflow`."""


def formatted(content: str | bytes, file: str = "<text>") -> tuple[str | None, list[Problem]]:
    """Return the text in its canonical form and no problems; or None, and why it can't be read or laid out anew."""
    problems = Problems()
    tree = read_tree(content, file, problems)
    text = decoded(content, file, Problems())
    if tree is None or text is None or len(problems):
        return None, problems.listed()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        source = source_tree(text)
        # An alias must stand below its anchor; where the canonical order would put it above, the author's stays.
        for in_order in (True, False):
            written = _Writing(source, in_order).text()
            if _says_the_same(tree, written) and _comments(source) == _comments(source_tree(written)):
                return written, []
    except Unformattable as error:
        return None, [Problem("layout", f"{error} can't be laid out anew; the file stays as it is", file=file)]
    except yaml.YAMLError:
        pass
    return None, [Problem("layout", "laid out anew it would say something else; the file stays as it is", file=file)]


# --- the same --------------------------------------------------------------------------------------------------------


def _says_the_same(before: Read, text: str) -> bool:
    problems = Problems()
    after = read_tree(text, "<text>", problems)
    return after is not None and not len(problems) and _plain(before) == _plain(after)


def _plain(node: Read) -> object:
    """Return what a node says, with the kind and the writing of each scalar: 1, 1.0, "1" and true all differ."""
    match node:
        case Scalar():
            return type(node.value), node.text
        case Mapping():
            return {key: _plain(value) for key, (_, value) in node.entries.items()}
        case Sequence():
            return [_plain(item) for item in node.items]


def _comments(source: Source) -> list[str]:
    return sorted(comment.text for comment in source.comments)


# --- writing ---------------------------------------------------------------------------------------------------------


class _Writing:
    """Writes a source anew. Each method returns lines without indentation; who puts them into a block indents them."""

    def __init__(self, source: Source, in_order: bool) -> None:
        self._source = source
        self._text = source.text
        self._in_order = in_order

    def text(self) -> str:
        root = self._source.root
        length = len(self._text)
        wrapped = isinstance(root, Collection) and any(self._name(entry) == "workflow" for entry in root.entries)
        order: Order = (_WRAPPED if wrapped else language.WORKFLOW) if self._in_order else None
        if isinstance(root, Leaf) or root.flow:
            lines = [*_shown(self._source.comments_in(0, root.start)), *self._value(root, order, 0)]
            behind, below = self._behind(root.end, length)
            lines[-1] += behind
            return _joined([*lines, *_shown(below)])
        first = root.entries[0].start
        head = self._source.comments_in(0, first)
        lines = self._block(root, order, first, length)
        gap = [""] if head and self._source.blank_before(first) else []
        return _joined([*_shown(head), *gap, *lines])

    def _block(self, block: Collection, order: Order, start: int, end: int) -> list[str]:
        """Return the lines of a mapping or list over lines, with the comments between two places."""
        column = self._source.column(block.entries[0].start)
        written: list[tuple[Entry, list[str], bool]] = []
        at = start
        for number, entry in enumerate(block.entries):
            head = self._source.comments_in(at, entry.start)
            following = block.entries[number + 1].start if number + 1 < len(block.entries) else end
            lines, at = self._entry(entry, self._inside(entry, order), column, following)
            blank_at = head[0].after_blank if head else self._source.blank_before(entry.start)
            gap = [""] if head and self._source.blank_before(entry.start) else []
            written.append((entry, [*_shown(head), *gap, *lines], blank_at))
        last = self._source.comments_in(at, end)
        lines = []
        for _, own, blank in self._ordered(written, order):
            lines += [*([""] if blank and lines else []), *own]
        if last and last[0].after_blank:
            lines.append("")
        return [*lines, *_shown(last)]

    def _entry(self, entry: Entry, order: Order, column: int, following: int) -> tuple[list[str], int]:
        """Return the lines of an entry, and up to where in the text they take the comments."""
        value = entry.value
        mark = "-" if entry.key is None else f"{self._text[entry.key.start : entry.key.end]}:"
        after = entry.start + 1 if entry.key is None else entry.key.end
        between = self._source.comments_in(after, _first_place(value))
        if isinstance(value, Leaf) or value.flow:
            lines = self._value(value, order, column)
            lines[0] = f"{mark} {lines[0]}".rstrip()
            behind, _ = self._behind(value.end, following)
            lines[-1] += behind
            taken = self._end_of_line(value.end) if behind else value.end
            return [*_shown(between), *lines], taken
        until = self._until(value, column, following)
        inside = self._block(value, order, _first_place(value), until)
        prefix = f" {value.prefix}" if value.prefix else ""
        if entry.key is None:
            return [*_shown(between), *self._item(value, prefix, inside)], until
        same_line = between[0].text if between and not between[0].alone else ""
        rest = between[1:] if same_line else between
        lines = [f"{mark}{prefix}" + (f"  {same_line}" if same_line else "")]
        return [*lines, *_indented([*_shown(rest), *inside])], until

    def _item(self, block: Collection, prefix: str, inside: list[str]) -> list[str]:
        """Return an item that is a block itself: it begins on the line of its dash, below its first comments."""
        if prefix:
            return [f"-{prefix}", *_indented(inside)]
        head = next(at for at, line in enumerate(inside) if line and not line.startswith("#"))
        above = [line for line in inside[:head] if line]
        return [*above, f"- {inside[head]}", *_indented(inside[head + 1 :])]

    def _value(self, node: Node, order: Order, column: int) -> list[str]:
        """Return a scalar, an alias, or what stands in brackets; its further lines move with its block."""
        if isinstance(node, Collection) and "\n" not in self._text[node.start : node.end]:
            return [self._in_brackets(node, order)]
        lines = self._text[node.start : node.end].split("\n")
        if _is_block(node):
            return [lines[0].rstrip(), *(self._moved(line, column) for line in lines[1:])]
        rest = [line.strip() and self._hung(line, column) for line in lines[1:]]
        return [lines[0].rstrip(), *rest]

    def _moved(self, line: str, column: int) -> str:
        """Return a line of a text after | or >, as far from its block as it was."""
        if not line.strip():
            return line[column:]
        if line[:column].strip():
            raise Unformattable("a text that stands to the left of its block")
        return line[column:]

    def _hung(self, line: str, column: int) -> str:
        """Return a further line of a quoted text or of brackets: further in than its block, else where it was."""
        stands = len(line) - len(line.lstrip()) - column
        return " " * max(stands, 2) + line.strip()

    def _in_brackets(self, node: Node, order: Order) -> str:
        if isinstance(node, Leaf):
            return self._text[node.start : node.end]
        opening = "{}" if node.is_mapping else "[]"
        written = self._text[node.start : node.end]
        if not written.startswith((opening[0], node.prefix)) or not written.endswith(opening[1]):
            return written
        if any(isinstance(e.value, Leaf) and e.value.start == e.value.end for e in node.entries):
            return written  # a key without a value
        parts = []
        for entry, _, _ in self._ordered([(entry, [], False) for entry in node.entries], order):
            value = self._in_brackets(entry.value, self._inside(entry, order))
            key = "" if entry.key is None else f"{self._text[entry.key.start : entry.key.end]}: "
            parts.append(key + value)
        prefix = f"{node.prefix} " if node.prefix else ""
        return f"{prefix}{opening[0]}{', '.join(parts)}{opening[1]}"

    # --- order -------------------------------------------------------------------------------------------------------

    def _name(self, entry: Entry) -> str:
        return self._text[entry.key.start : entry.key.end].strip("\"'") if entry.key is not None else ""

    def _inside(self, entry: Entry, order: Order) -> Order:
        """Return the order of what stands in an entry."""
        if order is _WRAPPED:
            return language.WORKFLOW if self._name(entry) == "workflow" else None
        if isinstance(order, Each):
            return order.table
        field = order.by_name.get(self._name(entry)) if order is not None else None
        return _INSIDE.get(field.read) if field is not None else None

    def _ordered(
        self, written: list[tuple[Entry, list[str], bool]], order: Order
    ) -> list[tuple[Entry, list[str], bool]]:
        if not isinstance(order, Table) or any(entry.key is None for entry, _, _ in written):
            return written
        ranks = {name: at for at, field in enumerate(order.fields) for name in (field.name, *field.also)}
        ranks["<<"] = -1
        free = -1 if order.free else len(ranks)  # anchors stand above their aliases

        def rank(name: str) -> int:
            return ranks.get(name, free if name.startswith("x-") else len(ranks))

        return sorted(written, key=lambda one: rank(self._name(one[0])))

    # --- comments ----------------------------------------------------------------------------------------------------

    def _until(self, block: Collection, column: int, following: int) -> int:
        """Return where the comments end that belong to a block: those below it that stand further in than its key."""
        until = block.end
        for comment in self._source.comments_in(block.end, following):
            if comment.alone and comment.column <= column:
                break
            until = comment.at + 1
        return until

    def _behind(self, end: int, limit: int) -> tuple[str, list[Comment]]:
        """Return the comment on the line where a value ends, and those below."""
        found = self._source.comments_in(end, limit)
        if found and not found[0].alone and "\n" not in self._text[end : found[0].at]:
            return f"  {found[0].text}", found[1:]
        return "", found

    def _end_of_line(self, at: int) -> int:
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end


def _is_block(node: Node) -> bool:
    return isinstance(node, Leaf) and node.is_block


def _first_place(node: Node) -> int:
    return node.entries[0].start if isinstance(node, Collection) and not node.flow else node.start


def _shown(comments: Iterable[Comment]) -> list[str]:
    """Return comments as lines, with one blank line where there were some between them."""
    lines: list[str] = []
    for comment in comments:
        lines += [*([""] if lines and comment.after_blank else []), comment.text]
    return lines


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"
