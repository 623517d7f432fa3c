"""What a new user does with many orchestrators: three `podium up` on one database and bus, killed and restarted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from podium.app import Podium
from podium.ids import shard_of
from podium.settings import Settings
from podium.store.postgres.migrations import upgrade
from podium.testing.natsserver import NatsServer, nats_server
from podium.testing.postgresserver import PostgresServer, postgres_server
from podium.workflow.yaml import load_workflow
from tests.cli.support import Running, Shell, eventually, too_wide

pytestmark = pytest.mark.xdist_group("together")
PORTS = ("--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
LONELY = "name: lonely\ntasks:\n  - {id: translate, agent: translator}\n"
STEPS = """
name: steps
tasks:
  - {id: first, agent: ledger, function: step, input: {name: first}}
  - {id: nap, agent: sleep, depends_on: [first], input: {seconds: 0.3}}
  - {id: last, agent: ledger, function: step, depends_on: [nap], input: {name: last}}
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


class Together:
    """A database with its tables, a bus, and `podium` called with both in the environment."""

    def __init__(self, shell: Shell, url: str, bus: str) -> None:
        self.shell = shell
        self.url = url
        self._more = {"DATABASE_URL": url, "PODIUM_BUS": bus}
        self.ups: list[Running] = []

    def start(self, *arguments: str) -> Running:
        return self.shell.start(*arguments, **self._more)

    def up(self, *arguments: str) -> Running:
        """One more orchestrator, ready."""
        running = self.start("up", *PORTS, "--json", *arguments)
        running.until('"http"')
        self.ups.append(running)
        return running

    def agent(self, *arguments: str) -> Running:
        running = self.start("agent", *arguments)
        running.until("connected")
        return running

    def __call__(self, *arguments: str, code: int = 0) -> list[str]:
        running = self.start(*arguments)
        assert running.wait() == code, running
        assert not list(too_wide(running.out))
        return running.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return msgspec.json.decode("\n".join(self(*arguments, "--json", code=code)))

    def settled(self, count: int) -> dict[str, Any]:
        """Wait until so many are there, every shard has one of them for its owner, and one places."""

        def shared() -> dict[str, Any] | None:
            found: dict[str, Any] = self.json("replicas")
            live = [one for one in found["replicas"] if one["state"] == "live"]
            shares = [len(one["shards"]) for one in live]
            even = len(live) == count and max(shares) - min(shares) <= 2  # the shard of placement is one, too
            return found if even and found["leader"] and not found["shards_without_owner"] else None

        found: dict[str, Any] = eventually(shared, f"{count} replicas that share all shards", 60)
        return found

    def submitted(self, count: int, text: str = STEPS) -> list[str]:
        """Submit so many executions at once, as clients in other processes would."""

        async def submit() -> list[str]:
            workflow = load_workflow(text)
            async with await self._guest() as guest:
                return await asyncio.gather(*(guest.submit(workflow) for _ in range(count)))

        return asyncio.run(submit())

    def reconciled(self) -> None:
        """Have all of them look for what should not be, and find nothing."""
        document = self.json("reconcile")
        assert document["finds"] == document["failed"] == document["shards_without_owner"] == []
        assert document["looked_at"]["shards"] == 64
        assert document["looked_at"]["histories"]

    def ended(self, executions: list[str]) -> Counter[str]:
        """Wait for their ends; return how often each status."""

        async def wait() -> Counter[str]:
            async with await self._guest() as guest, asyncio.timeout(120):
                return Counter(str(one) for one in await asyncio.gather(*map(guest.finished, executions)))

        return asyncio.run(wait())

    def recorded_twice(self, executions: list[str]) -> list[str]:
        """Return what was recorded as completed more than once."""

        async def look() -> list[str]:
            found = []
            async with await self._guest() as guest:
                for execution in executions:
                    rows = await guest.store.history(execution)
                    events = [event for row in rows for event in msgspec.json.decode(row.events)]
                    ends = Counter(str(event.get("task")) for event in events if "completed" in str(event.get("event")))
                    found += [f"{execution} {task}" for task, times in ends.items() if times > 1]
            return found

        return asyncio.run(look())

    async def _guest(self) -> Podium:
        return await Podium.open(Settings(database=self.url), own=False, works=False, elsewhere=True, may_own=False)


@pytest.fixture
def together(shell: Shell, postgres: PostgresServer, bus: NatsServer, request: pytest.FixtureRequest) -> Together:
    name = f"together_{abs(hash(request.node.name))}"
    url = postgres.create_database(name)
    asyncio.run(upgrade(url))
    (shell.folder / "lonely.yaml").write_text(LONELY)
    (shell.folder / "steps.yaml").write_text(STEPS)
    return Together(shell, url, bus.url)


@pytest.mark.slow
def test_killed_joined_and_restarted_one_after_the_other_nothing_is_lost_and_nothing_recorded_twice(together: Together):
    first, second, third = (together.up() for _ in range(3))
    together.settled(3)
    together.agent("ledger.py", "podium.agents.builtin:Sleep", "--count", "4", "--concurrency", "8")

    before = together.submitted(60)
    third.send(signal.SIGKILL)
    during = together.submitted(20)
    assert together.ended(before + during) == {"completed": 80}
    together.settled(2)

    fourth = together.up()
    together.settled(3)
    restarted = together.submitted(60)
    for old in (first, second):
        old.send(signal.SIGTERM)
        assert old.wait() == 0, old
        together.up()
    assert together.ended(restarted) == {"completed": 60}
    left = {one["details"]["pid"] for one in together.settled(3)["replicas"]}
    assert not left & {first.process.pid, second.process.pid}, "who leaves in good order is forgotten at once"
    assert together.recorded_twice(before + during + restarted) == []
    together.reconciled()
    assert fourth.process.poll() is None


@pytest.mark.slow
def test_every_command_works_whichever_replica_has_the_execution(together: Together):
    for _ in range(3):
        together.up()
    shared = together.settled(3)
    owner_of = {shard: one["name"] for one in shared["replicas"] for shard in one["shards"]}
    one_of = {owner_of[shard_of(execution)]: execution for execution in together.submitted(40, LONELY)}
    assert len(one_of) == 3
    for owner, execution in one_of.items():
        assert together.json("explain", execution)["tasks"] == [
            {"task": "translate", "status": "ready", "because": "no agent of type translator is registered"}
        ]
        assert together.json("status", execution)["owner"] == f"replica {owner}"
        assert together.json("pause", execution)["status"] == "paused"
        assert together.json("resume", execution)["resumed"] is True
        together("signal", execution, "weather", '{"sun": true}')
        assert together.json("cancel", execution, "--force")["status"] == "cancelled"

    agent = together.agent("ledger.py", "--count", "2", "--concurrency", "9")
    assert len(eventually(lambda: together.json("agents"), "agents")) == 2
    held = [together.json("submit", "gated.yaml")["execution_id"] for _ in range(3)]
    eventually(lambda: together.shell.ledger.count("gate begun") == 3, f"three at the gate, {agent}")
    for execution in held:
        half_way = eventually(partial(_half_way, together, execution), "what runs is told", 60)
        assert "50% half way" in half_way
        assert "waiting at the gate" in " ".join(together("logs", execution))
    assert "3 active" in " ".join(together("top", "--once"))
    assert len([row for row in together.json("ps") if row["status"] == "running"]) >= 3
    together.shell.open_gate()
    assert together.ended(held) == {"completed": 3}
    assert together.json("doctor")["owner"].startswith("replicas ")


def test_the_replica_that_places_is_killed_and_another_one_does(together: Together):
    ups = {up.process.pid: up for up in (together.up(), together.up())}
    leader = together.settled(2)
    placing = next(one for one in leader["replicas"] if one["id"] == leader["leader"])
    together.agent("podium.agents.builtin:Noop")
    assert together.ended(together.submitted(3, "name: tiny\ntasks:\n  - {id: one, agent: noop}\n"))["completed"] == 3
    ups[placing["details"]["pid"]].send(signal.SIGKILL)
    after = together.submitted(10, "name: tiny\ntasks:\n  - {id: one, agent: noop}\n")
    assert together.ended(after) == {"completed": 10}
    assert together.settled(1)["leader"] != placing["id"]
    together.up()
    together.settled(2)
    together.submitted(5, LONELY)
    together.reconciled()


@pytest.mark.slow
def test_one_that_was_stopped_and_goes_on_joins_anew(together: Together):
    stopped, _ = together.up(), together.up()
    before = together.settled(2)
    (mine,) = (one for one in before["replicas"] if one["details"]["pid"] == stopped.process.pid)
    stopped.send(signal.SIGSTOP)
    os.waitpid(stopped.process.pid, os.WUNTRACED)
    together.settled(1)
    stopped.send(signal.SIGCONT)
    assert mine["name"] in {one["name"] for one in together.settled(2)["replicas"]}


def test_run_without_a_bus_is_alone_or_a_guest(together: Together):
    alone = together.json("run", "noop.yaml")
    assert alone["status"] == "completed"
    assert together.json("replicas")["replicas"] == []
    together.up()
    together.settled(1)
    together.agent("podium.agents.builtin:Noop")
    assert together.json("run", "noop.yaml")["status"] == "completed"
    assert len(together.json("replicas")["replicas"]) == 1


def test_a_replica_on_another_bus_is_refused_by_name(together: Together):
    together.up()
    there = together.settled(1)["replicas"][0]
    refused = together.start("up", *PORTS, "--bus", "memory://other")
    assert refused.wait() != 0
    assert there["name"] in " ".join(refused.err)


def _half_way(together: Together, execution: str) -> str:
    """Return what is said of the task at the gate, once its progress is known."""
    tasks = together.json("explain", execution)["tasks"]
    return next((str(task["because"]) for task in tasks if "half way" in task["because"]), "")


def test_a_killed_run_is_resumed_by_the_next_process_once_its_lease_has_ended(together: Together):
    running = together.start("run", "gated.yaml", "--agents", "ledger.py")
    execution = running.id
    eventually(lambda: "gate begun" in together.shell.ledger, f"the gate, {running}")
    running.send(signal.SIGKILL)
    running.wait()
    together.shell.open_gate()
    together("resume", execution, "--agents", "ledger.py")
    assert together.json("status", execution)["status"] == "completed"
    assert together.shell.ledger.count("first") == 1
    assert {one["state"] for one in together.json("replicas")["replicas"]} <= {"gone"}
