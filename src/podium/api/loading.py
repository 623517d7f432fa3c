"""What may stand for a workflow in the Python API: a `Workflow`, a traced function, a YAML file's path, YAML text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.exceptions import InvalidInputError
from podium.workflow.model import Workflow

if TYPE_CHECKING:
    from podium.workflow.problems import Problem
    from podium.workflow.tracing import WorkflowFunction

    Source = Workflow | WorkflowFunction[..., Any] | str | PathLike[str]
    Further = Callable[[Workflow], Iterable[Problem]]


def workflow_from(source: Source, further: Further | None = None) -> Workflow:
    """Return the workflow. Raises InvalidInputError for a missing file, WorkflowInvalidError for what it holds.

    `further` is asked what else is wrong with a workflow that is valid by itself; of a file, its lines are said.
    """
    if isinstance(source, (str, PathLike)):
        return _read(source, further)
    workflow = source if isinstance(source, Workflow) else _traced(source).build()
    if further is not None:
        from podium.workflow.problems import raise_problems

        if found := list(further(workflow)):
            raise_problems(found)
    return workflow


def _read(source: str | PathLike[str], further: Further | None) -> Workflow:
    from podium.api.including import ProjectFiles
    from podium.workflow.yaml import load_workflow

    if isinstance(source, str) and "\n" in source:
        return load_workflow(source, further=further)
    path = Path(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}") from error
    return load_workflow(content, str(path), opener=ProjectFiles(path), further=further)


def _traced(source: object) -> WorkflowFunction[..., Any]:
    from podium.workflow.tracing import WorkflowFunction

    if isinstance(source, WorkflowFunction):
        return source
    shown = getattr(source, "__qualname__", None) or type(source).__qualname__
    raise InvalidInputError(
        f"{shown} is no workflow; it is a Workflow, YAML, a path, or a function decorated with @podium.workflow"
    )
