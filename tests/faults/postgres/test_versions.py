"""Definitions, tables and Podium itself change while executions are under way (faults 25 and 26)."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest

from podium.store.postgres import migrations
from podium.workflow.model import Workflow
from tests.cli.support import Running, eventually
from tests.faults.bus.support import fan, gated
from tests.faults.postgres.test_replicas_that_stop import gates

FIRST = "0001"
# The next version of Podium, as far as the others can see it: it reads one more format of rows.
NEXT = """
import podium
import podium.store.protocol

podium.__version__ = "99.0"
podium.store.protocol.FORMAT += 1
"""


@pytest.fixture
def next_version(replicas) -> dict[str, str]:
    """What makes a process one of the next version."""
    folder = replicas.folder / "next"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NEXT)
    return {"PYTHONPATH": str(folder)}


def status(replicas, **version: str) -> dict[str, Any]:
    asked = replicas.shell("upgrade", "status", "--json", **{**replicas.settings, **version})
    found: dict[str, Any] = json.loads("\n".join(asked.out))
    return found


def leave(replicas, run: Running) -> None:
    run.send(signal.SIGTERM)
    assert run.wait() == 0, run


def edited(workflow: Workflow) -> Workflow:
    """Return the workflow under its name and version with one task less."""
    return Workflow(name=workflow.name, agents=workflow.agents, tasks=workflow.tasks[:1])


def test_executions_keep_the_definition_that_they_began_with_wherever_they_go(replicas):
    victim, _ = replicas.several(2, "first", "second")
    before = gates(replicas, 4)
    after = replicas.submit_many([edited(gated(f"e{n}")) for n in range(4)])
    replicas.kill(victim)
    replicas.settled(1)
    for name in [*before, *(f"e{n}" for n in range(4))]:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*before.values(), *after]).values()) == {"completed"}
    assert {tuple(replicas.attempts(each))[1:] for each in before.values()} == {("after",)}
    assert {len(replicas.attempts(each)) for each in after} == {1}
    replicas.examine()
    replicas.once()


@pytest.mark.slow
def test_tables_go_down_and_up_again_under_replicas_at_work(replicas):
    replicas.several(2, "first", "second")
    held = gates(replicas, 4)
    running = replicas.submit_many([fan(6)] * 15)
    for _ in range(2):
        replicas.shell("migrate", "--down", "--to", FIRST, **replicas.settings)
        replicas.shell("migrate", **replicas.settings)
        running += replicas.submit_many([fan(2)] * 5)
    assert asyncio.run(migrations.current(replicas.url)) == migrations.HEAD
    for name in held:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values(), *running]).values()) == {"completed"}
    replicas.settled(2)
    replicas.examine()
    replicas.once()


@pytest.mark.slow
def test_the_next_version_works_beside_this_one_and_the_way_back_is_open_until_the_upgrade_is_finished(
    replicas, next_version
):
    old, other = replicas.several(2, "first", "second")
    held = gates(replicas, 6)
    leave(replicas, old)
    new = replicas.up(**next_version)
    replicas.settled(2)
    assert replicas.shards_of(new), "the next version decides for executions that this one began"
    replicas.open_gate("g0")
    stands = status(replicas, **next_version)
    assert (stands["format"], stands["reads"], stands["can_finish"]) == (1, 2, False)
    refused = replicas.shell.start("upgrade", "finish", **{**replicas.settings, **next_version})
    assert refused.wait() != 0
    assert str(other.process.pid) in " ".join(refused.err)

    leave(replicas, new)  # back to this version
    back = replicas.up()
    replicas.settled(2)
    replicas.open_gate("g1")

    for run in (other, back):  # and forward again
        leave(replicas, run)
        replicas.up(**next_version)
    replicas.settled(2)
    assert status(replicas, **next_version)["can_finish"]
    replicas.shell("upgrade", "finish", **{**replicas.settings, **next_version})
    assert status(replicas, **next_version)["format"] == 2
    late = replicas.shell.start(
        "up", "--json", "--http", "", "--metrics", "", "--bus", replicas.bus, **replicas.settings
    )
    assert late.wait() != 0
    assert "format 2" in " ".join(late.out + late.err)
    for name in held:
        replicas.open_gate(name)
    assert set(replicas.all_ended([*held.values()]).values()) == {"completed"}
    assert {max(replicas.attempts(each).values()) for each in held.values()} == {1}
    eventually(lambda: len(replicas.living) == 2, "both of the next version")
    replicas.examine()
    replicas.once()
