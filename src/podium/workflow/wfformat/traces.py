"""Reading a WfFormat trace (WfCommons) of any schema: JSON text in, a `Trace` out.

Everything but ids, edges and runtimes is optional. What is wrong is collected, and raised with its JSON paths. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from podium.exceptions import WorkflowSyntaxError
from podium.workflow.wfformat.places import Noted, Place, shown
from podium.workflow.wfformat.records import (
    command_of,
    cores_of,
    files_of,
    machines_of,
    memory_mb_of,
    priority_of,
    seconds_of,
    text_of,
)
from podium.workflow.wfformat.tasks import Found, check_acyclic, check_size, listed, parents_of, specified
from podium.workflow.wfformat.trace import Trace, TraceTask

BY_NAME: Final = frozenset({"1.0", "1.1", "1.2", "1.3", "1.4"})
"""Schemas with one list of tasks, which name each other."""

BY_ID: Final = frozenset({"1.5", "1.6"})
"""Schemas with a specification and an execution, joined by ids."""

_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


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
    read = specified(body) if by_id else listed(body)
    check_size(body, read)
    parents = parents_of(read, by_id=by_id)
    noted.raise_if_any()
    check_acyclic(read, parents)
    noted.raise_if_any()

    run = (body.part("execution") if by_id else body) or body
    name, described = top.part("name"), top.part("description")
    trace = Trace(
        name=(name.text() if name is not None else None) or "workflow",
        schema=schema,
        tasks=tuple(_task(one, parents[at]) for at, one in enumerate(read)),
        description=described.value if described is not None and isinstance(described.value, str) else "",
        files=files_of(_listed_files(body, read, by_id=by_id), by_id=by_id),
        machines=machines_of(run),
        makespan_seconds=seconds_of(run, "makespanInSeconds", "makespan"),
        executed_at=text_of(run, "executedAt"),
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


def _task(read: Found, parents: Sequence[int]) -> TraceTask:
    record = read.record
    program, arguments = command_of(record)
    inputs, outputs = read.files
    return TraceTask(
        id=read.known_as,
        name=read.name,
        parents=tuple(parents),
        runtime_seconds=seconds_of(record, "runtimeInSeconds", "runtime"),
        cores=cores_of(record, "coreCount", "cores"),
        memory_mb=memory_mb_of(record),
        priority=priority_of(record),
        program=program,
        arguments=arguments,
        inputs=inputs,
        outputs=outputs,
    )


def _listed_files(body: Place, read: Sequence[Found], *, by_id: bool) -> Iterable[Place]:
    """Return the places of all files: in one list from schema 1.5 on, at the tasks before."""
    if not by_id:
        return [file for one in read for file in one.place.items("files")]
    specification = body.part("specification")
    return specification.items("files") if specification is not None else []
