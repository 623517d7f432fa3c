"""What expressions see of an execution: `input`, `tasks.X.result | status | error`, `item`, `index`, `shard`,
`execution`.

Only what the references name is decoded. Large values must have been loaded into `state.loaded` before; a missing one
raises BlobMissing, which tells the shell what to load.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from podium.engine import inputs as inp
from podium.engine.definition import Definition
from podium.engine.state import State, TaskState
from podium.engine.values import Value
from podium.exceptions import ExpressionError
from podium.workflow.expressions import Reference


class BlobMissing(LookupError):
    """Values' texts aren't at hand: these blobs."""

    def __init__(self, digests: tuple[str, ...]) -> None:
        super().__init__(*digests)
        self.digests = digests


def decoded(text: bytes) -> Any:
    """Return the value of a JSON text. Raises ExpressionError for what came in before doors refused such depth."""
    try:
        return msgspec.json.decode(text)
    except RecursionError as error:
        raise ExpressionError(f"a value can't be read: {error}") from None


def encoded(value: Any) -> bytes:
    """Return a value as JSON. Raises ExpressionError where it is nested too deeply to be written."""
    try:
        return msgspec.json.encode(value)
    except RecursionError as error:
        raise ExpressionError(f"a value can't be written: {error}") from None


def text_of(state: State, value: Value) -> bytes:
    """Return a value's JSON text."""
    digest = value.blob
    if digest is None:
        return bytes(value.json)
    try:
        return state.loaded[digest]
    except KeyError:
        raise BlobMissing((digest,)) from None


def result_text(state: State, task: TaskState) -> bytes:
    """Return the JSON text of a task's result: of a fan-out the list of its instances', of no result `null`."""
    task = state.result_of(task)
    if task.result is not None:
        return text_of(state, task.result)
    if task.fan is None:
        return b"null"
    results = [_instance_result(state, task, index) for index in range(task.fan.count)]
    missing = {r.blob for r in results if r is not None and r.blob is not None and r.blob not in state.loaded}
    if missing:
        raise BlobMissing(tuple(d for d in missing if d))
    return b"[" + b",".join(b"null" if r is None else text_of(state, r) for r in results) + b"]"


def _instance_result(state: State, task: TaskState, index: int) -> Value | None:
    instance = state.tasks.get(f"{task.path}[{index}]")
    return None if instance is None else instance.result


def blobs_read(definition: Definition, given: inp.Input) -> list[str]:
    """Return the large values that deciding may read from when this input is taken on."""
    hot = definition.hot
    match given:
        case inp.Start(input=value):
            reads = "" in hot
        case (
            inp.Succeeded(task=task, value=value)
            | inp.Complete(task=task, value=value)
            | inp.Answer(task=task, value=value)
        ):
            reads = task.partition("[")[0] in hot
        case inp.Ended(task=task, value=found) if found is not None:
            value, reads = found, task.partition("[")[0] in hot
        case inp.Signal(name=name, value=value):
            reads = not hot.isdisjoint(definition.listeners.get(name, ()))
        case _:
            return []
    return [value.blob] if reads and value.blob is not None else []


def scope_for(state: State, references: Iterable[Reference], task: TaskState | None = None) -> dict[str, Any]:
    """Return the names that these references need, for a task or instance where one is given."""
    scope: dict[str, Any] = {}
    tasks: dict[str, dict[str, Any]] = {}
    for reference in references:
        match reference.root:
            case "input":
                if "input" not in scope:
                    scope["input"] = effective_input(state)
            case "tasks":
                _add_task(state, tasks, reference)
            case "execution":
                scope["execution"] = {"id": state.id, "run": state.run, "workflow": state.definition.workflow.name}
            case _:
                if task is not None:
                    scope.update(_instance_scope(state, task))
    if tasks:
        scope["tasks"] = tasks
    return scope


def effective_input(state: State) -> Any:
    """Return the execution's input with the declared defaults filled in."""
    given = decoded(text_of(state, state.input))
    parameters = state.definition.workflow.inputs
    if not parameters or not (given is None or isinstance(given, dict)):
        return given
    defaults = {p.name: p.default for p in parameters if not p.required}
    return {**defaults, **(given or {})}


def items_of(state: State, task: TaskState) -> list[Any]:
    """Return the list that a fan-out goes over; evaluated once, then kept while the fan-out is open."""
    known = state.items.get(task.path)
    if known is not None:
        return known
    template = task.compiled.items
    if template is None:
        return []
    found = template.render(scope_for(state, template.references))
    if not isinstance(found, list | tuple):
        raise TypeError(f"for_each needs a list, but {task.compiled.spec.for_each!r} is {type(found).__name__}")
    items = list(found)
    state.items[task.path] = items
    return items


def _add_task(state: State, tasks: dict[str, dict[str, Any]], reference: Reference) -> None:
    task_id = str(reference.path[0])
    entry = tasks.setdefault(task_id, {})
    task = state.tasks[task_id]
    wanted = str(reference.path[1]) if len(reference.path) > 1 else ""
    if wanted in ("result", "") and "result" not in entry:
        entry["result"] = decoded(result_text(state, task))
    if wanted in ("status", ""):
        stands = state.result_of(task)  # until a fallback has ended, its primary is what it is: failed
        entry["status"] = str(stands.status if stands.final else task.status)
    if wanted in ("error", ""):
        entry["error"] = task.error.message if task.error else None


def _instance_scope(state: State, task: TaskState) -> dict[str, Any]:
    if task.parent is None or task.index is None:
        return {}
    items = items_of(state, task.parent)
    item = items[task.index]
    return {"item": item, "index": task.index, "shard": {"index": task.index, "count": len(items)}}
