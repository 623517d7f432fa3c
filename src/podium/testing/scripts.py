"""What scripted agents return: by a function's name, or in the shape that the workflow's own expressions ask for.

A result depends on the task's function and its name alone, so that the oracle knows every result beforehand.
"""

from __future__ import annotations

from zlib import crc32

import msgspec

from podium.engine.expansions import without_growth
from podium.engine.state import State
from podium.simulation.shapes import Shapes
from podium.workflow.model import Workflow

_SHAPELESS = ("list", "biglist", "big", "flag", "growing")  # functions whose name says what they give
_GROWN_BY = "porter"  # the agent of tasks that are added


def result_of(function: str, task: str) -> bytes:
    """Return the JSON that a simulated function gives for a task.

    `big…` gives more than 4 KiB, `list3` a list of three, `biglist3` one of long texts, `flag…` an object with `ok`
    true or false, `growing2` adds two tasks to the graph, anything else gives an object with the task's name.
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
        case "growing" if count:
            own = task.partition("[")[0]
            parts = [{"id": f"{own}_part{i}", "agent": _GROWN_BY, "function": "work"} for i in range(count)]
            return msgspec.json.encode({"$expansion": {"tasks": parts, "result": {"task": task}}})
        case _:
            return msgspec.json.encode({"task": task})


class Script:
    """The results of a workflow's tasks: what a function's name says, else the shape that expressions read."""

    def __init__(self, workflow: Workflow | None = None) -> None:
        self._shapes = Shapes(workflow)

    def result_of(self, function: str, path: str) -> bytes:
        """Return the JSON that a task, or an instance of one, gives."""
        plain = result_of(function, path)
        shaped = self._shapes.of(path)
        if shaped is None or function.rstrip("0123456789") in _SHAPELESS:
            return plain
        return msgspec.json.encode({**shaped, "task": path} if isinstance(shaped, dict) else shaped)

    def expected(self, path: str, state: State) -> bytes:
        """Return the result that a task of a simulated execution must have."""
        return without_growth(self.result_of(state.tasks[path].compiled.function, path))[0]
