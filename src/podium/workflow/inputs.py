"""An execution's input against what the workflow declares: names, types, what is missing. All problems at once."""

from __future__ import annotations

import difflib
from typing import Any

from podium.exceptions import InvalidInputError
from podium.workflow.model import InputParameter, Workflow
from podium.workflow.patterns import MAX_MATCHED, pattern_of

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
}
_MOST_LISTED = 10


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
        elif why := misfit(declared[name], value):
            problems.append(f"{name} {why}")
    if problems:
        raise InvalidInputError(f"the input doesn't fit: {'; '.join(problems)} (inputs: {_names(workflow)})")


def misfit(parameter: InputParameter, value: Any, of_enum: bool = True) -> str:
    """Return why a value isn't what the input declares, in words that follow its name; empty if it is."""
    if value is None and not parameter.required and parameter.default is None:
        return ""
    if not _is_of_type(parameter.type, value):
        return f"must be of type {parameter.type}, not {_kind(value)}"
    if of_enum and parameter.enum and not any(_same(value, choice) for choice in parameter.enum):
        close = difflib.get_close_matches(str(value), [str(choice) for choice in parameter.enum], 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"must be one of {_listed(parameter.enum)}, not {_shown(value)}{hint}"
    return _beyond(parameter, value) or _unlike(parameter, value)


def _is_of_type(kind: str, value: Any) -> bool:
    wanted = _TYPES.get(kind)
    if wanted is None:
        return True
    return isinstance(value, wanted) and (kind == "boolean" or not isinstance(value, bool))


def _same(value: Any, choice: Any) -> bool:
    return bool(value == choice) and isinstance(value, bool) == isinstance(choice, bool)


def _beyond(parameter: InputParameter, value: Any) -> str:
    """Return on which side of its bounds a value is: a number itself, of a text and a list the length."""
    size: float
    if isinstance(value, str | list | tuple):
        size, unit = len(value), " characters" if isinstance(value, str) else " items"
        begin = "must have"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        size, unit, begin = value, "", "must be"
    else:
        return ""
    if parameter.minimum is not None and size < parameter.minimum:
        return f"{begin} at least {parameter.minimum:.15g}{unit}, not {_shown(size)}"
    if parameter.maximum is not None and size > parameter.maximum:
        return f"{begin} at most {parameter.maximum:.15g}{unit}, not {_shown(size)}"
    return ""


def _unlike(parameter: InputParameter, value: Any) -> str:
    """Return why a text doesn't fit the pattern."""
    if not parameter.pattern or not isinstance(value, str) or pattern_of(parameter.pattern).found_in(value):
        return ""
    if len(value) > MAX_MATCHED:
        return f"must have at most {MAX_MATCHED} characters, since it has a pattern, not {len(value)}"
    return f"must fit the pattern {_shown(parameter.pattern)}, not {_shown(value)}"


def _listed(choices: tuple[Any, ...]) -> str:
    more = f" and {len(choices) - _MOST_LISTED} more" if len(choices) > _MOST_LISTED else ""
    return ", ".join(_shown(choice) for choice in choices[:_MOST_LISTED]) + more


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= 60 else f"{text[:59]}…"
    return text if text.isprintable() else ascii(text)[1:-1]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return next((name for name, types in _TYPES.items() if type(value) in types), type(value).__name__)


def _names(workflow: Workflow) -> str:
    return ", ".join(p.name if p.required else f"[{p.name}]" for p in workflow.inputs)
