"""An execution's input against what the workflow declares: names, types, what is missing. All problems at once."""

from __future__ import annotations

import difflib
from typing import Any

from podium.exceptions import InvalidInputError
from podium.workflow.model import InputParameter, Workflow

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def check_input(workflow: Workflow, given: Any) -> None:
    """Raise InvalidInputError, naming every problem, unless the input fits the workflow's `inputs:`.

    A workflow that declares none takes any input.
    """
    if not workflow.inputs:
        return
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise InvalidInputError(f"the input must be an object with {_names(workflow)}, not {_kind(given)}")
    declared = {parameter.name: parameter for parameter in workflow.inputs}
    problems = [f"{name} is missing" for name, p in declared.items() if p.required and name not in given]
    for name, value in given.items():
        if name not in declared:
            close = difflib.get_close_matches(name, declared, 1)
            problems.append(
                f"{name} isn't an input of {workflow.name}" + (f"; did you mean {close[0]}?" if close else "")
            )
        elif not _fits(declared[name], value):
            problems.append(f"{name} must be of type {declared[name].type}, not {_kind(value)}")
    if problems:
        raise InvalidInputError(f"the input doesn't fit: {'; '.join(problems)} (inputs: {_names(workflow)})")


def _fits(parameter: InputParameter, value: Any) -> bool:
    wanted = _TYPES.get(parameter.type)
    if wanted is None or (value is None and not parameter.required and parameter.default is None):
        return True
    if isinstance(value, bool) and parameter.type != "boolean":
        return False
    return isinstance(value, wanted)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return next((name for name, types in _TYPES.items() if type(value) in types), type(value).__name__)


def _names(workflow: Workflow) -> str:
    return ", ".join(p.name if p.required else f"[{p.name}]" for p in workflow.inputs)
