"""The rules of `continue_as_new`: what can be seen before anything runs of the input that the next run would have.

Pure; called by `validation`. What only the results of a run show is seen when it ends (`engine/continuing.py`).
"""

from __future__ import annotations

from msgspec.structs import replace

from podium.workflow.expressions.problems import ExpressionProblem
from podium.workflow.expressions.templates import pieces_of
from podium.workflow.inputs import misfit
from podium.workflow.model import InputParameter, Workflow
from podium.workflow.problems import Path, Problem, Problems, quoted

_PATH: Path = ("continue_as_new", "input")


def check_continuation(workflow: Workflow, problems: Problems) -> None:
    """Note an input of the next run that doesn't fit what the workflow declares."""
    renewal = workflow.continue_as_new
    if renewal is None or renewal.input is None or not workflow.inputs:
        return
    declared = {parameter.name: parameter for parameter in workflow.inputs}
    given = renewal.input
    if isinstance(given, str) and not _is_text(given):
        return  # what it is shows when the run has ended
    if not isinstance(given, dict):
        message = f"continue_as_new: the input must be a mapping with {', '.join(declared)}"
        problems.add(Problem("wrong-type", message, _PATH, "write input: {NAME: ${tasks.TASK.result}}"))
        return
    for name, value in given.items():
        if name not in declared:
            message = f"continue_as_new gives {quoted(name)}, but that input isn't declared"
            hint = problems.suggest(name, declared) or "declare it under inputs"
            problems.add(Problem("undeclared-input", message, (*_PATH, name), hint))
        elif why := _misfit(declared[name], value):
            problems.add(Problem("wrong-value", f"continue_as_new: {name} {why}", (*_PATH, name)))
    _check_complete(declared, given, problems)


def _check_complete(declared: dict[str, InputParameter], given: dict[str, object], problems: Problems) -> None:
    for name, parameter in declared.items():
        if parameter.required and name not in given:
            message = f"continue_as_new doesn't give {quoted(name)}, which each run must have"
            problems.add(Problem("missing-input", message, _PATH, f"write {name}: ${{input.{name}}}"))


def _misfit(parameter: InputParameter, value: object) -> str:
    """Return why a value can't be what the input declares; of one whose parts show later only the type is known."""
    if isinstance(value, str) and not _is_text(value):
        return ""
    if _refers(value):
        parameter = replace(parameter, enum=(), minimum=None, maximum=None, pattern="")
    return misfit(parameter, value)


def _is_text(value: str) -> bool:
    """Whether a template makes a text whatever its expressions give: it is more than one `${…}`, or has none."""
    try:
        pieces = pieces_of(value)
    except ExpressionProblem:
        return False  # noted as the expression's problem
    return len(pieces) != 1 or isinstance(pieces[0], str)


def _refers(value: object) -> bool:
    """Whether a value, or a part of it, shows only when the run has ended."""
    match value:
        case str():
            return "${" in value
        case dict():
            return any(_refers(part) for part in value.values())
        case list() | tuple():
            return any(_refers(part) for part in value)
        case _:
            return False
