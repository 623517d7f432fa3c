"""`podium reconcile`, with and without a process that owns the store; the page that lists what it finds."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from podium.engine.reconciliation import MEANINGS, PERSISTS, Kind
from tests.cli.conftest import Here
from tests.cli.support import Shell

NOOP = "name: noop\ntasks: [{id: it, agent: noop}]\n"
PAGE = Path(__file__).parents[2] / "docs" / "reconciler.md"


def test_the_page_lists_every_kind_with_its_meaning_and_its_time() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (\d+) s \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(str(kind), MEANINGS[kind], f"{PERSISTS[kind]:g}") for kind in Kind]


def test_without_an_owner_the_database_is_looked_at_and_nothing_is_mended(here: Here) -> None:
    here.refused("reconcile", code=None)
    here("run", here.write("noop.yaml", NOOP))
    said = " ".join(here("reconcile").split())
    assert "all is as it should be: 1 histories" in said
    assert "no process runs the executions" in said
    document = here.json("reconcile")
    assert document["finds"] == document["failed"] == []
    assert len(document["shards_without_owner"]) == 65
    with sqlite3.connect(".podium/podium.db") as connection:
        connection.execute("UPDATE executions SET status = 'paused'")
    connection.close()
    (find,) = here.json("reconcile", code=1)["finds"]
    assert (find["kind"], find["mended"]) == ("row_differs", False)
    assert "row_differs" in here("reconcile", code=1)


def test_the_owner_is_asked_where_there_is_one(shell: Shell) -> None:
    owner = shell.held()
    document = shell.json("reconcile")
    assert document["finds"] == document["failed"] == document["shards_without_owner"] == []
    assert document["looked_at"]["executions in memory"] == 1
    assert document["looked_at"]["shards"] == 64
    shell.open_gate()
    assert owner.wait() == 0
