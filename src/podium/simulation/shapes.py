"""What simulated tasks return: values in the shape that the workflow's own expressions ask for.

`for_each: ${tasks.find.result.urls}` makes `find` return an object whose `urls` is a list of three; a comparison with a
number makes a number, anything else is text. Nothing here depends on chance.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from podium.workflow.model import Task, Workflow

ITEMS = 3
"""So many items has a list that a `for_each` runs over."""

_REFERENCE = re.compile(
    r"""tasks(?:\.(?P<id>\w+)|\[['"](?P<quoted>[^'"]+)['"]\])\.result
    (?P<path>(?:\.[A-Za-z_]\w*(?!\w*\()|\[['"][^'"]+['"]\])*)(?P<after>\s*(?:[<>]=?|[=!]=)\s*-?[\d])?""",
    re.VERBOSE,
)
_STEP = re.compile(r"\.(\w+)|\[['\"]([^'\"]+)['\"]\]")


class Shapes:
    """The shapes of a workflow's results, by the id of the task that gives them."""

    def __init__(self, workflow: Workflow | None = None) -> None:
        self._shaped: dict[str, Any] = {}
        for task in workflow.tasks if workflow is not None else ():
            self._read(task)

    def of(self, path: str) -> Any:
        """Return the value whose shape the result of a task, or of an instance, must have; None if any will do."""
        return self._shaped.get(path.partition("[")[0])

    def _read(self, task: Task) -> None:
        for_each = task.for_each if isinstance(task.for_each, str) else ""
        for found in _REFERENCE.finditer(for_each):
            self._want(found, [{"item": index} for index in range(ITEMS)])
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
