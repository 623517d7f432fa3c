"""On a file and on PostgreSQL alike: a task that kills its worker each time (fault 22), an error text of 20 MB (24), a
definition that is edited during a run (25).
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from podium.store.postgres import PostgresStore
from podium.store.postgres.migrations import upgrade
from podium.store.protocol import Store
from podium.store.sqlite import SqliteStore
from podium.testing.oracle import Examination
from tests.cli.support import Shell, eventually

pytestmark = pytest.mark.xdist_group("postgres")

AGENTS = """
import os
import signal
from pathlib import Path

from podium.agents.sdk import Context, task


@task(cpu=True)
def deadly() -> None:
    with open("deaths.txt", "a", encoding="utf-8") as deaths:
        deaths.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


@task(cpu=True)
def healthy(item: int) -> int:
    return item + 1


@task
async def shout() -> None:
    raise RuntimeError("the disk of the other side is full: " + "é" * (10 << 20))
"""

POISON = """
name: poison
output: "${tasks.each.result}"
tasks:
  - {id: deadly, agent: work, retry: {max_attempts: 10, initial_delay_seconds: 0.01}, on_failure: continue}
  - {id: each, agent: work, function: healthy, for_each: [1, 2, 3, 4, 5], input: {item: "${item}"}}
fault_tolerance:
  circuit_breaker: {failure_threshold: 2, timeout_seconds: 600}
"""
SHOUTING = """
name: shouting
tasks:
  - {id: shout, agent: work, on_failure: continue}
  - {id: after, agent: work, function: healthy, input: {item: 1}, depends_on: [shout], run_if: all_done}
"""


TASKS = 20_000


class House:
    """`podium` in a folder, with its database in a file there or on PostgreSQL."""

    def __init__(self, shell: Shell, url: str) -> None:
        self.shell = shell
        self.url = url
        self.there = ("--database", url) if url else ()
        for name, content in (("work.py", AGENTS), ("poison.yaml", POISON), ("shouting.yaml", SHOUTING)):
            (shell.folder / name).write_text(content, encoding="utf-8")

    def run(self, file: str, code: int = 0) -> dict[str, Any]:
        """Run a workflow to its end and return how that is."""
        ended = self.shell("run", file, "--agents", "work.py", "--json", *self.there, code=code)
        document: dict[str, Any] = json.loads("\n".join(ended.out))
        return document

    def status(self, execution: str) -> dict[str, Any]:
        return dict(self.shell.json("status", execution, *self.there))

    def look(self, ask: Callable[[Store], Any]) -> Any:
        """Ask the store."""

        async def asked() -> Any:
            store: Store
            if self.url:
                store = await PostgresStore.open(self.url)
            else:
                store = SqliteStore.open(self.shell.folder / ".podium" / "podium.db")
            try:
                return await ask(store)
            finally:
                await store.close()

        return asyncio.run(asked())

    def examine(self) -> None:
        """Ask the oracle (I1 to I5)."""
        assert self.look(lambda store: Examination(store).examine()) == []


@pytest.fixture(params=["file", "postgres"])
def house(request: pytest.FixtureRequest, shell: Shell) -> House:
    if request.param == "file":
        return House(shell, "")
    server = request.getfixturevalue("podium_postgres")
    url = server.create_database(f"faults_{abs(hash(request.node.name)):x}")
    asyncio.run(upgrade(url))
    return House(shell, url)


def test_a_task_that_kills_its_worker_each_time_ends_with_its_crashes_counted_and_takes_nobody_along(house):
    document = house.run("poison.yaml")
    assert document["status"] == "completed"
    assert document["partial"]
    assert document["result"] == [2, 3, 4, 5, 6]  # though the workflow's circuit breaker opens at two failures
    deadly = document["tasks"]["deadly"]
    assert (deadly["status"], deadly["attempts"]) == ("failed", 3)
    assert "CrashLoop: its worker died 3 times while it ran (limit: max_crashes 3)" in deadly["error"]
    assert (house.shell.folder / "deaths.txt").read_text() == "xxx"
    house.examine()


def test_an_error_text_of_20_mb_is_cut_and_the_reason_kept(house):
    document = house.run("shouting.yaml")
    assert document["tasks"]["after"]["status"] == "completed"
    error = document["tasks"]["shout"]["error"]
    assert error.startswith("RuntimeError: the disk of the other side is full: é")
    assert len(error) < 20_000
    rows = house.look(lambda store: store.history(document["execution_id"], limit=1_000))
    assert sum(len(row.payload) + len(row.events) for row in rows) < 100_000
    house.examine()


@pytest.mark.slow
@pytest.mark.parametrize("house", ["postgres"], indirect=True)  # on a file: test_large.py
def test_a_graph_of_20_000_tasks_is_killed_half_way_and_ends(house):
    shell = house.shell
    lines = [
        f"  - {{id: t{n}, agent: noop{f', depends_on: [t{n - 1_000}]' if n >= 1_000 else ''}}}" for n in range(TASKS)
    ]
    (shell.folder / "wide.yaml").write_text("\n".join(["name: wide", "tasks:", *lines]), encoding="utf-8")
    run = shell.start("run", "wide.yaml", *house.there)
    eventually(lambda: any(line.startswith("execution ") for line in [*run.out, *run.err]), f"its start, {run}", 240)
    execution = run.id
    eventually(lambda: _done(house) > TASKS // 10, "a good part", 240)
    run.send(signal.SIGKILL)
    run.wait()
    resumed = shell.start("resume", execution, "--follow", *house.there)
    assert resumed.process.wait(600) == 0, resumed
    assert _done(house) == TASKS
    house.examine()


def _done(house: House) -> int:
    rows = house.look(lambda store: store.executions(None))
    return max((int(json.loads(row.summary).get("completed", 0)) for row in rows), default=0)


def test_a_definition_that_is_edited_during_a_run_changes_nothing_in_it(house):
    shell = house.shell
    run = shell.start("run", "gated.yaml", "--agents", "ledger.py", *house.there)
    eventually(lambda: "gate begun" in shell.ledger and run.id, f"the gate, {run}")
    edited = (shell.folder / "gated.yaml").read_text().replace("{name: last}", "{name: edited}")
    (shell.folder / "gated.yaml").write_text(edited)
    run.send(signal.SIGKILL)
    run.wait()
    shell.open_gate()
    resumed = shell("resume", run.id, "--follow", "--agents", "ledger.py", *house.there)
    assert shell.ledger[-1] == "last", resumed
    assert house.status(run.id)["status"] == "completed"
    shell("run", "gated.yaml", "--agents", "ledger.py", *house.there)
    assert shell.ledger[-1] == "edited"
    definitions = house.look(lambda store: store.executions(None))
    assert len({row.definition for row in definitions}) == 2
    assert len({(row.workflow, row.version) for row in definitions}) == 1
    house.examine()
