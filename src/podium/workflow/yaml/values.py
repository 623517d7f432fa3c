"""Readers of single values: each takes a node and gives the value that the model wants, or notes why it can't.

A reader checks the kind of a value and its unit, never its range: ranges belong to `validation`, so that workflows
built in Python keep to the same rules.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from podium.workflow.problems import Path, Problem, Problems, quoted, shown_path
from podium.workflow.units import parse_cores, parse_duration, parse_memory_mb
from podium.workflow.yaml.nodes import Mapping, Node, Scalar, Sequence, kind_of, plain_value
from podium.workflow.yaml.opening import FILE_LINES, Opening

if TYPE_CHECKING:
    from podium.workflow.yaml.including import Whole

INVALID: Final[Any] = object()
"""What a reader returns when it has noted a problem."""

Read = Callable[["Reading", Node, Path], Any]

PRIORITIES: Final = {"low": 25, "normal": 50, "high": 75, "critical": 100}
_BOOLEANS_OF_1_1: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class Reading:
    """What is carried along while a tree is read: the file's name, the problems, and what needs no second complaint."""

    def __init__(self, file: str, problems: Problems, opening: Opening | None = None) -> None:
        self.file = file
        self.problems = problems
        self.opening = opening  # of further files; None: there are none
        self.excused: set[Path] = set()
        self.wholes: dict[int, Whole] = {}  # of tasks' workflows that are put together, by what they are then
        self._files = [file]

    def inside(self) -> Reading:
        """Return the reading of a workflow inside this one, whose paths begin anew."""
        inner = Reading(self.file, self.problems, self.opening)
        inner.wholes, inner._files = self.wholes, self._files
        return inner

    def begin_file(self, file: str) -> int:
        """Take another file in; return how far on its lines are counted."""
        self._files.append(file)
        return (len(self._files) - 1) * FILE_LINES

    def place(self, line: int) -> tuple[str, int]:
        """Return the file and the line there that a node's line means."""
        number, line = divmod(line, FILE_LINES)
        return self._files[number], line

    def rank(self, file: str) -> int:
        """Return the place of a file among those that were read."""
        return self._files.index(file) if file in self._files else 0

    def note(self, rule: str, message: str, node: Node, path: Path, hint: str = "", certain: bool = True) -> None:
        """Note a problem at a node."""
        file, line = self.place(node.line)
        self.problems.add(Problem(rule, message, path, hint, line, node.column, file, certain))

    def wrong_type(self, expected: str, node: Node, path: Path, hint: str = "") -> Any:
        """Note that a value is of the wrong kind; return INVALID."""
        self.note("wrong-type", f"{shown_path(path)} must be {expected}, not {kind_of(node)}", node, path, hint)
        return INVALID

    def wrong_value(self, why: str, node: Node, path: Path, hint: str = "") -> Any:
        """Note that a value can't be used; return INVALID."""
        self.note("wrong-value", f"{shown_path(path)}: {why}", node, path, hint)
        return INVALID


def text(reading: Reading, node: Node, path: Path) -> Any:
    """Read a text."""
    if type(node) is Scalar:
        if isinstance(node.value, str):
            return node.value
        hint = f'put it in quotes: "{node.text}"' if node.text and len(node.text) <= 40 else ""
        return reading.wrong_type("a text", node, path, hint)
    return reading.wrong_type("a text", node, path)


def text_as_written(reading: Reading, node: Node, path: Path) -> Any:
    """Read a text that may look like a number: the version 1.10 is "1.10"."""
    if type(node) is Scalar and not isinstance(node.value, bool):
        return node.text
    return reading.wrong_type("a text", node, path)


def texts(reading: Reading, node: Node, path: Path) -> Any:
    """Read a list of texts; a single text stands for a list of one."""
    if type(node) is Sequence:
        read = [text(reading, item, (*path, at)) for at, item in enumerate(node.items)]
        return tuple(item for item in read if item is not INVALID)
    if type(node) is Scalar and isinstance(node.value, str):
        return (node.value,)
    return reading.wrong_type("a list of texts", node, path)


def boolean(reading: Reading, node: Node, path: Path) -> Any:
    """Read true or false."""
    if type(node) is Scalar:
        if isinstance(node.value, bool):
            return node.value
        meant = _BOOLEANS_OF_1_1.get(node.text.lower())
        if meant and node.value is not None:
            return reading.wrong_type(
                "true or false", node, path, f"in YAML 1.2 only true and false are; write {meant}"
            )
    return reading.wrong_type("true or false", node, path)


def integer(reading: Reading, node: Node, path: Path) -> Any:
    """Read a whole number."""
    if type(node) is Scalar and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    return reading.wrong_type("a whole number", node, path)


def number(reading: Reading, node: Node, path: Path) -> Any:
    """Read a number."""
    if type(node) is Scalar and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return float(node.value)
    return reading.wrong_type("a number", node, path)


def amounts(reading: Reading, node: Node, path: Path) -> Any:
    """Read a mapping of names to whole numbers."""
    if type(node) is not Mapping:
        return reading.wrong_type("a mapping of names to whole numbers", node, path)
    read = {name: integer(reading, value, (*path, name)) for name, (_, value) in node.entries.items()}
    return {name: value for name, value in read.items() if value is not INVALID}


def anything(reading: Reading, node: Node, path: Path) -> Any:
    """Read any value as plain lists, mappings and scalars."""
    return plain_value(node)


def any_mapping(reading: Reading, node: Node, path: Path) -> Any:
    """Read a mapping of any values."""
    if type(node) is Mapping:
        return plain_value(node)
    return reading.wrong_type("a mapping", node, path)


def _amount(what: str, parse: Callable[[str | int | float], Any]) -> Read:
    def read(reading: Reading, node: Node, path: Path) -> Any:
        value = node.value if type(node) is Scalar else None
        if value is None or isinstance(value, bool):
            return reading.wrong_type(what, node, path)
        try:
            return parse(value)
        except ValueError as error:
            return reading.wrong_value(str(error), node, path)

    return read


duration: Final = _amount("a duration", parse_duration)
memory: Final = _amount("an amount of memory", parse_memory_mb)
cores: Final = _amount("a number of cores", parse_cores)


def duration_or_expression(reading: Reading, node: Node, path: Path) -> Any:
    """Read a duration, or the expression that gives one."""
    if type(node) is Scalar and isinstance(node.value, str) and "${" in node.value:
        return node.value
    return duration(reading, node, path)


def priority(reading: Reading, node: Node, path: Path) -> Any:
    """Read a whole number, or one of the four names."""
    if type(node) is Scalar and isinstance(node.value, str):
        value = PRIORITIES.get(node.value.lower())
        if value is not None:
            return value
        expected = "0 to 100, or low, normal, high, critical"
        hint = reading.problems.suggest(node.value, PRIORITIES) or f"write {expected}"
        return reading.wrong_value(f"there is no priority {quoted(node.value)}", node, path, hint)
    return integer(reading, node, path)


def moment(reading: Reading, node: Node, path: Path) -> Any:
    """Read a point in time with its zone, as ISO 8601 writes it."""
    written = text(reading, node, path)
    if written is INVALID:
        return INVALID
    try:
        read = datetime.fromisoformat(written)
    except ValueError:
        return reading.wrong_value(f"{quoted(written)} is no time", node, path, 'write it so: "2026-03-01T09:30:00Z"')
    if read.tzinfo is None:
        hint = 'end it with "Z" or with an offset such as "+02:00"'
        return reading.wrong_value(f"{quoted(written)} has no time zone", node, path, hint)
    return read


def condition(reading: Reading, node: Node, path: Path) -> Any:
    """Read an expression; a plain true or false is one."""
    if type(node) is Scalar and isinstance(node.value, bool):
        return str(node.value)
    return text(reading, node, path)


class choice:  # noqa: N801 - stands among the readers, which are functions
    """A reader of one of an enumeration's values; case and `-` for `_` don't matter."""

    def __init__(
        self,
        kinds: type[StrEnum],
        what: str,
        not_yet: frozenset[str] = frozenset(),
        rule: str = "wrong-value",
    ) -> None:
        self.known = {kind.value: kind for kind in kinds}
        self._what = what
        self._not_yet = not_yet
        self._rule = rule

    def __call__(self, reading: Reading, node: Node, path: Path) -> Any:
        """Read the value."""
        written = text(reading, node, path)
        if written is INVALID:
            return INVALID
        word = written.lower().replace("-", "_")
        if word in self.known:
            return self.known[word]
        if word in self._not_yet:
            return not_in_this_version(reading, f"{shown_path(path)}: {word}", node, path)
        hint = reading.problems.suggest(written, self.known) or f"write one of {', '.join(self.known)}"
        message = f"{shown_path(path)}: there is no {self._what} {quoted(written)}"
        reading.note(self._rule, message, node, path, hint)
        return INVALID


_BY_THE_CLOCK: Final = "write schedule: …; of several, give `podium schedule create` the others"
_ELSEWHERE: Final[dict[Path, str]] = {("schedules",): _BY_THE_CLOCK}


def not_in_this_version(reading: Reading, what: str, node: Node, path: Path) -> Any:
    """Note that something belongs to a later version of the language; return INVALID."""
    hint = _ELSEWHERE.get(path, "remove it: this version would not do what it says")
    reading.note("not-yet", f"{what} is not in this version of the language", node, path, hint)
    return INVALID
