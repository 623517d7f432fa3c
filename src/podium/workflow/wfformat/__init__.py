"""WfFormat, in which WfCommons records real scientific workflows: `read_trace` and the workflow that a trace is."""

from __future__ import annotations

from podium.workflow.wfformat.trace import Trace
from podium.workflow.wfformat.traces import read_trace
from podium.workflow.wfformat.workflows import workflow_of

__all__ = ["Trace", "read_trace", "workflow_of"]
