"""The limits by key that hold for a task's attempts, with the keys that its execution's state gives. Pure.

A key is worked out when placement hears of a task, from what never changes afterwards: the input, results of tasks that
have ended, an instance's item. One that can't be, since something is missing in it, is the task's own; its attempt
fails once it is placed, as one does whose arguments can't be made.
"""

from __future__ import annotations

from hashlib import sha256

from podium.engine.bounds import CompiledBound
from podium.engine.scope import BlobMissing, encoded, scope_for
from podium.engine.state import State, TaskState
from podium.exceptions import ExpressionError
from podium.scheduling.ready import Bound

MAX_KEY = 200  # characters of a key; of a longer one the end is a hash


def bounds_of(state: State, task: TaskState) -> tuple[Bound, ...]:
    """Return the limits that hold for a task's attempts."""
    return tuple(_worked_out(each, state, task) for each in task.compiled.bounds)


def check_keys(state: State, task: TaskState) -> None:
    """Raise ExpressionError or TypeError when a key can't be worked out, BlobMissing when its values aren't at hand."""
    for each in task.compiled.bounds:
        _key(each, state, task)


def _worked_out(compiled: CompiledBound, state: State, task: TaskState) -> Bound:
    try:
        key = _key(compiled, state, task)
    except (ExpressionError, TypeError, BlobMissing, RecursionError):
        key = compiled.own_key
    return Bound(key, compiled.limit, compiled.per_us, state.tenant)


def _key(compiled: CompiledBound, state: State, task: TaskState) -> str:
    template = compiled.key
    if template is None:
        return compiled.own_key
    key = template.render({} if template.constant else scope_for(state, template.references, task))
    text = key if isinstance(key, str) else encoded(key).decode()
    return text if len(text) <= MAX_KEY else f"{text[: MAX_KEY - 20]}…{sha256(text.encode()).hexdigest()[:16]}"
