"""The promise as a whole: a replica and a foreign agent are killed in the middle of a thousand runs.

Nothing is lost, and nothing is recorded twice.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from podium.engine import events as ev
from podium.examples import foreign
from podium.workflow.model import AgentGroup, Task, Workflow, WorkflowConfig
from tests.cli.support import environment, eventually
from tests.faults.bus.support import SOON

WORDS = "the quick brown fox"


def thread(number: int) -> Workflow:
    """Return a run of three tasks: ours, a stranger's, and ours again."""
    ours, theirs = AgentGroup("worker", "worker"), AgentGroup("words", "words")
    tasks = (
        Task(id="double", agent="worker", payload={"item": number}, retry=SOON),
        Task(id="count", agent="words", function="word_count", payload={"text": WORDS}, dependencies=("double",),
             retry=SOON),
        Task(id="sum", agent="worker", function="join", dependencies=("count",), retry=SOON,
             payload={"doubled": ["${tasks.double.result}", "${tasks.count.result.words}"]}),
    )  # fmt: skip
    config = WorkflowConfig(max_crashes=10)
    return Workflow(name="thread", agents={"worker": ours, "words": theirs}, tasks=tasks, config=config)


def stranger(replicas) -> subprocess.Popen[bytes]:
    """Start the agent that was written from the protocol's page."""
    code = Path(foreign.__file__).with_name("agent.py")
    return subprocess.Popen([sys.executable, str(code)], env=environment(AGENT_ID="words-1", NATS_URL=replicas.bus))


def ended(replicas) -> int:
    """Return how many runs have ended, and are on disk."""
    return int(
        replicas.postgres.execute("SELECT count(*) FROM executions WHERE finished_us IS NOT NULL", replicas.name)
    )


@pytest.mark.parametrize("runs", [100, pytest.param(1_000, marks=pytest.mark.slow)])
def test_a_replica_and_a_foreign_agent_are_killed_in_the_middle_of_many_runs(replicas, runs):
    victim, *_ = replicas.several(3, "first", "second")
    words = stranger(replicas)
    try:
        eventually(lambda: "words-1" in replicas.agents, f"the stranger: {replicas.agents}")
        executions = replicas.submit_many([thread(number) for number in range(runs)])
        eventually(lambda: ended(replicas) >= runs // 4, "a part of the runs", 120)
        assert ended(replicas) < runs
        replicas.kill(victim)
        words.kill()
        words.wait()
        since = time.monotonic()
        words = stranger(replicas)
        ends = replicas.all_ended(executions, 180)
        print(f"{runs} runs; after the kills the last one ended within {time.monotonic() - since:.1f} s")
        assert Counter(ends.values()) == {"completed": runs}
        assert len(set(executions)) == runs
        recorded = Counter(
            (each, event.task)
            for each in executions[:: runs // 50]
            for event in replicas.events(each)
            if isinstance(event, ev.TaskCompleted)
        )
        assert set(recorded.values()) == {1}
        replicas.settled(2)
        results = {number: replicas.result(each, "sum") for number, each in list(enumerate(executions))[::100]}
        assert results == {number: 2 * number + len(WORDS.split()) for number in results}
        replicas.examine()
    finally:
        words.kill()
        words.wait()
