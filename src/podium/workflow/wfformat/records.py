"""What is recorded of a task and of a run: amounts in their units, commands, files, machines.

Each function takes the place that may say it, under the names of all schemas, and gives what Podium understands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from podium.workflow.units import parse_cores, parse_duration, parse_memory_mb
from podium.workflow.validation import MAX_SECONDS
from podium.workflow.wfformat.places import Place, shown, texts
from podium.workflow.wfformat.trace import Machine, TraceFile

_KILOBYTE: Final = 1_000  # of `memory` in schema 1.4, as WfCommons itself converts it


def seconds_of(owner: Place | None, *keys: str) -> float | None:
    """Return a duration, under the first of some keys."""
    place = owner.first(*keys) if owner is not None else None
    return place.amount(parse_duration, MAX_SECONDS) if place is not None else None


def text_of(owner: Place, key: str) -> str:
    """Return a text that may be missing."""
    place = owner.part(key)
    return place.value if place is not None and isinstance(place.value, str) else ""


def cores_of(owner: Place | None, *keys: str) -> float | None:
    """Return a number of cores, under the first of some keys; None for none."""
    place = owner.first(*keys) if owner is not None else None
    return (place.amount(parse_cores) or None) if place is not None else None


def memory_mb_of(owner: Place | None) -> int | None:
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


def priority_of(record: Place | None) -> int | None:
    """Return a priority that Podium has too; in other systems it may be any number."""
    value = record.value.get("priority") if record is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100 else None


def command_of(record: Place | None) -> tuple[str, tuple[str, ...]]:
    """Return a task's program and arguments."""
    place = record.part("command") if record is not None else None
    if place is None or not isinstance(place.value, dict):
        return "", ()
    program, arguments = place.value.get("program"), place.value.get("arguments")
    said = arguments if isinstance(arguments, list) else []
    return program if isinstance(program, str) else "", tuple(str(argument) for argument in said)


# --- files and machines -----------------------------------------------------------------------------------------------


def files_of_task(place: Place) -> tuple[tuple[str, ...], tuple[str, ...]]:
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


def files_of(listed: Iterable[Place], *, by_id: bool) -> tuple[TraceFile, ...]:
    """Return each file of a trace once, with its size where one is said."""
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


def machines_of(run: Place) -> tuple[Machine, ...]:
    """Return the machines that have a name."""
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
                cores_of(cpu, "coreCount", "count"),
                memory_mb_of(place),
                _finite(speed.value) if speed is not None else None,
            )
        )
    return tuple(machines)


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
