"""`podium run FILE --simulate`: what it says, its document, its chart and picture, and how it refuses."""

from __future__ import annotations

import pytest

from podium.cli.chart import FEW, MOST_ROWS, chart
from podium.simulation.schedule import Ran
from tests.cli.support import too_wide
from tests.workflow.wfformat.traces import by_id, text

DIAMOND = """
name: diamond
inputs: {who: {type: string}}
tasks:
  - {id: a, agent: x, estimated_duration: 2s, input: {who: "${input.who}"}}
  - {id: b, agent: x, depends_on: [a], estimated_duration: 3s}
  - {id: c, agent: x, depends_on: [a], estimated_duration: 5s}
  - {id: d, agent: y, depends_on: [b, c]}
"""


@pytest.fixture
def diamond(here):
    return here.write("diamond.yaml", DIAMOND)


def simulated(here, *more: str, code: int = 0) -> str:
    return here("run", "diamond.yaml", "-i", "who=me", "--simulate", *more, code=code)


def test_the_schedule_is_summed_up_and_drawn(here, diamond):
    out = simulated(here, "--agents", "2")
    assert "simulated diamond on 2 agents: completed" in out
    assert "makespan       8.0 s; no schedule of this is shorter than 8.0 s" in out
    assert "work           11 s in 4 attempts" in out
    assert "utilisation    agents 69 %" in out
    assert "held up by     a → c → d" in out
    assert "supposed       1 s for 1 task without an estimated_duration" in out
    bars = [line for line in out.splitlines() if "█" in line]
    assert [line.split()[:2] for line in bars] == [
        ["a", "agent-1"],
        ["b", "agent-1"],
        ["c", "agent-2"],
        ["d", "agent-1"],
    ]
    assert not list(too_wide(out.splitlines()))
    assert not (here.folder / ".podium").exists()  # nothing is kept


def test_the_document_of_json(here, diamond):
    document = here.json("run", "diamond.yaml", "-i", "who=me", "--simulate", "--agents", "1", "--capacity", "cpu=2")
    assert document["makespan_seconds"] == 8
    assert document["utilisation"] == {"cpu": pytest.approx(11 / 16, abs=1e-4)}
    assert [(one["task"], one["start_seconds"]) for one in document["tasks"]] == [
        ("a", 0),
        ("b", 2),
        ("c", 2),
        ("d", 7),
    ]


def test_what_child_workflows_do_is_left_out_and_that_is_said(here):
    inner = "{name: inner, tasks: [{id: x, agent: x}, {id: y, agent: x}]}"
    tasks = f"[{{id: a, agent: x}}, {{id: kid, depends_on: [a], estimated_duration: 3s, workflow: {inner}}}]"
    here.write("parent.yaml", f"name: parent\ntasks: {tasks}\n")
    out = here("run", "parent.yaml", "--simulate")
    assert "work           1.0 s in 1 attempt" in out
    assert "left out       what 1 child workflow would have agents do" in out
    assert here.json("run", "parent.yaml", "--simulate")["left_out"] == ["kid"]


def test_child_workflows_of_items_take_their_time_and_give_what_is_read_of_them(here):
    inner = "{name: inner, tasks: [{id: x, agent: x}]}"
    kids = f"{{id: kids, for_each: [1, 2, 3], max_parallel: 2, estimated_duration: 3s, workflow: {inner}}}"
    kid = f"{{id: kid, estimated_duration: 5s, workflow: {inner}}}"
    last = 'depends_on: [kid, kids], for_each: "${tasks.kid.result.parts}", input: {n: "${len(tasks.kids.result)}"}'
    here.write("parent.yaml", f"name: parent\ntasks: [{kids}, {kid}, {{id: last, agent: x, {last}}}]\n")
    found = here.json("run", "parent.yaml", "--simulate")
    assert [(one["task"], one["start_seconds"]) for one in found["tasks"]] == [
        ("last[0]", 6), ("last[1]", 7), ("last[2]", 8)
    ]  # fmt: skip


def test_without_a_number_the_workflow_says_which_agents(here, diamond):
    assert "agents 50 %" in simulated(here)
    assert "x-1" in here.out
    assert "y-1" in here.out


def test_the_picture_is_written(here, diamond):
    out = simulated(here, "--agents", "2", "--gantt", "picture.svg")
    assert "drawn          picture.svg" in out
    picture = (here.folder / "picture.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert "agent-2" in picture
    assert here.json("run", "diamond.yaml", "-i", "who=me", "--simulate", "--gantt", "p.svg")["gantt"] == "p.svg"
    assert "--gantt no/p.svg can't be written" in here.refused(
        "run", "diamond.yaml", "-i", "who=me", "--simulate", "--gantt", "no/p.svg"
    )


def test_a_pace_is_kept_and_all_is_the_same(here, diamond, monkeypatch):
    at_once = simulated(here, "--agents", "2")
    monkeypatch.setattr("podium.cli.rehearsing._LINE_SECONDS", 0.0)
    assert simulated(here, "--agents", "2", "--speed", "1000") == at_once
    assert "at 2.0 s: 1 done, 0 running" in here.err


def test_a_run_that_fails_says_why_with_its_exit_code(here):
    here.write("late.yaml", "name: late\ntasks:\n  - {id: a, agent: x, estimated_duration: 9s, timeout: 3s}\n")
    out = here("run", "late.yaml", "--simulate", code=1)
    assert "simulated late on 1 agent: failed:" in out
    assert here.json("run", "late.yaml", "--simulate", code=1)["status"] == "failed"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--simulate", "--agents", "module:Name"], "--simulate takes a number of agents, such as --agents 8"),
        (["--simulate", "--agents", "1", "--agents", "2"], "--simulate takes a number of agents"),
        (["--simulate", "--agents", "0"], "0 agents can't be simulated"),
        (["--simulate", "--id", "mine"], "--id names a run that is kept"),
        (["--simulate", "--speed", "0"], "--speed 0: more than 0 is allowed"),
        (["--simulate", "--capacity", "cpu"], "--capacity takes NAME=AMOUNT"),
        (["--speed", "10"], "--speed needs --simulate"),
        (["--gantt", "x.svg"], "--gantt needs --simulate"),
        (["--simulate", "--timeout", "0s"], "--timeout must be longer than nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(here, diamond, options, problem):
    assert problem in here.refused("run", "diamond.yaml", "-i", "who=me", *options)


def test_an_input_that_is_missing_is_missed_here_too(here, diamond):
    assert "who" in here.refused("run", "diamond.yaml", "--simulate")


def test_a_trace_goes_all_the_way_to_its_schedule(here):
    ids = [f"t{at}" for at in range(40)]
    here.write("trace.json", text(by_id(ids, dict.fromkeys(ids[1:], ids[:1]))))
    here("import", "wfformat", "trace.json", "-o", "w.yaml")
    out = here("run", "w.yaml", "--simulate", "--agents", "8", "--capacity", "cpu=4,memory_mb=16384")
    assert "8 agents with 4 cores, 16,384 MB of memory each: completed" in " ".join(out.split())
    assert sum(line.startswith("agent-") for line in out.splitlines()) == 8
    assert not list(too_wide(out.splitlines()))


# --- the chart -------------------------------------------------------------------------------------------------------


def test_nothing_is_drawn_where_nothing_takes_time():
    assert chart([Ran("a", 1, "x-1", 0.0, 0.0, "succeeded")], ["x-1"], 80) == []
    assert chart([], ["x-1"], 80) == []


def test_few_attempts_have_a_row_each_within_the_width():
    ran = [
        Ran("first", 1, "x-1", 0.0, 5.0, "timed out"),
        Ran("first", 2, "x-1", 6.0, 10.0, "succeeded"),
        Ran("instant" * 10, 1, "x-2", 10.0, 10.0, "succeeded"),
    ]
    for columns in (40, 120):
        assert max(map(len, chart(ran, ["x-1", "x-2"], columns))) <= columns
    lines = chart(ran, ["x-1", "x-2"], 80)
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert "first #2" in lines[2]
    assert lines[3].endswith("▏")
    assert "0 s" in lines[0]
    assert lines[0].endswith("10 s")


def test_many_attempts_are_shaded_by_agent_and_many_agents_share_rows():
    agents = [f"agent-{at + 1}" for at in range(100)]
    ran = [Ran(f"t{at}", 1, agents[at % 50], 0.0, 10.0 if at < 50 else 5.0, "succeeded") for at in range(100)]
    lines = chart(ran, agents, 80)
    assert len(ran) > FEW
    assert len(lines) - 1 <= MOST_ROWS
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("agent-1 +3")
    row = lines[1].removeprefix("agent-1 +3").strip()
    assert row[0] == "█"  # two at once, which is the most of each
    assert row[-1] == "▒"
    assert lines[-1].split() == ["agent-97", "+3"]  # nothing to do
