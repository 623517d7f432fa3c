"""The fixtures that Podium brings to pytest, and that they cost nothing when nobody asks for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

HISTORY = Path(__file__).parents[1] / "histories" / "0.1.0" / "chain.jsonl"
WORKFLOW = """
name: greeting
tasks:
  - {id: greet, agent: greeter, function: greet, input: {name: "${input.name}"}}
"""


def greet(name: str) -> str:
    return f"hello {name}"


def test_a_workflow_runs_in_memory_from_a_plain_test(podium_memory):
    result = podium_memory.run(WORKFLOW, {"name": "Ulm"}, agents=[greet])
    assert result.status == "completed"


def test_the_clock_stands_still_until_it_is_told(podium_clock):
    before = podium_clock.now_us()
    podium_clock.advance(1.5)
    assert podium_clock.now_us() - before == 1_500_000
    podium_clock.run(asyncio.sleep(3_600))
    assert podium_clock.now_us() - before == pytest.approx(3_601_500_000)


def test_only_the_planned_faults_strike(podium_faults):
    reports = podium_faults.only("message_doubled", agent_dies=0.5).simulate(WORKFLOW, {"name": "Ulm"}, seeds=range(8))
    assert {kind for report in reports for kind in report.faults} == {"message_doubled", "agent_dies"}


def test_without_faults_nothing_strikes(podium_faults):
    assert not any(report.faults for report in podium_faults.none().simulate(WORKFLOW, {"name": "Ulm"}, seeds=range(3)))


def test_an_unknown_fault_is_refused(podium_faults):
    with pytest.raises(KeyError):
        podium_faults.only("agent_dyes")


def test_a_task_that_gives_something_else_each_time_fails_the_test(podium_faults):
    calls = []

    def greet(name: str) -> int:
        calls.append(name)
        return len(calls)

    plan = podium_faults.only(agent_dies=0.5)
    with pytest.raises(AssertionError, match="isn't idempotent"):
        plan.simulate(WORKFLOW, {"name": "Ulm"}, agents=[greet], seeds=range(20))


def test_a_history_is_replayed(replay_history):
    assert replay_history(HISTORY).rows > 1


def test_the_plugin_imports_nothing_of_podium_before_it_is_asked():
    code = (
        "import sys, pytest\n"
        "import podium.testing.plugin\n"
        "print(sorted(name for name in sys.modules if name.startswith('podium')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['podium', 'podium.testing', 'podium.testing.plugin']"
