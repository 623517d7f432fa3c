"""Tasks written as plain values, in the words of the YAML language: what a running task adds to its graph.

`read_additions` reads them with the tables that files are read with, `written_task` writes one. Nothing is validated
beyond the form of the values: what names mean depends on the execution.
"""

from __future__ import annotations

from typing import Any, Final

from podium.workflow.model import Task, Workflow
from podium.workflow.problems import Problems, raise_problems
from podium.workflow.reference_rules import json_problem
from podium.workflow.yaml.dumper import task_block
from podium.workflow.yaml.loader import read_task
from podium.workflow.yaml.nodes import Mapping, Node, Scalar, Sequence
from podium.workflow.yaml.values import INVALID, Reading, texts

_WORDS: Final = {None: "null", True: "true", False: "false"}
_ALONE: Final = Workflow(name="added")


def read_additions(tasks: Any, dependencies: Any) -> tuple[tuple[Task, ...], dict[str, tuple[str, ...]]]:
    """Return tasks, and which tasks wait for which besides, from plain values; agents stay as they are written.

    Raises WorkflowInvalidError with everything that is wrong.
    """
    problems = Problems()
    for value, path in ((tasks, ("tasks",)), (dependencies, ("dependencies",))):
        if found := json_problem(value, path):
            problems.add(found)
    if len(problems):
        raise_problems(problems.listed())
    reading = Reading("", problems)
    read = _tasks(reading, _node_of(tasks))
    waits = _dependencies(reading, _node_of(dependencies))
    if len(problems):
        raise_problems(problems.listed())
    return read, waits


def written_task(task: Task) -> dict[str, Any]:
    """Return a task as plain values that `read_additions` reads."""
    return task_block(_ALONE, task)


def _tasks(reading: Reading, node: Node) -> tuple[Task, ...]:
    match node:
        case Scalar(value=None):
            return ()
        case Sequence(items):
            return tuple(read_task(reading, item, ("tasks", at), None) for at, item in enumerate(items))
        case Mapping(entries):
            return tuple(
                read_task(reading, item, ("tasks", at), None, key) for at, (key, item) in enumerate(entries.values())
            )
    reading.wrong_type("a list of tasks", node, ("tasks",), "write tasks: [{id: …, agent: …}]")
    return ()


def _dependencies(reading: Reading, node: Node) -> dict[str, tuple[str, ...]]:
    if isinstance(node, Scalar) and node.value is None:
        return {}
    if not isinstance(node, Mapping):
        reading.wrong_type("a mapping of tasks to lists of tasks", node, ("dependencies",))
        return {}
    read = {name: texts(reading, value, ("dependencies", name)) for name, (_, value) in node.entries.items()}
    return {name: waits for name, waits in read.items() if waits is not INVALID}


def _node_of(value: Any) -> Node:
    """Return a plain value as the reader would have it from a text; its depth is bounded already."""
    if isinstance(value, dict):
        return Mapping({key: (Scalar(key, key, 0, 0), _node_of(part)) for key, part in value.items()}, 0, 0)
    if isinstance(value, (list, tuple)):
        return Sequence([_node_of(part) for part in value], 0, 0)
    text = _WORDS[value] if value is None or isinstance(value, bool) else str(value)
    return Scalar(value, text, 0, 0)
