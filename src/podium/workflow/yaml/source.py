"""A YAML text with everything that a reader forgets: comments, blank lines, quotes, anchors, where each thing stands.

`source_tree` gives nodes that know their place in the text, and the comments between them; only `formatting` needs
that. The text must be one that `reader` takes.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any, Final

import yaml
from msgspec import Struct
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_BLANK_END: Final = re.compile(r"(\n[ \t]*)+\Z")
_STANDARD: Final = "tag:yaml.org,2002:"


class Unformattable(Exception):
    """The text is written in a way that can't be laid out anew; the sentence says which."""


class Leaf(Struct):
    """A scalar or an alias, with its anchor and its tag."""

    start: int
    end: int
    is_block: bool = False  # a text after | or >


class Entry(Struct):
    """One entry of a collection: its key (none in a list) and its value; `start` is its key's, or its dash's."""

    start: int
    key: Leaf | None
    value: Node


class Collection(Struct):
    """A mapping or a list, over lines or in brackets (`flow`); `prefix` is its anchor and tag."""

    is_mapping: bool
    flow: bool
    prefix: str
    start: int
    end: int
    entries: list[Entry]


Node = Leaf | Collection


class Comment(Struct, frozen=True):
    """A comment, from its `#` on; `alone` if nothing else stands on its line."""

    at: int
    text: str
    column: int
    alone: bool
    after_blank: bool


class Source(Struct):
    """The text, its tree, and what stands between the leaves: comments and dashes by place."""

    text: str
    root: Node
    comments: list[Comment]

    def comments_in(self, start: int, end: int) -> list[Comment]:
        """Return the comments from one place to another."""
        first = bisect_left(self.comments, start, key=_place)
        return self.comments[first : bisect_left(self.comments, end, key=_place)]

    def column(self, at: int) -> int:
        """Return how many characters stand before a place in its line."""
        return at - (self.text.rfind("\n", 0, at) + 1)

    def blank_before(self, at: int) -> bool:
        """Whether the line above that of a place is empty."""
        line = self.text.rfind("\n", 0, at) + 1
        above = self.text.rfind("\n", 0, max(line - 1, 0)) + 1
        return line > 0 and not self.text[above : line - 1].strip()


def _place(comment: Comment) -> int:
    return comment.at


def source_tree(text: str) -> Source:
    """Return the tree of a text. Raises Unformattable, and yaml.YAMLError for a text that isn't YAML."""
    events = [event for event in yaml.parse(text, Loader=_Loader) if isinstance(event, _OF_NODES)]
    leaves = sorted((_start(e), _end(e)) for e in events if isinstance(e, ScalarEvent | AliasEvent))
    comments, dashes = _between(text, leaves)
    return Source(text, _Building(text, events, dashes).root(), comments)


_OF_NODES: Final = (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)


def _start(event: Event) -> int:
    mark: Any = event.start_mark
    return int(mark.index)


def _end(event: Event) -> int:
    mark: Any = event.end_mark
    return int(mark.index)


class _Building:
    """Builds the nodes from events, without recursion."""

    def __init__(self, text: str, events: list[Any], dashes: list[int]) -> None:
        self._text = text
        self._events = events
        self._dashes = dashes

    def root(self) -> Node:
        open_: list[Collection] = []
        keys: list[Leaf | None] = []
        finished: Node | None = None
        for event in self._events:
            if isinstance(event, MappingStartEvent | SequenceStartEvent):
                open_.append(self._opened(event))
                keys.append(None)
                continue
            if isinstance(event, MappingEndEvent | SequenceEndEvent):
                closed = open_.pop()
                keys.pop()
                closed.end = _end(event) if closed.flow else max(closed.start, _last(closed))
                finished = closed
            else:
                finished = self._leaf(event)
            if open_:
                keys[-1] = self._enter(open_[-1], keys[-1], finished)
        if finished is None:
            raise Unformattable("there is nothing in this file")
        return finished

    def _opened(self, event: Any) -> Collection:
        tag = event.tag
        written = f"!!{tag.removeprefix(_STANDARD)}" if tag and tag.startswith(_STANDARD) else (tag or "")
        prefix = " ".join(part for part in (f"&{event.anchor}" if event.anchor else "", written) if part)
        is_mapping = isinstance(event, MappingStartEvent)
        return Collection(is_mapping, bool(event.flow_style), prefix, _start(event), _end(event), [])

    def _leaf(self, event: Any) -> Leaf:
        start, end = _start(event), _end(event)
        is_block = isinstance(event, ScalarEvent) and event.style in ("|", ">")
        if is_block:
            end = start + len(_BLANK_END.sub("", self._text[start:end]))
        return Leaf(start, end, is_block)

    def _enter(self, parent: Collection, key: Leaf | None, node: Node) -> Leaf | None:
        """Put a finished node into its collection; return the key whose value comes next."""
        if not parent.is_mapping:
            start = node.start
            if not parent.flow:
                at = bisect_right(self._dashes, node.start) - 1
                if at < 0:
                    raise Unformattable("a list without a dash")
                # Of two dashes on a line (`- - a`) the inner list has taken the last: each takes the next to its left.
                start = self._dashes.pop(at)
            parent.entries.append(Entry(start, None, node))
            return None
        if key is not None:
            parent.entries.append(Entry(key.start, key, node))
            return None
        if not isinstance(node, Leaf) or node.is_block or self._text[node.start : node.end].count("\n"):
            raise Unformattable("a key over several lines")
        before = self._text[self._text.rfind("\n", 0, node.start) + 1 : node.start].rstrip(" ")
        if before.endswith("?") and not parent.flow:
            raise Unformattable('a key after "?"')
        return node


def _last(collection: Collection) -> int:
    """Return where the last entry of a block ends: the parser has its end at the next token."""
    return max((entry.value.end for entry in collection.entries), default=collection.start)


def _between(text: str, leaves: list[tuple[int, int]]) -> tuple[list[Comment], list[int]]:
    """Return the comments and the dashes of lists that stand outside of the leaves."""
    comments: list[Comment] = []
    dashes: list[int] = []
    for start, end in _gaps(text, leaves):
        at = start
        while at < end:
            character = text[at]
            starts_word = at == 0 or text[at - 1] in " \t\n"
            if character == "#" and starts_word:
                stop = text.find("\n", at)
                stop = len(text) if stop < 0 else stop
                comments.append(_comment(text, at, stop))
                at = stop
            elif character == "-" and starts_word and text[at + 1 : at + 2] in ("", " ", "\t", "\n"):
                dashes.append(at)
            at += 1
    return comments, dashes


def _gaps(text: str, leaves: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    at = 0
    for start, end in leaves:
        yield at, start
        at = max(at, end)
    yield at, len(text)


def _comment(text: str, at: int, stop: int) -> Comment:
    line = text.rfind("\n", 0, at) + 1
    above = text.rfind("\n", 0, max(line - 1, 0)) + 1
    after_blank = line > 0 and not text[above : line - 1].strip()
    return Comment(at, text[at:stop].rstrip(), at - line, not text[line:at].strip(), after_blank)
