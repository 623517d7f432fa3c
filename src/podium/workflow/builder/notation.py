"""Python values in the words of the language, as the tree that its readers take from YAML.

So whatever the language knows can be said in Python by the same name, with the same units and the same complaints;
values of the model (`RetryPolicy`, `ResourceRequirements` …) stand for the blocks that describe them.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping as AnyMapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import Struct

from podium.workflow.model import AgentGroup, InputParameter, Task
from podium.workflow.problems import Path, Problem, Problems, quoted, shown_path
from podium.workflow.reference_rules import MAX_VALUE_DEPTH
from podium.workflow.validation import rule_problems
from podium.workflow.yaml.loader import read_task
from podium.workflow.yaml.nodes import Mapping, Node, Scalar, Sequence
from podium.workflow.yaml.values import Reading

_ELSEWHERE: Final = frozenset(
    {"parallel-without-group", "unknown-agent", "agent-mismatch", "reference-without-dependency"}
)
"""Rules that only the whole workflow can break or keep; so are those that begin with `unknown-` or `undeclared-`."""


class Unsayable(ValueError):
    """A Python value has no words in the language; the sentence says which, its `path` where."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


def node_of(value: Any, path: Path = ()) -> Node:
    """Return a Python value as a node. Raises Unsayable."""
    if len(path) > MAX_VALUE_DEPTH + 8:
        raise Unsayable("it is nested too deeply", path[:1])
    match value:
        case Enum():
            return node_of(value.value, path)
        case None | bool() | int() | float() | str():
            return Scalar(value, _text_of(value), 0, 0)
        case timedelta():
            return node_of(value.total_seconds(), path)
        case datetime():
            return node_of(value.isoformat(), path)
        case AnyMapping():
            return _mapping(value, path)
        case list() | tuple():
            return Sequence([node_of(item, (*path, at)) for at, item in enumerate(value)], 0, 0)
        case Struct() if type(value).__module__ == AgentGroup.__module__:
            return _mapping(_block(value), path)
        case _:
            raise Unsayable(f"a {type(value).__name__} has no place in a workflow", path)


def task_of(task_id: str, fields: AnyMapping[str, Any], problems: Problems) -> Task:
    """Return the task that an id and fields of the language say; note what is wrong with it by itself.

    Its `agent` is left as a name: whether it is a role or a type is known when the workflow is built.
    """
    try:
        node = node_of({"id": task_id} | {_word(name): value for name, value in fields.items()})
    except Unsayable as error:
        problems.add(Problem("not-json", f"task {quoted(task_id)}: {shown_path(error.path)}: {error}", error.path))
        return Task(id=task_id)
    found = Problems()
    read = read_task(Reading("", found), node, ("tasks", 0), None)
    for problem in found.noted():
        problems.add(_about(task_id, problem))
    return read


def _word(name: str) -> str:
    """Return a field's name in the language: `for_` stands for `for`, which Python keeps for itself."""
    return name[:-1] if name.endswith("_") and keyword.iskeyword(name[:-1]) else name


def own_problems(task: Task, problems: Problems) -> None:
    """Note what is wrong with a task by itself, whatever stands around it."""
    from podium.workflow.model import Workflow

    found = Problems()
    rule_problems(Workflow(name="segment", tasks=(task,)), found)
    for problem in found.noted():
        if problem.rule not in _ELSEWHERE and not problem.rule.startswith(("unknown-", "undeclared-")):
            problems.add(problem)


def _about(task_id: str, problem: Problem) -> Problem:
    """Return a problem of the only task under that task's id."""
    return msgspec.structs.replace(problem, message=problem.message.replace("tasks[0]", f"task {quoted(task_id)}"))


def _mapping(value: AnyMapping[Any, Any], path: Path) -> Mapping:
    entries: dict[str, tuple[Scalar, Node]] = {}
    for key, part in value.items():
        if not isinstance(key, str):
            raise Unsayable(f"the key {key!r} is not a text", path)
        entries[key] = (Scalar(key, key, 0, 0), node_of(part, (*path, key)))
    return Mapping(entries, 0, 0)


def _block(value: Struct) -> dict[str, Any]:
    """Return the fields of a block of the model that say something; a name that is its key isn't said again."""
    said = {name: part for name, part in msgspec.structs.asdict(value).items() if part is not None}
    if isinstance(value, (AgentGroup, InputParameter)):
        del said["name"]
    return said


def _text_of(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
