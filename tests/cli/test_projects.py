"""`podium init`: what it makes runs, is tested, is laid out, and overwrites nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from podium.workflow.yaml import load_workflow
from podium.workflow.yaml.schema import workflow_schema
from tests.cli.support import environment

FILES = {
    "workflow.yaml",
    "agents.py",
    "test_workflow.py",
    "podium.yaml",
    "README.md",
    ".gitignore",
    ".vscode/settings.json",
    "podium.schema.json",
}


@pytest.fixture
def project(here, monkeypatch):
    out = here("init", "greeting")
    assert all(len(line) <= 80 for line in out.splitlines())
    folder = here.folder / "greeting"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == FILES
    monkeypatch.chdir(folder)
    return folder


def test_it_runs_and_is_laid_out(here, project):
    document = here.json("run", "workflow.yaml", "--database", ":memory:")
    assert document["status"] == "completed"
    assert document["result"] == {
        "greetings": ["Hello, Ada!", "Hello, Grace!", "Hello, Barbara!"],
        "summary": "3 greeted",
    }
    here("fmt", "--check", "workflow.yaml")
    here("validate", "workflow.yaml")


def test_its_tests_pass(project):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout


def test_editors_find_the_schema(project):
    assert json.loads((project / "podium.schema.json").read_text(encoding="utf-8")) == workflow_schema()
    settings = json.loads((project / ".vscode" / "settings.json").read_text(encoding="utf-8"))
    assert list(settings["yaml.schemas"]) == ["./podium.schema.json"]
    head = (project / "workflow.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert head == "# yaml-language-server: $schema=podium.schema.json"


def test_nothing_is_overwritten_and_nothing_is_made_beside_it(here):
    (here.folder / "own").mkdir()
    here.write("own/agents.py", "mine = 1\n")
    said = here.refused("init", "own")
    assert "own has agents.py already, and nothing is overwritten" in said
    assert (here.folder / "own" / "agents.py").read_text(encoding="utf-8") == "mine = 1\n"
    assert [path.name for path in (here.folder / "own").iterdir()] == ["agents.py"]


def test_a_link_that_leads_nowhere_counts_as_there(here):
    (here.folder / "own").mkdir()
    (here.folder / "own" / "README.md").symlink_to("/nowhere/at/all")
    assert "has README.md already" in here.refused("init", "own")


def test_other_files_may_be_there(here):
    (here.folder / "own").mkdir()
    here.write("own/notes.txt", "x")
    assert here.json("init", "own")["name"] == "own"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("true", "true"), ("My Flow", "My_Flow"), ("2026-flow", "workflow_2026-flow"), ("…", "workflow"), ("on", "on")],
)
def test_the_name_is_the_folders_made_fit(here, folder: str, name: str) -> None:
    assert here.json("init", folder)["name"] == name
    assert load_workflow((here.folder / folder / "workflow.yaml").read_bytes()).name == name


def test_a_name_of_ones_own(here):
    assert here.json("init", "own", "--name", "mail")["name"] == "mail"
    assert "letters, digits, _ and - are allowed" in here.refused("init", "other", "--name", "no such/name")
    assert "letters, digits, _ and -" in here.refused("init", "other", "--name", "x" * 101)
    assert not (here.folder / "other").exists()


def test_a_place_that_cannot_be_written_is_named(here):
    here.write("file", "x")
    assert "file can't be written: File exists" in here.refused("init", "file")


def test_a_file_that_appears_meanwhile_is_kept_and_the_rest_taken_back(here, monkeypatch):
    monkeypatch.setattr("pathlib.Path.exists", lambda self: False)
    monkeypatch.setattr("pathlib.Path.is_symlink", lambda self: False)
    (here.folder / "own").mkdir()
    here.write("own/README.md", "theirs")
    assert "own can't be written: File exists" in here.refused("init", "own")
    monkeypatch.undo()
    assert [path.name for path in (here.folder / "own").iterdir()] == ["README.md"]
