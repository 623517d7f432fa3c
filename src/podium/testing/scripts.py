"""What scripted agents return: by a function's name, or in the shape that the workflow's own expressions ask for.

A result depends on the task's function and its name alone, so that the oracle knows every result beforehand.
"""

from __future__ import annotations

import re
from typing import Any
from zlib import crc32

import msgspec

from podium.engine.state import State
from podium.workflow.model import Task, Workflow

_REFERENCE = re.compile(
    r"""tasks(?:\.(?P<id>\w+)|\[['"](?P<quoted>[^'"]+)['"]\])\.result
    (?P<path>(?:\.[A-Za-z_]\w*(?!\w*\()|\[['"][^'"]+['"]\])*)(?P<after>\s*(?:[<>]=?|[=!]=)\s*-?[\d])?""",
    re.VERBOSE,
)
_STEP = re.compile(r"\.(\w+)|\[['\"]([^'\"]+)['\"]\]")
_ITEMS = 3


def result_of(function: str, task: str) -> bytes:
    """Return the JSON that a simulated function gives for a task.

    `big…` gives more than 4 KiB, `list3` a list of three, `biglist3` one of long texts, `flag…` an object with `ok`
    true or false, anything else an object with the task's name.
    """
    name = function.rstrip("0123456789")
    count = int(function[len(name) :] or 0)
    match name:
        case "list":
            return msgspec.json.encode([{"item": i} for i in range(count)])
        case "biglist":
            return msgspec.json.encode(["x" * 2_000 + str(i) for i in range(count)])
        case "big":
            return msgspec.json.encode({"task": task, "text": "x" * 6_000})
        case "flag":
            return msgspec.json.encode({"ok": crc32(task.encode()) % 2 == 0})
        case _:
            return msgspec.json.encode({"task": task})


class Script:
    """The results of a workflow's tasks, shaped as its expressions read them.

    `for_each: ${tasks.find.result.urls}` makes `find` return an object whose `urls` is a list of three; a comparison
    with a number makes a number, anything else is text.
    """

    def __init__(self, workflow: Workflow | None = None) -> None:
        self._shaped: dict[str, Any] = {}
        for task in workflow.tasks if workflow is not None else ():
            self._read(task)

    def result_of(self, function: str, path: str) -> bytes:
        """Return the JSON that a task, or an instance of one, gives."""
        plain = result_of(function, path)
        shaped = self._shaped.get(path.partition("[")[0])
        if shaped is None or function.rstrip("0123456789") in ("list", "biglist", "big", "flag"):
            return plain
        return msgspec.json.encode({**shaped, "task": path} if isinstance(shaped, dict) else shaped)

    def expected(self, path: str, state: State) -> bytes:
        """Return the result that a task of a simulated execution must have."""
        return self.result_of(state.tasks[path].compiled.function, path)

    def _read(self, task: Task) -> None:
        for_each = task.for_each if isinstance(task.for_each, str) else ""
        for found in _REFERENCE.finditer(for_each):
            self._want(found, [{"item": index} for index in range(_ITEMS)])
        words = msgspec.json.encode(task).decode().replace('\\"', '"')
        for found in _REFERENCE.finditer(words):
            if found["path"]:
                self._want(found, 1 if found["after"] else "text")

    def _want(self, found: re.Match[str], leaf: Any) -> None:
        task = found["id"] or found["quoted"]
        steps = [first or second for first, second in _STEP.findall(found["path"])]
        if not steps:
            self._shaped.setdefault(task, leaf)
            return
        at = self._shaped.setdefault(task, {})
        for step in steps[:-1]:
            at = at.setdefault(step, {}) if isinstance(at, dict) else {}
        if isinstance(at, dict):
            at.setdefault(steps[-1], leaf)
