"""From text to a tree of nodes, within limits: one pass over the parser's events, without recursion.

The parser (PyYAML's C one, else its Python one) only splits the text into events; tags, aliases, merge keys, keys and
scalars are resolved here, so that nothing in a file can construct an object, expand without end or overflow a stack.
A broken limit or a scanner's error ends the reading; other problems are noted and the reading goes on.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from msgspec.structs import replace
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from podium.workflow.problems import MAX_PROBLEMS, Path, Problem, Problems, quoted
from podium.workflow.yaml.decoding import decoded
from podium.workflow.yaml.nodes import Mapping, Node, Scalar, Sequence, kind_of, resolved

MAX_DEPTH: Final = 64
"""So many lists and mappings may lie inside each other, aliases expanded (rule `depth`)."""

MAX_NODES: Final = 4_000_000
"""So many scalars, lists and mappings may be in a file, before aliases are expanded (rule `nodes`)."""

MAX_ALIAS_EXPANSION: Final = 32 * 1024 * 1024
"""What aliases may add: the characters of what they stand for, and 16 for each node (rule `alias-expansion`)."""

_NODE_WEIGHT: Final = 16

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_HALF: Final = re.compile("[\ud800-\udfff]")  # the C parser refuses such escapes itself
_STANDARD: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final[dict[str, tuple[type, ...]]] = {
    f"{_STANDARD}int": (int,),
    f"{_STANDARD}float": (float, int),
    f"{_STANDARD}bool": (bool,),
    f"{_STANDARD}null": (type(None),),
}
_SYNTAX_HINTS: Final = (
    ("mapping values are not allowed", 'a text with ": " in it needs quotes'),
    ("cannot start any token", "indent with spaces; a text that begins with a tab, @, ` or % needs quotes"),
    ("could not find expected ':'", 'look for a missing ":" or a missing indentation near here'),
    ("did not find expected key", "look at the indentation here, and for an unclosed quote or bracket above"),
    ("while scanning a quoted scalar", "a quote that begins here isn't closed"),
)


class _Refused(Exception):
    """The reading ends here; the problem is noted."""


class _Frame:
    """A list or mapping that is still open: `key` is the one whose value comes next."""

    __slots__ = ("anchor", "key", "merged", "merging", "node", "wants_key")

    def __init__(self, node: Mapping | Sequence, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: Scalar | None = None
        self.wants_key = type(node) is Mapping
        self.merging = False
        self.merged: list[Mapping] | None = None


def read_tree(source: str | bytes, file: str, problems: Problems, first_line: int = 0) -> Node | None:
    """Return the tree of a YAML text, or None if there is none; what is wrong with it goes to `problems`.

    Its nodes' lines are counted on from `first_line`.
    """
    text = decoded(source, file, problems)
    if text is None:
        return None
    builder = _TreeBuilder(file, problems, first_line)
    try:
        return builder.build(text)
    except _Refused:
        return None
    except yaml.MarkedYAMLError as error:
        builder.refuse_syntax(error)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the Python parser's, for escapes beyond Unicode
        problems.add(Problem(rule="syntax", message=_one_line(str(error)), line=1, column=1, file=file))
    return None


def _one_line(text: str) -> str:
    return quoted(" ".join(text.split()))


class _TreeBuilder:
    """Builds the tree from events; `_stack` holds what is open."""

    def __init__(self, file: str, problems: Problems, first_line: int = 0) -> None:
        self._file = file
        self._before = first_line
        self._problems = problems
        self._stack: list[_Frame] = []
        self._root: Node | None = None
        self._nodes = 0
        self._anchors: dict[str, Node | None] = {}  # None: still open
        self._expanded = 0
        self._weights: dict[int, tuple[int, int]] = {}  # of an anchored node: weight and height

    def build(self, text: str) -> Node | None:
        """Return the root, None for an empty text."""
        loader = _Loader(text)
        next_event = loader.get_event
        documents = 0
        while True:
            event = next_event()
            kind = type(event)
            if kind is ScalarEvent:
                self._scalar(event)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self._open(event, kind is MappingStartEvent)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                self._close()
            elif kind is AliasEvent:
                self._alias(event)
            elif kind is DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise self._refuse(
                        "several-documents", "a second document begins here", event, "one file, one workflow"
                    )
            elif kind is StreamEndEvent:
                break
        if self._root is None or (type(self._root) is Scalar and self._root.value is None):
            self._note("empty", "there is nothing in this file", self._before + 1, 1)
            return None
        return self._root

    def refuse_syntax(self, error: yaml.MarkedYAMLError) -> None:
        """Note what the scanner or the parser says."""
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.problem, error.context) if part)
        hint = next((hint for part, hint in _SYNTAX_HINTS if part in said), "")
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = " ".join(said.split()) or "this can't be read"
        self._note("syntax", said, self._before + line, column, hint)

    # --- events ------------------------------------------------------------------------------------------------------

    def _scalar(self, event: ScalarEvent) -> None:
        mark: Any = event.start_mark
        line, column, text = self._before + mark.line + 1, mark.column + 1, event.value
        if not text.isascii() and _HALF.search(text):
            raise self._refuse("syntax", "an escape gives half a character", event)
        value: str | int | float | bool | None = text
        tag = event.tag
        if tag is not None or event.implicit[0]:
            value = self._meaning(text, tag, line, column)
        node = Scalar(value, text, line, column)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.wants_key:
            self._key(frame, node, plain=tag is None and event.implicit[0])
            if event.anchor is not None:
                self._anchors[event.anchor] = node
            return
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._add(node)

    def _meaning(self, text: str, tag: str | None, line: int, column: int) -> str | int | float | bool | None:
        if tag in ("!", f"{_STANDARD}str"):
            return text
        if tag is not None and tag not in _SCALAR_TAGS:
            self._note_tag(tag, line, column)
            return text
        try:
            value = resolved(text)
        except ValueError as error:
            self._note("number", str(error), line, column, "put it in quotes to keep it as a text")
            return text
        if tag is None:
            return value
        kinds = _SCALAR_TAGS[tag]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self._note("tag", f"{quoted(text)} is no {tag.removeprefix(_STANDARD)}", line, column)
            return text
        return float(value) if kinds[0] is float and value is not None else value

    def _open(self, event: MappingStartEvent | SequenceStartEvent, is_mapping: bool) -> None:
        mark: Any = event.start_mark
        line, column = self._before + mark.line + 1, mark.column + 1
        if len(self._stack) >= MAX_DEPTH:
            raise self._refuse("depth", f"lists and mappings lie more than {MAX_DEPTH} deep inside each other", event)
        expected = f"{_STANDARD}map" if is_mapping else f"{_STANDARD}seq"
        if event.tag not in (None, "!", expected):
            self._note_tag(event.tag, line, column)
        node: Mapping | Sequence = Mapping({}, line, column) if is_mapping else Sequence([], line, column)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Frame(node, event.anchor))

    def _close(self) -> None:
        frame = self._stack.pop()
        node = frame.node
        if frame.merged is not None:
            assert isinstance(node, Mapping)
            for source in frame.merged:
                for key, entry in source.entries.items():
                    node.entries.setdefault(key, entry)
        if frame.anchor is not None:
            self._anchors[frame.anchor] = node
        if self._stack and self._stack[-1].wants_key:
            self._key(self._stack[-1], node, plain=False)
        else:
            self._add(node)

    def _alias(self, event: AliasEvent) -> None:
        name = str(event.anchor)
        if name not in self._anchors:
            hint = self._problems.suggest(name, self._anchors)
            raise self._refuse("unknown-alias", f"there is no anchor &{_shortened(name)} above this alias", event, hint)
        node = self._anchors[name]
        if node is None:
            raise self._refuse("recursive-alias", f"the alias *{_shortened(name)} is part of what it stands for", event)
        weight, height = self._weight(node)
        self._expanded += weight
        if self._expanded > MAX_ALIAS_EXPANSION:
            message = f"aliases expand this file by more than {MAX_ALIAS_EXPANSION:,} characters"
            raise self._refuse("alias-expansion", message, event)
        if len(self._stack) + height > MAX_DEPTH:
            message = f"with this alias, lists and mappings lie more than {MAX_DEPTH} deep inside each other"
            raise self._refuse("depth", message, event)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.wants_key:
            mark: Any = event.start_mark
            self._key(frame, replace(node, line=self._before + mark.line + 1, column=mark.column + 1), plain=False)
        else:
            self._add(node)

    # --- building ----------------------------------------------------------------------------------------------------

    def _key(self, frame: _Frame, node: Node, plain: bool) -> None:
        frame.wants_key = False
        frame.key = None
        if not isinstance(node, Scalar):
            self._note("non-string-key", f"a key must be a text, not {kind_of(node)}", node.line, node.column)
            return
        mapping = frame.node
        assert isinstance(mapping, Mapping)
        if plain and node.text == "<<":
            frame.merging = True
            if frame.merged is not None:
                self._note("duplicate-key", "a second merge key in one mapping", node.line, node.column, "<<: [*a, *b]")
            return
        if not isinstance(node.value, str):
            hint = f'put it in quotes: "{node.text}"' if len(node.text) <= 40 and node.text else "give it a name"
            self._note("non-string-key", f"a key must be a text, not {kind_of(node)}", node.line, node.column, hint)
            return
        first = mapping.entries.get(node.text)
        if first is not None:
            place = f"line {first[0].line - self._before}, column {first[0].column}"
            message = f"the key {quoted(node.text)} is given twice, first at {place}"
            self._note("duplicate-key", message, node.line, node.column)
            return
        frame.key = node

    def _add(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._note("nodes", f"there are more than {MAX_NODES:,} values in this file", node.line, node.column)
            raise _Refused
        if not self._stack:
            self._root = node
            return
        frame = self._stack[-1]
        container = frame.node
        if type(container) is Sequence:
            container.items.append(node)
            return
        assert isinstance(container, Mapping)
        frame.wants_key = True
        if frame.merging:
            frame.merging = False
            self._merge(frame, node)
        elif frame.key is not None:
            container.entries[frame.key.text] = (frame.key, node)

    def _merge(self, frame: _Frame, node: Node) -> None:
        sources = node.items if isinstance(node, Sequence) else [node]
        merged = frame.merged if frame.merged is not None else []
        frame.merged = merged
        for source in sources:
            if isinstance(source, Mapping):
                merged.append(source)
            else:
                message = f"<< merges a mapping or a list of mappings, not {kind_of(source)}"
                self._note("merge-key", message, source.line, source.column)

    def _weight(self, root: Node) -> tuple[int, int]:
        """Return weight and height of an anchored node, aliases inside it expanded."""
        known = self._weights
        if id(root) in known:
            return known[id(root)]
        weight = height = 0
        todo: list[tuple[Node, int]] = [(root, 0)]
        while todo:
            node, depth = todo.pop()
            if id(node) in known:
                weight += known[id(node)][0]
                height = max(height, depth + known[id(node)][1])
                continue
            weight += _NODE_WEIGHT
            if type(node) is Scalar:
                weight += len(node.text)
                continue
            height = max(height, depth + 1)
            if type(node) is Sequence:
                todo.extend((item, depth + 1) for item in node.items)
            elif type(node) is Mapping:
                weight += sum(len(key) + _NODE_WEIGHT for key in node.entries)
                todo.extend((value, depth + 1) for _, value in node.entries.values())
        known[id(root)] = (weight, height)
        return known[id(root)]

    # --- problems ----------------------------------------------------------------------------------------------------

    def _path(self) -> Path:
        path: list[str | int] = []
        for frame in self._stack:
            if isinstance(frame.node, Sequence):
                path.append(len(frame.node.items))
            elif frame.key is not None:
                path.append(frame.key.text)
        return tuple(path[1:] if path[:1] == ["workflow"] else path)

    def _note(self, rule: str, message: str, line: int, column: int, hint: str = "") -> None:
        line -= self._before
        self._problems.add(Problem(rule, message, self._path(), hint, line, column, self._file))
        if len(self._problems) > MAX_PROBLEMS:
            raise _Refused

    def _note_tag(self, tag: str, line: int, column: int) -> None:
        shown = f"!!{tag.removeprefix(_STANDARD)}" if tag.startswith(_STANDARD) else tag
        self._note(
            "tag",
            f"the tag {quoted(shown)} is not allowed",
            line,
            column,
            "write plain texts, numbers, lists, mappings",
        )

    def _refuse(self, rule: str, message: str, event: Event, hint: str = "") -> _Refused:
        mark: Any = event.start_mark
        self._note(rule, message, self._before + mark.line + 1, mark.column + 1, hint)
        return _Refused()


def _shortened(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"
