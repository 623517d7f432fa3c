"""A workflow that is about to start, held against its agents: what can't work is refused, what might isn't."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from podium.cli.printing import complain
from podium.exceptions import InvalidInputError

if TYPE_CHECKING:
    from podium.workflow.model import Workflow
    from podium.workflow.problems import Problem


def checked_workflow(file: str, check: Callable[[Workflow], Iterable[Problem]]) -> Workflow:
    """Return the workflow of a file; on standard error, warn of what most likely is wrong with it.

    Raises as `workflow_from` for what is wrong for certain.
    """
    from podium.api.loading import workflow_from
    from podium.workflow.problems import problems_in, raise_problems

    try:
        return workflow_from(file, check)
    except InvalidInputError as error:
        found = problems_in(error)
        doubtful = [problem for problem in found if not problem.certain]
        if not doubtful:
            raise
        certain = [problem for problem in found if problem.certain and problem.rule != "more"]  # nobody has seen those
    for problem in doubtful:
        complain(f"warning: {problem}")
    if certain:
        raise_problems(certain)
    return workflow_from(file)  # it is valid by itself: only the check has found anything
