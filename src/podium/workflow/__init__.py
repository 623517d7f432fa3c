"""What is to be done: workflows, tasks, graphs and plans. Pure: no I/O, no clock, no chance.

The room can be called: `@podium.workflow` decorates a function that is a workflow (`podium.workflow.tracing`).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """`podium.workflow` is this package and, called, the decorator of the same name."""

    def __call__(self, function: Any = None, /, **fields: Any) -> Any:
        from podium.workflow.tracing.functions import workflow

        return workflow(**fields) if function is None else workflow(function)


sys.modules[__name__].__class__ = _Room
