"""The graph of a workflow as a picture: stages in the direction of reading, the critical path told from the rest."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from podium.workflow.drawing import svg
from podium.workflow.drawing.boxes import Box, Picture, picture_of
from podium.workflow.drawing.layers import Layout, layout
from podium.workflow.model import Workflow
from podium.workflow.plan import ExecutionPlan

_MARGIN = 20.0
_TOP = 70.0  # of the title and the line below it
_HEIGHT = 38.0
_WIDEST = 200.0
_NARROWEST = 56.0
_MOST_LABELLED = 300  # boxes; more are small ones, and the pointer tells what they are
_MOST_IMPLIED = 24  # boxes in a picture that shows implied dependencies too
_SMALL = 9.0
_SCREEN = 1.6  # width by height
_HEADS = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"'
    ' markerUnits="userSpaceOnUse"><path class="head" d="M0,0.5L8,4L0,7.5z"/></marker>'
    '<marker id="stronghead" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" orient="auto"'
    ' markerUnits="userSpaceOnUse"><path class="stronghead" d="M0,0.5L8,4L0,7.5z"/></marker></defs>'
)


def graph_svg(workflow: Workflow, plan: ExecutionPlan) -> str:
    """Return the picture of a workflow and its plan as an SVG document.

    Up to 60 tasks, and 24 abreast, each is a box; of more, those that are alike in a stage are one. Raises
    InvalidInputError for a graph of which no picture would show anything.
    """
    picture = picture_of(workflow, plan)
    drawn = _Drawn(picture)
    head = f"{workflow.name} {workflow.version}"
    facts = _facts(plan)
    shown = [picture.grouped and "tasks that are alike are one box"]
    if picture.implied and not drawn.shows_implied:
        shown.append("dependencies that others imply aren't drawn")
    notes = "; ".join(note for note in shown if note)
    texts = (svg.width_of(head) * 1.2, svg.width_of(facts) * 0.85, svg.width_of(notes) * 0.85)
    width = max(drawn.width, max(texts) + 2 * _MARGIN)
    body = [
        _HEADS,
        svg.text(_MARGIN, 26, head, "title"),
        svg.text(_MARGIN, 44, facts, "small"),
        *drawn.elements,
        *([svg.text(_MARGIN, drawn.height + 2, notes, "small")] if notes else []),
    ]
    return svg.document(width, drawn.height + (14 if notes else 0), f"The graph of {head}", facts, body)


def _facts(plan: ExecutionPlan) -> str:
    parts = [
        f"{plan.task_count:,} tasks" if plan.task_count != 1 else "1 task",
        f"{plan.edge_count:,} dependencies" if plan.edge_count != 1 else "1 dependency",
        f"{plan.depth:,} stages" if plan.depth != 1 else "1 stage",
    ]
    times = f"critical path {svg.seconds_of(plan.estimated_duration)} of {svg.seconds_of(plan.work_seconds)} of work"
    return f"{', '.join(parts)} · {times}"


class _Place(Struct, frozen=True):
    """Where a box is: its middle and its extents."""

    x: float
    y: float
    width: float
    height: float


class _Drawn:
    """The picture's elements, with the stages from left to right, or top down where that fits a screen better."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        boxes = picture.boxes
        self._labelled = len(boxes) <= _MOST_LABELLED
        self.shows_implied = len(boxes) <= _MOST_IMPLIED
        self._edges = picture.edges + (picture.implied if self.shows_implied else [])
        self._widths = [self._width(box) for box in boxes]
        self._heights = [_HEIGHT if self._labelled else _SMALL for _ in boxes]
        self._layers: list[list[int]] = [[] for _ in range(1 + max((box.stage for box in boxes), default=-1))]
        for at, box in enumerate(boxes):
            self._layers[box.stage].append(at)
        self._flows_right = self._fits_better_to_the_right()
        along, across = (self._widths, self._heights) if self._flows_right else (self._heights, self._widths)
        # Names lie side by side without touching; lines need room to turn between the stages.
        gap = (14.0 if self._flows_right else 22.0) if self._labelled else 4.0
        self._between = (64.0 if self._flows_right else 46.0) if self._labelled else 40.0
        found = layout(self._layers, self._edges, across, gap, picture.critical)
        self._begins, self._ends = self._spans(along)
        flow = (self._ends[-1] if self._ends else 0.0) + _MARGIN
        breadth = found.breadth + 2 * _MARGIN
        self.width, self.height = (
            (flow, breadth + _TOP - _MARGIN) if self._flows_right else (breadth, flow + _TOP - _MARGIN)
        )
        self.width += 4  # of the shadows of boxes of many
        self.elements = [*self._lines(found), *self._stage_numbers(), *self._boxes(found)]

    def _width(self, box: Box) -> float:
        if not self._labelled:
            return _SMALL
        text = max(svg.width_of(box.name), svg.width_of(box.below) * 0.85)
        return min(max(text + 18, _NARROWEST), _WIDEST)

    def _fits_better_to_the_right(self) -> bool:
        right = (
            sum(max(self._widths[at] for at in layer) + 64 for layer in self._layers),
            max((sum(self._heights[at] + 14 for at in layer) for layer in self._layers), default=0.0),
        )
        down = (
            max((sum(self._widths[at] + 22 for at in layer) for layer in self._layers), default=0.0),
            len(self._layers) * (_HEIGHT + 46),
        )
        return max(right[0], right[1] * _SCREEN) <= max(down[0], down[1] * _SCREEN)

    def _spans(self, along: list[float]) -> tuple[list[float], list[float]]:
        """Return where each stage begins and ends in the direction of the flow."""
        begins, ends, at = [], [], _MARGIN
        for layer in self._layers:
            extent = max(along[node] for node in layer)
            begins.append(at)
            ends.append(at + extent)
            at += extent + self._between
        return begins, ends

    def _point(self, flow: float, across: float) -> tuple[float, float]:
        top = _TOP - _MARGIN
        return (flow, across + _MARGIN + top) if self._flows_right else (across + _MARGIN, flow + top)

    # --- elements ----------------------------------------------------------------------------------------------

    def _lines(self, found: Layout) -> list[str]:
        implied = frozenset(self._picture.implied)
        drawn = []
        for edge in sorted(self._edges, key=lambda edge: (edge in self._picture.critical, edge)):
            kind = "strongedge" if edge in self._picture.critical else "implied" if edge in implied else "edge"
            head = ' marker-end="url(#stronghead)"' if kind == "strongedge" else ' marker-end="url(#head)"'
            element = svg.path(self._commands(edge, found), kind)
            drawn.append(element.replace("/>", head + "/>") if self._labelled else element)
        return drawn

    def _commands(self, edge: tuple[int, int], found: Layout) -> str:
        """Return the curve of an edge: from one box's end to the other's begin, straight through each stage between."""
        one, other = edge
        first, last = self._picture.boxes[one].stage, self._picture.boxes[other].stage
        half = (self._widths if self._flows_right else self._heights)[one] / 2
        flow, across = (self._begins[first] + self._ends[first]) / 2 + half, found.across[one]
        commands = ["M" + self._shown(flow, across)]
        for level, bend in enumerate(found.bends[edge], first + 1):
            commands.append(self._curve(flow, across, self._begins[level], bend))
            commands.append("L" + self._shown(self._ends[level], bend))
            flow, across = self._ends[level], bend
        half = (self._widths if self._flows_right else self._heights)[other] / 2
        target = (self._begins[last] + self._ends[last]) / 2 - half
        commands.append(self._curve(flow, across, target, found.across[other]))
        return "".join(commands)

    def _curve(self, flow: float, across: float, to_flow: float, to_across: float) -> str:
        middle = (flow + to_flow) / 2
        return f"C{self._shown(middle, across)} {self._shown(middle, to_across)} {self._shown(to_flow, to_across)}"

    def _shown(self, flow: float, across: float) -> str:
        x, y = self._point(flow, across)
        return f"{svg.number(x)},{svg.number(y)}"

    def _stage_numbers(self) -> list[str]:
        if not self._labelled:
            return []
        numbers = []
        for level, (begin, end) in enumerate(zip(self._begins, self._ends, strict=True), 1):
            middle = (begin + end) / 2
            if self._flows_right:
                numbers.append(svg.text(middle, _TOP - 4, str(level), "small", "middle"))
            else:
                numbers.append(svg.text(4, middle + _TOP - _MARGIN + 4, str(level), "small"))
        return numbers

    def _boxes(self, found: Layout) -> list[str]:
        drawn = []
        for at, box in enumerate(self._picture.boxes):
            middle = (self._begins[box.stage] + self._ends[box.stage]) / 2
            x, y = self._point(middle, found.across[at])
            drawn += _box(box, _Place(x, y, self._widths[at], self._heights[at]), self._labelled)
        return drawn


def _box(box: Box, place: _Place, labelled: bool) -> list[str]:
    left, top = place.x - place.width / 2, place.y - place.height / 2
    kind = "strongbox" if box.critical else "spare" if box.spare else "box"
    draw: Callable[..., str] = svg.rect
    if not labelled:
        return [draw(left, top, place.width, place.height, kind, 2, f"{box.name}\n{box.tip}")]
    behind = [draw(left + 4, top + 4, place.width, place.height, kind, 5)] if box.many else []
    room = place.width - 12
    lines = [svg.text(place.x, place.y + (4 if not box.below else -2), svg.fitted(box.name, room), "", "middle")]
    if box.below:
        lines.append(svg.text(place.x, place.y + 13, svg.fitted(box.below, room / 0.85), "small", "middle"))
    return [*behind, draw(left, top, place.width, place.height, kind, 5, f"{box.name}\n{box.tip}"), *lines]
