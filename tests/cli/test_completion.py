"""Shells complete commands and options: what is installed asks Podium itself, and Podium answers each in its manner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from podium.cli.main import COMMANDS
from tests.cli.support import environment


@pytest.fixture
def asked(tmp_path):
    """Call `podium` as a shell does: a program on the path, and variables."""
    program = tmp_path / "bin" / "podium"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m podium "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"

    def ask(*command: str, **variables: str) -> str:
        ended = subprocess.run(
            command or ("podium",), env=environment(PATH=path, HOME=str(tmp_path), **variables), cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""
        return ended.stdout

    return ask


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _podium_completion podium"),
        ("zsh", "compdef _podium_completion podium"),
        ("fish", "complete --command podium --no-files"),
    ],
)
def test_each_shell_has_its_script(asked, shell: str, line: str) -> None:
    script = asked(_PODIUM_COMPLETE=f"source_{shell}")
    assert line in script
    assert f"_PODIUM_COMPLETE=complete_{shell}" in script


def test_bash_completes_commands_options_and_commands_of_groups(asked, tmp_path):
    (tmp_path / "podium.sh").write_text(asked(_PODIUM_COMPLETE="source_bash"), encoding="utf-8")

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        script = (
            f"source podium.sh; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            '_podium_completion podium; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        return asked("bash", "--norc", "-c", script).split()

    assert completed("podium", "sch") == ["schema", "schedule"]
    assert set(completed("podium", "")) == set(COMMANDS)
    assert completed("podium", "fmt", "--ch") == ["--check"]
    assert completed("podium", "example", "") == ["list", "run", "copy"]
    assert completed("podium", "run", "") == []  # files: bash's own


def test_zsh_and_fish_are_told_what_each_command_does(asked):
    said = asked(_PODIUM_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="podium val")
    assert '"validate":"Check workflows and list everything' in said
    fish = {"_PODIUM_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert asked(**fish, _TYPER_COMPLETE_ARGS="podium sch").startswith("schema\tWrite the JSON Schema")


def test_it_installs_itself_for_the_shell_that_calls_it(asked, tmp_path):
    said = asked("bash", "--norc", "-c", "podium --install-completion; true")
    script = tmp_path / ".bash_completions" / "podium.sh"
    assert f"bash completion installed in {script}" in said
    assert str(script) in (tmp_path / ".bashrc").read_text(encoding="utf-8")
    assert "_podium_completion" in script.read_text(encoding="utf-8")
    assert "_podium_completion" in asked("bash", "--norc", "-c", "podium --show-completion; true")


def test_an_unknown_question_is_no_success(here, monkeypatch):
    monkeypatch.setenv("_PODIUM_COMPLETE", "nonsense")
    here(code=1)
    assert "Invalid completion instruction" in here.err


def test_nothing_of_it_is_installed_by_other_commands(here):
    assert "--install-completion" in here("--help")
    assert "--install-completion" not in here("run", "--help")
    assert not (Path.cwd() / ".bash_completions").exists()
