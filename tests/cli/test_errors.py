"""Every mistake that a person makes gets one sentence on standard error and exit code 2; nothing is begun."""

from __future__ import annotations

import json

import pytest

from podium.cli import run as run_module
from tests.cli.conftest import Here

BROKEN = "name: broken\ntasks:\n  - id: a\n    agnt: noop\n    depends_on: [c]\n"

MISTAKES = [
    ("run", "missing argument 'FILE'; see `podium run --help`"),
    ("nonsense", "no such command 'nonsense'; see `podium --help`"),
    ("pauze", "no such command 'pauze'; did you mean 'pause'; see `podium --help`"),
    ("run noop.yaml --inptu a=1", "no such option: --inptu"),
    ("run nix.yaml", "nix.yaml can't be read: No such file or directory"),
    ("run .", ". can't be read: Is a directory"),
    ("run noop.yaml --input a", "--input takes KEY=VALUE, not 'a'"),
    ("run noop.yaml --input a=1 --input a=2", "--input a is given twice"),
    ("run noop.yaml --input-json {", "--input-json isn't JSON"),
    ("run noop.yaml --input-json @nix.json", "nix.json can't be read"),
    ("run noop.yaml --input-json [1] --input a=1", "--input adds to an object, but --input-json isn't one"),
    ('run noop.yaml --input-json {"a":NaN}', "NaN is no JSON"),
    ("run noop.yaml --priority 101", "invalid value for '--priority'"),
    ("run noop.yaml --timeout soon", '--timeout: "soon" is not understood: expected a duration'),
    ("run noop.yaml --timeout 0", "--timeout must be longer than nothing"),
    ("run noop.yaml --capacity cpu", "--capacity takes NAME=AMOUNT"),
    ("run noop.yaml --capacity cpu=many", '--capacity cpu: "many" is not understood'),
    ("run noop.yaml --capacity licences=-1", "--capacity licences: expected a number of zero or more"),
    ("run noop.yaml --agents nix:Nix", "no module named 'nix'"),
    ("run unbound.yaml", "no code behind agent type 'nop' (did you mean 'noop'?)"),
    ("run noop.yaml --database noop.yaml", "the database can't be used: noop.yaml: the file isn't a SQLite database"),
    ("status last", "no executions yet; `podium run FILE` starts one"),
    ("status last --database noop.yaml", "the file isn't a SQLite database"),
    ("status 01 --database :memory:", "a database in memory is gone with its process"),
    ("ps --status nope", "no execution has the status 'nope'; there are running"),
    ("ps --status compleeted", 'did you mean "completed"?'),
    ("validate", "missing argument 'FILE…'"),
    ("plan nix.yaml", "nix.yaml can't be read"),
    ("agents unbound.yaml", "no code behind agent type 'nop'"),
    ("example run nope", "there is no example 'nope'; there are foreign, research"),
    ("example run reserch", 'did you mean "research"?'),
    ("example copy research ledger.py", "ledger.py is there already and isn't an empty folder"),
]


@pytest.mark.parametrize(("command", "sentence"), MISTAKES)
def test_a_mistake_is_said_in_a_sentence(here: Here, command: str, sentence: str) -> None:
    here.write("unbound.yaml", "name: unbound\ntasks:\n  - {id: a, agent: nop}\n")
    said = here.refused(*command.split())
    assert said.startswith("error: ")
    assert sentence in said
    assert here.out == ""
    assert here.json("ps", "--all") == []


OF_ENDED = [
    ("status 00000", "there is no execution 00000"),
    ("status zzz%", "there is no execution zzz%"),
    ("explain last nosuch", "the execution has no task 'nosuch'; `podium status"),
    ("explain last onee", 'did you mean "one"?'),
    ("logs last nosuch", "the execution has no task 'nosuch'"),
    ("pause last", "the execution is completed, only a running one can be paused"),
    ("cancel last", "the execution is completed"),
    ("retry last", "the execution is completed, only one that ended without success can be retried"),
    ("signal last go", "the execution is completed already"),
    ("signal last", "missing argument 'NAME'"),
]


def test_what_does_not_fit_an_ended_execution_is_refused(here: Here) -> None:
    here("run", "noop.yaml")
    for command, sentence in OF_ENDED:
        assert sentence in here.refused(*command.split()), command
    assert "an execution's id is missing" in here.refused("status", " ")


def test_a_beginning_that_several_have_is_refused(here: Here) -> None:
    here("run", "noop.yaml")
    here("run", "noop.yaml")
    assert "several executions begin with 01" in here.refused("status", "01")


def test_a_workflow_with_problems_has_each_on_its_line(here: Here) -> None:
    here.write("broken.yaml", BROKEN)
    here("run", "broken.yaml", code=2)
    lines = here.err.splitlines()
    assert lines[0] == 'broken.yaml:4:5: unknown-field: tasks[0] has no field "agnt"; did you mean "agent"?'
    assert lines[-1] == "error: the workflow has 2 problems, nothing was started"


def test_with_json_an_error_is_a_document_too(here: Here) -> None:
    document = here.json("status", "last", code=2)
    assert document["exit_code"] == 2
    assert document["error"]["type"] == "ExecutionNotFoundError"
    assert here.err.startswith("error: ")


def test_debug_shows_the_traceback(here: Here) -> None:
    here("status", "last", "--debug", code=2)
    assert "Traceback" in here.err


def test_a_bug_is_one_sentence_and_says_how_to_see_more(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> int:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(run_module, "run_workflow", broken)
    said = here.refused("run", "noop.yaml", code=70)
    assert said.startswith("error: ZeroDivisionError: division by zero: this is a bug in Podium")
    assert said.endswith("run again with --debug for the traceback")


def test_ctrl_c_within_a_command_is_130(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "run_workflow", interrupted)
    here("run", "noop.yaml", code=130)


def test_a_setting_that_is_wrong_is_said(here: Here) -> None:
    here.write("podium.yaml", "databse: x.db\n")
    assert "has no setting 'databse'; did you mean database?" in here.refused("ps")


def test_the_arguments_behind_two_dashes_are_no_options(here: Here) -> None:
    here("status", "--", "--json", code=2)
    with pytest.raises(json.JSONDecodeError):
        json.loads(here.out or "no document")
