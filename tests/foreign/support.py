"""A real orchestrator with its NATS server, strangers' programs as processes, and a stranger played by a test."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

import podium.examples.foreign
from podium.exceptions import PodiumError
from podium.service.service import Service
from podium.settings import load_settings

FOLDER = Path(podium.examples.foreign.__file__).parent
LANGUAGES = ("python", "javascript")
SUBMIT, STATUS = "mcp.orchestrator.task.submit", "mcp.orchestrator.task.status"
DEADLINE_SECONDS = 30.0


@asynccontextmanager
async def orchestrator(folder: Path, url: str | None = None, **more: Any) -> AsyncIterator[Service]:
    """An orchestrator on ports of its own, or on a server that is there."""
    given = {"http": "", "metrics": "", "nats": "127.0.0.1:0", "data": str(folder / "podium"), **more}
    async with Service(load_settings(folder, {}, **given), url=url) as service:
        yield service


async def until(holds: Callable[[], Any], what: str = "it holds") -> Any:
    """Return what `holds` returns once that is true."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (found := holds()):  # noqa: ASYNC110 - it may be anything, also in other processes
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_SECONDS:g} s: {what}") from None
    return found


# --- strangers' programs ---------------------------------------------------------------------------------------------


@cache
def javascript_folder() -> Path:
    """The example with its packages, installed once a process; without node and npm the test is skipped."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        absent_or_fail(f"no {' and no '.join(missing)}")
    folder = Path(mkdtemp(prefix="podium-foreign-"))
    for name in ("agent.mjs", "package.json", "package-lock.json"):
        shutil.copy(FOLDER / name, folder)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(["npm", "ci", *options], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        absent_or_fail(f"no npm packages: {done.stderr[-300:]}")
    return folder


def absent_or_fail(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"not run: {what}, and CI must have it")
    pytest.skip(f"not run: {what}")


def command_of(language: str) -> list[str]:
    if language == "python":
        return [sys.executable, str(FOLDER / "agent.py")]
    return ["node", str(javascript_folder() / "agent.mjs")]


@asynccontextmanager
async def agent(language: str, url: str, agent_id: str = "words-1") -> AsyncIterator[asyncio.subprocess.Process]:
    """A stranger's agent as a process, killed at the end if it still runs."""
    environment = {**os.environ, "NATS_URL": url, "AGENT_ID": agent_id}
    process = await asyncio.create_subprocess_exec(*command_of(language), env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def client(url: str, task_type: str, payload: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Run the client; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(FOLDER / "client.py"), task_type, json.dumps(payload),
        env={**os.environ, "NATS_URL": url}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_SECONDS):
        printed, _ = await process.communicate()
    return process.returncode or 0, json.loads(printed or b"{}")


# --- a stranger, played by the test ----------------------------------------------------------------------------------


class Stranger:
    """A connection to the bus that knows JSON and nothing of Podium; as an agent it does what it is told."""

    def __init__(self, connection: Client, agent_id: str) -> None:
        self.bus = connection
        self.id = agent_id
        self.tasks: list[dict[str, Any]] = []
        self.notices: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.ends: dict[str, dict[str, Any]] = {}

    async def listen(self) -> None:
        for what, keep in (
            (f"mcp.agent.{self.id}.task", self._task),
            (f"mcp.agent.{self.id}.status", self._notice),
            ("mcp.orchestrator.system.event", self._event),
            ("podium.event.>", self._event),
            ("mcp.orchestrator.task.*.result", self._end),
        ):
            await self.bus.subscribe(what, cb=keep)
        await self.bus.flush()

    async def _task(self, message: Msg) -> None:
        self.tasks.append(json.loads(message.data)["task"])

    async def _notice(self, message: Msg) -> None:
        try:
            said = json.loads(message.data)
        except ValueError:
            return  # our own nonsense
        if isinstance(said, dict) and said.get("from") == "orchestrator":
            self.notices.append(said)

    async def _event(self, message: Msg) -> None:
        self.events.append(json.loads(message.data))

    async def _end(self, message: Msg) -> None:
        result = json.loads(message.data)["result"]
        self.ends[result["taskId"]] = result

    async def say(self, what: str, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.bus.publish(f"mcp.agent.{self.id}.{what}", data)

    async def ask(self, subject: str, body: Any) -> dict[str, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer: dict[str, Any] = json.loads((await self.bus.request(subject, data, timeout=10)).data)
        return answer

    async def register(self, **more: Any) -> dict[str, Any]:
        me = {"agentId": self.id, "agentType": "hand", "maxConcurrentTasks": 10, "incarnation": "one", **more}
        return await self.ask("mcp.agent.register", {"registration": me})

    async def submit(self, task_type: str = "do", **more: Any) -> str:
        answer = await self.ask(SUBMIT, {"task": {"taskType": task_type, **more}})
        assert "error" not in answer, answer
        task_id: str = answer["taskId"]
        return task_id

    async def task(self, number: int = 0) -> dict[str, Any]:
        """The assignment of this place among all that came."""
        await until(lambda: len(self.tasks) > number, f"{number + 1} assignments came")
        return self.tasks[number]

    async def end(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await until(lambda: self.ends.get(task_id), f"the end of {task_id} is told")
        return found

    async def noticed(self, notice: str, **fields: Any) -> dict[str, Any]:
        def match() -> list[dict[str, Any]]:
            wanted = {"notice": notice, **fields}.items()
            return [said for said in self.notices if all(said.get(name) == value for name, value in wanted)]

        found: list[dict[str, Any]] = await until(match, f"the notice {notice} {fields} came")
        return found[-1]

    def events_of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if kind in (event.get("eventType"), event.get("event"))]


@asynccontextmanager
async def stranger(url: str, agent_id: str = "hand-1") -> AsyncIterator[Stranger]:
    connection = await nats.connect(url)
    try:
        found = Stranger(connection, agent_id)
        await found.listen()
        yield found
    finally:
        await connection.close()


def registered(service: Service, *agents: str) -> Callable[[], bool]:
    return lambda: all(service.link.knows(agent_id) for agent_id in agents)


async def dead_letters(service: Service) -> list[Any]:
    from podium.bus.dead_letters import DeadLetters

    try:
        return await DeadLetters(service.transport).list(limit=1_000)
    except PodiumError:
        return []
