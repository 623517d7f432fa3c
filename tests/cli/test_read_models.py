"""`podium stats` and `podium rebuild`, with and without a process that owns the store."""

from __future__ import annotations

from podium.cli.readmodels import execution_in
from podium.ids import shard_of
from tests.cli.conftest import Here
from tests.cli.support import Shell

TWO = """
name: counted
tasks:
  - {id: first, agent: noop}
  - {id: each, agent: noop, for_each: [1, 2, 3], depends_on: [first]}
"""
BAD = """
name: doomed
tasks: [{id: stop, agent: fail, retries: 1, input: {message: no}, retry: {initial_delay_seconds: 0.01}}]
"""


def test_executions_and_tasks_are_counted(here: Here) -> None:
    here.refused("stats", code=None)
    two, bad = here.write("two.yaml", TWO), here.write("bad.yaml", BAD)
    for _ in range(3):
        here("run", two)
    here("run", bad, code=1)
    counted, doomed = here.json("stats")["workflows"]
    assert counted["workflow"] == "counted"
    assert counted["executions"]["started"] == counted["executions"]["completed"] == 3
    assert counted["tasks"]["each"]["attempts"] == counted["tasks"]["each"]["completed"] == 9
    assert doomed["executions"]["failed"] == 1
    assert doomed["tasks"]["stop"] == {**doomed["tasks"]["stop"], "attempts": 2, "failures": 2, "completed": 0}
    shown = here("stats").splitlines()
    assert shown[0].split()[:4] == ["WORKFLOW", "VERSION", "STARTED", "COMPLETED"]
    assert shown[1].split()[:6] == ["counted", "1.0", "3", "3", "0", "0"]
    shown = here("stats", "counted").splitlines()
    assert shown[-1].split()[:5] == ["first", "3", "3", "0", "0"]
    assert "'nobody'" in here.refused("stats", "nobody")


def test_they_are_rebuilt_without_an_owner(here: Here) -> None:
    two = here.write("two.yaml", TWO)
    here("run", two)
    before = here.json("stats")
    assert before["rows_left"] == 0
    rebuilt = here.json("rebuild")
    assert rebuilt == {"rebuilt": ["statistics"], "rows": rebuilt["rows"]}
    assert rebuilt["rows"] >= 5
    assert here.json("stats") == before
    assert f"{rebuilt['rows']} inputs" in here("rebuild", "statistics")
    assert "there is statistics" in here.refused("rebuild", "nothing")


def test_they_are_rebuilt_by_their_owner(shell: Shell) -> None:
    (shell.folder / "two.yaml").write_text(TWO)
    shell("run", "two.yaml")
    owner = shell.held()
    shell("run", "two.yaml")  # the owner runs it
    before = shell.json("stats")
    assert {each["workflow"]: each["executions"]["completed"] for each in before["workflows"]} == {
        "counted": 2,
        "gated": 0,
    }
    assert shell.json("rebuild")["rows"] >= 10
    assert shell.json("stats") == before
    shell.open_gate()
    assert owner.wait() == 0
    assert shell.json("stats", "gated")["workflows"][0]["executions"]["completed"] == 1


def test_each_shard_has_an_id_by_which_its_owner_is_found() -> None:
    assert [shard_of(execution_in(shard)) for shard in range(64)] == list(range(64))
