"""Several processes on one database, kills, Ctrl-C: what is finished isn't run again, and everybody is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from tests.cli.support import GATED_RUN, Shell, environment, eventually

STEPS = ["first", "gate begun", "gate passed", "last"]


def test_a_killed_run_is_resumed_without_running_a_finished_task_again(shell: Shell) -> None:
    run = shell.held()
    execution = run.id
    run.send(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    listed = shell("ps")
    assert "interrupted" in listed.out[1]
    assert "podium resume ID" in listed.out[-1]
    assert "no process runs it at the moment" in "\n".join(shell("status", "last").out).replace("\n  ", " ")
    shell.open_gate()
    resumed = shell("resume", execution[:20])
    assert resumed.out[-1] == f"  execution  {execution}"
    assert shell.ledger == ["first", "gate begun", "gate begun", "gate passed", "last"]
    assert shell.json("status", execution)["tasks"]["first"]["attempts"] == 1


def test_a_running_execution_is_looked_at_and_steered_from_another_process(shell: Shell) -> None:
    run = shell.held()
    assert shell.json("ps")[0]["status"] == "running"
    table = "\n".join(shell("status", run.id).out)
    assert "50% half way" in table
    assert "runs it" in table
    explained = "\n".join(shell("explain", run.id).out)
    assert "held (running): attempt 1 is with ledger-1" in explained
    assert "last (pending): it waits for held" in explained
    assert shell("pause", run.id, "--reason", "lunch").out[1].startswith("pausing: 1 of 3 done")
    run.until("pausing (lunch)")
    shell.open_gate()
    eventually(lambda: shell.status(run.id) == "paused", "the pause")
    assert shell.ledger == STEPS[:3]
    assert "resumed: process" in shell("resume", run.id).out[1]
    assert run.wait() == 0
    assert shell.ledger == STEPS


def test_resume_can_follow_what_another_process_runs(shell: Shell) -> None:
    run = shell.held()
    assert "it runs already" in shell("resume", run.id).out[1]
    follower = shell.start("resume", run.id, "--follow")
    follower.until(f"execution {run.id}")
    shell.open_gate()
    assert (run.wait(), follower.wait()) == (0, 0)
    assert any("last              completed" in line for line in follower.out)


def test_ctrl_c_drains_and_says_how_to_go_on(shell: Shell) -> None:
    run = shell.held()
    run.send(signal.SIGINT)
    run.until("stopping: 1 live attempt has up to 10 s to end; Ctrl-C once more ends at once")
    shell.open_gate()
    assert run.wait() == 130
    assert "stopped; `podium resume" in run.err[-1]
    assert shell.ledger == STEPS[:3]
    assert shell("resume", "last").wait() == 0
    assert shell.ledger == STEPS


def test_what_does_not_end_in_time_is_handed_back(shell: Shell) -> None:
    run = shell.start(*GATED_RUN, PODIUM_DRAIN_SECONDS="0.2")
    eventually(lambda: "gate begun" in shell.ledger)
    run.send(signal.SIGTERM)
    assert run.wait() == 130
    shell.open_gate()
    shell("resume", "last")
    assert shell.ledger == ["first", "gate begun", "gate begun", "gate passed", "last"]


def test_a_second_ctrl_c_ends_at_once(shell: Shell) -> None:
    run = shell.held()
    run.send(signal.SIGINT)
    run.until("stopping")
    run.send(signal.SIGINT)
    assert run.wait() == 130
    assert f"ended at once; `podium resume {run.id}` goes on with it" in "\n".join(run.err).replace("\n  ", " ")
    assert shell.ledger == STEPS[:2]


def test_two_runs_at_the_same_time_share_the_owner(shell: Shell) -> None:
    first = shell.held()
    second = shell.start(*GATED_RUN)
    second.until("execution ")
    eventually(lambda: shell.ledger.count("gate begun") == 2)
    shell.open_gate()
    assert (first.wait(), second.wait()) == (0, 0)
    assert sorted(shell.ledger) == sorted(STEPS * 2)
    assert first.id != second.id


def test_a_follower_takes_over_when_the_owner_is_killed(shell: Shell) -> None:
    first = shell.held()
    second = shell.start(*GATED_RUN)
    eventually(lambda: shell.ledger.count("gate begun") == 2)
    first.send(signal.SIGKILL)
    first.wait()
    shell.open_gate()
    assert second.wait() == 0
    assert shell.status(second.id) == "completed"
    assert shell.ledger.count("first") == 2


def test_ctrl_c_of_a_guest_only_stops_following(shell: Shell) -> None:
    owner = shell.held()
    guest = shell.start("resume", owner.id, "--follow")
    guest.until("execution ")
    eventually(lambda: guest.process.poll() is None and _catches_interrupts(guest.process.pid))
    guest.send(signal.SIGINT)
    assert guest.wait() == 130
    assert "no longer followed; process" in "\n".join(guest.err)
    shell.open_gate()
    assert owner.wait() == 0


def test_cancel_tells_the_running_process(shell: Shell) -> None:
    run = shell.held()
    shell("cancel", run.id, "--reason", "enough")
    assert run.wait() == 1
    text = "\n".join(run.out)
    assert "cancelling (enough)" in text
    assert "cancelled in" in text
    assert shell.ledger == STEPS[:2]
    assert shell("resume", run.id, code=1).out[0] == "it has ended already:"


def test_without_an_owner_commands_decide_and_begin_nothing(shell: Shell) -> None:
    run = shell.held()
    run.send(signal.SIGKILL)
    run.wait()
    shell.open_gate()
    assert "paused" in "\n".join(shell("pause", "last").out)
    assert "signal" not in "\n".join(shell("signal", "last", "note", '{"a": 1}').out)
    assert shell("resume", "last", "--json").wait() == 0
    assert shell.ledger == ["first", "gate begun", "gate begun", "gate passed", "last"]
    rows = [json.loads(line) for line in shell("history", "last", "--json").out]
    signals = [row["input"] for row in rows if row["input"]["kind"] == "signal"]
    assert signals == [{"kind": "signal", "name": "note", "value": {"json": {"a": 1}}}]


def test_cancel_of_an_interrupted_one_ends_it(shell: Shell) -> None:
    run = shell.held()
    run.send(signal.SIGKILL)
    run.wait()
    assert any("cancelled" in line for line in shell("cancel", "last", "--force").out)
    assert shell.ledger == STEPS[:2]
    assert shell.status() == "cancelled"


def test_logs_are_followed_to_the_end(shell: Shell) -> None:
    run = shell.held()
    following = shell.start("logs", run.id, "held", "-f")
    following.until("waiting at the gate")
    shell.open_gate()
    assert (run.wait(), following.wait()) == (0, 0)
    assert len(following.out) == 1
    assert [json.loads(line)["task"] for line in shell("logs", "last", "--json").out] == ["held"]
    assert shell("logs", "last", "held", "--tail", "0").out == []
    assert len(shell("logs", "last", "--tail", "5").out) == 1


def test_a_reader_that_leaves_is_no_error(shell: Shell) -> None:
    shell("run", "noop.yaml")
    for command in ("history last --events", "ps --all", "status last", "--help"):
        reading, writing = os.pipe()
        os.close(reading)
        program = [sys.executable, "-m", "podium", *command.split()]
        ended = subprocess.run(
            program, cwd=shell.folder, env=environment(), stdout=writing, stderr=subprocess.PIPE, check=False
        )
        os.close(writing)
        assert (ended.returncode, ended.stderr) == (0, b""), command


def test_with_json_an_interrupted_run_still_prints_one_document(shell: Shell) -> None:
    run = shell.start(*GATED_RUN, "--json")
    eventually(lambda: "gate begun" in shell.ledger)
    run.send(signal.SIGINT)
    run.until("stopping")
    shell.open_gate()
    assert run.wait() == 130
    document = json.loads("\n".join(run.out))
    assert (document["execution_id"], document["interrupted"]) == (run.id, True)


def _catches_interrupts(pid: int) -> bool:
    """Whether a process has its own handler for SIGINT that isn't Python's first one: its event loop's."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)
