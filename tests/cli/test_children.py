"""Child workflows as a person sees them: run, looked at, cancelled with their parent."""

from __future__ import annotations

from tests.cli.conftest import Here
from tests.cli.support import Shell, eventually

FAMILY = """
name: family
tasks:
  - id: part
    workflow:
      name: part
      tasks: [{id: held, agent: ledger, function: gate}]
  - {id: after, agent: ledger, function: step, depends_on: [part], input: {name: after}}
"""
LOST = """
name: lost
tasks:
  - {id: part, workflow: {name: part, tasks: [{id: wrong, agent: fail, input: {message: no luck}}]}}
"""


def test_a_child_is_seen_from_its_parent_and_cancelled_with_it(shell: Shell) -> None:
    (shell.folder / "family.yaml").write_text(FAMILY, encoding="utf-8")
    running = shell.start("run", "family.yaml", "--agents", "ledger.py")
    eventually(lambda: "gate begun" in shell.ledger, "the child's task")
    rows = {row["workflow"]: row["execution_id"] for row in shell.json("ps", "--all")}
    explained = " ".join("\n".join(shell("explain", rows["family"]).out).split())
    assert rows["part"] in explained
    assert f"child of {rows['family']} (part)" in " ".join("\n".join(shell("explain", rows["part"]).out).split())
    shell("cancel", rows["family"])
    assert running.wait() != 0
    for execution in rows.values():
        assert shell.json("status", execution)["status"] == "cancelled"


def test_a_childs_failure_is_its_parents(here: Here) -> None:
    here.write("lost.yaml", LOST)
    here("run", "lost.yaml", code=1)
    document = here.json("status", "last")
    assert document["status"] == "failed"
    history = " ".join(here("history", document["execution_id"]).split()) if "execution_id" in document else ""
    assert "no luck" in str(document) or "no luck" in history
