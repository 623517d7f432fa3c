"""What may stand for a workflow in the Python API: a `Workflow`, a traced function, a YAML file's path, YAML text."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.exceptions import InvalidInputError
from podium.workflow.model import Workflow

if TYPE_CHECKING:
    from podium.workflow.tracing import WorkflowFunction

    Source = Workflow | WorkflowFunction[..., Any] | str | PathLike[str]


def workflow_from(source: Source) -> Workflow:
    """Return the workflow. Raises InvalidInputError for a missing file, WorkflowInvalidError for what it holds."""
    if isinstance(source, Workflow):
        return source
    if not isinstance(source, (str, PathLike)):
        return _traced(source).build()
    from podium.api.including import ProjectFiles
    from podium.workflow.yaml import load_workflow

    if isinstance(source, str) and "\n" in source:
        return load_workflow(source)
    path = Path(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}") from error
    return load_workflow(content, str(path), opener=ProjectFiles(path))


def _traced(source: object) -> WorkflowFunction[..., Any]:
    from podium.workflow.tracing import WorkflowFunction

    if isinstance(source, WorkflowFunction):
        return source
    shown = getattr(source, "__qualname__", None) or type(source).__qualname__
    raise InvalidInputError(
        f"{shown} is no workflow; it is a Workflow, YAML, a path, or a function decorated with @podium.workflow"
    )
