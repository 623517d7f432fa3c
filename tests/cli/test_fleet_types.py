"""Workflows against the agents that are registered now: `submit`, `validate --fleet`, `agents --schemas`."""

from __future__ import annotations

from typing import Any

import pytest

from podium.cli import reaching
from podium.cli.main import main

TAKES = {
    "type": "object",
    "properties": {"url": {"type": "string"}},
    "required": ["url"],
    "additionalProperties": False,
}
GIVES = {"type": "object", "properties": {"words": {"type": "integer"}}, "additionalProperties": False}
OFFER = {"agents": 2, "functions": ["read"], "schemas": {"read": {"input": TAKES, "result": GIVES}}}
WORKFLOW = """name: w
tasks:
  - {id: read, agent: reader, input: {url: 3}}
  - {id: next, agent: tester, depends_on: [read], input: {x: "${tasks.read.result.word}"}}
"""


@pytest.fixture
def fleet(monkeypatch, tmp_path) -> dict[str, Any]:
    """Have an orchestrator answer, whose agents' offers are what is put here."""
    types: dict[str, Any] = {"reader": [OFFER]}

    async def answer(settings: Any, asked: dict[str, Any]) -> dict[str, Any] | None:
        wanted = asked.get("types", types)
        return {"types": {name: types[name] for name in wanted if name in types}} if types else None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reaching, "ask_orchestrator", answer)
    (tmp_path / "w.yaml").write_text(WORKFLOW)
    return types


REFUSED = [
    'w.yaml:3:44: argument-type: task "read": the argument "url" of reader.read is a text, not 3',
    'w.yaml:4:62: result-field: task "next" reads tasks.read.result.word, but tasks.read.result has no field "word"; '
    'did you mean "words"?',
]


def test_what_no_registered_agent_could_do_is_not_submitted(fleet, capsys):
    assert main(["submit", "w.yaml"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == REFUSED
    assert " ".join(said[2:]).startswith(
        "error: the workflow has 2 problems, nothing was started (--no-type-check goes"
    )


@pytest.mark.parametrize(
    "offers", [{"reader": [OFFER, {"agents": 1, "functions": [], "schemas": {}}]}, {"other": [OFFER]}]
)
def test_what_some_agent_may_do_and_unknown_types_are_not_refused(fleet, capsys, offers):
    fleet.clear()
    fleet.update(offers)
    assert main(["submit", "w.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no database")  # so far it comes


def test_it_can_be_submitted_all_the_same(fleet, capsys):
    assert main(["submit", "w.yaml", "--no-type-check"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no database")


def test_validate_asks_the_fleet_if_it_is_told_to(fleet, capsys):
    assert main(["validate", "w.yaml"]) == 0
    capsys.readouterr()
    assert main(["validate", "w.yaml", "--fleet"]) == 2
    assert capsys.readouterr().out.splitlines()[:2] == REFUSED
    fleet.clear()
    assert main(["validate", "w.yaml", "--fleet"]) == 1
    assert "no orchestrator runs" in capsys.readouterr().err


def test_schemas_are_shown(fleet, capsys):
    fleet["writer"] = [{"agents": 1, "functions": [], "schemas": {}}]
    assert main(["agents", "--schemas"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        ["reader", "2", "read", "url:", "a", "text", "a", "mapping"],
        ["writer", "1", "(any)", "…", "anything"],
    ]
    assert main(["agents", "--schemas", "--json"]) == 0
    assert '"additionalProperties"' in capsys.readouterr().out
