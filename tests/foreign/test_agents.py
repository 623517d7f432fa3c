"""Agents and a client that know only `docs/protocol.md`, as real processes against a real orchestrator."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.codec import decode_row
from podium.service.service import Service
from podium.testing.natsserver import nats_server
from tests.foreign.support import FOLDER, LANGUAGES, agent, client, orchestrator, registered, stranger, until


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_does_what_a_client_submits(tmp_path: Path, language: str) -> None:
    async def scenario() -> None:
        async with orchestrator(tmp_path) as service, agent(language, service.url):
            code, result = await client(service.url, "word_count", {"text": "the quick brown föx 🦊"})
            assert (code, result["status"], result["result"]) == (0, "COMPLETED", {"words": 5})
            code, result = await client(service.url, "word_count", {"nothing": "that it takes"})
            assert (code, result["status"], result["error"]["type"]) == (1, "FAILED", "TypeError")

    asyncio.run(scenario())


@pytest.mark.parametrize("language", LANGUAGES)
def test_killed_and_started_again_its_task_moves_on_at_once(tmp_path: Path, language: str) -> None:
    async def scenario() -> None:
        async with orchestrator(tmp_path) as service, stranger(service.url) as watcher:
            async with agent(language, service.url) as first:
                await until(registered(service, "words-1"))
                task = await watcher.submit("wait", payload={"seconds": 1.5})
                await until(lambda: watcher.events_of("agent.task_assigned"))
                first.kill()
                await first.wait()
            async with agent(language, service.url):
                result = await watcher.end(task)
            assert result["status"] == "COMPLETED"
            assert [event["attempt"] for event in watcher.events_of("agent.task_assigned")] == [1, 2]
            assert len(watcher.events_of("TASK_COMPLETED")) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_orchestrator_that_restarts_counts_its_result_once(tmp_path: Path, language: str) -> None:
    async def scenario(url: str) -> None:
        async with stranger(url) as watcher, agent(language, url):
            async with orchestrator(tmp_path, url) as service:
                await until(registered(service, "words-1"))
                task = await watcher.submit("wait", payload={"seconds": 1})
                await until(lambda: watcher.events_of("agent.task_assigned"))
                await service.stop(0.0)
            async with orchestrator(tmp_path, url) as service:
                result = await watcher.end(task)
                assert result["status"] == "COMPLETED"
                await until(registered(service, "words-1"), "it has registered again")
                happened = await history(service, result["executionId"])
                assert [type(event) for event in happened if isinstance(event, ev.TaskCompleted)] == [ev.TaskCompleted]
                assert [event.number for event in happened if isinstance(event, ev.AttemptGranted)] == [1]
                code, _ = await client(url, "word_count", {"text": "on it goes"})
                assert code == 0

    with nats_server(tmp_path / "nats") as server:
        asyncio.run(scenario(server.url))


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_goes_on_after_a_restart_of_the_bus(tmp_path: Path, language: str) -> None:
    async def scenario() -> None:
        with nats_server(tmp_path / "nats") as server:
            async with orchestrator(tmp_path, server.url) as service, agent(language, server.url):
                await until(registered(service, "words-1"))
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
                code, result = await client(server.url, "word_count", {"text": "after the storm"})
                assert (code, result["result"]) == (0, {"words": 3})

    asyncio.run(scenario())


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_stops_what_is_cancelled_and_goes_on(tmp_path: Path, language: str) -> None:
    async def scenario() -> None:
        async with (
            orchestrator(tmp_path) as service,
            stranger(service.url) as watcher,
            agent(language, service.url) as process,
        ):
            await until(registered(service, "words-1"))
            task = await watcher.submit("wait", payload={"seconds": 3600})
            assigned = (await until(lambda: watcher.events_of("agent.task_assigned")))[0]
            await service.podium.command(assigned["execution_id"], inp.Cancel("no more"))
            assert (await watcher.end(task))["status"] == "CANCELLED"
            code, _ = await client(service.url, "word_count", {"text": "still here"})
            assert code == 0
            assert process.returncode is None

    asyncio.run(scenario())


@pytest.mark.parametrize("language", LANGUAGES)
def test_told_to_drain_it_finishes_what_it_has_and_leaves(tmp_path: Path, language: str) -> None:
    async def scenario() -> None:
        async with (
            orchestrator(tmp_path) as service,
            stranger(service.url) as watcher,
            agent(language, service.url) as process,
        ):
            await until(registered(service, "words-1"))
            task = await watcher.submit("wait", payload={"seconds": 0.7})
            await until(lambda: watcher.events_of("agent.task_assigned"))
            service.link.drain_agents(10.0)
            assert (await watcher.end(task))["status"] == "COMPLETED"
            async with asyncio.timeout(20):
                assert await process.wait() == 0
            await until(lambda: not service.link.knows("words-1"), "it has left")

    asyncio.run(scenario())


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_two_processes_of_one_name_the_earlier_ends(tmp_path: Path, language: str) -> None:
    async def scenario() -> None:
        async with (
            orchestrator(tmp_path, heartbeat_interval_seconds=1.0) as service,
            agent(language, service.url) as first,
        ):
            await until(registered(service, "words-1"))
            async with agent(language, service.url):
                async with asyncio.timeout(30):
                    assert await first.wait() == 1
                code, _ = await client(service.url, "word_count", {"text": "one is enough"})
                assert code == 0

    asyncio.run(scenario())


def test_the_client_comes_back_when_the_queue_is_full(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with orchestrator(tmp_path, max_queued_tasks=1) as service, stranger(service.url) as watcher:
            await watcher.submit("word_count", payload={"text": "waits for an agent"})
            refused = await watcher.ask("mcp.orchestrator.task.submit", {"task": {"taskType": "word_count"}})
            assert (refused["error"]["code"], refused["error"]["retryAfterMs"]) == ("QUEUE_FULL", 1_000)
            waiting = asyncio.create_task(client(service.url, "word_count", {"text": "so does this"}))
            await until(lambda: refusals(service) >= 2)
            async with agent("python", service.url):
                code, result = await waiting
                assert (code, result["result"]) == (0, {"words": 3})

    asyncio.run(scenario())


def test_the_agent_in_python_has_under_60_lines_and_needs_only_nats_py() -> None:
    text = (FOLDER / "agent.py").read_text(encoding="utf-8")
    code = [line for line in text.partition('"""\n')[2].splitlines() if line.strip() and line.lstrip()[0] != "#"]
    assert len(code) < 60
    for file in ("agent.py", "client.py"):
        imported = re.findall(r"^(?:import|from) (\w+)", (FOLDER / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert set(imported) <= {"asyncio", "json", "os", "sys", "uuid", "nats"}
    assert "podium" not in re.sub(r"//.*", "", (FOLDER / "agent.mjs").read_text(encoding="utf-8"))


def test_the_packages_of_javascript_are_pinned_without_an_address() -> None:
    locked = (FOLDER / "package-lock.json").read_text(encoding="utf-8")
    assert "http" not in locked
    assert '"integrity"' in locked
    assert re.search(r'"@nats-io/transport-node": "\d+\.\d+\.\d+"', (FOLDER / "package.json").read_text("utf-8"))


async def history(service: Service, execution: str) -> list[ev.Event]:
    rows = await service.podium.store.history(execution)
    return [event for row in rows for event in decode_row(row, None)[1]]


def refusals(service: Service) -> float:
    return service.metrics.values("podium_submissions_refused_total").get(("queue_full",), 0.0)
