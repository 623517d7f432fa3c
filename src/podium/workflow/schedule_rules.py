"""The rules of a workflow's `schedule`: what can be kept at all, and what it can't stand beside."""

from __future__ import annotations

from podium.workflow.model import Workflow
from podium.workflow.problems import Problem, Problems
from podium.workflow.schedules.spec import spec_problems


def check_schedule(workflow: Workflow, problems: Problems, depth: int = 0) -> None:
    """Note what is wrong with when the clock starts a workflow, which lies so deep inside others."""
    if workflow.schedule is None:
        return
    if depth:
        message = "a child workflow begins with its parent; a schedule of its own would have no effect"
        problems.add(Problem("wrong-schedule", message, ("schedule",), "say it in the workflow around it"))
        return
    if workflow.scheduled_at is not None:
        message = "the workflow names its own time, which each execution that the clock starts would wait for"
        problems.add(Problem("given-twice", message, ("scheduled_at",), "keep schedule or scheduled_at"))
    for field, message in spec_problems(workflow.schedule):
        problems.add(Problem("wrong-schedule", message, ("schedule", field) if field else ("schedule",)))
