"""Pictures of workflows as SVG text: their graphs and their schedules. Pure: whoever asked writes the file."""

from podium.workflow.drawing.gantt import Bar, gantt_svg
from podium.workflow.drawing.graph import graph_svg

__all__ = ["Bar", "gantt_svg", "graph_svg"]
