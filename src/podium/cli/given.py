"""What a person gives on the command line, made into values: inputs, durations, capacities, signals' values.

Each refuses what it can't use with a sentence that says what was expected.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from podium.exceptions import InvalidInputError
from podium.workflow.model import Workflow
from podium.workflow.units import parse_cores, parse_duration, parse_memory_mb

_SCALAR = re.compile(r'-?[0-9][-+0-9.eE]*|true|false|null|".*"', re.DOTALL)
_STRUCTURED = ("array", "object")


def execution_input(workflow: Workflow, pairs: Sequence[str], text: str | None) -> Any:
    """Return the input that `--input` pairs and `--input-json` give together; pairs win. None when nothing is given."""
    whole = None if text is None else json_value(text, "--input-json")
    if not pairs:
        return whole
    if whole is not None and not isinstance(whole, dict):
        raise InvalidInputError("--input adds to an object, but --input-json isn't one")
    types = {parameter.name: parameter.type for parameter in workflow.inputs}
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InvalidInputError(f"--input takes KEY=VALUE, not {_quoted(pair)}")
        key = key.strip()
        if key in values:
            raise InvalidInputError(f"--input {key} is given twice")
        values[key] = input_value(value, types.get(key, "any"), f"--input {key}")
    return {**(whole or {}), **values}


def input_value(text: str, declared: str, name: str) -> Any:
    """Return a text as a value of the declared type: text as it is for a string; else JSON, where it is a scalar's."""
    if declared == "string":
        return text
    if declared in _STRUCTURED:
        return json_value(text, name)
    if not _SCALAR.fullmatch(text):
        return text
    try:
        return _parsed(text)
    except ValueError:
        return text


def json_value(text: str, name: str) -> Any:
    """Return the value of a JSON text, `@FILE` for a file's content, `@-` for what comes on standard input."""
    source = name
    if text.startswith("@"):
        source, text = f"{name} {text}", _read(text[1:], name)
    try:
        return _parsed(text)
    except ValueError as error:
        raise InvalidInputError(f"{source} isn't JSON: {error}") from error
    except RecursionError as error:
        raise InvalidInputError(f"{source} is nested too deeply") from error


def json_or_text(text: str) -> Any:
    """Return the value of a JSON text, or the text itself if it is none."""
    try:
        return _parsed(text)
    except (ValueError, RecursionError):
        return text


def seconds(text: str | None, name: str) -> float | None:
    """Return a duration such as `30s` or `1h30m` in seconds."""
    if text is None:
        return None
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise InvalidInputError(f"{name}: {error}") from error
    if found <= 0:
        raise InvalidInputError(f"{name} must be longer than nothing")
    return found


def moment(text: str | None, name: str) -> datetime | None:
    """Return a point in time such as `2026-03-01T09:30:00Z`."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{name}: {_quoted(text)} is no time; write it so: 2026-03-01T09:30:00Z") from None
    if found.tzinfo is None:
        raise InvalidInputError(f"{name}: {_quoted(text)} has no time zone; end it with Z or an offset such as +02:00")
    return found


def capacities(text: str | None) -> dict[str, float] | None:
    """Return `cpu=4,memory=16GB,licences=2` as amounts by name."""
    if text is None:
        return None
    amounts: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not value:
            raise InvalidInputError(f"--capacity takes NAME=AMOUNT,NAME=AMOUNT such as cpu=4,memory=16GB, not {text!r}")
        try:
            amounts[name] = _amount(name, value)
        except ValueError as error:
            raise InvalidInputError(f"--capacity {name}: {error}") from error
    return amounts


def _amount(name: str, value: str) -> float:
    if name in ("cpu", "cores", "cpu_cores"):
        return parse_cores(value)
    if name in ("memory", "memory_mb", "disk", "disk_mb"):
        return float(parse_memory_mb(value))
    try:
        found = float(value)
    except ValueError:
        raise ValueError(f"expected a number, not {value!r}") from None
    if not 0 <= found < float("inf"):
        raise ValueError(f"expected a number of zero or more, not {value!r}")
    return found


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _read(path: str, name: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{name}: {path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{name}: {path} isn't UTF-8 text") from error


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
