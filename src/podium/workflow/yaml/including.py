"""`include:` and `defaults:`: several files read as one, and what tasks get that say nothing.

A file's tree is put together with those of the files that it includes before anything is read into the model. Each
file's lines are counted on from those before it (`FILE_LINES`), so that a problem anywhere has its file and line.
The files themselves are opened by `opening`, for whoever calls: nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from podium.workflow.model import WITHOUT_AGENT, Task
from podium.workflow.problems import Path, quoted, shown_path
from podium.workflow.renaming import renamed_task
from podium.workflow.yaml.fields import Table, note_unknown, read_block
from podium.workflow.yaml.language import DEFAULTS, INCLUDED, WORKFLOW
from podium.workflow.yaml.nodes import Mapping, Node, Scalar, Sequence, plain_value
from podium.workflow.yaml.opening import INCLUDED as AS_INCLUDED
from podium.workflow.yaml.opening import Opening
from podium.workflow.yaml.values import INVALID, Reading

_MERGED: Final = ("agents", "inputs", "secrets")
_TAKEN: Final = frozenset({"include", "defaults", "tasks", *_MERGED})
_OF_THE_FILE: Final = frozenset({"name", "id", "workflow_id", "version", "description", "metadata"})
_FRAGMENT: Final = Table((field for field in WORKFLOW.fields if field.name in _TAKEN | _OF_THE_FILE), free=True)
_OF_ALL: Final = frozenset({"on_failure", "run_if"})  # of the defaults, what tasks get that no agent does
_INSTEAD: Final = (frozenset({"retry", "retry_policy", "retries"}), frozenset({"agent", "agent_type"}))


class Document(Struct):
    """One file: its fields, the prefix of its tasks' ids (those of the files above it included), what it includes."""

    body: Mapping
    prefix: str = ""
    included: list[Document] = msgspec.field(default_factory=list)
    defaults: dict[str, Any] = msgspec.field(default_factory=dict)


class Entry(Struct, frozen=True):
    """One task of a file: its node, its key where the tasks are a mapping, the file."""

    node: Node
    key: Scalar | None
    document: Document


class Whole(Struct):
    """All files as one: the fields, and the tasks in order, the first file's own first."""

    body: Mapping
    root: Document
    entries: list[Entry]

    def defaults_at(self, path: Path) -> Node | None:
        """Return the `defaults` block that a field of a task comes from, None if the task says it itself."""
        if len(path) < 3 or path[0] != "tasks" or not isinstance(path[1], int) or path[1] >= len(self.entries):
            return None
        document = self.entries[path[1]].document
        return document.body.get("defaults") if path[2] in document.defaults else None

    def with_prefixes(self, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        """Return the tasks, in the order of the entries, with their files' prefixes in all places."""
        own: dict[int, list[str]] = {}
        for entry, task in zip(self.entries, tasks, strict=True):
            own.setdefault(id(entry.document), []).append(task.id)
        ids = {id(one): _ids(one, own) for one in _files(self.root) if one.prefix}
        if not ids:
            return tasks
        return tuple(
            renamed_task(task, ids[id(entry.document)]) if entry.document.prefix else task
            for entry, task in zip(self.entries, tasks, strict=True)
        )


def whole_of(reading: Reading, body: Mapping) -> Whole | None:
    """Return a file and all that it includes as one; None for one that says neither `include` nor `defaults`."""
    if body.get("include") is None and body.get("defaults") is None:
        return None
    root = _Including(reading).document(body)
    merged = dict(body.entries)
    for block in _MERGED:
        found = _merged(reading, root, block)
        if found:
            first = next(iter(found.values()))[0]
            key = body.entries[block][0] if block in body.entries else first
            merged[block] = (key, Mapping(found, key.line, key.column))
    entries = [entry for one in _files(root) for entry in _entries(one)]
    if body.get("tasks") is None or isinstance(body.get("tasks"), Mapping | Sequence):
        key, node = body.entries.get("tasks") or (Scalar("tasks", "tasks", body.line, body.column), body)
        merged["tasks"] = (key, Sequence([entry.node for entry in entries], node.line, node.column))
    for name in ("include", "defaults"):
        merged.pop(name, None)
    return Whole(Mapping(merged, body.line, body.column), root, entries)


def with_defaults(reading: Reading, path: Path, said: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Put into what a task says what it doesn't say. Fields that say the same in other words go together."""
    own = frozenset(said)
    of_agents = said.get("type") not in WITHOUT_AGENT
    for name, value in defaults.items():
        if not of_agents and name not in _OF_ALL:
            continue
        together = next((group for group in _INSTEAD if name in group), frozenset({name}))
        if own.isdisjoint(together) and not any((*path, other) in reading.excused for other in together):
            said[name] = value


# --- opening ---------------------------------------------------------------------------------------------------------


class _Including:
    """Reads what a file includes, and what that includes."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._opening = reading.opening or Opening(reading.file, None)

    def document(self, body: Mapping, prefix: str = "") -> Document:
        """Return a file with all below it."""
        found = Document(body, prefix, defaults=_defaults(self._reading, body))
        node = body.get("include")
        if node is None or (type(node) is Scalar and node.value is None):
            return found
        items = node.items if isinstance(node, Sequence) else [node]
        for at, item in enumerate(items):
            path: Path = ("include", at) if isinstance(node, Sequence) else ("include",)
            said = self._said(item, path)
            if said is not None and (child := self._included(item, path, *said, prefix)) is not None:
                found.included.append(child)
        return found

    def _said(self, node: Node, path: Path) -> tuple[str, str] | None:
        """Return the file that an item of `include` names, and the prefix."""
        if type(node) is Scalar and isinstance(node.value, str):
            return node.value, ""
        said = read_block(self._reading, node, path, INCLUDED)
        if "file" not in said:
            if type(node) is Mapping and (*path, "file") not in self._reading.excused:
                self._reading.note("missing-field", f"{shown_path(path)} names no file", node, path, "write file: …")
            return None
        return said["file"], said.get("prefix", "")

    def _included(self, node: Node, path: Path, written: str, prefix: str, above: str) -> Document | None:
        tree = self._opening.tree(self._reading, node, path, written, AS_INCLUDED)
        body = None if tree is None else _fragment(self._reading, tree)
        return None if body is None else self.document(body, above + prefix)


def _fragment(reading: Reading, tree: Node) -> Mapping | None:
    """Return the fields of an included file; those that would have no effect are noted."""
    inner = tree.get("workflow") if isinstance(tree, Mapping) and len(tree.entries) == 1 else None
    body = tree if inner is None else inner
    if not isinstance(body, Mapping):
        reading.wrong_type("a mapping of fields", body, (), "begin with tasks: …")
        return None
    for name, (key, _) in body.entries.items():
        if name in _FRAGMENT.by_name or name.startswith("x-"):
            continue
        if name in WORKFLOW.by_name:
            message = f"{quoted(name)} of a file that is included would have no effect"
            reading.note("include-field", message, key, (name,), "say it in the file that includes it")
        else:
            note_unknown(reading, name, key, (), _FRAGMENT)
    return body


def _defaults(reading: Reading, body: Mapping) -> dict[str, Any]:
    node = body.get("defaults")
    if node is None:
        return {}
    path: Path = ("defaults",)
    said = read_block(reading, node, path, DEFAULTS)
    retry = said.get("retry")
    if retry is not None and "max_attempts" not in retry and not {"retry_policy", "retries"} & said.keys():
        if (*path, "retry", "max_attempts") not in reading.excused:
            message = "defaults.retry has no max_attempts, so nothing would be tried again"
            at = node.get("retry") if isinstance(node, Mapping) else None
            reading.note("missing-field", message, at or node, (*path, "retry"), "write max_attempts: 3")
        del said["retry"]
    return {name: value for name, value in said.items() if value is not INVALID}


# --- putting together ------------------------------------------------------------------------------------------------


def _files(document: Document) -> Iterator[Document]:
    """Yield a file and all that it includes, each before those that it includes."""
    todo = [document]
    while todo:
        found = todo.pop()
        yield found
        todo.extend(reversed(found.included))


def _entries(document: Document) -> Iterable[Entry]:
    node = document.body.get("tasks")
    if isinstance(node, Mapping):
        return [Entry(value, key, document) for key, value in node.entries.values()]
    return [Entry(item, None, document) for item in node.items] if isinstance(node, Sequence) else []


def _ids(document: Document, own: dict[int, list[str]]) -> dict[str, str]:
    """Return the ids of all tasks of a file and of those that it includes, as it calls them, with their own in full."""
    known = len(document.prefix)
    return {
        one.prefix[known:] + task_id: one.prefix + task_id
        for one in _files(document)
        for task_id in own.get(id(one), ())
    }


_Found = dict[str, tuple[Scalar, Node]]


def _merged(reading: Reading, document: Document, block: str) -> _Found:
    """Return the roles, inputs or secrets of a file and of those that it includes. What a file says itself counts.

    Where two files that are included say different things of one name, the one that includes both must say which.
    """
    own = _named(document.body.get(block))
    found: _Found = {}
    for child in document.included:
        for name, entry in _merged(reading, child, block).items():
            first = found.setdefault(name, entry)
            if name not in own and first is not entry and plain_value(first[1]) != plain_value(entry[1]):
                where = reading.place(first[0].line)
                message = f"{block}: {quoted(name)} is another one than in {where[0]}:{where[1]}"
                hint = f"declare {quoted(name)} in the file that includes both"
                reading.note("include-conflict", message, entry[0], (block, name), hint)
    return {**found, **own}


def _named(node: Node | None) -> _Found:
    if isinstance(node, Mapping):
        return dict(node.entries)
    names = [item for item in node.items if isinstance(item, Scalar)] if isinstance(node, Sequence) else []
    return {item.text: (item, Scalar(None, "", item.line, item.column)) for item in names}
