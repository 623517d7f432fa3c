"""Reading a WfFormat trace (WfCommons): tasks, dependencies, and what each task took when it was recorded.

Two layouts: up to schema 1.4 there is one list of tasks, which refer to each other by name; from 1.5 on a specification
and an execution are joined by ids. Of the dependencies, `parents` and `children` may each say all, a part or nothing. A
name that several tasks have means those of them that share a file with the task that names them, else all.
Everything but ids, edges and runtimes is optional. Pure: text in, a `Trace` out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final

from msgspec import Struct

from podium.exceptions import WorkflowSyntaxError
from podium.workflow.graph import DependencyGraph, shown_cycle
from podium.workflow.units import parse_cores, parse_duration, parse_memory_mb
from podium.workflow.validation import MAX_EDGES, MAX_SECONDS, MAX_TASKS
from podium.workflow.wfformat.places import Noted, Place, shown, texts

BY_NAME: Final = frozenset({"1.0", "1.1", "1.2", "1.3", "1.4"})
"""Schemas with one list of tasks, which name each other."""

BY_ID: Final = frozenset({"1.5", "1.6"})
"""Schemas with a specification and an execution, joined by ids."""

_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_KILOBYTE: Final = 1_000  # of `memory` in schema 1.4, as WfCommons itself converts it
_LONGEST_CYCLE_NAME: Final = 80


class TraceFile(Struct, frozen=True):
    """A file that tasks read or write."""

    name: str
    size_bytes: int | None = None


class Machine(Struct, frozen=True, omit_defaults=True):
    """A machine on which the trace was recorded."""

    name: str
    cores: float | None = None
    memory_mb: int | None = None
    speed_mhz: float | None = None


class TraceTask(Struct, frozen=True):
    """A task as it was recorded. `parents` are positions in the trace's list of tasks.

    `id` is what others call it: up to schema 1.4 its name, with its id where several tasks have the name.
    """

    id: str
    name: str
    parents: tuple[int, ...] = ()
    runtime_seconds: float | None = None
    cores: float | None = None
    memory_mb: int | None = None
    priority: int | None = None
    program: str = ""
    arguments: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


class Trace(Struct, frozen=True):
    """One recorded (or generated) run of a scientific workflow."""

    name: str
    schema: str
    tasks: tuple[TraceTask, ...]
    description: str = ""
    files: tuple[TraceFile, ...] = ()
    machines: tuple[Machine, ...] = ()
    makespan_seconds: float | None = None
    executed_at: str = ""

    @property
    def edge_count(self) -> int:
        """The number of dependencies."""
        return sum(len(task.parents) for task in self.tasks)


def read_trace(content: bytes | str, source: str = "trace") -> Trace:
    """Return the trace that a JSON text holds.

    Raises WorkflowSyntaxError for what is no JSON, WorkflowInvalidError for what is no trace: a line for each problem,
    with its JSON path.
    """
    noted = Noted(source)
    top = Place(_parsed(content, source), noted)
    body = top.needed("workflow", "an object with the tasks")
    if body is None or not isinstance(body.value, dict):
        if body is not None:
            body.expected("an object")
        noted.refuse()
    schema = _schema(top, body)
    by_id = "specification" in body.value
    read = _specified(body) if by_id else _listed(body)
    _check_size(body, read)
    parents = _parents(read, by_id=by_id)
    noted.raise_if_any()
    _check_acyclic(read, parents)
    noted.raise_if_any()

    run = (body.part("execution") if by_id else body) or body
    name, described = top.part("name"), top.part("description")
    trace = Trace(
        name=(name.text() if name is not None else None) or "workflow",
        schema=schema,
        tasks=tuple(_task(one, parents[at]) for at, one in enumerate(read)),
        description=described.value if described is not None and isinstance(described.value, str) else "",
        files=_files(body, read, by_id=by_id),
        machines=_machines(run),
        makespan_seconds=_optional_seconds(run, "makespanInSeconds", "makespan"),
        executed_at=_optional_text(run, "executedAt"),
    )
    noted.raise_if_any()
    return trace


def _parsed(content: bytes | str, source: str) -> Any:
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        # NaN and Infinity are no JSON, but traces have them: where one is used, it is refused with its place.
        parsed = json.loads(text)
        return _whole_characters(parsed) if _HALF.search(text) else parsed
    except UnicodeDecodeError as error:
        raise WorkflowSyntaxError(f"{source}: the byte {error.start:,} isn't UTF-8") from error
    except json.JSONDecodeError as error:
        raise WorkflowSyntaxError(f"{source}:{error.lineno}:{error.colno}: this is no JSON: {error.msg}") from error
    except RecursionError as error:
        raise WorkflowSyntaxError(f"{source}: it is nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise WorkflowSyntaxError(f"{source}: it can't be read: {error}") from error


def _whole_characters(value: Any) -> Any:
    """Return the value with each half of a character, which no UTF-8 can hold, replaced."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
    return value


def _schema(top: Place, body: Place) -> str:
    """Return the version of the schema; one that isn't said follows from the layout."""
    place = top.part("schemaVersion")
    by_id = "specification" in body.value
    if place is None:
        return "1.5" if by_id else "1.4"
    version = str(place.value) if isinstance(place.value, float) else place.text() or ""
    if version and version not in BY_NAME | BY_ID:
        known = ", ".join(sorted(BY_NAME | BY_ID))
        place.note(f"the schema {shown(version)} isn't known; known are {known}")
    elif version in BY_ID and not by_id:
        body.note(f"specification is missing, which schema {version} has")
    return version


# --- tasks ------------------------------------------------------------------------------------------------------------


class _Read:
    """A task's places: what it is, and what was recorded of it; the same up to schema 1.4."""

    def __init__(self, place: Place, record: Place | None, task_id: str, name: str) -> None:
        self.place = place
        self.record = record
        self.id = task_id
        self.name = name
        self.known_as = task_id

    @cached_property
    def files(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of what it reads and of what it writes."""
        return _task_files(self.place)


def _listed(body: Place) -> list[_Read]:
    """Return the tasks of a trace up to schema 1.4: `name` is what others call it, `id` may be missing."""
    key = "tasks" if "tasks" in body.value or "jobs" not in body.value else "jobs"
    body.needed(key, "a list of tasks")
    read = []
    for place in body.items(key):
        if not isinstance(place.value, dict):
            place.expected("an object")
            continue
        name_at, id_at = place.first("name", "id"), place.first("id", "name")
        name = name_at.text() if name_at is not None else None
        task_id = id_at.text() if id_at is not None else None
        if name_at is None:
            place.note("name is missing: expected a text")
        if name is not None:
            read.append(_Read(place, place, task_id or name, name))
    named = Counter(one.name for one in read)
    for one in read:
        one.known_as = one.name if named[one.name] == 1 or one.id == one.name else f"{one.name}_{one.id}"
    return read


def _specified(body: Place) -> list[_Read]:
    """Return the tasks of a trace from schema 1.5 on, each with what the execution says of it."""
    specification = body.part("specification")
    assert specification is not None
    specification.needed("tasks", "a list of tasks")
    records = _records(body.part("execution"))
    read: dict[str, _Read] = {}
    for place in specification.items("tasks"):
        id_at = place.needed("id", "a text")
        task_id = id_at.text() if id_at is not None else None
        if task_id is None or id_at is None:
            continue
        if task_id in read:
            id_at.note(f"the id {shown(task_id)} is that of {read[task_id].place} already")
            continue
        name_at = place.part("name")
        name = name_at.text() if name_at is not None else task_id
        read[task_id] = _Read(place, records.pop(task_id, None), task_id, name or task_id)
    for left in records.values():
        left.note(f"the specification has no task {shown(left.value['id'])}")
    return list(read.values())


def _records(execution: Place | None) -> dict[str, Place]:
    """Return what was recorded of each task, by its id; a trace that was never run has nothing."""
    records: dict[str, Place] = {}
    for place in execution.items("tasks") if execution is not None else ():
        id_at = place.needed("id", "a text")
        task_id = id_at.text() if id_at is not None else None
        if task_id is None or id_at is None:
            continue
        if task_id in records:
            id_at.note(f"the task {shown(task_id)} is recorded at {records[task_id]} already")
        else:
            records[task_id] = place
    return records


def _check_size(body: Place, read: Sequence[_Read]) -> None:
    if len(read) > MAX_TASKS:
        body.note(f"there are {len(read):,} tasks; at most {MAX_TASKS:,} are allowed")
    elif not read:
        body.note("there are no tasks")


def _task(read: _Read, parents: Sequence[int]) -> TraceTask:
    record = read.record
    program, arguments = _command(record) if record is not None else ("", ())
    inputs, outputs = read.files
    return TraceTask(
        id=read.known_as,
        name=read.name,
        parents=tuple(parents),
        runtime_seconds=_optional_seconds(record, "runtimeInSeconds", "runtime"),
        cores=_cores(record, "coreCount", "cores"),
        memory_mb=_memory_mb(record),
        priority=_priority(record),
        program=program,
        arguments=arguments,
        inputs=inputs,
        outputs=outputs,
    )


def _command(record: Place) -> tuple[str, tuple[str, ...]]:
    place = record.part("command")
    if place is None or not isinstance(place.value, dict):
        return "", ()
    program, arguments = place.value.get("program"), place.value.get("arguments")
    said = arguments if isinstance(arguments, list) else []
    return program if isinstance(program, str) else "", tuple(str(argument) for argument in said)


# --- dependencies -----------------------------------------------------------------------------------------------------


class _Names:
    """Finds tasks by what others call them: ids first from schema 1.5 on, names first before."""

    def __init__(self, read: Sequence[_Read], *, by_id: bool) -> None:
        names: dict[str, list[int]] = {}
        ids: dict[str, list[int]] = {}
        for at, one in enumerate(read):
            names.setdefault(one.name, []).append(at)
            ids.setdefault(one.id, []).append(at)
        self._read = read
        self._ways = (ids, names) if by_id else (names, ids)

    def parents(self, at: int) -> Iterator[int]:
        """Yield the tasks that a task names as its parents; a reference to none is noted."""
        for place in self._read[at].place.items("parents"):
            yield from self._found(place, at, lambda parent: self._feeds(parent, at))

    def children(self, at: int) -> Iterator[int]:
        """Yield the tasks that a task names as its children."""
        for place in self._read[at].place.items("children"):
            yield from self._found(place, at, lambda child: self._feeds(at, child))

    def _found(self, place: Place, at: int, related: Callable[[int], bool]) -> Sequence[int]:
        reference = place.text()
        if reference is None:
            return ()
        found = [way[reference] for way in self._ways if reference in way]
        if not found:
            place.note(f"there is no task {shown(reference)}")
            return ()
        alone = next((positions for positions in found if len(positions) == 1), None)
        if alone is not None:
            return alone
        others = [position for position in found[0] if position != at]
        return [position for position in others if related(position)] or others

    def _feeds(self, parent: int, child: int) -> bool:
        """Whether a task writes what another one reads."""
        return not set(self._read[parent].files[1]).isdisjoint(self._read[child].files[0])


def _parents(read: Sequence[_Read], *, by_id: bool) -> list[list[int]]:
    """Return the parents of each task: those that it names, and those that name it as a child."""
    names = _Names(read, by_id=by_id)
    found: list[dict[int, None]] = [{} for _ in read]
    for at in range(len(read)):
        found[at].update(dict.fromkeys(names.parents(at)))
        for child in names.children(at):
            found[child][at] = None
    edges = sum(len(parents) for parents in found)
    if edges > MAX_EDGES and read:
        read[0].place.note(f"there are {edges:,} dependencies; at most {MAX_EDGES:,} are allowed")
    return [list(parents) for parents in found]


def _check_acyclic(read: Sequence[_Read], parents: Sequence[Sequence[int]]) -> None:
    graph = DependencyGraph(
        [str(at) for at in range(len(read))],
        {str(at): [str(parent) for parent in own] for at, own in enumerate(parents)},
    )
    cycle = graph.cycle()
    if cycle is not None:
        named = [_cut(read[int(at)].known_as) for at in cycle]
        read[int(cycle[0])].place.note(f"the tasks depend on each other in a circle: {shown_cycle(named)}")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CYCLE_NAME else f"{text[: _LONGEST_CYCLE_NAME - 1]}…"


# --- amounts ----------------------------------------------------------------------------------------------------------


def _optional_seconds(owner: Place | None, *keys: str) -> float | None:
    place = owner.first(*keys) if owner is not None else None
    return place.amount(parse_duration, MAX_SECONDS) if place is not None else None


def _optional_text(owner: Place, key: str) -> str:
    place = owner.part(key)
    return place.value if place is not None and isinstance(place.value, str) else ""


def _cores(owner: Place | None, *keys: str) -> float | None:
    place = owner.first(*keys) if owner is not None else None
    return (place.amount(parse_cores) or None) if place is not None else None


def _memory_mb(owner: Place | None) -> int | None:
    """Return megabytes, rounded up: `memoryInBytes`, else `memory`, which is in kilobytes; or a text with its unit."""
    if owner is None:
        return None
    place = owner.part("memoryInBytes")
    if place is not None:
        return place.amount(lambda value: _megabytes(value, 1)) or None
    place = owner.part("memory")
    return (place.amount(lambda value: _megabytes(value, _KILOBYTE)) or None) if place is not None else None


def _megabytes(value: Any, bytes_each: int) -> int:
    """Return megabytes of a number of so many bytes each, or of a text that may have its own unit."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return parse_memory_mb(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = f"{value * bytes_each:.3f} B" if 0 <= value < 1e18 else value
    return parse_memory_mb(value)


def _priority(record: Place | None) -> int | None:
    """Return a priority that Podium has too; in other systems it may be any number."""
    value = record.value.get("priority") if record is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100 else None


# --- files and machines -----------------------------------------------------------------------------------------------


def _task_files(place: Place) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of what a task reads and writes."""
    if "files" not in place.value:
        return tuple(texts(place, "inputFiles")), tuple(texts(place, "outputFiles"))
    inputs: list[str] = []
    outputs: list[str] = []
    for file in place.items("files"):
        name = _file_name(file, "name", "id")
        if name is not None:
            link = file.value.get("link")
            (inputs if str(link).lower() == "input" else outputs).append(name)
    return tuple(dict.fromkeys(inputs)), tuple(dict.fromkeys(outputs))


def _file_name(file: Place, *keys: str) -> str | None:
    """Return what a file is called, by the first of some keys; before schema 1.5 it may have a path beside its name."""
    place = file.first(*keys)
    if place is None:
        if isinstance(file.value, dict):
            file.note(f"{keys[0]} is missing: expected a text")
        return None
    name, path = place.text(), file.value.get("path")
    if name is None or not isinstance(path, str) or not path:
        return name
    return f"{path}{name}" if path.endswith("/") else f"{path}/{name}"


def _files(body: Place, read: Sequence[_Read], *, by_id: bool) -> tuple[TraceFile, ...]:
    """Return each file of the trace once, with its size where one is said."""
    specification = body.part("specification") if by_id else None
    listed = specification.items("files") if specification is not None else []
    if not by_id:
        listed = [file for one in read for file in one.place.items("files")]
    sizes: dict[str, int | None] = {}
    for file in listed:
        name = _file_name(file, "id", "name") if by_id else _file_name(file, "name", "id")
        size = file.first("sizeInBytes", "size")
        known = size.amount(_bytes) if size is not None else None
        if name is not None and sizes.get(name) is None:
            sizes[name] = known
    return tuple(TraceFile(name, size) for name, size in sizes.items())


def _bytes(value: Any) -> int:
    """Return a number of bytes. Raises ValueError for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e18:
        raise ValueError(f"expected a number of bytes, found {shown(value)}")
    return int(value)


def _machines(run: Place) -> tuple[Machine, ...]:
    machines = []
    for place in run.items("machines"):
        name = place.part("nodeName")
        if name is None or not isinstance(name.value, str):
            continue
        cpu = place.part("cpu")
        if cpu is not None and not isinstance(cpu.value, dict):
            cpu = None
        speed = cpu.first("speedInMHz", "speed") if cpu is not None else None
        machines.append(
            Machine(
                name.value,
                _cores(cpu, "coreCount", "count"),
                _memory_mb(place),
                speed.value if speed is not None and isinstance(speed.value, (int, float)) else None,
            )
        )
    return tuple(machines)
