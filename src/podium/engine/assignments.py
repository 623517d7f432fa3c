"""Assignments and results: a task's arguments resolved from the execution's state, and the execution's own result.

The log keeps references; here they become JSON, at the last moment. Raises BlobMissing when a large value must be
loaded first, ExpressionError when a reference leads nowhere.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from podium.engine.limiting import check_keys
from podium.engine.scope import effective_input, encoded, result_text, scope_for, text_of
from podium.engine.state import State, TaskState
from podium.fleet.messages import Assignment, SecretPlace
from podium.workflow.expressions import Reference

_INSTANCE = (Reference("item"),)
_NOTHING_SAVED = Raw(b"null")
_NO_ARGUMENTS = Raw(b"{}")


def assignment_for(state: State, task: TaskState, number: int, agent: str, lease_seconds: float) -> Assignment:
    """Return the message that hands an attempt to its agent."""
    compiled = task.compiled
    check_keys(state, task)
    return Assignment(
        attempt=state.attempt_id(task.path, number),
        agent=agent,
        execution=state.id,
        tenant=state.tenant,
        task=task.path,
        function=compiled.function,
        arguments=arguments_of(state, task),
        idempotency_key=state.idempotency_key(task),
        number=number - state.attempts_before,
        lenient=compiled.arguments is None,
        timeout_seconds=compiled.spec.timeout,
        lease_seconds=lease_seconds,
        checkpoint=_NOTHING_SAVED if task.checkpoint is None else Raw(text_of(state, task.checkpoint)),
        env=compiled.env,
        secrets=_secret_places(state, task),
    )


def _secret_places(state: State, task: TaskState) -> tuple[SecretPlace, ...]:
    """Return where in arguments and variables secrets belong, by reference: nobody here knows their values."""
    compiled = task.compiled
    if not compiled.secret_texts and not compiled.secret_env:
        return ()
    known = state.definition.secrets
    references = compiled.arguments.references if compiled.arguments is not None else ()
    scope = scope_for(state, references, task)
    return tuple(
        SecretPlace(
            (where, *text.path),
            tuple(part if isinstance(part, str) else known[part.name] for part in text.parts(scope)),
        )
        for where, texts in (("input", compiled.secret_texts), ("env", compiled.secret_env))
        for text in texts
    )


def arguments_of(state: State, task: TaskState) -> Raw:
    """Return the task's arguments, a JSON object."""
    compiled = task.compiled
    if compiled.constant_arguments is not None:
        return Raw(compiled.constant_arguments)
    if compiled.arguments is None:
        return _default_arguments(state, task)
    return Raw(encoded(compiled.arguments.render(scope_for(state, compiled.arguments.references, task))))


def _default_arguments(state: State, task: TaskState) -> Raw:
    """Return the workflow's input, each dependency's result under its id, and an instance's item, index and shard."""
    given = effective_input(state)
    arguments: dict[str, Any] = dict(given) if isinstance(given, dict) else {} if given is None else {"input": given}
    for dependency in task.compiled.spec.dependencies:
        arguments[dependency] = Raw(result_text(state, state.tasks[dependency]))
    if task.parent is not None:
        instance = scope_for(state, _INSTANCE, task)
        arguments.update({name: instance[name] for name in ("item", "index", "shard") if name in instance})
    return Raw(encoded(arguments)) if arguments else _NO_ARGUMENTS


def execution_result(state: State) -> bytes:
    """Return the execution's result as JSON: its `output`, or the last task's result, or each last task's by id."""
    output = state.definition.output
    if output is not None:
        return encoded(output.render(scope_for(state, output.references)))
    last = [state.tasks[task_id] for task_id in state.definition.last_tasks]
    if len(last) == 1:
        return result_text(state, last[0])
    return encoded({task.path: Raw(result_text(state, task)) for task in last})
