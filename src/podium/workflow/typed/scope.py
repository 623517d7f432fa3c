"""What `${…}` gives in a workflow, as far as it is known: the shapes of results, inputs, items and their parts.

A result's shape is that of the function's signature, of a person's form, or of a child workflow's output; each is found
out when somebody reads it, once. Nothing here knows of places and problems: `checking` asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from podium.exceptions import ExpressionError
from podium.workflow.expressions import Reference, compile_condition
from podium.workflow.model import FailureAction, InputParameter, Task, TaskType, Workflow
from podium.workflow.typed import shapes
from podium.workflow.typed.shapes import ANYTHING, NOTHING, Kinds, Missing, Shape, kinds, one_of, part, shape_of
from podium.workflow.typed.signatures import Schema, Signature

Signatures = Mapping[str, Mapping[str, Signature]]
"""Agent type to function to signature; the function `*` answers to every other name."""

ANY_FUNCTION: Final = "*"
_PARTS_KEPT: Final = 10_000
_MAX_DEPTH: Final = 32  # of an output whose shape is followed
_BARE: Final = re.compile(r"[a-z]+(\.[A-Za-z]\w*|\[[0-9]+\]|\['[^'\\]*'\]|\[\"[^\"\\]*\"\])*", re.ASCII)

_WHOLE: Final[Schema] = {"type": "integer"}
_SHARD: Final = Shape(
    {"type": "object", "properties": {"index": _WHOLE, "count": _WHOLE}, "additionalProperties": False}
)
_TEXT: Final = Shape({"type": "string"})
_ERROR: Final = one_of([_TEXT, NOTHING])
_INDEX: Final = Shape(_WHOLE)
_OF_INPUT: Final[Mapping[str, Shape]] = {
    kind: Shape({"type": kind}) for kind in ("string", "integer", "number", "boolean", "array", "object")
}


class Nowhere(Struct, frozen=True):
    """A reference leads to nothing: what it reads of, the key that isn't there, and what is."""

    read: str
    key: str | int
    missing: Missing


class Scope:
    """What a workflow's references lead to. One of a child workflow is made when it is asked for."""

    def __init__(self, workflow: Workflow, signatures: Signatures) -> None:
        self._workflow = workflow
        self._signatures = signatures
        self._tasks = {task.id: task for task in workflow.tasks}
        self._inputs = {parameter.name: parameter for parameter in workflow.inputs}
        # What tasks have in common is worked out once, and kept by what it is part of (which stays, so its id does):
        self._results: dict[str, Shape] = {}
        self._of_inputs: dict[str, Shape] = {}
        self._children: dict[str, Scope] = {}
        self._of_functions: dict[tuple[int, bool], Shape] = {}  # by signature, and whether the task fans out
        self._parts: dict[tuple[int, str | int], tuple[Shape, Shape | Missing]] = {}  # by the shape, kept, and a key
        # A task that is skipped, or whose failure stops nothing, leaves null to those that read it all the same.
        self._may_be_null = any(
            task.when is not None or task.on_failure.action is not FailureAction.FAIL for task in workflow.tasks
        )

    def signature(self, task: Task) -> Signature | None:
        """Return the signature of the function that a task calls, if it is known."""
        functions = self._signatures.get(self._workflow.agent_type_of(task), {}) if task.needs_agent else {}
        return functions.get(task.function or task.id) or functions.get(ANY_FUNCTION)

    def child(self, task: Task) -> Scope | None:
        """Return the scope of the workflow that a task is, if it is one."""
        if task.workflow is None:
            return None
        known = self._children.get(task.id)
        if known is None:
            known = self._children[task.id] = Scope(task.workflow, self._signatures)
        return known

    def item(self, task: Task) -> Shape:
        """Return the shape of one item of what a task goes over, where that is a list that is known."""
        if task.parallel:
            return _SHARD
        if not isinstance(task.for_each, str):
            return ANYTHING
        gone_over = self.gone_over(task.for_each)
        return ANYTHING if gone_over is None else shapes.items(gone_over)

    def gone_over(self, for_each: str) -> Shape | None:
        """Return the shape of what a `for_each` goes over, if that is known."""
        text = for_each.strip()
        return self._referred(text[2:-1] if text.startswith("${") and text.endswith("}") else text, ANYTHING)

    def kinds(self, text: str, item: Shape) -> Kinds:
        """Return the kinds of what a text with `${…}` in it gives."""
        stripped = text.strip()
        if not (text.startswith("${") and text.endswith("}")) or "${" in stripped[2:]:
            return frozenset({"string"}) if not text.startswith("${") else None
        found = self._referred(stripped[2:-1], item)
        return None if found is None else kinds(found)

    def _referred(self, expression: str, item: Shape) -> Shape | None:
        """Return the shape of an expression's value, if the expression is a reference and no more."""
        inner = expression.strip()
        if not _BARE.fullmatch(inner):
            return None
        try:
            references = compile_condition(inner).references
        except ExpressionError:
            return None  # validation has said so
        followed = self.followed(next(iter(references)), item) if len(references) == 1 else None
        return followed if isinstance(followed, Shape) else None

    def followed(self, reference: Reference, item: Shape) -> Shape | Nowhere:
        """Return the shape of what a reference leads to, or where it leads to nothing."""
        shape, path, skipped = self._start(reference, item)
        for at, key in enumerate(path):
            below = self._part(shape, key)
            if isinstance(below, Missing):
                return Nowhere(str(Reference(reference.root, reference.path[: skipped + at])), key, below)
            shape = below
        return shape

    def _part(self, shape: Shape, key: str | int) -> Shape | Missing:
        """Return the part of a shape; results of one function have one shape, so it is found out once."""
        known = self._parts.get((id(shape), key))
        if known is None:
            if len(self._parts) >= _PARTS_KEPT:
                self._parts.clear()
            known = self._parts[id(shape), key] = (shape, part(shape, key))
        return known[1]

    def _start(self, reference: Reference, item: Shape) -> tuple[Shape, tuple[str | int, ...], int]:
        """Return the shape that a reference begins in, the keys that follow, and how many of its path led there."""
        root, path = reference.root, reference.path
        if root == "tasks":
            if len(path) < 2 or path[0] not in self._tasks:
                return ANYTHING, (), 0
            return self._of_task(str(path[0]), path[1]), path[2:], 2
        if root == "input" and path and path[0] in self._inputs:
            return self._input(str(path[0])), path[1:], 1
        return {"item": item, "index": _INDEX, "shard": _SHARD}.get(root, ANYTHING), path, 0

    def _input(self, name: str) -> Shape:
        known = self._of_inputs.get(name)
        if known is None:
            known = self._of_inputs[name] = input_shape(self._inputs[name])
        return known

    # --- results -----------------------------------------------------------------------------------------------------

    def _of_task(self, task_id: str, wanted: str | int) -> Shape:
        if wanted == "result":
            return self._result(task_id)
        return {"status": _TEXT, "error": _ERROR}.get(str(wanted), ANYTHING)

    def _result(self, task_id: str) -> Shape:
        """Return the shape of a task's result, or of its fallback's, which stands for it."""
        known = self._results.get(task_id)
        if known is not None:
            return known
        self._results[task_id] = ANYTHING  # of a circle of fallbacks, which validation refuses
        task = self._tasks[task_id]
        shape = self._of_function(task) if task.needs_agent else self._of_outside(task)
        if task.on_failure.task is not None and task.on_failure.task in self._tasks:
            shape = one_of([shape, self._result(task.on_failure.task)])
        self._results[task_id] = shape
        return shape

    def _of_function(self, task: Task) -> Shape:
        """Return the shape of what a task has that calls a function; the same for each such task, so made once."""
        signature = self.signature(task)
        # What a task that grows the graph returns says its additions, with its result beside them.
        if signature is None or task.grows:
            return ANYTHING
        key = (id(signature), task.fans_out)
        shape = self._of_functions.get(key)
        if shape is None:
            shape = self._of_functions[key] = self._widened(shape_of(signature.result), task.fans_out)
        return shape

    def _of_outside(self, task: Task) -> Shape:
        """Return the shape of the result of a task that no agent does."""
        if task.type is TaskType.HUMAN:
            return self._widened(shape_of(task.form or {}), task.fans_out)
        if task.type is TaskType.WAIT:
            return NOTHING if task.wait_for is not None or task.until is not None else ANYTHING
        child = self.child(task)
        return ANYTHING if child is None else self._widened(child.output(), task.fans_out)

    def _widened(self, shape: Shape, fans_out: bool) -> Shape:
        if fans_out:
            shape = shapes.list_of(one_of([shape, NOTHING]) if self._may_be_null else shape)
        return one_of([shape, NOTHING]) if self._may_be_null else shape

    def output(self) -> Shape:
        """Return the shape of what the workflow gives, where its `output` says so."""
        return self._written(self._workflow.output, 0) if self._workflow.output is not None else ANYTHING

    def _written(self, value: Any, depth: int) -> Shape:
        """Return the shape of a value as it is written, with `${…}` in its texts."""
        match value:
            case str() if "${" in value:
                if not value.startswith("${"):
                    return _TEXT
                found = self._referred(value[2:-1], ANYTHING) if value.endswith("}") else None
                return ANYTHING if found is None else found
            case dict() if depth < _MAX_DEPTH:
                parts = {str(name): self._written(below, depth + 1) for name, below in value.items()}
                return shapes.mapping_of(parts)
            case _:
                return ANYTHING


def input_shape(parameter: InputParameter) -> Shape:
    """Return the shape of an input, which may be null where it needn't be given."""
    shape = _OF_INPUT.get(parameter.type, ANYTHING)
    return shape if parameter.required else one_of([shape, NOTHING])


def texts(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the texts with `${` in them of a JSON-like value, each with the keys that lead to it."""
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while todo:
        place, found = todo.pop()
        match found:
            case str():
                if "${" in found:
                    yield place, found
            case dict():
                todo += [((*place, key), below) for key, below in found.items()]
            case list() | tuple():
                todo += [((*place, at), below) for at, below in enumerate(found)]
            case _:
                pass
