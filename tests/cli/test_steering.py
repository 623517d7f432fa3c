"""`podium skip`, `complete`, and `retry --from`: what a person decides about tasks."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Here
from tests.cli.support import Running, Shell, eventually

SUMS = """
name: sums
tasks:
  - {id: one, agent: echo, input: {n: 1}}
  - {id: wrong, agent: fail, depends_on: [one], input: {message: no luck}}
  - {id: more, agent: echo, depends_on: [wrong], input: {n: "${tasks.wrong.result}"}}
  - {id: bye, agent: echo, depends_on: [wrong], run_if: all_done, input: {text: bye}}
"""


@pytest.fixture
def failed(here: Here, monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setenv("COLUMNS", "160")
    here.write("sums.yaml", SUMS)
    here("run", "sums.yaml", code=1)
    return here


def test_a_failed_execution_goes_on_with_a_result_by_hand(failed: Here) -> None:
    out = failed("complete", "last", "wrong", "--value", "7", "--reason", "counted by hand", "--by", "maren")
    assert "task wrong is completed" in out
    failed("resume", "last")
    document = failed.json("status", "last")
    assert document["tasks"]["more"]["result"] == {"n": 7}
    assert document["tasks"]["wrong"]["error"] is None
    assert "completed by maren: counted by hand" in " ".join(failed("explain", "last", "wrong").split())
    assert "completed by maren" in failed("status", "last")
    assert "task completed wrong by maren counted by hand" in " ".join(failed("history", "last").split())


def test_a_skipped_task_takes_those_along_that_need_it(failed: Here) -> None:
    document = failed.json("skip", "last", "wrong", "--reason", "not today", "--by", "maren")
    assert (document["status"], document["task_status"]) == ("running", "skipped")
    failed("resume", "last")
    tasks = failed.json("status", "last")["tasks"]
    assert [tasks[name]["status"] for name in ("wrong", "more", "bye")] == ["skipped", "skipped", "completed"]
    assert tasks["wrong"]["error"] == "skipped by maren: not today"


def test_who_decides_is_the_user_unless_somebody_is_named(failed: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "robin")
    failed("skip", "last", "wrong")
    assert "task skipped wrong by robin" in " ".join(failed("history", "last").split())


def test_somebody_without_a_name_decides_too(failed: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("no user name")

    monkeypatch.setattr("getpass.getuser", nobody)
    failed("skip", "last", "wrong")
    assert "task skipped wrong by somebody" in " ".join(failed("history", "last").split())


def test_what_does_not_fit_is_refused_in_a_sentence(failed: Here) -> None:
    assert 'did you mean "wrong"?' in failed.refused("skip", "last", "wrnog")
    assert "has completed already" in failed.refused("complete", "last", "one", "--value", "1")
    assert "--value isn't JSON" in failed.refused("complete", "last", "wrong", "--value", "{")
    assert "has no instances" in failed.refused("skip", "last", "wrong[0]")


def test_a_preview_changes_nothing_and_says_what_would_run(failed: Here) -> None:
    rows = failed("history", "last")
    shown = failed("retry", "last", "--from", "one", "--preview")
    assert "runs again    2: one, wrong" in shown
    assert "runs first    2: more, bye" in shown
    assert "not marked idempotent: one, wrong" in shown
    document = failed.json("retry", "last", "--preview")
    assert (document["runs_again"], document["keeps"]) == (["wrong"], ["one"])
    assert failed("history", "last") == rows


def test_where_nobody_can_be_asked_nothing_runs_again_without_yes(failed: Here) -> None:
    assert "add --yes" in failed.refused("retry", "last", "--from", "one")
    out = failed("retry", "last", "--from", "one", "--yes", code=1)
    assert "4 of its tasks from the beginning" in " ".join(out.split())
    tasks = failed.json("status", "last")["tasks"]
    assert (tasks["one"]["attempts"], tasks["wrong"]["attempts"]) == (2, 2)


def test_a_completed_execution_runs_again_from_a_task_on(here: Here) -> None:
    here("run", "noop.yaml")
    assert "only one that ended without success" in here.refused("retry", "last")
    assert "runs again    1: one" in here("retry", "last", "--from", "one", "--preview")
    assert here.json("retry", "last", "--from", "one", "--yes")["tasks"]["one"]["attempts"] == 2
    assert "no task" in here.refused("retry", "last", "--from", "two", "--yes")


@pytest.mark.parametrize(("answer", "code", "attempts"), [(True, 0, 2), (False, 1, 1)])
def test_one_is_asked_before_tasks_run_again(
    here: Here, monkeypatch: pytest.MonkeyPatch, answer: bool, code: int, attempts: int
) -> None:
    here("run", "noop.yaml")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda text, default: answer)
    here("retry", "last", "--from", "one", code=code)
    assert here.json("status", "last")["tasks"]["one"]["attempts"] == attempts


def test_another_process_is_told_and_its_task_stops(shell: Shell) -> None:
    running = shell.held()
    out = "\n".join(shell("complete", "last", "held", "--value", '"by hand"').out)
    assert "task held is completed" in out
    assert running.wait() == 0
    eventually(lambda: "last" in shell.ledger, "that the last step ran")
    assert "gate passed" not in shell.ledger


ASKS = """
name: asks
tasks:
  - {id: send, agent: fail, input: {message: no van, times: 1}, on_failure: ask}
  - {id: other, agent: noop}
"""


def asked(shell: Shell) -> Running:
    (shell.folder / "asks.yaml").write_text(ASKS, encoding="utf-8")
    running = shell.start("run", "asks.yaml")
    running.until("asks: ")
    (waits,) = shell.json("waiting")["waiting"]
    assert (waits["task"], waits["form"]) == ("send", {"enum": ["retry", "skip", "fail"]})
    assert "no van" in waits["shown"]["error"]
    return running


def test_who_is_asked_has_a_failed_task_tried_again(shell: Shell) -> None:
    running = asked(shell)
    assert shell.status() == "running"
    assert "a person is asked" in " ".join("\n".join(shell("explain", "last", "send").out).split())
    assert " asks " in "\n".join(shell("ps").out)
    assert "asks: " in "\n".join(shell("status", "last").out)
    shell("retry", "last", "--task", "send")
    assert running.wait() == 0
    assert shell.json("status", "last")["tasks"]["send"]["attempts"] == 2


@pytest.mark.parametrize(("decision", "code", "status"), [("skip", 0, "skipped"), ("fail", 1, "failed")])
def test_an_answer_decides_what_becomes_of_a_failed_task(shell: Shell, decision: str, code: int, status: str) -> None:
    running = asked(shell)
    shell("answer", "last", "send", decision, "--reason", "so it is", "--by", "maren")
    assert running.wait() == code
    assert shell.json("status", "last")["tasks"]["send"]["status"] == status
    shell("answer", "last", "send", "retry", code=2)
