"""`podium plan` schedules on what there is, and draws what it foresees."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.cli.conftest import Here

DIAMOND = """
name: diamond
tasks:
  - {id: begin, agent: noop, estimated_duration: 2s}
  - {id: left, agent: noop, estimated_duration: 30s, depends_on: [begin], resources: {cpu: 2, memory: 4GB}}
  - {id: right, agent: noop, estimated_duration: 20s, depends_on: [begin], resources: {cpu: 2, memory: 4GB}}
  - {id: end, agent: noop, estimated_duration: 1m, depends_on: [left, right]}
"""


def test_a_schedule_is_told_in_eighty_columns(here: Here) -> None:
    here.write("diamond.yaml", DIAMOND)
    assert "scheduled" not in here("plan", "diamond.yaml")
    out = here("plan", "diamond.yaml", "--agents", "1", "--capacity", "cpu=3,memory=16GB,licences=2")
    assert max(map(len, out.splitlines())) <= 80
    told = " ".join(out.split())
    assert "scheduled on 1 agent with 3 cores, 16,000 MB of memory, 2 licences each: 1 m 52 s, in use cpu 48%," in told
    assert "at least 1 m 32 s in whatever order" in told
    assert "held up by begin → left → right → end" in told
    told = " ".join(here("plan", "diamond.yaml", "--gantt", "g.svg").split())
    assert "scheduled on as many agents as it can use, 2: 1 m 32 s, in use agents 61%" in told


def test_a_schedule_is_part_of_the_json_document(here: Here) -> None:
    here.write("diamond.yaml", DIAMOND)
    assert "schedule" not in here.json("plan", "diamond.yaml")
    found = here.json("plan", "diamond.yaml", "--agents", "1")["schedule"]
    assert found["makespan_seconds"] == 112
    assert found["tasks"][0] == {"task": "begin", "agent": "agent-1", "start_seconds": 0.0, "end_seconds": 2.0}


def test_the_graph_and_the_schedule_are_drawn(here: Here) -> None:
    here.write("diamond.yaml", DIAMOND)
    out = here("plan", "diamond.yaml", "--svg", "graph.svg", "--gantt", "gantt.svg", "--agents", "2")
    assert out.splitlines()[-1] == "drawn          graph.svg, gantt.svg"
    for name in ("graph.svg", "gantt.svg"):
        picture = ET.fromstring((here.folder / name).read_text(encoding="utf-8"))
        said = ["".join(text.itertext()) for text in picture.iter("{http://www.w3.org/2000/svg}text")]
        assert {"diamond 1.0", "begin" if name == "graph.svg" else "left", "end"} <= set(said)


def test_what_cant_be_drawn_or_scheduled_is_said(here: Here) -> None:
    here.write("diamond.yaml", DIAMOND)
    here.write("wide.yaml", "name: wide\ntasks:\n  - {id: a, agent: noop, for_each: " + str([0] * 1_001) + "}\n")
    for arguments, says in [
        (("--capacity", "cpu=1"), "'left' needs 2 cpu_cores, and an agent has 1"),
        (("--svg", "nowhere/graph.svg"), "nowhere/graph.svg can't be written: No such file or directory"),
        (("--svg", "same.svg", "--gantt", "same.svg"), "--svg and --gantt both name same.svg"),
        (("--capacity", "cpu"), "--capacity takes NAME=AMOUNT"),
        (("--agents", "0"), "'--agents': Input should be greater than or equal to 1"),
    ]:
        assert says in here.refused("plan", "diamond.yaml", *arguments)
    assert "a picture with 1,001 rows would show nothing, 1,000 at most" in here.refused(
        "plan", "wide.yaml", "--gantt", "g.svg"
    )
    assert not (here.folder / "g.svg").exists()


def test_what_undoes_a_task_and_which_secrets_are_wanted_is_shown(here):
    here.write(
        "w.yaml",
        """
name: travel
secrets: [token, other]
tasks:
  - {id: book, agent: echo, compensation: cancel, input: {token: "${secret.token}"}}
  - {id: cancel, agent: echo, depends_on: [book]}
  - {id: pay, agent: echo, depends_on: [book], compensation: {agent: echo, function: refund}}
""",
    )
    shown = here("plan", "w.yaml")
    assert "only if needed cancel" in shown
    assert "undone         book by cancel, pay by refund (echo)" in shown
    assert "secrets        token, other" in shown
    document = here.json("plan", "w.yaml")
    assert document["compensations"] == {"book": "cancel", "pay": "refund (echo)"}
    assert document["secrets"] == ["token", "other"]
    assert document["fallbacks"] == ["cancel"]
