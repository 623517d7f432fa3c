"""Agents that are stopped, killed, slow or started anew, over a real NATS server (faults 6 to 9 and 22)."""

from __future__ import annotations

import json
import signal
import time
from functools import partial

import nats
import pytest
from nats.aio.client import Client

from podium.workflow.model import ExecutionStatus, TaskStatus
from tests.cli.support import eventually
from tests.faults.bus.support import LEASE_SECONDS, fan, gated, one


def wait_for(seconds: float) -> None:
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > until, "the end of the time", seconds + 10)


@pytest.mark.parametrize("lost_seconds", ["300", "3"], ids=["unhealthy", "lost"])
def test_an_agent_stopped_for_longer_than_its_lease_loses_its_task_and_comes_back(ensemble, lost_seconds):
    ensemble.up(PODIUM_DEREGISTRATION_TIMEOUT_SECONDS=lost_seconds)
    first = ensemble.agent("first")
    execution = ensemble.submit(gated())
    eventually(lambda: ensemble.begun("gate"), "the gate")
    first.send(signal.SIGSTOP)
    ensemble.agent("second")
    eventually(lambda: len(ensemble.begun("gate")) == 2, f"the task on another agent: {ensemble.explained(execution)}")
    if lost_seconds == "3":
        eventually(lambda: "first" not in ensemble.agents, f"a lost agent: {ensemble.agents}")
    else:
        eventually(lambda: ensemble.agents["first"]["state"] == "unhealthy", f"an unhealthy agent: {ensemble.agents}")
    ensemble.open_gate()
    ensemble.ended(execution)
    first.send(signal.SIGCONT)
    eventually(lambda: len([e for e in ensemble.effects if ":gate:" in e.attempt]) == 2, "the late effect")
    eventually(
        lambda: ensemble.agents.get("first", {}).get("state") in ("idle", "registered"), f"it: {ensemble.agents}"
    )
    task = ensemble.state(execution).tasks["gate"]
    assert (task.status, task.number) == (TaskStatus.COMPLETED, 2)
    eventually(lambda: "late" in " ".join(ensemble.ignored(execution)), "the late result in the log")
    again = ensemble.submit(fan(8))
    ensemble.ended(again)
    assert {pid for _, attempt, pid in ensemble.begun() if attempt.startswith(again)} >= {first.process.pid}
    ensemble.examine()


@pytest.mark.parametrize("lease", [1.0, pytest.param(3.0, marks=pytest.mark.slow)])
def test_tasks_that_run_ten_times_their_lease_are_never_taken_away_one_keeps_its_loop_busy(ensemble, lease):
    ensemble.up(PODIUM_LEASE_SECONDS=str(lease))
    ensemble.agent("first", "--concurrency", "1")
    ensemble.agent("second", "--concurrency", "1")
    waits, hogs = ensemble.submit(gated("waits")), ensemble.submit(gated("hogs", "hog"))
    eventually(lambda: ensemble.begun("waits") and ensemble.begun("hogs"), "the tasks")
    wait_for(10 * lease)
    ensemble.open_gate("waits")
    ensemble.open_gate("hogs")
    ensemble.ended(waits, hogs)
    assert {**ensemble.attempts(waits), **ensemble.attempts(hogs)} == {"waits": 1, "hogs": 1, "after": 1}
    assert ensemble.metric("podium_attempts_lost_total") == 0
    ensemble.examine()
    ensemble.once()


def test_an_agent_that_dies_before_it_begins_frees_its_one_slot_within_the_lease(ensemble):
    ensemble.up()
    first = ensemble.agent("first", "--concurrency", "1")
    first.send(signal.SIGSTOP)  # what is assigned to it arrives, and is never begun
    execution = ensemble.submit(gated())
    eventually(lambda: ensemble.agents["first"]["held"] == 1, f"the assignment: {ensemble.agents}")
    since = time.monotonic()
    first.send(signal.SIGKILL)
    eventually(lambda: ensemble.agents["first"]["held"] == 0, f"the free slot: {ensemble.agents}")
    assert time.monotonic() - since < 2 * LEASE_SECONDS
    assert not ensemble.begun()
    ensemble.agent("second", "--concurrency", "1")
    ensemble.open_gate()
    ensemble.ended(execution)
    ensemble.examine()
    ensemble.once()


def test_an_agent_that_is_started_anew_within_its_lease_gives_up_what_it_had_at_once(ensemble):
    ensemble.up(PODIUM_LEASE_SECONDS="60")
    first = ensemble.agent("same")
    execution = ensemble.submit(gated())
    eventually(lambda: ensemble.begun("gate"), "the gate")
    first.send(signal.SIGKILL)
    first.wait()
    again = ensemble.agent("same")
    eventually(lambda: len(ensemble.begun("gate")) == 2, f"the task once more: {ensemble.explained(execution)}")
    assert ensemble.begun("gate")[1][2] == again.process.pid
    ensemble.open_gate()
    ensemble.ended(execution)
    assert ensemble.attempts(execution) == {"gate": 2, "after": 1}
    ensemble.examine()
    ensemble.once()


def test_a_process_whose_name_was_given_to_a_later_one_ends_and_says_why(ensemble):
    ensemble.up()
    first = ensemble.agent("same")
    first.send(signal.SIGSTOP)
    execution = ensemble.submit(gated())
    second = ensemble.agent("same", wait=False)
    eventually(lambda: ensemble.begun("gate"), f"the task on the later process: {ensemble.explained(execution)}")
    assert ensemble.begun("gate")[0][2] == second.process.pid
    first.send(signal.SIGCONT)
    assert first.wait() != 0
    assert "later" in " ".join(first.err)
    ensemble.open_gate()
    ensemble.ended(execution)
    assert second.process.poll() is None
    ensemble.examine()


def _begun(ensemble, task: str, times: int) -> bool:
    return len(ensemble.begun(task)) == times


def test_a_task_that_kills_its_agents_fails_for_good_with_its_crashes_counted(ensemble):
    ensemble.up(PODIUM_LEASE_SECONDS="1")
    execution = ensemble.submit(one("deadly"))
    for number in range(1, 4):
        agent = ensemble.agent(f"agent-{number}", wait=False)
        eventually(partial(_begun, ensemble, "deadly", number), f"attempt {number}; {agent}")
        assert agent.wait() == -signal.SIGKILL
    ensemble.ended(execution, status=ExecutionStatus.FAILED)
    task = ensemble.state(execution).tasks["one"]
    assert (task.number, task.crashes) == (3, 3)
    assert task.error.type == "CrashLoop"
    assert "died 3 times" in task.error.message
    assert ensemble.metric("podium_attempts_lost_total") == 3
    ensemble.agent("last")
    healthy = ensemble.submit(fan())
    ensemble.ended(healthy)
    assert len(ensemble.begun("deadly")) == 3
    ensemble.examine()


def test_a_foreign_agent_that_falls_silent_loses_its_task_when_its_own_lease_ends(ensemble, server, aside):
    ensemble.up(bus=server.url, PODIUM_FOREIGN_LEASE_SECONDS="3")
    execution = ensemble.submit(fan(1))
    assigned: list[dict] = []

    async def silent() -> Client:
        client = await nats.connect(server.url)

        async def heard(message) -> None:
            assigned.append(json.loads(message.data)["task"])

        await client.subscribe("mcp.agent.silent.task", cb=heard)
        registration = {"agentId": "silent", "agentType": "worker", "maxConcurrentTasks": 4}
        await client.publish("mcp.agent.register", json.dumps({"registration": registration}).encode())
        await client.flush()
        return client

    client = aside(silent())
    eventually(lambda: assigned, "the assignment")
    assert assigned[0]["leaseMs"] == 3_000
    ensemble.agent("second", bus=server.url)
    ensemble.ended(execution)
    assert ensemble.attempts(execution)["split"] == 2
    late = {"result": {"taskId": assigned[0]["taskId"], "status": "COMPLETED", "result": [7, 7]}}

    aside(client.publish("mcp.agent.silent.result", json.dumps(late).encode()))
    aside(client.close())
    eventually(lambda: "late" in " ".join(ensemble.ignored(execution)), "the late result in the log")
    assert ensemble.result(execution, "join") == 2
    ensemble.examine()
