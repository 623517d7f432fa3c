"""What is shown of executions and definitions: empty states, tables within 80 columns, JSON of every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Here
from tests.cli.support import ID, too_wide

WIDE = """
name: a_workflow_with_a_name_that_is_too_long_for_a_column
tasks:
  - {id: first_task_with_a_long_name, agent: echo, input: {x: "a long text, a long text, a long text, a long text"}}
  - id: second_task_with_a_long_name
    agent: fail
    depends_on: [first_task_with_a_long_name]
    for_each: [1, 2, 3]
    on_failure: continue
    input: {message: "a message of many words that would never fit on a line of eighty columns, as they often are"}
  - {id: third, agent: noop, run_if: all_done, depends_on: [second_task_with_a_long_name]}
"""
PLAN = """
name: planned
agents:
  workers: {type: echo, count: 3}
tasks:
  - {id: split, agent: workers}
  - {id: work, agent: workers, parallel: true, depends_on: [split], resources: {cpu: 2, memory: 1GB}}
  - {id: each, agent: workers, for_each: "${tasks.split.result.parts}", depends_on: [split]}
  - {id: side, agent: workers, depends_on: [split], on_failure: "fallback: spare"}
  - {id: spare, agent: workers}
  - {id: end, agent: workers, depends_on: [work, each]}
metadata:
  durations: {split: 1m, work: 5m, side: 10s}
"""


def test_empty_states_are_said(here: Here) -> None:
    assert here("ps") == "no executions yet; `podium run FILE` starts one\n"
    assert here.json("ps") == []
    assert not (here.folder / ".podium").exists()
    here("run", "noop.yaml")
    assert here("ps", "--status", "failed") == "no executions with status failed\n"
    assert here("logs", "last") == ""
    assert here.err == "nothing was logged\n"
    here("history", "last", "--after", "999")
    assert here.err == "nothing happened after 999\n"


def test_ps_lists_the_newest_first_with_whole_ids(here: Here) -> None:
    here("run", "noop.yaml")
    here("run", "fails.yaml", code=1)
    lines = here("ps").splitlines()
    assert lines[0].split() == ["ID", "WORKFLOW", "STATUS", "DONE", "TIME"]
    assert [line.split()[1:4] for line in lines[1:]] == [["fails", "failed", "0/2"], ["tiny", "completed", "1/1"]]
    assert all(ID.match(line) for line in lines[1:])
    assert [row["workflow"] for row in here.json("ps", "--limit", "1")] == ["fails"]
    assert [row["status"] for row in here.json("ps", "--all", "--status", "completed,failed")] == [
        "failed",
        "completed",
    ]


def test_ps_shows_only_the_last_ended_ones_without_all(here: Here) -> None:
    for _ in range(7):
        here("run", "noop.yaml")
    assert len(here.json("ps")) == 5
    assert len(here.json("ps", "--all")) == 7


def test_an_execution_is_named_by_its_beginning_or_by_last(here: Here) -> None:
    execution = here.json("run", "noop.yaml")["execution_id"]
    for name in (execution, execution[:20], execution.upper(), "last", "-"):
        assert here.json("status", name)["execution_id"] == execution


def test_nothing_wraps_at_80_columns(here: Here) -> None:
    here.write("wide.yaml", WIDE)
    here.write("plan.yaml", PLAN)
    for command in (
        "run wide.yaml", "ps", "status last", "explain last", "history last", "history last --events", "logs last",
        "plan wide.yaml", "plan plan.yaml", "agents wide.yaml", "agents", "doctor", "example list", "resume last",
    ):  # fmt: skip
        lines = here(*command.split()).splitlines()
        assert list(too_wide(lines)) == [], command


def test_no_control_codes_go_into_a_pipe(here: Here) -> None:
    here.write("wide.yaml", WIDE)
    for command in ("run wide.yaml", "ps", "status last", "history last", "validate wide.yaml"):
        assert "\x1b" not in here(*command.split()), command


def test_every_command_prints_one_json_document(here: Here) -> None:
    here.write("plan.yaml", PLAN)
    here("run", "noop.yaml")
    for command in (
        "ps", "status last", "explain last", "plan plan.yaml", "validate noop.yaml plan.yaml", "agents noop.yaml",
        "agents", "doctor", "version", "example list", "resume last", "example copy research copied",
    ):  # fmt: skip
        assert here.json(*command.split()) is not None, command


def test_streams_are_a_document_a_line(here: Here) -> None:
    here("run", "noop.yaml")
    rows = [json.loads(line) for line in here("history", "last", "--json").splitlines()]
    assert [row["input"]["kind"] for row in rows] == ["start", "grant", "succeeded"]
    assert [row["sequence"] for row in rows] == [1, 3, 4]
    assert rows[-1]["events"][-1] == {"event": "execution_completed"}
    assert here("logs", "last", "--json") == ""


def test_history_in_pages(here: Here) -> None:
    here("run", "noop.yaml")
    whole = here("history", "last").splitlines()
    assert len(whole) == 4
    assert "execution started tiny; tasks ready one" in whole[1]
    assert here("history", "last", "--after", "1").splitlines() == [whole[0], *whole[2:]]
    assert here("history", "last", "--limit", "1").splitlines() == whole[:2]


def test_history_with_events_shows_all_that_is_in_them(here: Here) -> None:
    here("run", "noop.yaml")
    out = here("history", "last", "--events")
    assert 'bindings: {"noop":"podium.agents.builtin:Noop"}' in out
    assert 'agent: "noop-1"' in out


def test_status_shows_a_row_a_task_and_the_ending(here: Here) -> None:
    here.write("wide.yaml", WIDE)
    here("run", "wide.yaml")
    lines = here("status", "last").splitlines()
    assert lines[0].startswith("execution ")
    assert lines[2].split() == ["TASK", "STATE", "AGENT", "TRY", "TIME", "NOTE"]
    assert [line.split()[0] for line in lines[3:6]] == [
        "first_task_with_a_long_name",
        "second_task_with_a_long_name",
        "[0]",
    ]
    assert any(line.startswith("completed in") for line in lines)


def test_explain_tells_of_an_ended_task_too(here: Here) -> None:
    here("run", "fails.yaml", code=1)
    assert "wrong (failed): it has ended, after 1 attempt" in here("explain", "last", "wrong")
    assert here("explain", "last").startswith("failed: 0 of 2 done, 1 failed")


def test_plan_for_a_person(here: Here) -> None:
    here.write("plan.yaml", PLAN)
    out = here("plan", "plan.yaml")
    assert "planned 1.0: 6 tasks, 5 dependencies, 3 stages" in out
    assert "work ×3, each ×?, side" in out
    assert "critical path  split → work → end" in out
    assert "only if needed spare" in out
    assert "6 cores, 3,000 MB of memory at its peak" in out
    assert "slack          " in out


def test_plan_as_json_has_what_was_promised(here: Here) -> None:
    here.write("plan.yaml", PLAN)
    document = here.json("plan", "plan.yaml")
    promised = "tasks edges depth critical_path critical_path_seconds work_seconds parallelism_factor stages"
    assert set(promised.split()) <= set(document)
    assert (document["tasks"], document["edges"], document["depth"]) == (6, 5, 3)


def test_validate_lists_every_problem_of_every_file(here: Here) -> None:
    here.write("broken.yaml", "name: broken\ntasks:\n  - id: a\n    agnt: noop\n    depends_on: [c]\n")
    out = here("validate", "broken.yaml", "nix.yaml", "noop.yaml", code=2).splitlines()
    assert out == [
        'broken.yaml:4:5: unknown-field: tasks[0] has no field "agnt"; did you mean "agent"?',
        'broken.yaml:5:18: unknown-dependency: task "a" depends on "c", which is no task',
        "nix.yaml: unreadable: the file can't be read: No such file or directory",
        "noop.yaml: valid: tiny 1.0, 1 task, 0 dependencies",
        "3 problems in 2 files",
    ]
    document = here.json("validate", "broken.yaml", "noop.yaml", code=2)
    assert [file["valid"] for file in document["files"]] == [False, True]
    assert document["files"][0]["problems"][0]["line"] == 4


def test_agents_shows_the_code_behind_types(here: Here) -> None:
    assert "podium.agents.builtin:Noop" in here("agents", "noop.yaml")
    found = here.json("agents", "gated.yaml", "--agents", "ledger.py")
    assert found[0]["type"] == "ledger"
    assert found[0]["functions"] == ["chatter", "gate", "step"]
    assert {"noop", "echo", "sleep", "fail", "shell"} <= {one["type"] for one in here.json("agents")}


def test_examples_are_listed_copied_and_run(here: Here) -> None:
    assert [one["name"] for one in here.json("example", "list")] == ["foreign", "research"]
    assert "run it with: podium run" in here("example", "copy", "research", "mine")
    assert (here.folder / "mine" / "research.yaml").is_file()
    assert here("validate", "mine/research.yaml")
    document = here.json("example", "run", "research")
    assert document["status"] == "completed"
    assert Path(document["result"]["report"]).is_file()


def test_doctor_says_how_the_database_stands(here: Here) -> None:
    assert here.json("doctor")["state"] == "not made yet"
    here("run", "noop.yaml")
    found = here.json("doctor")
    assert (found["owner"], found["unfinished"], found["synchronous"]) == ("nobody", 0, "FULL")
    here.write("text.db", "no database")
    assert "isn't a SQLite database" in here.json("doctor", "--database", "text.db")["state"]


def test_a_narrow_terminal_is_kept_to(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    here("run", "noop.yaml")
    assert max(len(line) for line in here("status", "last").splitlines()) <= 60
