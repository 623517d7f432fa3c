"""Whether the tasks of a workflow fit the functions that they call, and whether each `${…}` leads somewhere.

`${tasks.x.result.y}` is followed through the shape of x's result, wherever it may stand: in arguments, conditions,
keys, waits, outputs. A function that isn't known, a hint that says nothing and an expression that is more than a
reference are left alone: no complaint here about what might work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from podium.exceptions import ExpressionError
from podium.workflow.expressions import Expression, Reference, compile_condition
from podium.workflow.expressions.references import shown_key
from podium.workflow.expressions.templates import pieces_of
from podium.workflow.model import Compensation, ConcurrencyLimit, ContinueAsNew, RateLimit, Task, Workflow
from podium.workflow.problems import Path, Problem, Problems, quoted
from podium.workflow.typed import shapes
from podium.workflow.typed.scope import Nowhere, Scope, Signatures, input_shape, texts
from podium.workflow.typed.shapes import ANYTHING, Kinds, Shape, misfit, shape_of
from podium.workflow.typed.signatures import Signature

_CHAIN: Final = re.compile(
    r"(?<![\w.])(tasks|input|item|index|shard)"
    r"((?:\s*\.\s*[A-Za-z]\w*|\s*\[\s*(?:-?\d+|'[^']*'|\"[^\"]*\")\s*\])+)",
    re.ASCII,
)
_STEP: Final = re.compile(r"\.\s*([A-Za-z]\w*)|\[\s*(?:(-?\d+)|('[^']*'|\"[^\"]*\"))", re.ASCII)

_MOST_NAMED: Final = 20  # functions, arguments or fields in a hint
_A_TEXT: Final = frozenset({"string"})
_WANTED: Final[Mapping[str, tuple[frozenset[str], str, str]]] = {  # what must be given where a task waits
    "wait_for": (frozenset({"string", "number"}), "a duration", "how long it waits"),
    "until": (_A_TEXT, "a text with a time", "until when it waits"),
    "execution": (_A_TEXT, "a text with an id", "the execution it waits for"),
    "assignee": (_A_TEXT, "a text", "its assignee"),
}


TYPE_RULES: Final = frozenset(
    {
        "unknown-function",
        "unknown-argument",
        "missing-argument",
        "argument-type",
        "input-type",
        "result-field",
        "wait-type",
    }
)
"""The rules that only this check has, which `--no-type-check` leaves out."""


def type_problems(workflow: Workflow, signatures: Signatures) -> list[Problem]:
    """Return what can't fit in a valid workflow, as far as its functions' signatures are known."""
    problems = Problems()
    _Checker(workflow, Scope(workflow, signatures), signatures, problems).whole()
    return problems.listed()


class _Checker:
    """Checks one task after the other."""

    def __init__(
        self, workflow: Workflow, scope: Scope, signatures: Signatures, problems: Problems, above: Path = ()
    ) -> None:
        """`above` leads to the workflow, where that is a task of another one."""
        self._workflow = workflow
        self._scope = scope
        self._signatures = signatures
        self._problems = problems
        self._above = above
        self._of_arguments: dict[tuple[int, str], Shape] = {}  # by signature, which is kept, and name

    def whole(self) -> None:
        """Check all that the workflow says."""
        for role, group in self._workflow.agents.items():
            path: Path = (*self._above, "agents", role)
            self._keys(f"the role {quoted(role)}", (group.rate_limit, group.concurrency), ANYTHING, path)
        for at, task in enumerate(self._workflow.tasks):
            self._task(task, (*self._above, "tasks", at))
            if self._problems.full:
                return
        self._value("the output", self._workflow.output, (*self._above, "output"))
        self._value("what is published", self._workflow.publish, (*self._above, "publish"))
        if self._workflow.continue_as_new is not None:
            self._continuation(self._workflow.continue_as_new, (*self._above, "continue_as_new"))

    # --- one task ----------------------------------------------------------------------------------------------------

    def _task(self, task: Task, path: Path) -> None:
        what = f"task {quoted(task.id)}"
        item = self._scope.item(task)
        if task.when is not None:
            self._text(what, task.when, (*path, "when"), condition=True)
        if task.for_each is not None:
            self._for_each(what, task.for_each, (*path, "for_each"))
        if task.rate_limit is not None or task.concurrency is not None:
            self._keys(what, (task.rate_limit, task.concurrency), item, path)
        if task.cache is not None:
            self._value(what, task.cache.key, (*path, "cache", "key"), item)
        if task.payload is not None:
            self._value(what, task.payload, (*path, "payload"), item)
        if task.needs_agent:
            self._call(task, what, item, path)
        elif task.workflow is not None:
            self._child(task, task.workflow, what, item, path)
        else:
            self._outside(task, what, path)
        if task.compensation is not None:
            self._compensation(task, task.compensation, what, item, (*path, "compensation"))

    def _call(self, task: Task, what: str, item: Shape, path: Path) -> None:
        """Check the function of a task and its arguments."""
        agent_type = self._workflow.agent_type_of(task)
        functions = self._signatures.get(agent_type)
        if functions is None:
            return
        signature, name = self._scope.signature(task), task.function or task.id
        if signature is None:
            self._unknown_function(what, agent_type, name, functions, (*path, "function" if task.function else "id"))
        elif task.payload is not None:
            self._arguments(task.payload, signature, what, f"{agent_type}.{name}", item, (*path, "payload"))

    def _unknown_function(
        self, what: str, agent_type: str, name: str, functions: Mapping[str, Signature], path: Path
    ) -> None:
        hint = self._problems.suggest(name, functions) or f"its functions are {_some(sorted(functions))}"
        message = f"{what}: the agent type {quoted(agent_type)} has no function {quoted(name)}"
        self._problems.add(Problem("unknown-function", message, path, hint))

    def _arguments(
        self, payload: dict[str, Any], signature: Signature, what: str, function: str, item: Shape, path: Path
    ) -> None:
        for name, value in payload.items():
            schema = signature.arguments.get(name, signature.others)
            if schema == {}:
                continue
            if schema is None:
                known = list(signature.arguments)
                hint = self._problems.suggest(name, known) or f"it takes {_some(known) or 'no arguments'}"
                message = f"{what}: {function} has no argument {quoted(name)}"
                self._problems.add(Problem("unknown-argument", message, (*path, name), hint))
                continue
            shape = self._of_arguments.get((id(signature), name))
            if shape is None:
                shape = self._of_arguments[id(signature), name] = shape_of(schema)
            self._fits(value, shape, item, f"{what}: the argument {quoted(name)} of {function}",
                       Problem("argument-type", "", (*path, name)))  # fmt: skip
        missing = [name for name in signature.arguments if name in signature.required and name not in payload]
        if missing:
            names = ", ".join(quoted(name) for name in missing)
            message = f"{what}: {function} needs {names}"
            self._problems.add(Problem("missing-argument", message, path, "write it under input"))

    def _child(self, task: Task, child: Workflow, what: str, item: Shape, path: Path) -> None:
        """Check what a child workflow is given, and the child itself."""
        self._inputs(task.payload or {}, child, what, item, (*path, "payload"))
        scope = self._scope.child(task)
        if scope is not None:
            _Checker(child, scope, self._signatures, self._problems, (*path, "workflow")).whole()

    def _continuation(self, renewal: ContinueAsNew, path: Path) -> None:
        """Check what decides whether there is another run, and what that run is given."""
        if renewal.when is not None:
            self._text("continue_as_new", renewal.when, (*path, "when"), condition=True)
        self._value("continue_as_new", renewal.input, (*path, "input"))
        if isinstance(renewal.input, dict):
            self._inputs(renewal.input, self._workflow, "continue_as_new", ANYTHING, (*path, "input"))

    def _inputs(self, given: dict[str, Any], workflow: Workflow, what: str, item: Shape, path: Path) -> None:
        """Check what a workflow is given against what it declares."""
        declared = {parameter.name: parameter for parameter in workflow.inputs}
        for name, value in given.items():
            if name in declared:
                self._fits(value, input_shape(declared[name]), item,
                           f"{what}: the input {quoted(name)} of the workflow {quoted(workflow.name)}",
                           Problem("input-type", "", (*path, name)))  # fmt: skip

    def _outside(self, task: Task, what: str, path: Path) -> None:
        """Check what a task waits for, or whom it asks."""
        if task.accept is not None:
            self._text(what, task.accept, (*path, "accept"), condition=True)
        for name, (wanted, shown, means) in _WANTED.items():
            said = getattr(task, name)
            if isinstance(said, str) and "${" in said:
                self._waits_for(what, said, wanted, f"{means} is {shown}", (*path, name))
        if task.escalation is not None and "${" in task.escalation.to:
            self._waits_for(what, task.escalation.to, _A_TEXT, "whom it escalates to is a text", (*path, "escalation"))

    def _waits_for(self, what: str, said: str, wanted: frozenset[str], means: str, path: Path) -> None:
        if not self._text(what, said, path):
            return
        found = self._scope.kinds(said, ANYTHING)
        if found is not None and not found & wanted:
            self._problems.add(Problem("wait-type", f"{what}: {means}, not {shapes.listed(found)}", path))

    def _for_each(self, what: str, said: str | list[Any], path: Path) -> None:
        if not isinstance(said, str):
            self._value(what, said, path)
        elif self._text(what, said, path, condition=True):
            gone_over = self._scope.gone_over(said)
            found = None if gone_over is None else shapes.kinds(gone_over)
            if found is not None and "array" not in found:
                self._problems.add(Problem("for-each", f"{what} goes over a list, not {shapes.listed(found)}", path))

    def _keys(
        self, what: str, limits: tuple[RateLimit | None, ConcurrencyLimit | None], item: Shape, path: Path
    ) -> None:
        for name, limit in zip(("rate_limit", "concurrency"), limits, strict=True):
            if limit is not None and "${" in limit.key:
                self._text(what, limit.key, (*path, name, "key"), item=item)

    def _compensation(self, task: Task, undo: Compensation, what: str, item: Shape, path: Path) -> None:
        """Check the call that undoes a task, where it is one of its own."""
        self._value(what, undo.payload, (*path, "payload"), item)
        if undo.task is not None or not undo.function or undo.payload is None:
            return
        call = replace(task, agent=undo.agent, agent_type=undo.agent_type, function=undo.function, payload=undo.payload)
        self._call(call, f"{what}, compensation", item, path)

    # --- values and texts --------------------------------------------------------------------------------------------

    def _fits(self, value: Any, shape: Shape, item: Shape, what: str, otherwise: Problem) -> None:
        """Note, as the problem that is given, that a value can't be of a shape."""

        def known(text: str) -> Kinds:
            return self._scope.kinds(text, item)

        found = misfit(value, shape, known)
        if found:
            self._problems.add(replace(otherwise, message=f"{what} is {shapes.said(shape)}, not {found}"))

    def _value(self, what: str, value: Any, path: Path, item: Shape = ANYTHING) -> None:
        """Check the references of the texts in a JSON-like value."""
        for place, text in texts(value):
            self._text(what, text, (*path, *place), item=item)

    def _text(self, what: str, text: str, path: Path, condition: bool = False, item: Shape = ANYTHING) -> bool:
        """Check the references that a text reads in any case; one that leads nowhere is noted, and False returned."""
        if not self._may_be_wrong(text, item):
            return True
        try:
            pieces = [compile_condition(text)] if condition else pieces_of(text)
        except ExpressionError:
            return False  # validation has said so
        found = {reference for piece in pieces if isinstance(piece, Expression) for reference in piece.always}
        followed = [(reference, self._scope.followed(reference, item)) for reference in sorted(found, key=str)]
        nowhere = [(reference, below) for reference, below in followed if isinstance(below, Nowhere)]
        for reference, below in nowhere:
            why, hint = self._why(below)
            message = f"{what} reads {reference}, but {why}"
            self._problems.add(Problem("result-field", message, path, hint, certain=below.missing.certain))
        return not nowhere

    def _may_be_wrong(self, text: str, item: Shape) -> bool:
        """Return whether something in a text looks like a reference that leads nowhere: only that text is parsed."""
        for chain in _CHAIN.finditer(text):
            path = tuple(name or (int(place) if place else key[1:-1]) for name, place, key in _STEP.findall(chain[2]))
            if isinstance(self._scope.followed(Reference(chain[1], path), item), Nowhere):
                return True
        return False

    def _why(self, nowhere: Nowhere) -> tuple[str, str]:
        """Return why a reference leads nowhere, and a hint."""
        shown, key, missing = nowhere.read, nowhere.key, nowhere.missing
        if missing.known or missing.what == "a mapping":
            near = self._problems.suggest(str(key), missing.known)
            hint = near or f"it has {_some(missing.known) or 'no fields'}"
            return f"{shown} has no field {quoted(key)}", hint
        return f"{shown} is {missing.what}, so there is no {shown_key(key)} in it", ""


def _some(names: Sequence[str]) -> str:
    """Return names in a line, of many the first."""
    left = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {left} more" if left > 0 else "")
