"""The further files that a workflow is made of: those that it includes, and those that its tasks' workflows stand in.

They are opened by whoever calls, through an `Opener`: nothing here does I/O. What is kept here is which file each
line is in, which files led to that one, and how much they are all together.
"""

from __future__ import annotations

from collections.abc import Callable
from posixpath import normpath
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from podium.exceptions import InvalidInputError
from podium.workflow.problems import Path, quoted
from podium.workflow.yaml.decoding import MAX_FILE_BYTES
from podium.workflow.yaml.nodes import Node
from podium.workflow.yaml.reader import read_tree

if TYPE_CHECKING:
    from podium.workflow.yaml.values import Reading

FILE_LINES: Final = 1 << 25
"""So many lines further the next file's begin; no file has as many."""

MAX_FILES: Final = 100
"""So many files make up a workflow; one that is named twice counts twice (rules `include-count`, `child-count`)."""

MAX_DEPTH: Final = 8
"""So many files may lead to each other in a row (rules `include-depth`, `child-depth`)."""


class Opened(Struct, frozen=True):
    """A file that a workflow is made of: what it is called, what tells it from all others, its content."""

    file: str
    identity: str
    content: bytes


Opener = Callable[[str, Opened], Opened]
"""Opens a file by its path as it is written, seen from the file that it is written in.

What that file is called is for messages; which one it is, is told by its identity: that of the first file is its path.
Raises InvalidInputError, saying why it can't be opened.
"""


class Use(Struct, frozen=True):
    """What a file is opened for: what its rules are called, and how it is said that it can't be that."""

    rule: str
    cannot: str
    itself: str


INCLUDED: Final = Use("include", "can't be included", "it would include itself")
CHILD: Final = Use("child", "can't be the task's workflow", "it would be a child of itself")


class Opening:
    """Opens what a workflow's file names, within limits for all that it is made of."""

    def __init__(self, file: str, opener: Opener | None) -> None:
        self._opener = opener
        self._chains: list[tuple[Opened, ...]] = [(Opened(file, normpath(file), b""),)]  # by the files' numbers
        self._named = 1
        self._bytes = 0
        self._unreadable: set[str] = set()  # files that can't be parsed, by their identities: what is wrong is noted

    def tree(self, reading: Reading, node: Node, path: Path, written: str, use: Use) -> Node | None:
        """Return what stands in the file that a node names; None if it can't be had, which is noted."""
        chain = self._chains[node.line // FILE_LINES]
        opened = self._opened(reading, node, path, written, use, chain)
        if opened is None or opened.identity in self._unreadable:
            return None
        self._chains.append((*chain, replace(opened, content=b"")))
        first_line = reading.begin_file(opened.file)
        before = len(reading.problems)
        tree = read_tree(opened.content, opened.file, reading.problems, first_line)
        if len(reading.problems) == before:
            return tree
        self._unreadable.add(opened.identity)
        return None

    def _opened(
        self, reading: Reading, node: Node, path: Path, written: str, use: Use, chain: tuple[Opened, ...]
    ) -> Opened | None:
        what = f"{quoted(written)} {use.cannot}"
        if self._opener is None:
            why = f"{what}: this text isn't a file's, so there is no folder to look in"
            reading.note(use.rule, why, node, path, "load the workflow from its file")
            return None
        if len(chain) >= MAX_DEPTH:
            why = f"{what}: more than {MAX_DEPTH} files would lead to each other"
            reading.note(f"{use.rule}-depth", why, node, path)
            return None
        self._named += 1
        if self._named > MAX_FILES:
            if self._named == MAX_FILES + 1:
                why = f"{what}: a workflow is made of at most {MAX_FILES} files"
                reading.note(f"{use.rule}-count", why, node, path)
            return None
        try:
            opened = self._opener(written, chain[-1])
        except InvalidInputError as error:
            reading.note(use.rule, f"{what}: {error}", node, path)
            return None
        first = next((at for at, above in enumerate(chain) if above.identity == opened.identity), None)
        if first is not None:
            cycle = " → ".join(above.file for above in (*chain[first:], opened))
            reading.note(f"{use.rule}-cycle", f"{what}: {use.itself}: {cycle}", node, path)
            return None
        self._bytes += len(opened.content)
        if self._bytes > MAX_FILE_BYTES:
            why = f"{what}: a workflow's further files have at most {MAX_FILE_BYTES:,} bytes together"
            reading.note(f"{use.rule}-size", why, node, path)
            return None
        return opened
