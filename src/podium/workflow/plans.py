"""Plans that have been made, kept by what they are plans of: the content hash of the definition.

Two definitions that mean the same share the work, and one that is at hand as an object isn't even hashed twice. Whoever
plans once calls `plan`; a door that is asked again and again keeps one of these.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from podium.workflow.hashing import content_hash
from podium.workflow.model import Workflow
from podium.workflow.plan import ExecutionPlan, ExecutionStage, plan

KEPT = 64


class Plans:
    """The plans that were asked for last."""

    def __init__(self, kept: int = KEPT) -> None:
        self._most = kept
        self._plans: OrderedDict[tuple[str, tuple[str, ...]], ExecutionPlan] = OrderedDict()
        self._recent: OrderedDict[int, tuple[Workflow, ExecutionPlan]] = OrderedDict()  # by the object's id

    def get(self, workflow: Workflow, digest: str | None = None) -> ExecutionPlan:
        """Return the plan of a workflow. `digest` is its content hash where that is known.

        Raises WorkflowInvalidError for what can't be planned; nothing is kept of it then.
        """
        recent = self._recent.get(id(workflow))
        if recent is not None and recent[0] is workflow:
            self._recent.move_to_end(id(workflow))
            return recent[1]
        # Where edges leave a choice the order of definition decides, which the hash doesn't tell.
        key = digest or content_hash(workflow), tuple(task.id for task in workflow.tasks)
        known = self._plans.get(key)
        found = self._plans[key] = plan(workflow) if known is None else _of(known, workflow)
        self._plans.move_to_end(key)
        self._recent[id(workflow)] = workflow, found
        for kept in (self._plans, self._recent):
            while len(kept) > self._most:
                kept.popitem(last=False)
        return found


def _of(known: ExecutionPlan, workflow: Workflow) -> ExecutionPlan:
    """Return the plan of a definition that means the same, with this one's id and tasks."""
    tasks = {task.id: task for task in workflow.tasks}
    stages = tuple(
        ExecutionStage(
            stage.stage_number,
            tuple(tasks[task.id] for task in stage.tasks),
            stage.max_parallelism,
            stage.estimated_duration,
        )
        for stage in known.stages
    )
    return msgspec.structs.replace(known, workflow_id=workflow.id, stages=stages)
