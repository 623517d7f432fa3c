"""`podium up`, `agent`, `submit`, `agents`, `top` as processes: an orchestrator whose agents are elsewhere."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import nats
import pytest

from podium.testing.natsserver import binary_or_skip
from tests.cli.support import Running, Shell, eventually

PORTS = ("--nats", "127.0.0.1:0", "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
AGENT = """
import podium


@podium.agent("counter", capabilities=["counting"], slots=2)
class Counter:
    @podium.task
    def count(self, text: str) -> int:
        return len(text.split())
"""
WORKFLOW = """
name: count
tasks:
  - {id: count, agent: counter, input: {text: "the quick brown fox"}}
"""

pytestmark = pytest.mark.xdist_group("anywhere")


@pytest.fixture
def up(shell: Shell) -> Running:
    """An orchestrator on free ports, ready."""
    binary_or_skip()
    (shell.folder / "words.py").write_text(AGENT)
    (shell.folder / "count.yaml").write_text(WORKFLOW)
    running = shell.start("up", *PORTS, "--json")
    running.until('"nats"')
    return running


def ready(up: Running) -> dict[str, str]:
    document: dict[str, str] = json.loads(up.out[0])
    return document


def joined(shell: Shell, *arguments: str) -> Running:
    """Agents that are connected and registered."""
    agent = shell.start("agent", *arguments)
    agent.until("connected")
    eventually(lambda: shell.json("agents"), "an agent in the fleet")
    return agent


def test_the_ready_line_names_all_addresses_and_sigterm_ends_with_0(shell, up):
    said = ready(up)
    assert set(said) == {"http", "metrics", "nats", "bus"}
    assert said["bus"] == f"nats://{said['nats']}"
    assert not any(address.endswith(":0") for address in said.values())
    up.send(signal.SIGTERM)
    assert up.wait() == 0
    assert len(up.out) == 1, "with --json there is one line"


def test_a_workflow_is_done_by_agents_elsewhere(shell, up):
    agent = joined(shell, "words.py:Counter", "--name", "c", "--count", "2")
    done = shell("submit", "count.yaml", "--follow")
    assert "completed" in "".join(done.out)
    shown = shell.json("submit", "count.yaml", "--follow")
    assert (shown["status"], shown["result"]) == ("completed", 4)
    fleet = shell.json("agents")
    assert [row["agent_id"] for row in fleet] == ["c-1", "c-2"]
    assert {row["state"] for row in fleet} <= {"registered", "idle", "busy"}
    assert [(row["slots"], row["capabilities"], row["version"], row["health"]) for row in fleet] == [
        (2, ["counting"], "1.0", 1.0)
    ] * 2
    agent.send(signal.SIGTERM)
    assert agent.wait() == 0
    eventually(lambda: shell.json("agents") == [], "the agents to have left")


def test_concurrency_is_what_is_asked_for(shell, up):
    joined(shell, "words.py:Counter", "--name", "wide", "--concurrency", "7")
    (row,) = shell.json("agents")
    assert (row["agent_id"], row["slots"]) == ("wide", 7)


def test_agents_wait_for_a_bus_that_is_not_there_yet(shell):
    binary_or_skip()
    (shell.folder / "words.py").write_text(AGENT)
    with_port = f"127.0.0.1:{free_port()}"
    agent = shell.start("agent", "words.py:Counter", "--name", "early", "--bus", f"nats://{with_port}")
    agent.until("isn't there yet")
    up = shell.start("up", "--nats", with_port, *PORTS[2:], "--json")
    up.until('"nats"')
    agent.until("connected")
    eventually(lambda: [row["agent_id"] for row in shell.json("agents")] == ["early"], "the agent in the fleet")


def test_what_waits_for_an_agent_says_so_and_is_begun_once_there_is_one(shell, up):
    submitted = shell.json("submit", "count.yaml")
    explained = shell("explain", submitted["execution_id"])
    assert "no agent of type counter is registered" in " ".join("".join(explained.out).split())
    joined(shell, "words.py:Counter")
    eventually(lambda: shell.status(submitted["execution_id"]) == "completed", "the end")


def test_without_an_orchestrator_nothing_is_submitted(shell):
    (shell.folder / "count.yaml").write_text(WORKFLOW)
    refused = shell("submit", "count.yaml", code=2)
    assert "podium up" in "".join(refused.err) or "podium run" in "".join(refused.err)


def test_two_orchestrators_cannot_share_a_folder(shell, up):
    refused = shell("up", *PORTS, code=1)
    assert "another process owns" in " ".join("".join(refused.err).split())


def test_top_shows_fleet_and_work_within_80_columns(shell, up):
    joined(shell, "words.py:Counter", "--name", "c")
    shown = shell("top", "--once")
    assert any("agents 1 (1 healthy)" in line for line in shown.out)
    assert all(len(line) <= 80 for line in shown.out)


def test_reload_starts_the_agents_again_when_their_code_changes(shell, up):
    agent = shell.start("agent", "words.py:Counter", "--name", "c", "--reload")
    agent.until("connected")
    eventually(lambda: shell.json("agents"), "the agent in the fleet")
    before = agent.out.count("connected") if isinstance(agent.out, str) else len(agent.out)
    (shell.folder / "words.py").write_text(AGENT.replace('"counting"', '"counting", "more"'))
    eventually(lambda: len(agent.out) > before, "the agents started again")
    eventually(
        lambda: [row["capabilities"] for row in shell.json("agents")] == [["counting", "more"]], "the new registration"
    )
    agent.send(signal.SIGTERM)
    assert agent.wait() == 0


def test_a_name_that_is_none_is_refused(shell, up):
    refused = shell("agent", "words.py:Counter", "--name", "a.b", code=2)
    assert "letters, digits" in " ".join("".join(refused.err).split())


def test_a_later_process_of_the_same_name_takes_its_place(shell, up):
    first = joined(shell, "words.py:Counter", "--name", "c")
    second = shell.start("agent", "words.py:Counter", "--name", "c")
    second.until("connected")
    assert first.wait() == 2
    assert "later" in " ".join("".join(first.err).split())
    second.send(signal.SIGTERM)
    assert second.wait() == 0


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_doctor_asks_the_orchestrator_that_runs_here_what_its_bus_promises(shell, up):
    said = json.dumps(shell.json("doctor")["durability"])
    assert "NATS 2" in said
    assert "synced every 1 s" in said


def test_refused_registrations_are_listed(shell, up):
    assert shell.json("agents", "--audit") == []
    assert "no registration was refused" in " ".join(shell("agents", "--audit").out)
    joined(shell, "words.py:Counter", "--name", "c")
    claim = {"registration": {"agentId": "c", "key": "somebody else's", "incarnation": "1"}}

    async def claimed() -> bytes:
        client = await nats.connect(f"nats://{ready(up)['nats']}")
        answer = await client.request("mcp.agent.register", json.dumps(claim).encode(), timeout=10)
        await client.close()
        return answer.data

    assert json.loads(asyncio.run(claimed()))["error"]["code"] == "CONFLICT"
    (entry,) = shell.json("agents", "--audit")
    assert (entry["agent_id"], entry["rule"]) == ("c", "another_key")
    assert "another key" in " ".join(" ".join(shell("agents", "--audit").out).split())


def test_data_is_the_folder_of_everything(shell):
    binary_or_skip()
    up = shell.start("up", *PORTS, "--json", "--data", "elsewhere")
    up.until('"nats"')
    assert Path(shell.folder, "elsewhere", "podium.db").exists()
    assert Path(shell.folder, "elsewhere", "nats").is_dir()
    assert not Path(shell.folder, ".podium").exists()
