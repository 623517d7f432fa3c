"""The orchestrator is killed or stopped while agents elsewhere work, and agents are asked to leave."""

from __future__ import annotations

import signal
from functools import partial

from podium.workflow.model import ExecutionStatus
from tests.cli.support import eventually
from tests.faults.bus.support import fan, gated


def working(ensemble) -> list[str]:
    """Have three agents' tasks held at gates of their own."""
    executions = [ensemble.submit(gated(name)) for name in ("one", "two", "three")]
    eventually(lambda: len(ensemble.begun()) == 3, f"three gates: {ensemble.begun()}")
    return executions


def test_a_killed_orchestrator_finds_its_agents_at_work_and_what_they_finished_meanwhile(ensemble):
    up = ensemble.up()
    ensemble.agent("first")
    ensemble.agent("second")
    executions = working(ensemble)
    up.send(signal.SIGKILL)
    up.wait()
    ensemble.open_gate("one")  # while nobody is there to hear of it
    eventually(lambda: ensemble.effects, "a result")
    ensemble.up()
    eventually(lambda: set(ensemble.agents) >= {"first", "second"}, f"the fleet: {ensemble.agents}")
    ensemble.ended(executions[0])
    ensemble.open_gate("two")
    ensemble.open_gate("three")
    ensemble.ended(*executions)
    assert [max(ensemble.attempts(each).values()) for each in executions] == [1] * len(executions)
    ensemble.examine()
    ensemble.once()


def test_an_orchestrator_killed_again_and_again_loses_and_doubles_nothing(ensemble):
    ensemble.settings["PODIUM_LEASE_SECONDS"] = "6"
    ensemble.agent("first", bus=f"nats://127.0.0.1:{ensemble.port}", wait=False)
    executions = []
    for turn in range(3):
        up = ensemble.up()
        executions += [ensemble.submit(gated(f"turn-{turn}")), ensemble.submit(fan(20), submission_id=f"fan-{turn}")]
        eventually(partial(ensemble.begun, f"turn-{turn}"), "the gate")
        up.send(signal.SIGKILL)
        up.wait()
        ensemble.open_gate(f"turn-{turn}")
    ensemble.up()
    ensemble.ended(*executions)
    assert [max(ensemble.attempts(each).values()) for each in executions] == [1] * len(executions)
    ensemble.examine()
    ensemble.once()


def test_a_stopped_orchestrator_ends_with_0_and_the_next_one_goes_on_with_its_agents(ensemble):
    up = ensemble.up()
    agent = ensemble.agent("first")
    executions = working(ensemble)
    up.send(signal.SIGTERM)
    assert up.wait() == 0
    ensemble.open_gate("one")
    eventually(lambda: ensemble.effects, "a result that nobody hears of")
    assert agent.process.poll() is None
    ensemble.up()
    ensemble.ended(executions[0])
    ensemble.open_gate("two")
    ensemble.open_gate("three")
    ensemble.ended(*executions)
    assert [max(ensemble.attempts(each).values()) for each in executions] == [1] * len(executions)
    ensemble.examine()
    ensemble.once()


def test_an_agent_that_is_asked_to_leave_finishes_what_it_can_and_hands_the_rest_back(ensemble):
    ensemble.up()
    first = ensemble.agent("first", PODIUM_DRAIN_SECONDS="2")
    executions = working(ensemble)
    ensemble.agent("second")
    first.send(signal.SIGTERM)
    eventually(lambda: ensemble.agents.get("first", {}).get("state") == "draining", f"it leaves: {ensemble.agents}")
    ensemble.open_gate("one")
    assert first.wait() == 0
    assert "first" not in ensemble.agents
    eventually(lambda: len(ensemble.begun("two")) == 2 and len(ensemble.begun("three")) == 2, "the rest elsewhere")
    ensemble.open_gate("two")
    ensemble.open_gate("three")
    ensemble.ended(*executions)
    tasks = [ensemble.state(execution).tasks for execution in executions]
    assert [(t["one"].number if "one" in t else 0) for t in tasks] == [1, 0, 0]
    assert all(task.failures == task.crashes == 0 for each in tasks for task in each.values())
    ensemble.examine()
    ensemble.once()


def test_an_orchestrator_that_stops_with_its_agents_has_them_finish_and_end(ensemble):
    up = ensemble.up("--stop-agents")
    agents = [ensemble.agent("first"), ensemble.agent("second")]
    execution = ensemble.submit(gated())
    eventually(lambda: ensemble.begun("gate"), "the gate")
    up.send(signal.SIGTERM)
    ensemble.open_gate()
    assert up.wait() == 0
    assert [agent.wait() for agent in agents] == [0, 0]
    assert ensemble.state(execution).tasks["gate"].number == 1
    ensemble.up()
    ensemble.agent("third")
    ensemble.ended(execution, status=ExecutionStatus.COMPLETED)
    ensemble.examine()
    ensemble.once()
