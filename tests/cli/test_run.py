"""`podium run` where it isn't watched on a terminal: lines, the last words, JSON, exit codes."""

from __future__ import annotations

import json

from tests.cli.conftest import Here
from tests.cli.support import ID, Shell

ECHO = """
name: echoing
inputs:
  text: {type: string, default: nothing}
  number: {type: integer, default: 0}
tasks:
  - {id: say, agent: echo, input: {text: "${input.text}", number: "${input.number}"}}
"""
REPORT = "name: reporting\ntasks:\n  - {id: write, agent: echo, input: {report: reports/x.md, pages: 3}}\n"
PARTIAL = """
name: partly
tasks:
  - {id: wrong, agent: fail, on_failure: continue, input: {message: no luck}}
  - {id: right, agent: echo, input: {ok: true}}
"""
FALLBACK = """
name: saved
tasks:
  - {id: wrong, agent: fail, on_failure: "fallback: spare", input: {message: no luck}}
  - {id: spare, agent: echo, input: {ok: true}}
  - {id: never, agent: noop, when: "False", depends_on: [wrong]}
"""


def test_a_run_says_its_id_first_then_each_change_then_how_it_ended(here: Here) -> None:
    out = here("run", "noop.yaml").splitlines()
    execution = ID.search(here.err.splitlines()[0])
    assert execution is not None
    assert here.err == f"execution {execution.group()} of tiny\n"
    assert out[0].endswith("one               running on noop-1")
    assert "one               completed in" in out[1]
    assert out[2].startswith("completed in ")
    assert out[-1] == f"  execution  {execution.group()}"


def test_a_failed_run_ends_with_1_and_says_why_and_what_next(here: Here) -> None:
    out = here("run", "fails.yaml", code=1)
    assert "wrong             attempt 1 failed: AgentError: no luck" in out
    assert "failed in" in out
    assert "  error      AgentError: no luck" in out
    assert "podium retry " in out


def test_with_json_there_is_one_document_and_the_id_beside_it(here: Here) -> None:
    document = here.json("run", "noop.yaml")
    assert document["status"] == "completed"
    assert document["tasks"]["one"] | {"duration_seconds": 0} == {
        "status": "completed", "result": None, "error": None, "attempts": 1, "agent": "noop-1", "duration_seconds": 0,
    }  # fmt: skip
    assert here.err == f"execution {document['execution_id']} of tiny\n"
    failed = here.json("run", "fails.yaml", code=1)
    assert (failed["status"], failed["result"]) == ("failed", None)
    assert failed["error"].endswith("no luck")


def test_what_a_task_prints_does_not_spoil_the_document(shell: Shell) -> None:
    (shell.folder / "talks.yaml").write_text(
        "name: talks\ntasks:\n  - {id: a, agent: ledger, function: chatter}\n", encoding="utf-8"
    )
    ran = shell("run", "talks.yaml", "--agents", "ledger.py", "--json")
    assert json.loads("\n".join(ran.out))["status"] == "completed"
    assert "printed by a task" in ran.err


def test_inputs_arrive_as_they_were_meant(here: Here) -> None:
    here.write("echo.yaml", ECHO)
    text = "say \"hi\" = 5\nand 'more' ${input.number}"
    document = here.json("run", "echo.yaml", "--input", f"text={text}", "-i", "number=7")
    assert document["result"] == {"text": text, "number": 7}
    assert here.json("run", "echo.yaml", "--input-json", '{"number": 3}')["result"] == {"text": "nothing", "number": 3}
    said = here.refused("run", "echo.yaml", "--input", "number=many", "--input", "txt=x")
    assert "number must be of type integer, not string" in said
    assert "txt isn't an input of echoing; did you mean text?" in said


def test_a_report_is_shown_with_its_path(here: Here) -> None:
    here.write("report.yaml", REPORT)
    out = here("run", "report.yaml")
    assert "  report     reports/x.md\n  pages      3\n" in out


def test_a_partial_result_is_called_so(here: Here) -> None:
    here.write("partly.yaml", PARTIAL)
    assert "; partial: something failed that was allowed to" in here("run", "partly.yaml")
    assert here.json("status", "last")["partial"] is True


def test_fallbacks_and_skipped_tasks_are_told(here: Here) -> None:
    here.write("saved.yaml", FALLBACK)
    out = here("run", "saved.yaml")
    assert "wrong             spare runs in its place" in out
    assert "never             skipped: " in out
    table = here("status", "last")
    assert "spare runs in its place" in table


def test_the_same_submission_runs_once(here: Here) -> None:
    first = here.json("run", "noop.yaml", "--id", "monday")
    again = here.json("run", "noop.yaml", "--id", "monday")
    assert first["execution_id"] == again["execution_id"]
    assert len(here.json("ps", "--all")) == 1
    assert "was used before" in here.refused("run", "fails.yaml", "--id", "monday")


def test_a_time_out_fails_the_run(here: Here) -> None:
    here.write("long.yaml", "name: long\ntasks:\n  - {id: a, agent: sleep, input: {seconds: 600}}\n")
    out = here("run", "long.yaml", "--timeout", "100ms", code=1)
    assert "failed in" in out


def test_many_tasks_are_counted_not_listed(here: Here) -> None:
    tasks = "".join(f"  - {{id: t{number}, agent: noop}}\n" for number in range(2_000))
    here.write("many.yaml", f"name: many\ntasks:\n{tasks}")
    lines = here("run", "many.yaml").splitlines()
    assert len(lines) < 400  # a slow machine looks more often, and lists what little is new
    assert "2,000 of 2,000 done" in "\n".join(lines)
    assert max(map(len, lines)) <= 80


def test_retries_and_instances_are_told_one_by_one(here: Here) -> None:
    here.write(
        "tries.yaml",
        "name: tries\ntasks:\n"
        "  - {id: a, agent: fail, input: {times: 1}, retry: {max_attempts: 2, initial_delay_seconds: 0.01}}\n"
        "  - {id: b, agent: noop, for_each: [1, 2], depends_on: [a]}\n",
    )
    out = here("run", "tries.yaml")
    for said in ("attempt 1 failed: AgentError", "again in", "running on fail-1, attempt 2", "2 instances", "b[1]"):
        assert said in out, said


def test_retry_runs_again_what_failed(here: Here) -> None:
    here("run", "fails.yaml", code=1)
    out = here("retry", "last", code=1)
    assert "execution         tried again" in out
    assert "running on fail-1, attempt 2" in out
    assert here.json("retry", "last", code=1)["tasks"]["wrong"]["attempts"] == 3


def test_resume_of_an_ended_one_says_how_it_ended(here: Here) -> None:
    here("run", "noop.yaml")
    assert here("resume", "last").startswith("it has ended already:\ncompleted in")
    here("run", "fails.yaml", code=1)
    assert here.json("resume", "last", code=1)["status"] == "failed"


def test_a_run_in_memory_leaves_nothing(here: Here) -> None:
    here("run", "noop.yaml", "--database", ":memory:")
    assert not (here.folder / ".podium").exists()
