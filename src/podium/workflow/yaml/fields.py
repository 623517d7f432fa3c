"""Tables of fields: which names a block of the language has, how each value is read, and what it means.

A new field is one line in a table of `language`; `read_block` does the rest: unknown names, names of a later version,
one thing said under two names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from podium.workflow.problems import Path, quoted, shown_path
from podium.workflow.yaml.nodes import Mapping, Node, Scalar
from podium.workflow.yaml.values import INVALID, Read, Reading, not_in_this_version


class Field(Struct, frozen=True):
    """One field of a block: its name, its other names, the model's attribute that it fills."""

    name: str
    read: Read
    says: str
    also: tuple[str, ...] = ()
    attribute: str = ""
    keeps_null: bool = False  # else a field without a value is as if it weren't there
    among: tuple[str, ...] = ()  # of a text: what it may be. `validation` says so, and editors are told

    @property
    def target(self) -> str:
        """The attribute of the model, or what stands for it while the block is put together."""
        return self.attribute or self.name


class Table:
    """The fields of one kind of block, and the names that a later version has.

    In a `free` one what begins with `x-` is anybody's own: a place for anchors.
    """

    def __init__(self, fields: Iterable[Field], later: Iterable[str] = (), free: bool = False) -> None:
        self.fields = tuple(fields)
        self.free = free
        self.later = frozenset(later)
        self.by_name = {name: field for field in self.fields for name in (field.name, *field.also)}

    def names_of(self, attribute: str) -> tuple[str, ...]:
        """Return the names under which an attribute of the model is written, the preferred one first."""
        return tuple(name for name, field in self.by_name.items() if field.target == attribute)


def read_block(reading: Reading, node: Node, path: Path, table: Table) -> dict[str, Any]:
    """Return the values of a block by attribute; what is wrong is noted and left out."""
    values: dict[str, Any] = {}
    if type(node) is not Mapping:
        if not (type(node) is Scalar and node.value is None):
            reading.wrong_type("a mapping of fields", node, path)
            reading.excused.update((*path, field.target) for field in table.fields)
        return values
    given: dict[str, str] = {}
    by_name = table.by_name
    for name, (key, value) in node.entries.items():
        field = by_name.get(name)
        if field is None:
            if not (table.free and name.startswith("x-")):
                note_unknown(reading, name, key, path, table)
            continue
        target = field.target
        if target in given:
            message = f"{shown_path(path)} says the same twice: {quoted(given[target])} and {quoted(name)}"
            reading.note("given-twice", message, key, path, "keep one of the two")
            continue
        given[target] = name
        if type(value) is Scalar and value.value is None and not field.keeps_null:
            continue
        read = field.read(reading, value, (*path, name))
        if read is INVALID:
            reading.excused.add((*path, target))
        else:
            values[target] = read
    return values


def note_unknown(reading: Reading, name: str, key: Scalar, path: Path, table: Table) -> None:
    """Note a name that a block doesn't have: one of a later version, or the nearest that it has."""
    if name in table.later:
        not_in_this_version(reading, f"{shown_path(path)}: {quoted(name)}", key, (*path, name))
        return
    hint = reading.problems.suggest(name, table.by_name)
    if hint:
        meant = next((field for known, field in table.by_name.items() if quoted(known) in hint), None)
        if meant is not None:
            reading.excused.add((*path, meant.target))
    else:
        hint = f"known are {', '.join(field.name for field in table.fields)}" if len(table.fields) <= 8 else ""
    reading.note("unknown-field", f"{shown_path(path)} has no field {quoted(name)}", key, (*path, name), hint)
