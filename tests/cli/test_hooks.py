"""The hooks that others use with pre-commit: what they call is there, and takes the files that they are given."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from podium.cli.main import COMMANDS
from tests.docs.snippets import ROOT

HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def test_there_is_one_for_checking_and_one_for_the_layout():
    assert [hook["id"] for hook in HOOKS] == ["podium-validate", "podium-fmt"]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_each_calls_a_command_and_knows_a_workflow_by_its_name(here, hook) -> None:
    assert set(hook) == {"id", "name", "description", "entry", "language", "files", "exclude", "types"}
    program, command = shlex.split(hook["entry"])
    assert program == "podium"
    assert command in COMMANDS
    assert hook["language"] == "python"
    for name in ("workflow.yaml", "a/my_workflow.yml", "workflows/a.yaml", "x/workflows/deep/a.yml"):
        assert re.search(hook["files"], name), name
    for name in ("podium.yaml", "workflow.yaml.txt", ".github/dependabot.yml", "workflow.json"):
        assert not re.search(hook["files"], name), name
    assert re.search(hook["exclude"], ".github/workflows/ci.yml")
    here.write("workflow.yaml", "name: w\ntasks: [{id: a, agent: noop}]\n")
    here(command, "workflow.yaml", "workflow.yaml")
    here.write("bad_workflow.yaml", "name: [\n")
    here(command, "workflow.yaml", "bad_workflow.yaml", code=2)
