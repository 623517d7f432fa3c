"""People at the command line: what waits for them, their answers, signals; across processes and a kill."""

from __future__ import annotations

import signal

from tests.cli.conftest import Here
from tests.cli.support import Shell, eventually

REVIEW = """
name: review
tasks:
  - {id: first, agent: echo, input: {text: "a long text of the one who asks"}}
  - id: ask
    type: human
    name: Is it good?
    assignee: ann
    depends_on: [first]
    input: {text: "${tasks.first.result.text}"}
    form: {type: object, required: [ok], properties: {ok: {type: boolean}, note: {type: string}}}
    escalation: {after: 1d, to: bob}
  - {id: go, type: wait, signal: go, depends_on: [ask]}
output: {ok: "${tasks.ask.result.ok}", go: "${tasks.go.result}"}
"""


def test_a_run_that_waits_is_killed_answered_and_resumed(shell: Shell) -> None:
    (shell.folder / "review.yaml").write_text(REVIEW)
    run = shell.start("run", "review.yaml")
    run.until("ask               waiting for ann's answer")
    run.send(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    (one,) = shell.json("waiting")["waiting"]
    assert (one["task"], one["assignee"], one["title"], one["escalates_to"]) == ("ask", "ann", "Is it good?", "bob")
    assert one["shown"] == {"text": "a long text of the one who asks"}
    assert one["form"]["required"] == ["ok"]
    shell("answer", "last", "ask", "--field", "ok=true", "--by", "ann")
    assert shell.json("waiting") == {"waiting": []}
    shell("signal", "last", "go", "7")
    resumed = shell.start("resume", "last")
    assert resumed.wait() == 0
    assert shell.json("status", "last")["result"] == {"ok": True, "go": 7}


def test_a_run_is_answered_from_another_process_while_it_runs(shell: Shell) -> None:
    (shell.folder / "review.yaml").write_text(REVIEW)
    run = shell.start("run", "review.yaml")
    run.until("waiting for ann's answer")
    eventually(lambda: shell.json("waiting")["waiting"], "the question")
    shell("signal", "last", "go", "early")
    shell("answer", "last", "ask", "--value", '{"ok": false}', "--by", "bob")
    assert run.wait() == 0
    assert any("answered by bob" in line for line in run.out)


def test_what_is_said_of_questions_and_of_answers_that_do_not_fit(here: Here) -> None:
    here.write("plain.yaml", "name: plain\ntasks: [{id: a, agent: echo}]")
    here("run", "plain.yaml")
    assert here("waiting") == "nothing waits for a person\n"
    assert here("waiting", "--assignee", "ann") == "nothing waits for ann\n"
    assert "the execution is completed; nobody is asked any more" in here.refused("answer", "last", "a")
    for said in (("answer",), ("skip",), ("complete", "--value", "1")):
        assert "run 2 was meant; it is run 1 now" in here.refused(*said, "last", "a", "--run", "2")
    assert "--field takes NAME=VALUE, not 'ok'" in here.refused("answer", "last", "a", "--field", "ok")
    assert "--field adds to an object" in here.refused("answer", "last", "a", "--value", "1", "--field", "ok=1")
    assert "isn't JSON" in here.refused("answer", "last", "a", "--value", "{")
