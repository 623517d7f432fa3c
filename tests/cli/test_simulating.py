"""`podium simulate`: what it says, its exit codes, what it finds in a user's own code, and the test that it writes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from podium.testing.world import World
from tests.cli.support import environment, too_wide

WORKFLOW = """
name: orders
inputs: {shop: {type: string, default: corner}}
tasks:
  - {id: find, agent: shop, function: find}
  - {id: charge, agent: shop, function: charge, depends_on: [find], for_each: "${tasks.find.result.orders}",
     input: {order: "${item}"}, retry: {max_attempts: 5}}
  - {id: mail, agent: shop, function: mail, depends_on: [charge], when: "tasks.find.result.total > 0"}
"""
SHOP = """
import asyncio
import time
from pathlib import Path

from podium import Context, task


@task
async def find():
    await asyncio.sleep(1)
    return {"orders": [{"id": 1}, {"id": 2}], "total": 2}


@task
def charge(order: dict, context: Context):
    time.sleep(600)  # takes virtual time only
    with open(f"charged-{order['id']}", "MODE") as file:
        file.write(context.idempotency_key)
    return order["id"]


@task(cpu=True)
def mail():
    return "sent"
"""


@pytest.fixture
def orders(here):
    here.write("shop.py", SHOP.replace("MODE", "x"))
    here.write("good.py", SHOP.replace("MODE", "w"))
    return here.write("orders.yaml", WORKFLOW)


def test_a_sound_workflow_stands_all_faults_and_the_figures_are_said(here, orders):
    out = here("simulate", orders, "--runs", "25", "--seed", "3")
    assert "25 runs of orders" in out
    assert "executions:" in out
    assert "faults struck:" in out
    assert "sound: every invariant held" in out
    assert not list(too_wide(out.splitlines()))


def test_without_faults_everything_completes(here, orders):
    found = here.json("simulate", orders, "--runs", "5", "--faults", "none")
    assert found["sound"]
    assert found["faults"] == {}
    assert set(found["ended"]) == {"completed"}


def test_only_the_named_faults_strike(here, orders):
    found = here.json("simulate", orders, "--runs", "25", "--faults", "message_lost,agent-dies")
    assert set(found["faults"]) == {"message_lost", "agent_dies"}


def test_a_transcript_of_one_seed_is_printed_and_is_the_same_again(here, orders):
    first = here.json("simulate", orders, "--seed", "7", "--transcript")
    assert first["runs"] == 1
    assert first["transcript"] == here.json("simulate", orders, "--seed", "7", "--transcript")["transcript"]
    assert "an orchestrator starts" in here("simulate", orders, "--seed", "7", "--transcript")


def test_ones_own_code_that_is_idempotent_is_sound_and_says_what_ran_again(here, orders):
    found = here.json("simulate", orders, "--agents", "good.py", "--runs", "40")
    assert found["sound"], found
    assert found["ran_again"]["charge"] > 0
    assert not (here.folder / "charged-1").exists()


def test_a_task_that_is_not_idempotent_is_named_with_the_smallest_run_that_shows_it(here, orders):
    found = here.json("simulate", orders, "--agents", "shop.py", "--runs", "40", code=1)
    assert "FileExistsError" in found["not_idempotent"]["charge"]
    assert sum(found["failed"]["faults"].values()) <= 8  # of dozens
    again = found["failed"]["again"].split()[1:]
    out = here(*again, code=1)
    assert "task charge" in out
    assert "isn't idempotent" in out
    assert "Assignment" in out


def test_several_orchestrators_are_simulated_and_shown_again_with_as_many(here, orders):
    out = " ".join(here("simulate", orders, "--runs", "6", "--replicas", "3").split())  # lines break anywhere
    assert "6 runs of orders" in out
    assert "replicas 6" in out
    transcript = here("simulate", orders, "--replicas", "2", "--agents", "good.py", "--transcript")
    assert "r2#2: join" in transcript


def test_the_saved_test_fails_until_the_task_is_mended(here, orders):
    (here.folder / "checks").mkdir()
    here("simulate", orders, "--agents", "shop.py", "--runs", "40", "--save-test", "checks/test_orders.py", code=1)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "checks/test_orders.py"]

    def run():
        return subprocess.run(command, cwd=here.folder, env=environment(), capture_output=True, text=True)

    broken = run()
    assert broken.returncode == 1, broken.stdout
    assert "isn't idempotent" in broken.stdout
    here.write("shop.py", SHOP.replace("MODE", "w"))
    mended = run()
    assert mended.returncode == 0, mended.stdout


def test_a_broken_invariant_is_shown_with_its_seed_and_shrunk(here, orders, monkeypatch):
    """A Podium that stands one lost message and not two, as an oracle has it that says so."""
    examine = World._examine

    async def broken(self, ended):
        await examine(self, ended)
        if self.fate.counts.get("message_lost", 0) >= 2:
            self.broken.append("I1: two messages were lost")

    monkeypatch.setattr(World, "_examine", broken)
    found = here.json("simulate", orders, "--runs", "40", "--save-test", "test_it.py", code=1)
    assert found["failed"]["broken"] == ["I1: two messages were lost"]
    assert found["failed"]["faults"]["message_lost"] == 2
    assert sum(found["failed"]["faults"].values()) <= 4  # of dozens
    assert f"--seed {found['failed']['seed']} " in found["failed"]["again"]
    assert "simulate(" in (here.folder / "test_it.py").read_text()
    out = here(*found["failed"]["again"].split()[1:], code=1)
    assert "an invariant is broken" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.yaml"], "missing.yaml can't be read"),
        (["orders.yaml", "--faults", "agent_dyes"], 'did you mean "agent_dies"'),
        (["orders.yaml", "--without", "nonsense"], "there is no fault 'nonsense'"),
        (["orders.yaml", "--input", "shopp=x"], "did you mean shop"),
        (["orders.yaml", "--runs", "0"], "--runs"),
        (["orders.yaml", "--real"], "no code behind agent type"),
        (["orders.yaml", "--agents", "nowhere.py"], "nowhere.py"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(here, orders, arguments, sentence):
    assert sentence in here.refused("simulate", *arguments)


def test_ready_made_agents_run_with_real(here):
    found = here.json("simulate", "fails.yaml", "--real", "--runs", "5")
    assert found["sound"]
    assert set(found["ended"]) <= {"failed", "cancelled"}
