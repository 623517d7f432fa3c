"""What announcements say of a workflow's definition, worked out once for each definition and kept while it is in use.

Tens of thousands of tasks a second may be told of; what is the same for all of them must not be looked for each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from msgspec import Struct

from podium.engine.admission import counts
from podium.ids import workflow_id_for
from podium.workflow.graph import DependencyGraph
from podium.workflow.model import Workflow

KEPT = 1_000

WorkflowOf = Callable[[str, str], Awaitable[Workflow]]  # of a tenant and a definition


class DescribedTask(Struct, frozen=True):
    """What is told of each attempt of a task."""

    dependencies: tuple[str, ...]
    estimated_seconds: int


class Described(Struct, frozen=True):
    """What is told of each execution of a definition."""

    workflow: Workflow
    workflow_id: str
    estimated_seconds: int
    submitted: bool  # a single task that a client submitted
    tasks: dict[str, DescribedTask]


class Descriptions:
    """The definitions that are in use, by tenant and hash."""

    def __init__(self, workflow_of: WorkflowOf) -> None:
        self._workflow_of = workflow_of
        self._kept: OrderedDict[tuple[str, str], Described] = OrderedDict()

    async def get(self, tenant: str, definition: str) -> Described:
        """Return what is told of a definition."""
        key = tenant, definition
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = described(await self._workflow_of(tenant, definition))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found


def described(workflow: Workflow) -> Described:
    """Return what is told of a workflow."""
    return Described(
        workflow,
        workflow.id or workflow_id_for(workflow.name),
        estimated_seconds(workflow),
        not counts(workflow),
        {task.id: DescribedTask(tuple(task.dependencies), round(task.timeout or 0)) for task in workflow.tasks},
    )


def estimated_seconds(workflow: Workflow) -> int:
    """Return how long a workflow may take by its tasks' time-outs along the longest path; 0 if they have none."""
    timeouts = {task.id: task.timeout or 0.0 for task in workflow.tasks}
    if not any(timeouts.values()):
        return 0
    return round(sum(timeouts[task] for task in DependencyGraph.of(workflow).critical_path(timeouts)))
