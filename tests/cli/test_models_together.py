"""Read models and webhooks of replicas that share a database: one is killed, and everything counts once."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from tests.cli.support import eventually
from tests.cli.test_together import Together, bus, postgres, together
from tests.webhooks.receiver import SECRET, Receiver

__all__ = ["bus", "postgres", "together"]  # fixtures
pytestmark = pytest.mark.xdist_group("together")
RUNS = 40


def test_a_replica_is_killed_and_each_end_counts_once_and_is_told(together: Together) -> None:
    with Receiver() as receiver:
        (together.shell.folder / "podium.yaml").write_text(
            f"webhook_allow_private: true\nwebhooks: [{{url: '{receiver.url}', secret: '{SECRET}'}}]\n"
        )
        one = together.up("--agents", "ledger.py", "--agents", "podium.agents.builtin")
        together.up("--agents", "ledger.py", "--agents", "podium.agents.builtin")
        together.settled(2)
        executions = together.submitted(RUNS)
        eventually(lambda: len(receiver.told) >= 5, "some ends", 60)
        one.send(signal.SIGKILL)
        one.wait()
        assert together.ended(executions) == {"completed": RUNS}
        eventually(lambda: {each.json["execution_id"] for each in receiver.told} == set(executions), "all ends", 60)
        ids = {each.id: each.json["execution_id"] for each in receiver.told}
        assert Counter(ids.values()) == Counter(executions)
        (counted,) = together.json("stats")["workflows"]
        assert counted["executions"] == counted["executions"] | {"started": RUNS, "completed": RUNS, "failed": 0}
        assert counted["tasks"]["last"]["completed"] == RUNS
        assert together.json("rebuild")["rows"] >= 7 * RUNS
        assert together.json("stats")["workflows"] == [counted]
        listed = together.json("webhooks", "list", "--limit", "1000")
        assert {each["execution_id"] for each in listed} == set(executions)
        for each in receiver.told:
            each.check_signature()
