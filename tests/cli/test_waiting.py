"""`MAX_CONCURRENT_WORKFLOWS`: a start beyond is taken, shown, explained, cancelled, and begins when there is room."""

from __future__ import annotations

from tests.cli.support import GATED_RUN, Running, Shell, eventually


def waiting(shell: Shell) -> list[str]:
    return [row["execution_id"] for row in shell.json("ps") if row["waiting"]]


def two_of_which_one_waits(shell: Shell) -> tuple[Running, Running]:
    first = shell.start(*GATED_RUN, MAX_CONCURRENT_WORKFLOWS="1")
    eventually(lambda: "gate begun" in shell.ledger, f"the gate, {first}")
    second = shell.start(*GATED_RUN)
    eventually(lambda: waiting(shell) == [second.id], f"that it waits, {second}")
    return first, second


def test_what_waits_for_room_is_shown_and_begins_when_there_is_some(shell: Shell) -> None:
    first, second = two_of_which_one_waits(shell)
    listed = "\n".join(shell("ps").out)
    assert "waiting" in listed
    assert "0/3" in listed
    assert "begin when fewer executions are at work" in listed
    assert "waiting for room" in "\n".join(shell("status", second.id).out)
    assert shell.json("status", second.id)["waiting"] is True
    explained = " ".join("\n".join(shell("explain", second.id).out).split())
    assert "as many executions are at work as may be at once (1 here; max_concurrent_workflows)" in explained
    assert shell.ledger == ["first", "gate begun"]
    shell.open_gate()
    assert (first.wait(), second.wait()) == (0, 0)
    assert shell.ledger.count("last") == 2
    assert waiting(shell) == []


def test_one_that_waits_can_be_cancelled_and_survives_its_caller(shell: Shell) -> None:
    first, second = two_of_which_one_waits(shell)
    third = shell.start(*GATED_RUN)
    eventually(lambda: len(waiting(shell)) == 2, f"that it waits too, {third}")
    third.end()
    shell("cancel", second.id)
    assert second.wait() != 0
    assert shell.status(second.id) == "cancelled"
    assert waiting(shell) == [third.id]
    shell.open_gate()
    assert first.wait() == 0
    shell("resume", third.id, "--agents", "ledger.py")
    assert shell.status(third.id) == "completed"
    assert shell.ledger.count("last") == 2
