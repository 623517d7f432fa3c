"""Whether the tasks of a workflow fit the functions that they call: names and types of arguments, fields of results.

`${tasks.x.result.y}` is followed through the schema of x's result. A function that isn't known, a hint that says
nothing and an expression that is more than a reference are left alone: no complaint here about what might work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from podium.exceptions import ExpressionError
from podium.workflow.expressions import Reference, compile_condition, compile_template
from podium.workflow.expressions.references import shown_key
from podium.workflow.model import FailureAction, Task, Workflow
from podium.workflow.problems import Path, Problem, Problems, quoted
from podium.workflow.typed import shapes
from podium.workflow.typed.shapes import ANYTHING, NOTHING, Kinds, Missing, Shape, kinds, misfit, one_of, part, shape_of
from podium.workflow.typed.signatures import Schema, Signature

Signatures = Mapping[str, Mapping[str, Signature]]
"""Agent type to function to signature; the function `*` answers to every other name."""

_ANY_FUNCTION: Final = "*"
_OF_INPUT: Final[Mapping[str, Schema]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
}
_CHAIN: Final = re.compile(
    r"(?<![\w.])(tasks|input|item)((?:\s*\.\s*[A-Za-z]\w*|\s*\[\s*(?:-?\d+|'[^']*'|\"[^\"]*\")\s*\])+)", re.ASCII
)
_STEP: Final = re.compile(r"\.\s*([A-Za-z]\w*)|\[\s*(?:(-?\d+)|('[^']*'|\"[^\"]*\"))", re.ASCII)
_BARE: Final = re.compile(r"[a-z]+(\.[A-Za-z]\w*|\[[0-9]+\]|\['[^'\\]*'\]|\[\"[^\"\\]*\"\])*", re.ASCII)


def type_problems(workflow: Workflow, signatures: Signatures) -> list[Problem]:
    """Return what can't fit in a valid workflow, as far as its functions' signatures are known."""
    problems = Problems()
    checker = _Checker(workflow, signatures, problems)
    for at, task in enumerate(workflow.tasks):
        checker.task(task, ("tasks", at))
        if problems.full:
            break
    for path, text in _texts(workflow.output, ("output",)):
        checker.text(None, text, path)
    return problems.listed()


class _Checker:
    """Checks one task after the other; what the results are is found out when somebody reads them, once."""

    def __init__(self, workflow: Workflow, signatures: Signatures, problems: Problems) -> None:
        self._workflow = workflow
        self._signatures = signatures
        self._problems = problems
        self._tasks = {task.id: task for task in workflow.tasks}
        self._inputs = {parameter.name: parameter for parameter in workflow.inputs}
        self._results: dict[str, Shape] = {}
        # What tasks have in common is worked out once, and kept by what it is part of (which stays, so its id does):
        self._of_functions: dict[tuple[int, bool], Shape] = {}  # by signature, and whether the task fans out
        self._of_arguments: dict[tuple[int, str], Shape] = {}  # by signature and name
        self._of_inputs: dict[str, Shape] = {}
        self._parts: dict[tuple[int, str | int], tuple[Shape, Shape | Missing]] = {}  # by shape, which is kept, and key
        # A task that is skipped, or whose failure stops nothing, leaves null to those that read it all the same.
        self._may_be_null = any(
            task.when is not None or task.on_failure.action is not FailureAction.FAIL for task in workflow.tasks
        )

    def task(self, task: Task, path: Path) -> None:
        """Check a task's function, its arguments, and what its texts refer to."""
        signature = self._signature(task, path)
        item = self._item(task)
        if task.when is not None:
            self.text(task, task.when, (*path, "when"), condition=True)
        if isinstance(task.for_each, str):
            self.text(task, task.for_each, (*path, "for_each"), condition=True)
        for place, text in _texts(task.payload, (*path, "payload")):
            self.text(task, text, place, item=item)
        if signature is not None and task.payload is not None:
            self._arguments(task, signature, item, (*path, "payload"))

    def text(self, reader: Task | None, text: str, path: Path, condition: bool = False, item: Shape = ANYTHING) -> None:
        """Check the references of a text; one that leads nowhere is noted."""
        if not self._may_be_wrong(text, item):
            return
        try:
            found = compile_condition(text).references if condition else compile_template(text).references
        except ExpressionError:
            return  # validation has said so
        what = "the output" if reader is None else f"task {quoted(reader.id)}"
        for reference in found:
            below = self._followed(reference, item)
            if isinstance(below, Problem):
                message = f"{what} reads {reference}, but {below.message}"
                self._problems.add(Problem(below.rule, message, path, below.hint))

    def _may_be_wrong(self, text: str, item: Shape) -> bool:
        """Return whether something in a text looks like a reference that leads nowhere: only that text is parsed."""
        for chain in _CHAIN.finditer(text):
            path = tuple(name or (int(place) if place else key[1:-1]) for name, place, key in _STEP.findall(chain[2]))
            if isinstance(self._followed(Reference(chain[1], path), item), Problem):
                return True
        return False

    # --- functions and arguments -------------------------------------------------------------------------------------

    def _signature(self, task: Task, path: Path) -> Signature | None:
        agent_type = self._workflow.agent_type_of(task)
        functions = self._signatures.get(agent_type)
        if functions is None:
            return None
        name = task.function or task.id
        found = functions.get(name) or functions.get(_ANY_FUNCTION)
        if found is None:
            hint = self._problems.suggest(name, functions) or f"its functions are {', '.join(sorted(functions))}"
            message = f"task {quoted(task.id)}: the agent type {quoted(agent_type)} has no function {quoted(name)}"
            self._problems.add(
                Problem("unknown-function", message, (*path, "function" if task.function else "id"), hint)
            )
        return found

    def _arguments(self, task: Task, signature: Signature, item: Shape, path: Path) -> None:
        payload = task.payload or {}
        what = f"task {quoted(task.id)}"
        for name, value in payload.items():
            schema = signature.arguments.get(name, signature.others)
            if schema is None:
                known = list(signature.arguments)
                hint = self._problems.suggest(name, known) or f"it takes {', '.join(known) or 'no arguments'}"
                message = f"{what}: {self._function(task)} has no argument {quoted(name)}"
                self._problems.add(Problem("unknown-argument", message, (*path, name), hint))
                continue
            shape = self._of_arguments.get((id(signature), name))
            if shape is None:
                shape = self._of_arguments[id(signature), name] = shape_of(schema)
            found = misfit(value, shape, lambda text: self._kinds(text, item))
            if found:
                argument = f"the argument {quoted(name)} of {self._function(task)}"
                message = f"{what}: {argument} is {shapes.said(shape)}, not {found}"
                self._problems.add(Problem("argument-type", message, (*path, name)))
        missing = [name for name in signature.arguments if name in signature.required and name not in payload]
        if missing:
            names = ", ".join(quoted(name) for name in missing)
            message = f"{what}: {self._function(task)} needs {names}"
            self._problems.add(Problem("missing-argument", message, path, "write it under input"))

    def _function(self, task: Task) -> str:
        return f"{self._workflow.agent_type_of(task)}.{task.function or task.id}"

    # --- values ------------------------------------------------------------------------------------------------------

    def _kinds(self, text: str, item: Shape) -> Kinds:
        """Return the kinds of what a text with `${…}` in it gives."""
        stripped = text.strip()
        if not (text.startswith("${") and text.endswith("}")) or "${" in stripped[2:]:
            return frozenset({"string"}) if not text.startswith("${") else None
        inner = stripped[2:-1].strip()
        if not _BARE.fullmatch(inner):
            return None
        (reference,) = compile_condition(inner).references or (None,)
        below = None if reference is None else self._followed(reference, item)
        return kinds(below) if isinstance(below, Shape) else None

    def _followed(self, reference: Reference, item: Shape) -> Shape | Problem:
        """Return the shape of what a reference leads to, or why it leads nowhere."""
        start, path, skipped = self._start(reference, item)
        shape = start
        for at, key in enumerate(path):
            below = self._part(shape, key)
            if isinstance(below, Missing):
                shown = str(Reference(reference.root, reference.path[: skipped + at]))
                return self._leads_nowhere(shown, key, below)
            shape = below
        return shape

    def _part(self, shape: Shape, key: str | int) -> Shape | Missing:
        """Return what stands under a key of a shape: many tasks read the same field of the same function's result."""
        known = self._parts.get((id(shape), key))
        if known is None:
            known = self._parts[id(shape), key] = (shape, part(shape, key))
        return known[1]

    def _leads_nowhere(self, shown: str, key: str | int, missing: Missing) -> Problem:
        if missing.known or missing.what == "a mapping":
            hint = (
                self._problems.suggest(str(key), missing.known) or f"it has {', '.join(missing.known) or 'no fields'}"
            )
            return Problem("result-field", f"{shown} has no field {quoted(key)}", (), hint)
        return Problem("result-field", f"{shown} is {missing.what}, so there is no {shown_key(key)} in it", ())

    def _start(self, reference: Reference, item: Shape) -> tuple[Shape, tuple[str | int, ...], int]:
        """Return the shape that a reference begins in, the keys that follow, and how many of its path led there."""
        match reference.root, reference.path:
            case "tasks", (str(task_id), "result", *rest) if task_id in self._tasks:
                return self._result(task_id), tuple(rest), 2
            case "input", (str(name), *rest) if name in self._inputs:
                return self._input(name), tuple(rest), 1
            case "item", rest:
                return item, tuple(rest), 0
            case _:
                return ANYTHING, (), 0

    def _input(self, name: str) -> Shape:
        known = self._of_inputs.get(name)
        if known is not None:
            return known
        parameter = self._inputs[name]
        schema = _OF_INPUT.get(parameter.type)
        shape = ANYTHING if schema is None else Shape(schema)
        self._of_inputs[name] = shape if schema is None or parameter.required else one_of([shape, NOTHING])
        return self._of_inputs[name]

    def _result(self, task_id: str) -> Shape:
        """Return the shape of a task's result, or of its fallback's, which stands for it."""
        known = self._results.get(task_id)
        if known is not None:
            return known
        self._results[task_id] = ANYTHING  # of a circle of fallbacks, which validation refuses
        task = self._tasks[task_id]
        functions = self._signatures.get(self._workflow.agent_type_of(task), {})
        signature = functions.get(task.function or task.id) or functions.get(_ANY_FUNCTION)
        # What a task that grows the graph returns says its additions, with its result beside them.
        shape = ANYTHING if signature is None or task.grows else self._returned(signature, task.fans_out)
        if task.on_failure.task is not None and task.on_failure.task in self._tasks:
            shape = one_of([shape, self._result(task.on_failure.task)])
        self._results[task_id] = shape
        return shape

    def _returned(self, signature: Signature, fans_out: bool) -> Shape:
        """Return the shape of what a task has that calls a function; the same for each such task, so made once."""
        key = (id(signature), fans_out)
        shape = self._of_functions.get(key)
        if shape is None:
            shape = shape_of(signature.result)
            if fans_out:
                shape = shapes.list_of(one_of([shape, NOTHING]) if self._may_be_null else shape)
            shape = one_of([shape, NOTHING]) if self._may_be_null else shape
            self._of_functions[key] = shape
        return shape

    def _item(self, task: Task) -> Shape:
        """Return the shape of one item of what a task goes over, where that is a list that a task gives."""
        if not isinstance(task.for_each, str):
            return ANYTHING
        text = task.for_each.strip()
        inner = text[2:-1].strip() if text.startswith("${") and text.endswith("}") else text
        if not _BARE.fullmatch(inner):
            return ANYTHING
        try:
            references = compile_condition(inner).references
        except ExpressionError:
            return ANYTHING
        followed = self._followed(next(iter(references)), ANYTHING) if len(references) == 1 else ANYTHING
        return shapes.items(followed) if isinstance(followed, Shape) else ANYTHING


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the texts with `${` in them of a JSON-like value, with their places."""
    todo: list[tuple[Path, Any]] = [(path, value)]
    while todo:
        place, found = todo.pop()
        match found:
            case str():
                if "${" in found:
                    yield place, found
            case dict():
                todo += [((*place, key), below) for key, below in found.items()]
            case list() | tuple():
                todo += _numbered(place, found)
            case _:
                pass


def _numbered(path: Path, values: Iterable[Any]) -> list[tuple[Path, Any]]:
    return [((*path, at), value) for at, value in enumerate(values)]
