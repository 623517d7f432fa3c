"""The owner is stopped (SIGSTOP) for longer than its leases and continued: nothing is lost or doubled, nobody takes
over from a process that lives, and its leases begin anew after its own stall.
"""

from __future__ import annotations

import signal
import time

import pytest

from tests.cli.support import GATED_RUN, eventually
from tests.faults.support import examine

STEPS = ["first", "gate begun", "gate passed", "last"]


@pytest.mark.parametrize("lease", [1.0, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.5, 2.0, 4.0))])
def test_an_owner_stopped_for_longer_than_its_leases_goes_on_as_if_nothing_had_been(shell, lease):
    run = shell.start(*GATED_RUN, PODIUM_LEASE_SECONDS=str(lease))
    eventually(lambda: "gate begun" in shell.ledger, f"the gate, {run}")
    run.send(signal.SIGSTOP)
    guest = shell.start("signal", run.id, "note")
    until = time.monotonic() + 1.5 * lease
    eventually(lambda: time.monotonic() > until, "the end of the leases")
    assert guest.process.poll() is None, f"somebody else has taken the store over: {guest}"
    run.send(signal.SIGCONT)
    assert guest.wait() == 0
    since = time.monotonic()
    eventually(lambda: time.monotonic() > since + 1.5 * lease, "leases that would end now")
    assert shell.json("status", run.id)["tasks"]["held"]["attempts"] == 1
    shell.open_gate()
    assert run.wait() == 0
    assert shell.ledger == STEPS
    assert shell.json("status", run.id)["tasks"]["held"]["attempts"] == 1
    examine(shell.folder)


def test_what_arrived_while_the_owner_was_stopped_counts_once(shell):
    run = shell.held()
    run.send(signal.SIGSTOP)
    guests = [shell.start("run", "noop.yaml") for _ in range(2)]
    guests.append(shell.start("signal", run.id, "note"))
    eventually(lambda: all(_posted(shell) >= 3 for _ in guests), "three inputs in the inbox")
    shell.open_gate()
    run.send(signal.SIGCONT)
    assert [guest.wait() for guest in guests] == [0, 0, 0]
    assert run.wait() == 0
    assert shell.ledger == STEPS
    assert [row["status"] for row in shell.json("ps")] == ["completed"] * 3
    examine(shell.folder)


def _posted(shell) -> int:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(shell.folder / ".podium" / "podium.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM inbox").fetchone()[0])


@pytest.mark.parametrize("lease", [0.2, 1.0])
def test_a_task_that_runs_many_times_its_lease_is_never_taken_away(shell, lease):
    run = shell.start(*GATED_RUN, PODIUM_LEASE_SECONDS=str(lease))
    eventually(lambda: "gate begun" in shell.ledger, f"the gate, {run}")
    until = time.monotonic() + 5 * lease
    eventually(lambda: time.monotonic() > until, "leases that would end")
    shell.open_gate()
    assert run.wait() == 0
    assert shell.ledger == STEPS
