"""The picture of a graph shows every task and dependency, and stays one that can be looked at however large it is."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.exceptions import InvalidInputError
from podium.workflow.drawing import graph_svg
from podium.workflow.drawing.boxes import picture_of
from podium.workflow.model import AgentGroup, FailureAction, OnFailure, Task, Workflow
from podium.workflow.plan import plan
from tests.workflow.cpu_time import cpu_seconds
from tests.workflow.test_graph import FIGURES, acyclic, read_trace

SVG = "{http://www.w3.org/2000/svg}"


def workflow_of(*tasks: Task, **more) -> Workflow:
    return Workflow(name="w", tasks=tasks, **more)


def drawn(workflow: Workflow, durations: dict[str, float] | None = None) -> ET.Element:
    return ET.fromstring(graph_svg(workflow, plan(workflow, durations)))


def texts(picture: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]


def boxes(picture: ET.Element) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each box that tells something."""
    found = []
    for rect in picture.iter(f"{SVG}rect"):
        if rect.find(f"{SVG}title") is not None:
            x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
            found.append((x, y, x + width, y + height))
    return found


def kinds(picture: ET.Element, tag: str) -> list[str]:
    return [element.attrib.get("class", "") for element in picture.iter(f"{SVG}{tag}")]


@settings(deadline=None)
@given(acyclic())
def test_boxes_never_touch_and_lie_within_the_picture(made):
    ids, dependencies = made
    picture = drawn(workflow_of(*(Task(id=task, dependencies=tuple(dependencies[task])) for task in ids)))
    found = boxes(picture)
    assert len(found) == len(ids)
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for at, (left, top, right, bottom) in enumerate(found):
        assert left >= 0
        assert top >= 50
        assert right <= width
        assert bottom <= height
        for other in found[:at]:
            assert left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]
    lines = [kind for kind in kinds(picture, "path") if kind.endswith("edge") or kind == "implied"]
    assert len(lines) == sum(map(len, dependencies.values()))
    numbers = re.findall(r"-?[\d.]+", " ".join(path.attrib["d"] for path in picture.iter(f"{SVG}path")))
    assert all(-10 <= float(number) <= max(width, height) for number in numbers)


def test_names_times_roles_and_the_critical_path_are_told():
    workflow = workflow_of(
        Task(id="ask", agent="boss", estimated_duration=2),
        Task(id="look", agent="crew", parallel=True, dependencies=("ask",), estimated_duration=65),
        Task(id="rest", agent="crew", dependencies=("ask",), on_failure=OnFailure(FailureAction.FALLBACK, "spare")),
        Task(id="spare", agent="boss"),
        Task(id="tell", agent="boss", dependencies=("look", "rest", "ask")),
        agents={"boss": AgentGroup(name="boss", type="a"), "crew": AgentGroup(name="crew", type="b", count=3)},
    )
    picture = drawn(workflow)
    said = texts(picture)
    assert {"w 1.0", "ask", "2 s · boss", "look", "×3 · 1 m 5 s · crew", "if rest fails · boss", "tell"} <= set(said)
    assert "5 tasks, 5 dependencies, 3 stages · critical path 1 m 8 s of 3 m 19 s of work" in said
    assert sorted(kinds(picture, "rect")).count("strongbox") == 4  # look is one of many: it has another behind it
    assert kinds(picture, "path").count("strongedge") == 2
    assert kinds(picture, "path").count("implied") == 1
    assert kinds(picture, "rect").count("spare") == 1
    tips = ["".join(tip.itertext()) for tip in picture.iter(f"{SVG}title")]
    assert "look\nlook\nstage 2\n1 m 5 s\ncritical: look" in tips
    assert any("slack 1 m 4 s" in tip for tip in tips)


@pytest.mark.parametrize(
    "name", ["<script>alert('&')</script>", "a\x00b\x1b[2J\ud800", "日本語の" * 30, "x" * 500, '"']
)
def test_a_name_is_only_ever_text(name):
    picture = drawn(workflow_of(Task(id="t", name=name)))
    assert all(element.tag != f"{SVG}script" for element in picture.iter())
    left, _, right, _ = boxes(picture)[0]
    assert right - left <= 200


def test_both_schemes_are_there_and_nothing_is_loaded_from_elsewhere():
    text = graph_svg(workflow_of(Task(id="a")), plan(workflow_of(Task(id="a"))))
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"https?://[^\s\"']+", text) == ["http://www.w3.org/2000/svg"]


def test_an_empty_workflow_is_a_picture_too():
    assert "0 tasks, 0 dependencies, 0 stages · critical path 0 s of 0 s of work" in texts(drawn(workflow_of()))


@settings(deadline=None)
@given(st.integers(1, 400))
def test_many_tasks_that_are_alike_are_one_box(count):
    tasks = [Task(id=f"part_ID{n:05}", dependencies=("begin",)) for n in range(count)]
    workflow = workflow_of(Task(id="begin"), *tasks, Task(id="end", dependencies=tuple(task.id for task in tasks)))
    picture = picture_of(workflow, plan(workflow))
    if count <= 24:
        assert len(picture.boxes) == count + 2
    else:
        assert [(box.name, box.tasks) for box in picture.boxes] == [("begin", 1), ("part", count), ("end", 1)]
        assert picture.edges == [(0, 1), (1, 2)]
        assert picture.grouped


@pytest.mark.parametrize(
    ("name", "boxes_at_most"),
    [
        ("blast-chameleon-small-001", 4),
        ("soykb-chameleon-20fastq-10ch-001", 14),
        ("airrflow-dirt02-001", 36),
        ("1000genome-chameleon-10ch-100k-001", 5),
        ("epigenomics-chameleon-ilmn-2seq-100k-001", 15),
        ("montage-chameleon-2mass-04d-001", 8),
    ],
)
def test_real_workflows_are_pictures_that_fit_a_page(name, boxes_at_most):
    assert name in FIGURES
    dependencies, runtimes = read_trace(name)
    workflow = workflow_of(*(Task(id=task, dependencies=tuple(before)) for task, before in dependencies.items()))
    picture = drawn(workflow, runtimes)
    assert len(boxes(picture)) <= boxes_at_most
    assert "tasks that are alike are one box" in " ".join(texts(picture))
    assert float(picture.attrib["width"]) < 1_500
    assert float(picture.attrib["height"]) < 2_300


def test_hundreds_of_different_tasks_are_small_boxes_and_too_many_stages_are_refused():
    tasks = [
        Task(id=f"{n}x", agent_type=f"type {n % 7}", dependencies=(f"{n - 4}x",) if n > 3 else ()) for n in range(400)
    ]
    picture = drawn(workflow_of(*tasks))
    assert len(boxes(picture)) == 400
    assert not any("x" in text for text in texts(picture)[2:])
    chain = [Task(id=f"t{n}", dependencies=(f"t{n - 1}",) if n else ()) for n in range(2_001)]
    with pytest.raises(InvalidInputError, match="2,001 stages"):
        drawn(workflow_of(*chain))


def test_thousands_of_tasks_are_drawn_quickly():
    tasks = [
        Task(
            id=f"{'abcdefgh'[n % 8]}{n}x",
            dependencies=tuple(f"{'abcdefgh'[b % 8]}{b}x" for b in (n - 90, n - 300) if b >= 0),
        )
        for n in range(1_900)
    ]
    workflow = workflow_of(*tasks)
    foreseen = plan(workflow)
    assert cpu_seconds(lambda: graph_svg(workflow, foreseen), times=1) < 2
