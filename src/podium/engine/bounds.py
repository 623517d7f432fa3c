"""The limits by key that a task's definition sets: its own, else its role's, with their keys compiled. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from podium.clock import seconds_to_us
from podium.workflow.expressions import Template, compile_template
from podium.workflow.model import Task, Workflow


class CompiledBound:
    """A limit of a task, or of its role. Without a key it is the task's, or the role's, alone (`own_key`)."""

    __slots__ = ("key", "limit", "own_key", "per_us")

    def __init__(self, limit: int, per_us: int, key: str, own_key: str) -> None:
        self.limit = limit
        self.per_us = per_us  # of a rate; 0: so many at once
        self.own_key = own_key
        self.key: Template | None = compile_template(key) if key else None


def compiled_bounds(task: Task, workflow: Workflow) -> tuple[CompiledBound, ...]:
    """Return the limits that hold for a task."""
    group = workflow.agents.get(task.agent)
    found = []
    own, roles = f"{workflow.name}/{task.id}", f"{workflow.name}/{task.agent}"
    rate = task.rate_limit or (group.rate_limit if group else None)
    if rate is not None:
        own_key = own if task.rate_limit is not None else roles
        found.append(CompiledBound(rate.limit, max(seconds_to_us(rate.per_seconds), 1), rate.key, own_key))
    concurrency = task.concurrency or (group.concurrency if group else None)
    if concurrency is not None:
        own_key = own if task.concurrency is not None else roles
        found.append(CompiledBound(concurrency.limit, 0, concurrency.key, own_key))
    return tuple(found)


def key_templates(bounds: Iterable[CompiledBound]) -> list[Template]:
    """Return the templates of keys that refer to something."""
    return [each.key for each in bounds if each.key is not None and not each.key.constant]
