"""A disk that is full, gives I/O errors or has turned read-only (fault 16): nothing is acknowledged falsely, a running
execution outlives it, and what agents reported meanwhile is recorded once there is room.
"""

from __future__ import annotations

import errno
import random
from collections import Counter
from functools import partial

import pytest

from podium.testing.diskfaults import CALLS, DiskFaults
from podium.testing.ledger import FileLedger
from tests.cli.support import GATED_RUN, eventually
from tests.faults.support import completed, driver, examine, lines, to_end

FAULTS = {
    "full": (DiskFaults.full, "the disk is full"),
    "I/O error": (DiskFaults.broken, "the disk reports an I/O error"),
    "read-only": (DiskFaults.read_only, "it can't be written (read-only file or folder)"),
}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
SLOW = pytest.mark.slow
STEPS = ["first", "gate begun", "gate passed", "last"]
each_fault = pytest.mark.parametrize("fault", FAULTS)
one_fault = pytest.mark.parametrize("fault", [pytest.param(f, marks=() if f == "full" else SLOW) for f in FAULTS])


def sentence(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def says(lines: list[str], reason: str) -> bool:
    """Whether a person is told in a sentence what is wrong with the disk: before SQLite can tell, the system does."""
    said = sentence(lines)
    instead = ("the disk reports an I/O error", "it can't be opened", "Read-only file system", "No space left")
    return "Traceback" not in said and "bug" not in said and any(text in said for text in (reason, *instead))


@each_fault
def test_a_running_execution_outlives_the_fault_and_nobody_is_acknowledged_meanwhile(shell, disk, fault):
    begin, reason = FAULTS[fault]
    run = shell.start(*GATED_RUN, **disk.environment)
    eventually(lambda: "gate begun" in shell.ledger, f"the gate, {run}")
    begin(disk)
    shell.open_gate()
    eventually(lambda: "gate passed" in shell.ledger and disk.failed > 3, "appends that fail")
    for command in (("run", "noop.yaml"), ("pause", run.id), ("cancel", run.id), ("signal", run.id, "note")):
        cant_open = fault == "read-only" and command[0] == "run"
        refused = shell(*command, code=2 if cant_open else 1, **disk.environment)
        assert says(refused.err, reason)
        assert not refused.out
    assert run.process.poll() is None
    assert shell.status(run.id) == "running"
    assert "last" not in shell.ledger
    disk.off()
    assert run.wait() == 0
    assert shell.ledger == STEPS
    assert len(shell.json("ps")) == 1, "a submission that was refused has left something"
    examine(shell.folder)


@one_fault
def test_a_run_that_cant_begin_says_why_and_begins_once_it_can(shell, disk, fault):
    begin, reason = FAULTS[fault]
    shell("run", "noop.yaml")
    begin(disk)
    refused = shell("run", "noop.yaml", code=2, **disk.environment)
    assert says(refused.err, reason)
    assert len(shell.json("ps")) == 1
    disk.off()
    shell("run", "noop.yaml", **disk.environment)
    assert len(shell.json("ps")) == 2
    examine(shell.folder)


@each_fault
def test_a_database_that_cant_be_made_is_said(shell, disk, fault):
    begin, reason = FAULTS[fault]
    begin(disk)
    refused = shell("run", "noop.yaml", code=2, **disk.environment)
    assert "the database can't be used" in sentence(refused.err)
    assert says(refused.err, reason)
    disk.off()
    shell("run", "noop.yaml", **disk.environment)
    examine(shell.folder)


@one_fault
def test_ctrl_c_ends_a_run_whose_disk_is_bad_and_the_next_one_makes_it_good(shell, disk, fault):
    import signal

    run = shell.start(*GATED_RUN, PODIUM_DRAIN_SECONDS="1", **disk.environment)
    eventually(lambda: "gate begun" in shell.ledger, f"the gate, {run}")
    FAULTS[fault][0](disk)
    shell.open_gate()
    eventually(lambda: "gate passed" in shell.ledger and disk.failed, "appends that fail")
    run.send(signal.SIGINT)
    assert run.wait() == 130, run
    assert "Traceback" not in sentence(run.err)
    disk.off()
    assert shell("resume", run.id, **disk.environment).wait() == 0
    assert shell.ledger in (STEPS, ["first", "gate begun", "gate passed", "gate begun", "gate passed", "last"])
    examine(shell.folder)


def survive(folder, disk, count: int = 3) -> None:
    """Run the chain to its end under whatever the disk does; nothing is done twice, since nobody dies."""
    assert to_end(driver(folder, "chain", count, disk=disk)) == 0
    disk.off()
    completed(folder, count)
    for effect, times in Counter(e.key for e in FileLedger(folder / "effects").effects()).items():
        assert times == 1, f"{effect} had {times} effects"


def one_failure(folder, disk, call: str, skip: int, error: int) -> None:
    to_end(driver(folder, "chain", 0))  # the database is made before
    disk.fail(error, call, skip=skip, times=1)
    survive(folder, disk)


@pytest.mark.parametrize("skip", [3, 20])
@pytest.mark.parametrize("call", ["write", "sync"])
def test_one_call_that_fails_at_any_point_changes_nothing(folder, disk, call, skip):
    one_failure(folder, disk, call, skip, ERRORS[skip % 2])


@pytest.mark.slow
@pytest.mark.parametrize("skip", range(40))
def test_one_call_that_fails_at_every_point_changes_nothing(folder, disk, skip):
    one_failure(folder, disk, "write" if skip % 2 else "sync", skip // 2, ERRORS[skip % 3])


def moved(folder, disk, process, failed: int, ended: int) -> bool:
    """Whether the disk has failed often enough, or the chain has gone on in spite of it."""
    return disk.failed > failed + 2 or len(lines(folder, "ended")) > ended or process.poll() is not None


def weather(folder, disk, seed: int, count: int) -> None:
    """Run the chain while the disk comes and goes, by the seed."""
    chance = random.Random(seed)
    to_end(driver(folder, "chain", 0))
    process = driver(folder, "chain", count, disk=disk)
    while process.poll() is None and len(lines(folder, "ended")) < count:
        calls = chance.sample(sorted(CALLS), chance.randint(1, len(CALLS)))
        room = chance.choice((None, chance.randrange(20_000)))
        disk.fail(chance.choice(ERRORS), *calls, skip=chance.randrange(10), times=chance.randint(1, 30), room=room)
        eventually(partial(moved, folder, disk, process, disk.failed, len(lines(folder, "ended"))), "anything")
        disk.off()
    assert to_end(process) == 0
    completed(folder, count)


def test_a_disk_that_comes_and_goes(folder, disk):
    weather(folder, disk, 1, 2)
    assert disk.failed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 105))
def test_a_disk_that_comes_and_goes_for_long(folder, disk, seed):
    weather(folder, disk, seed, 12)


def test_a_submission_is_refused_with_the_reason_while_the_disk_is_full(folder, disk):
    to_end(driver(folder, "chain", 0))
    disk.full()
    process = driver(folder, "chain", 2, disk=disk)
    eventually(lambda: len(lines(folder, "refused")) > 3 or process.poll() is not None, "refusals")
    assert not lines(folder, "execution")
    assert {line[1] for line in lines(folder, "refused")} == {"StoreUnavailableError"}
    assert all(says([line[2]], "the disk is full; nothing was acknowledged") for line in lines(folder, "refused"))
    disk.off()
    assert to_end(process) == 0
    completed(folder, 2)
