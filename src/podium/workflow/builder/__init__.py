"""Workflows in Python: `Segment` is a part of one, `WorkflowBuilder` a whole one on its way to a `Workflow`.

Both never change: each call returns a new value. They say what the YAML language says, by the same names.
"""

from podium.workflow.builder.segment import Segment
from podium.workflow.builder.whole import WorkflowBuilder

__all__ = ["Segment", "WorkflowBuilder"]
