"""A task with other ids, its own and those that it names and reads: what the prefix of an included file does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from podium.exceptions import ExpressionError
from podium.workflow.expressions.renaming import renamed_condition, renamed_template
from podium.workflow.model import ConcurrencyLimit, RateLimit, Task

_Limit = TypeVar("_Limit", RateLimit | None, ConcurrencyLimit | None)


def renamed_task(task: Task, ids: Mapping[str, str]) -> Task:
    """Return the task with the ids of this mapping; ids that aren't in it stay as they are.

    An expression that can't be read stays as it is: validation says what is wrong with it.
    """
    cache, undo, failure, escalation = task.cache, task.compensation, task.on_failure, task.escalation
    new_id = ids.get(task.id, task.id)
    return replace(
        task,
        id=new_id,
        name=new_id if task.name == task.id else task.name,
        function=task.function or (task.id if task.needs_agent else ""),
        dependencies=tuple(ids.get(name, name) for name in task.dependencies),
        payload=_template(task.payload, ids),
        when=_expression(task.when, ids) if task.when is not None else None,
        for_each=_expression(task.for_each, ids) if isinstance(task.for_each, str) else _template(task.for_each, ids),
        on_failure=replace(failure, task=ids.get(failure.task, failure.task)) if failure.task else failure,
        accept=_expression(task.accept, ids) if task.accept is not None else None,
        wait_for=_template(task.wait_for, ids),
        until=_template(task.until, ids),
        execution=_template(task.execution, ids),
        assignee=_template(task.assignee, ids),
        escalation=replace(escalation, to=_template(escalation.to, ids)) if escalation is not None else None,
        rate_limit=_limit(task.rate_limit, ids),
        concurrency=_limit(task.concurrency, ids),
        cache=replace(cache, key=_template(cache.key, ids)) if cache is not None else None,
        compensation=replace(
            undo,
            task=ids.get(undo.task, undo.task) if undo.task is not None else None,
            payload=_template(undo.payload, ids),
        )
        if undo is not None
        else None,
    )


def _limit(limit: _Limit, ids: Mapping[str, str]) -> _Limit:
    return replace(limit, key=_template(limit.key, ids)) if limit is not None and "${" in limit.key else limit


def _expression(source: str, ids: Mapping[str, str]) -> str:
    try:
        return renamed_condition(source, ids)
    except ExpressionError:
        return source


def _template(value: Any, ids: Mapping[str, str]) -> Any:
    try:
        return renamed_template(value, ids)
    except ExpressionError:
        return value
