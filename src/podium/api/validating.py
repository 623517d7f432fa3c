"""`podium.validate`: whether a workflow is valid, and fits the code of its agents, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any

from podium.agents.signatures import type_check
from podium.api.agents import definitions_of
from podium.api.loading import workflow_from
from podium.workflow.model import Workflow
from podium.workflow.tracing import WorkflowFunction
from podium.workflow.validation import validate as validated


def validate(
    workflow: Workflow | WorkflowFunction[Any, Any] | str | PathLike[str],
    agents: Iterable[str | type | Callable[..., Any]] = (),
) -> Workflow:
    """Return the workflow if it is valid, and if its tasks fit the functions of its agents as far as these are known.

    `workflow` and `agents` are as for `podium.run`. Raises WorkflowInvalidError with everything that is wrong in
    `problems`, AgentBindingError for agents that can't be loaded.
    """
    given = list(agents) or (list(workflow.agents) if isinstance(workflow, WorkflowFunction) else [])
    specs, definitions = definitions_of(given)
    check = type_check({}, specs, definitions)
    if isinstance(workflow, (str, PathLike)):
        return validated(workflow_from(workflow, check))
    return workflow_from(validated(workflow_from(workflow)), check)
