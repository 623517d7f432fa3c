"""The pictures of docs/plan.md are what `podium plan` draws of the workflow on the page."""

from __future__ import annotations

from podium.cli.planning import schedule_svg
from podium.scheduling.planner import schedule
from podium.workflow.drawing import graph_svg
from podium.workflow.plan import plan
from podium.workflow.yaml import load_workflow
from tests.docs_pages.markdown import ROOT, page


def test_the_pictures_on_the_page_are_those_of_its_workflow():
    text = page("plan.md").partition("```yaml file=market.yaml\n")[2].partition("```")[0]
    workflow = load_workflow(text)
    folder = ROOT / "docs" / "plan"
    assert (folder / "graph.svg").read_text(encoding="utf-8") == graph_svg(workflow, plan(workflow))
    on_two = schedule(workflow, 2, {"cpu": 4, "memory": 16_000})
    assert (folder / "gantt.svg").read_text(encoding="utf-8") == schedule_svg(workflow, on_two, 2)
