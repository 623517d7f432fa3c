"""The content hash of a workflow, and the bytes that a definition is stored as, checked against it on load.

The hash is over what a definition means: canonical JSON with sorted keys, without defaults (so that a field added later
changes no old hash) and without what belongs to an execution or is derived. Two definitions that differ only in the
order of tasks or of a task's dependencies mean the same and have the same hash.
"""

from __future__ import annotations

import copy
import hashlib
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from podium.exceptions import WorkflowInvalidError
from podium.workflow.model import Task, Workflow

# What belongs to an execution, is derived from other fields, is another name of the definition, or says of it only when
# the clock starts it: an execution is the same whoever has started it.
_WITHOUT_MEANING: dict[type[Struct], frozenset[str]] = {
    Workflow: frozenset({"id", "created_at", "checkpoints", "dependencies", "schedule"}),
    Task: frozenset({"status", "result", "workflow"}),  # of a child its own hash counts
}

_canonical = msgspec.json.Encoder(order="sorted")
_stored = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Workflow)


def content_hash(workflow: Workflow) -> str:
    """Return the SHA-256 (64 hex digits) of what a workflow means; WorkflowInvalidError if JSON can't hold it."""
    meaning = _meaning_of(workflow)
    tasks = [_task_meaning(task) for task in workflow.tasks]
    if tasks:
        meaning["tasks"] = sorted(tasks, key=lambda task: str(task["id"]))
    return hashlib.sha256(_encoded(_canonical, meaning)).hexdigest()


def encode_workflow(workflow: Workflow) -> bytes:
    """Return a workflow as JSON, whole, with the fields that the hash leaves out, but for when the clock starts it."""
    stored = copy.copy(workflow)
    # Each task has its own dependencies; the map of all is made from them when it is read.
    msgspec.structs.force_setattr(stored, "dependencies", {})
    msgspec.structs.force_setattr(stored, "schedule", None)
    return _encoded(_stored, stored)


def decode_workflow(data: bytes, expected_hash: str) -> Workflow:
    """Return the workflow that bytes hold; WorkflowInvalidError unless it is one and has this hash."""
    try:
        workflow = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WorkflowInvalidError(f"the stored workflow can't be read: {error}") from error
    found = content_hash(workflow)
    if found != expected_hash:
        raise WorkflowInvalidError(
            f"the stored workflow '{workflow.name}' has the hash {found[:12]}…, expected {expected_hash[:12]}…: "
            "it was changed after it was stored, or written by a newer Podium"
        )
    return workflow


def _task_meaning(task: Task) -> dict[str, Any]:
    meaning = _meaning_of(task)
    if task.name == task.id:
        meaning.pop("name", None)
    if task.workflow is not None:
        meaning["workflow"] = content_hash(task.workflow)
    if task.dependencies:
        meaning["dependencies"] = sorted(set(task.dependencies))
    return meaning


def _meaning_of(struct: Struct) -> dict[str, Any]:
    """Return the fields of a struct that say more than their default, with structs inside as mappings."""
    meaning = {}
    for name, default, anything in _fields(type(struct)):
        value = getattr(struct, name)
        if value is not default and (value != default or default is msgspec.NODEFAULT):
            meaning[name] = value if anything else _plain(value)
    return meaning


def _plain(value: Any) -> Any:
    """Return a field's value for JSON. A whole float is an integer: a time-out of 30 is one of 30.0."""
    if isinstance(value, Struct):
        return _meaning_of(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _meaning_of(item) if isinstance(item, Struct) else item for key, item in value.items()}
    return value


@lru_cache(maxsize=64)
def _fields(kind: type[Struct]) -> tuple[tuple[str, Any, bool], ...]:
    """Return the fields with meaning but for a workflow's tasks: name, default, whether it may hold anything."""
    without = _WITHOUT_MEANING.get(kind, frozenset())
    if kind is Workflow:
        without |= {"tasks"}
    return tuple(
        (
            field.name,
            field.default_factory() if callable(field.default_factory) else field.default,
            field.type is Any,
        )
        for field in msgspec.structs.fields(kind)
        if field.name not in without
    )


def _encoded(encoder: msgspec.json.Encoder, value: Any) -> bytes:
    try:
        return encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WorkflowInvalidError(f"the workflow holds what JSON can't hold: {error}") from error
