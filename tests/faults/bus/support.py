"""An orchestrator, its agents and its clients as real processes in one folder, and what is asked of them afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Collection, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from podium.app import Podium
from podium.engine import events as ev
from podium.engine.codec import decode_row
from podium.engine.state import State
from podium.settings import Settings
from podium.store.calling import call_owner
from podium.store.ownership import socket_path
from podium.store.sqlite import SqliteStore
from podium.testing.ledger import Effect, FileLedger, Told
from podium.testing.oracle import Examination
from podium.workflow.model import FINAL_EXECUTION, AgentGroup, ExecutionStatus, RetryPolicy, Task, Workflow
from tests.cli.support import Running, Shell, eventually

WORKERS = Path(__file__).with_name("workers.py")
LEASE_SECONDS = 2.0
# Everything that takes its time, shortened.
QUICK = {
    "PODIUM_LEASE_SECONDS": str(LEASE_SECONDS),
    "PODIUM_HEARTBEAT_INTERVAL_SECONDS": "0.5",
    "PODIUM_HEALTH_CHECK_INTERVAL_SECONDS": "0.25",
    "PODIUM_UNHEALTHY_SECONDS": "1.5",
    "PODIUM_RECONNECT_WAIT_MS": "100",
    "PODIUM_DRAIN_SECONDS": "5",
}
GROUP = {"worker": AgentGroup("worker", "worker", 1)}
SOON = RetryPolicy(initial_delay_seconds=0.05, jitter=0.0)

T = TypeVar("T")


def fan(count: int = 3) -> Workflow:
    """Return a list, an instance for each of its items, and their sum."""
    tasks = (
        Task(id="split", agent="worker", payload={"count": count}, retry=SOON),
        Task(id="each", agent="worker", function="double", for_each="${tasks.split.result}", retry=SOON,
             payload={"item": "${item}"}, dependencies=("split",)),
        Task(id="join", agent="worker", dependencies=("each",), payload={"doubled": "${tasks.each.result}"},
             retry=SOON),
    )  # fmt: skip
    return Workflow(name="fan", agents=GROUP, tasks=tasks)


def one(function: str, name: str = "one", **payload: Any) -> Workflow:
    """Return a workflow of one task."""
    task = Task(id=name, agent="worker", function=function, payload=payload, retry=SOON)
    return Workflow(name=function, agents=GROUP, tasks=(task,))


def gated(name: str = "gate", function: str = "gate") -> Workflow:
    """Return a task that holds until `go-NAME` is there, and one behind it."""
    tasks = (
        Task(id=name, agent="worker", function=function, payload={"name": name}, retry=SOON),
        Task(id="after", agent="worker", function="split", payload={}, dependencies=(name,), retry=SOON),
    )
    return Workflow(name="gated", agents=GROUP, tasks=tasks)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Ensemble:
    """An orchestrator with agents, in a shell's folder. Settings are those of `QUICK` and what is given."""

    def __init__(self, shell: Shell, **settings: str) -> None:
        self.shell = shell
        self.folder = shell.folder
        self.settings = {**QUICK, **settings}
        self.database = self.folder / ".podium" / "podium.db"
        self.port = free_port()
        self.addresses: dict[str, str] = {}
        self.told = Told()
        (self.folder / "workers.py").write_text(WORKERS.read_text())

    # --- processes -------------------------------------------------------------------------------------------------

    def up(self, *arguments: str, bus: str = "", **settings: str) -> Running:
        """Start the orchestrator, with an embedded server unless a bus is given, and wait until it is there."""
        where = ["--bus", bus] if bus else ["--nats", f"127.0.0.1:{self.port}"]
        run = self.shell.start(
            "up", "--json", "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0", *where, *arguments,
            **{**self.settings, **settings},
        )  # fmt: skip
        line = eventually(lambda: run.out or run.process.poll() is not None, f"the orchestrator, {run}")
        assert line is True or run.out, run
        self.addresses = json.loads(run.out[0])
        return run

    def agent(self, name: str, *arguments: str, bus: str = "", wait: bool = True, **settings: str) -> Running:
        """Start an agent process of this name, and wait until it is in the fleet."""
        where = ["--bus", bus or f"nats://{self.addresses['nats']}"]
        run = self.shell.start(
            "agent", "workers.py:Worker", "--json", "--name", name, *where, *arguments,
            **{**self.settings, **settings},
        )  # fmt: skip
        if wait:
            eventually(lambda: self.agents.get(name), f"{name} in the fleet; {run}")
        return run

    @property
    def server_pid(self) -> int:
        """The process of the embedded server."""
        return int((self.folder / ".podium" / "nats" / "nats-server.pid").read_text())

    def end_server(self) -> None:
        """End the embedded server that a killed orchestrator has left behind."""
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = self.server_pid
            if str(self.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)

    # --- the orchestrator's word -----------------------------------------------------------------------------------

    def fleet(self) -> dict[str, Any]:
        """Return what the orchestrator says of the fleet and the work."""
        return asyncio.run(call_owner(socket_path(self.database), {"op": "fleet"})) or {}

    @property
    def agents(self) -> dict[str, dict[str, Any]]:
        """The agents of the fleet, by id."""
        return {row["agent_id"]: row for row in self.fleet().get("agents", [])}

    def asked(self, path: str, door: str = "http") -> str:
        """Return what the orchestrator answers on a path."""
        try:
            with urllib.request.urlopen(f"http://{self.addresses[door]}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:  # 503 of a component that isn't well
            with error:
                return str(error.read().decode())

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's values that have these labels."""
        total = 0.0
        for line in self.asked("/metrics", "metrics").splitlines():
            if line.startswith((f"{name}{{", f"{name} ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    # --- work ------------------------------------------------------------------------------------------------------

    def submit(self, workflow: Workflow, **options: Any) -> str:
        """Give the orchestrator a workflow, as another process does; return its id."""

        async def given() -> str:
            async with await self._guest() as guest:
                return await guest.submit(workflow, **options)

        execution = asyncio.run(given())
        self.told.executions[execution] = None
        return execution

    def state(self, execution: str) -> State:
        """Return an execution's committed state."""

        async def looked() -> State:
            async with await self._guest() as guest:
                return (await guest.follower(execution)).state

        return asyncio.run(looked())

    async def _guest(self) -> Podium:
        settings = Settings(database=str(self.database))
        return await Podium.open(settings, own=False, works=False, elsewhere=True, may_own=False)

    def _is_final(self, execution: str) -> bool:
        return self.state(execution).status in FINAL_EXECUTION

    def ended(self, *executions: str, status: ExecutionStatus = ExecutionStatus.COMPLETED, seconds: float = 30) -> None:
        """Wait until executions have ended; they must have this status."""
        for execution in executions:
            eventually(
                partial(self._is_final, execution),
                f"the end of {execution}: {self.explained(execution)}",
                seconds,
            )
            assert self.state(execution).status is status, self.state(execution).tasks

    def explained(self, execution: str) -> Any:
        """Return why an execution waits, for a failure's text."""

        async def asked() -> Any:
            async with await self._guest() as guest:
                return await guest.explain(execution)

        return asyncio.run(asked())

    def attempts(self, execution: str) -> dict[str, int]:
        """Return how many attempts each task has had."""
        return {path: task.number for path, task in self.state(execution).tasks.items()}

    def result(self, execution: str, task: str) -> Any:
        """Return a task's result."""

        async def looked() -> Any:
            async with await self._guest() as guest:
                return (await (await guest.follower(execution)).result()).tasks[task].result

        return asyncio.run(looked())

    def ignored(self, execution: str) -> list[str]:
        """Return why inputs of an execution changed nothing, from its history."""

        async def looked() -> list[str]:
            async with await self._guest() as guest:
                rows = await guest.store.history(execution)
                events = [event for row in rows if row.payload_blob is None for event in decode_row(row, None)[1]]
                return [event.reason for event in events if isinstance(event, ev.InputIgnored)]

        return asyncio.run(looked())

    def open_gate(self, name: str = "gate") -> None:
        """Let what holds at a gate go on."""
        (self.folder / f"go-{name}").touch()

    def begun(self, what: str = "") -> list[tuple[str, str, int]]:
        """Return what agents have begun, of this name: name, attempt, process."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [(name, attempt, int(pid)) for name, attempt, pid in (line.split() for line in lines)]
        return [each for each in found if not what or each[0] == what]

    @property
    def effects(self) -> list[Effect]:
        """Every effect."""
        return FileLedger(self.folder / "effects").effects()

    # --- afterwards ------------------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Wait until the orchestrator holds nothing (I6)."""

        def nothing() -> bool:
            health = json.loads(self.asked("/health"))["components"]
            held = sum(row["held"] for row in self.agents.values())
            engine, link = (health[name].get("facts", health[name]) for name in ("engine", "link"))
            return not (held or engine["live_attempts"] or engine["queued_tasks"] or link["unconfirmed_results"])

        eventually(nothing, f"nothing held: {self.fleet()}")

    def examine(self, at_rest: bool = True, running: bool = True) -> None:
        """Ask the oracle (I1 to I5), and the orchestrator that `running` says is there whether it holds anything."""
        if running:
            self.at_rest()

        async def look() -> list[str]:
            store = SqliteStore.open(self.database, read_only=True)
            try:
                return await Examination(store, self.told, self.effects, at_rest=at_rest).examine()
            finally:
                await store.close()

        broken = asyncio.run(look())
        assert not broken, "\n".join(broken)

    def once(self, executions: Collection[str] | None = None) -> None:
        """Each effect (of these executions) was had once: nothing was done twice."""
        keys = [each.key for each in self.effects if executions is None or each.key.split(":")[0] in executions]
        twice = {key: times for key, times in Counter(keys).items() if times > 1}
        assert not twice, twice


class Aside:
    """An event loop on a thread of its own, for what must go on while a test waits: proxies, clients."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="aside", daemon=True)
        self._thread.start()

    def __call__(self, work: Coroutine[Any, Any, T], seconds: float = 60.0) -> T:
        """Run something there, and return what comes of it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def call(self, function: Any, *arguments: Any) -> Any:
        """Call something there."""

        async def called() -> Any:
            return function(*arguments)

        return self(called())

    def close(self) -> None:
        """End it with all that runs there."""

        async def end() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def encoded(value: Any) -> bytes:
    """Return JSON."""
    return msgspec.json.encode(value)
