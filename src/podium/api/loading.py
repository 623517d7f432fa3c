"""What may stand for a workflow in the Python API: a `Workflow`, a YAML file's path, or YAML text."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from podium.exceptions import InvalidInputError
from podium.workflow.model import Workflow


def workflow_from(source: Workflow | str | PathLike[str]) -> Workflow:
    """Return the workflow. Raises InvalidInputError for a missing file, WorkflowInvalidError for what it holds."""
    if isinstance(source, Workflow):
        return source
    from podium.workflow.yaml import load_workflow

    if isinstance(source, str) and "\n" in source:
        return load_workflow(source)
    path = Path(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}") from error
    return load_workflow(content, str(path))
