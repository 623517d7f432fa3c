"""Workflows written as Python functions: the function is called once, with values that stand for what isn't known yet.

A call of an agent's function records a task; a value that is handed on makes a dependency; attributes, items, operators
and f-strings on it make `${…}`. What a workflow can't say is refused by name, with file and line: nothing is guessed.
"""

from podium.workflow.tracing.functions import WorkflowFunction, workflow
from podium.workflow.tracing.phrases import each, using, when

__all__ = ["WorkflowFunction", "each", "using", "when", "workflow"]
