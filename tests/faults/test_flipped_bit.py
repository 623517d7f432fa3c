"""One bit flipped in a stored event (fault 18): it is noticed, that execution alone is set aside, and each command says
so in a sentence.
"""

from __future__ import annotations

import random
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.support import GATED_RUN, Running, Shell, eventually
from tests.faults.support import DATABASE

STEPS = ["first", "gate begun", "gate passed", "last"]


def flip(folder: Path, execution: str, column: str, seed: int) -> None:
    """Flip one bit of the last of the execution's events, in the file itself; no process may have it open."""
    database = folder / DATABASE
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = """SELECT input_id, payload, events FROM log
                   WHERE execution = ? AND length(payload) ORDER BY sequence DESC LIMIT 1"""
        row = dict(
            zip(("input_id", "payload", "events"), connection.execute(query, (execution,)).fetchone(), strict=True)
        )
    parts = [execution.encode(), row["input_id"].encode(), row["payload"], row["events"]]
    content = bytearray(database.read_bytes())
    found = re.search(b".{0,40}?".join(b"(" + re.escape(part) + b")" for part in parts), content, re.DOTALL)
    assert found is not None, "the row isn't where it should be"
    chance = random.Random(seed)
    at = chance.randrange(*found.span({"input_id": 2, "payload": 3, "events": 4}[column]))
    content[at] ^= 1 << chance.randrange(8)
    database.write_bytes(content)


def interrupted(shell: Shell) -> tuple[str, str]:
    """Leave two executions at the gate, their process killed; return their ids."""
    first = shell.held()
    second = shell.start(*GATED_RUN)
    second.until("execution ")
    eventually(lambda: shell.ledger.count("gate begun") == 2, "both at the gate")
    second.send(signal.SIGKILL)
    second.wait()
    first.send(signal.SIGKILL)
    first.wait()
    return first.id, second.id


def sentence(running: Running) -> str:
    said = " ".join(" ".join([*running.out, *running.err]).split())
    assert "Traceback" not in said
    assert "bug" not in said
    return said


@pytest.mark.parametrize(
    ("column", "seed"),
    [("events", 1), *(pytest.param(*each, marks=pytest.mark.slow) for each in (("payload", 3), ("input_id", 4)))],
)
def test_the_damaged_execution_alone_is_set_aside_and_each_command_says_so(shell, column, seed):
    damaged, sound = interrupted(shell)
    flip(shell.folder, damaged, column, seed)
    for command in ("status", "explain"):
        said = sentence(shell(command, damaged, code=1))
        assert damaged in said
        assert "checksum" in said or "damaged" in said or "missing" in said
    for command in ("resume", "pause", "cancel"):
        assert damaged in sentence(shell(command, damaged, code=1))
    listed = shell("ps")
    assert any(damaged in line and "damaged" in line for line in listed.out)
    assert any(sound in line and "interrupted" in line for line in listed.out)
    assert "the history of the damaged ones can't be read, they are set aside" in sentence(listed)
    shell.open_gate()
    assert shell("resume", sound).wait() == 0
    assert shell.status(sound) == "completed"
    shell("run", "noop.yaml")
    assert shell.ledger.count("last") == 1


def test_an_owner_that_finds_it_goes_on_with_the_others_and_refuses_what_is_for_it(shell):
    damaged, sound = interrupted(shell)
    flip(shell.folder, damaged, "events", 5)
    run = shell.start("resume", sound)
    eventually(lambda: shell.ledger.count("gate begun") == 3, f"the sound one at the gate, {run}")
    for command in ("status", "explain", "pause", "cancel"):
        said = sentence(shell(command, damaged, code=1))
        assert damaged in said
        assert "checksum" in said or "set aside" in said or "damaged" in said
    said = sentence(shell("resume", damaged, code=1))
    assert "checksum" in said or "damaged" in said
    assert "set aside" in " ".join(run.err)
    shell.open_gate()
    assert run.wait() == 0
    assert shell.status(sound) == "completed"


def test_a_damaged_schema_is_said_in_a_sentence(shell):
    shell("run", "noop.yaml")
    database = shell.folder / DATABASE
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = database.read_bytes()
    database.write_bytes(content.replace(b"CREATE TABLE executions", b"CREATE TABLE \xd9xecutions", 1))
    for command in (("ps",), ("status", "last"), ("resume", "last"), ("run", "noop.yaml")):
        running = shell.start(*command)
        assert running.wait() in (1, 2)
        assert "the file is damaged; restore it from a copy" in sentence(running)
