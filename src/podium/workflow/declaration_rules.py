"""The rules of what a workflow declares: the bounds of its inputs, its secrets, variables, caches and compensations.

References in their texts are `reference_rules`'s; here it is names, ranges and what contradicts itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from podium.workflow.inputs import misfit
from podium.workflow.model import Compensation, FailureAction, InputParameter, Task, Workflow
from podium.workflow.patterns import MAX_MATCHED, pattern_of
from podium.workflow.problems import Path, Problem, Problems, quoted
from podium.workflow.variables import steers_programs

MAX_SECRETS: Final = 1_000
MAX_VARIABLES: Final = 1_000  # of one role
MAX_VARIABLE: Final = 10_000  # characters of a variable's value
MAX_CHOICES: Final = 1_000  # values of an input's enum
MAX_PATTERNS: Final = 100  # of the inputs of one workflow
MAX_PLACES: Final = 1_000  # of all of them: each character of a text costs its pattern's places at most
MAX_TTL: Final = 10 * 366 * 86_400.0  # ten years

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}", re.ASCII)
_FILE: Final = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,255}(?:/(?!\.)[A-Za-z0-9._-]{1,255}){0,8}", re.ASCII)
_OWN: Final = "PODIUM_"
_OF_SECRETS: Final = "PODIUM_SECRET_"
_MEASURED: Final = frozenset({"integer", "number", "string", "array"})


def check_bounds(parameter: InputParameter, problems: Problems) -> None:
    """Note what is wrong with an input's `enum`, `minimum`, `maximum` and `pattern`, and a default that they refuse."""
    path: Path = ("inputs", parameter.name)
    what = f"the input {quoted(parameter.name)}"
    for bound in ("minimum", "maximum"):
        if getattr(parameter, bound) is not None and parameter.type not in _MEASURED:
            message = f"{what} is of type {parameter.type}, which has no {bound}"
            problems.add(Problem("wrong-bound", message, (*path, bound), "of integer, number, string, array"))
    least, most = parameter.minimum, parameter.maximum
    if least is not None and most is not None and least > most:
        message = f"{what}: the minimum {least:g} is above the maximum {most:g}"
        problems.add(Problem("wrong-bound", message, (*path, "minimum")))
    if parameter.pattern and (why := _pattern_problem(parameter)):
        problems.add(Problem("wrong-pattern", f"{what} {why}", (*path, "pattern")))
        return
    if len(parameter.enum) > MAX_CHOICES:
        message = f"{what} has {len(parameter.enum):,} values in its enum; at most {MAX_CHOICES:,} are allowed"
        problems.add(Problem("too-many-names", message, (*path, "enum")))
        return
    if parameter.pattern and sum(len(choice) for choice in parameter.enum if isinstance(choice, str)) > MAX_MATCHED:
        message = f"{what} has more than {MAX_MATCHED:,} characters in its enum, too many beside a pattern"
        problems.add(Problem("too-many-names", message, (*path, "enum")))
        return
    for at, choice in enumerate(parameter.enum):
        if why := misfit(parameter, choice, of_enum=False):
            problems.add(Problem("wrong-bound", f"{what}: a value of its enum {why}", (*path, "enum", at)))
    if parameter.default is not None and (why := misfit(parameter, parameter.default)):
        problems.add(Problem("wrong-default", f"the default of {what} {why}", (*path, "default")))


def _pattern_problem(parameter: InputParameter) -> str:
    if parameter.type != "string":
        return f"is of type {parameter.type}; only a string has a pattern"
    try:
        pattern_of(parameter.pattern)
    except ValueError as error:
        return f"has a pattern that can't be used: {error}"
    return ""


def _places(pattern: str) -> int:
    try:
        return pattern_of(pattern).places
    except ValueError:
        return 0  # that is told of the input


def check_declarations(workflow: Workflow, problems: Problems) -> None:
    """Note what is wrong with secrets, variables, caches and compensations."""
    patterns = [parameter.pattern for parameter in workflow.inputs if parameter.pattern]
    if len(patterns) > MAX_PATTERNS:
        message = f"{len(patterns):,} inputs have patterns; at most {MAX_PATTERNS:,} may"
        problems.add(Problem("too-many-names", message, ("inputs",)))
    elif (places := sum(_places(pattern) for pattern in patterns)) > MAX_PLACES:
        message = f"the patterns of the inputs have {places:,} characters together, those that repeat counted each time"
        problems.add(Problem("too-many-names", message, ("inputs",), f"at most {MAX_PLACES:,}"))
    _check_secrets(workflow, problems)
    for role, group in workflow.agents.items():
        _check_variables(role, group.env, problems)
    known: dict[str, Task] | None = None
    undone: dict[str, str] = {}
    for at, task in enumerate(workflow.tasks):
        if task.cache is not None:
            _check_cache(task, ("tasks", at, "cache"), problems)
        if task.compensation is not None:
            known = known if known is not None else {task.id: task for task in workflow.tasks}
            _check_compensation(workflow, task, task.compensation, known, ("tasks", at, "compensation"), problems)
            if task.compensation.task in known:
                undone.setdefault(task.compensation.task, task.id)
    if undone:
        _check_undoing(workflow, undone, problems)


def _check_secrets(workflow: Workflow, problems: Problems) -> None:
    if len(workflow.secrets) > MAX_SECRETS:
        message = f"there are {len(workflow.secrets):,} secrets; at most {MAX_SECRETS:,} are allowed"
        problems.add(Problem("too-many-names", message, ("secrets",)))
        return
    names: set[str] = set()
    for secret in workflow.secrets:
        path: Path = ("secrets", secret.name)
        what = f"the secret {quoted(secret.name)}"
        if not _NAME.fullmatch(secret.name):
            problems.add(
                Problem("id-form", f"{what} can't be called so", path, "letters, digits and _, a letter first")
            )
        if secret.name in names:
            problems.add(Problem("duplicate-id", f"{what} is declared twice", path))
        names.add(secret.name)
        if secret.env and secret.file:
            message = f"{what} is looked for in two places: a variable and a file"
            problems.add(Problem("given-twice", message, (*path, "file"), "keep one of the two"))
        if secret.env and not _VARIABLE.fullmatch(secret.env):
            message = f"{what}: no variable can be called {quoted(secret.env)}"
            problems.add(Problem("id-form", message, (*path, "env"), "letters, digits and _"))
        elif secret.env.startswith(_OWN) and not secret.env.startswith(_OF_SECRETS):
            message = f"{what}: {secret.env} is Podium's own"
            problems.add(Problem("wrong-value", message, (*path, "env"), f"{_OF_SECRETS}… are for secrets"))
        if secret.file and not _FILE.fullmatch(secret.file):
            message = f"{what}: {quoted(secret.file)} is no name of a file in the folder of secrets"
            problems.add(
                Problem("wrong-value", message, (*path, "file"), "write it without a leading / and without ..")
            )


def _check_variables(role: str, env: dict[str, str], problems: Problems) -> None:
    path: Path = ("agents", role, "env")
    if len(env) > MAX_VARIABLES:
        message = f"the role {quoted(role)} has {len(env):,} variables; at most {MAX_VARIABLES:,} are allowed"
        problems.add(Problem("too-many-names", message, path))
        return
    for name, value in env.items():
        what = f"the role {quoted(role)}: the variable {quoted(name)}"
        if not _VARIABLE.fullmatch(name):
            problems.add(Problem("id-form", f"{what} can't be called so", (*path, name), "letters, digits and _"))
        elif name.startswith(_OWN):
            problems.add(Problem("wrong-value", f"{what} is Podium's own", (*path, name), "give it another name"))
        elif steers_programs(name):
            message = f"{what} would say which code runs there"
            problems.add(Problem("wrong-value", message, (*path, name), "set it where the agent is started"))
        if "\0" in value:
            problems.add(Problem("control-character", f"{what} has a NUL in it", (*path, name)))
        elif len(value) > MAX_VARIABLE:
            message = f"{what} has {len(value):,} characters; at most {MAX_VARIABLE:,} are allowed"
            problems.add(Problem("too-long", message, (*path, name)))


def _check_cache(task: Task, path: Path, problems: Problems) -> None:
    assert task.cache is not None
    if not task.cache.key.strip():
        problems.add(Problem("empty-text", f"task {quoted(task.id)}: the cache's key is empty", (*path, "key")))
    ttl = task.cache.ttl_seconds
    if ttl is not None and not 0 < ttl <= MAX_TTL:
        message = f"task {quoted(task.id)}: the cache's ttl is {ttl:g} seconds; more than 0, at most ten years"
        problems.add(Problem("out-of-range", message, (*path, "ttl_seconds")))


def _check_compensation(
    workflow: Workflow, task: Task, undo: Compensation, known: Collection[str], path: Path, problems: Problems
) -> None:
    what = f"task {quoted(task.id)}: its compensation"
    called = undo.agent or undo.agent_type or undo.function or undo.payload is not None or undo.timeout is not None
    if undo.task is not None:
        if called:
            message = f"{what} names a task, which says for itself by whom and with what it is done"
            problems.add(Problem("given-twice", message, path, "keep the task alone, or leave it out"))
        if undo.task == task.id:
            problems.add(Problem("compensation", f"{what} is the task itself", path))
        elif undo.task not in known:
            message = f"{what} {quoted(undo.task)} is no task"
            problems.add(Problem("unknown-task", message, path, problems.suggest(undo.task, known)))
        return
    if not undo.agent and not undo.agent_type:
        problems.add(Problem("missing-agent", f"{what} has no agent", path, "write agent: a role, or agent_type: …"))
    elif undo.agent and undo.agent not in workflow.agents:
        hint = problems.suggest(undo.agent, workflow.agents) or "declare it under agents, or write agent_type"
        problems.add(Problem("unknown-agent", f"{what}: there is no agent role {quoted(undo.agent)}", path, hint))
    if undo.timeout is not None and not 0 < undo.timeout <= MAX_TTL:
        message = f"{what} has a timeout of {undo.timeout:g} seconds; more than 0, at most ten years are allowed"
        problems.add(Problem("out-of-range", message, (*path, "timeout")))


def _check_undoing(workflow: Workflow, undone: dict[str, str], problems: Problems) -> None:
    """A task that undoes another one runs only for that: nothing else may count on it."""
    fallbacks = {t.on_failure.task for t in workflow.tasks if t.on_failure.action is FailureAction.FALLBACK}
    for at, task in enumerate(workflow.tasks):
        if task.id in undone and task.id in fallbacks:
            message = f"task {quoted(task.id)} compensates {quoted(undone[task.id])}, and is a fallback too"
            problems.add(Problem("compensation", message, ("tasks", at), "give each a task of its own"))
        if task.id in undone and task.compensation is not None:
            message = f"task {quoted(task.id)} compensates {quoted(undone[task.id])}, and can't be compensated itself"
            problems.add(Problem("compensation", message, ("tasks", at, "compensation")))
        waits = next((name for name in task.dependencies if name in undone), None)
        if waits is not None:
            message = (
                f"task {quoted(task.id)} depends on {quoted(waits)}, which only compensates {quoted(undone[waits])}"
            )
            problems.add(Problem("compensation", message, ("tasks", at, "dependencies")))
