"""An agent whose connection to the embedded server ends is known as gone before its lease ends, credentials or not."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from podium.testing.natsserver import binary_or_skip
from tests.cli.support import Running, Shell, eventually

PORTS = ("--nats", "127.0.0.1:0", "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
LONG = {"PODIUM_LEASE_SECONDS": "600"}  # so that it's never a lease that ends
AGENT = """
import asyncio
from pathlib import Path

import podium


@podium.agent("gated", slots=2)
class Gated:
    @podium.task
    async def wait(self) -> str:
        with open("begun", "a") as begun:
            begun.write(".")
        while not Path("go").exists():
            await asyncio.sleep(0.01)
        return "through"
"""
WORKFLOW = """
name: gated
tasks:
  - {id: wait, agent: gated}
"""

pytestmark = pytest.mark.xdist_group("anywhere")


@pytest.fixture(params=["open", "authentication"])
def up(request: pytest.FixtureRequest, shell: Shell) -> Running:
    binary_or_skip()
    (shell.folder / "gated.py").write_text(AGENT)
    (shell.folder / "gated.yaml").write_text(WORKFLOW)
    more = {"PODIUM_NATS_AUTHENTICATION": "true"} if request.param == "authentication" else {}
    running = shell.start("up", *PORTS, "--json", **LONG, **more)
    running.until('"nats"')
    return running


def agent(shell: Shell, name: str) -> Running:
    given: tuple[str, ...] = ()
    if (shell.folder / ".podium" / "nats" / "auth").is_dir():
        shell("agent", "credentials", name, "--output", f"{name}.creds")
        given = ("--credentials", f"{name}.creds")
    running = shell.start("agent", "gated.py:Gated", "--name", name, *given)
    eventually(lambda: state(shell, name) is not None, f"{name} in the fleet")
    return running


def state(shell: Shell, name: str) -> Any:
    return next((row["state"] for row in shell.json("agents") if row["agent_id"] == name), None)


def begun(shell: Shell) -> int:
    ledger = shell.folder / "begun"
    return len(ledger.read_text()) if ledger.exists() else 0


def test_what_a_killed_agent_had_goes_to_another_one_long_before_its_lease_ends(shell: Shell, up: Running) -> None:
    first = agent(shell, "first")
    submitted = shell.json("submit", "gated.yaml")["execution_id"]
    eventually(lambda: begun(shell) == 1, "the task begun")
    agent(shell, "second")
    first.send(signal.SIGKILL)
    eventually(lambda: begun(shell) == 2, "the task begun again")
    assert state(shell, "first") == "unhealthy"
    (shell.folder / "go").touch()
    eventually(lambda: shell.status(submitted) == "completed", "the end")
    history = "".join(shell("history", submitted, "--json").out)
    assert history.count("agent first's connection is gone") >= 1
    assert "no sign of life" not in history
    up.send(signal.SIGTERM)
    assert up.wait() == 0
