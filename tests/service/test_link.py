"""The orchestrator's end of the link, over a bus in memory: whose name is whose, what becomes of what can't be used."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Raw

from podium.agents.sdk import function_agent, task
from podium.bus.dead_letters import DeadLetters
from podium.bus.opening import transport_for
from podium.fleet import messages as msg
from podium.fleet.frames import CONTENT_TYPE, encode_frame
from podium.service.service import Service
from podium.settings import Settings
from podium.testing.bus_tools import eventually
from podium.workflow.model import Task, Workflow


@task
async def large(size: int) -> str:
    return "x" * size


@task
async def echo(**given: Any) -> dict[str, Any]:
    return given


def service_story(name: str, story: Callable[[Service, Any], Coroutine[Any, Any, None]]) -> None:
    """Run a service with an agent of its own, and a client beside it."""

    async def main() -> None:
        definitions = [function_agent("here", [large, echo])]
        settings = Settings(database=":memory:", http="", metrics="")
        async with Service(settings, url=f"memory://{name}", definitions=definitions) as service:
            client = transport_for(f"memory://{name}")
            await client.start()
            await story(service, client)
            await client.stop()

    asyncio.run(main())


async def asked(client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await client.request(subject, json.dumps(body).encode())).data)
    return answer


def test_ids_of_the_orchestrators_own_agents_cannot_be_registered():
    async def story(service, client) -> None:
        for agent in ("podium_await-1", "podium_anything", *service.podium.agents.hosts):
            answer = await asked(client, "mcp.agent.register", {"registration": {"agentId": agent, "incarnation": "1"}})
            assert answer["error"]["code"] == "CONFLICT", agent
        first = await asked(client, "mcp.orchestrator.task.submit", {"task": {"taskType": "echo", "payload": {"a": 1}}})
        then = {"taskType": "echo", "payload": {}, "dependencies": [first["taskId"]]}
        await asked(client, "mcp.orchestrator.task.submit", {"task": {**then, "taskId": "then"}})

        async def ended() -> bool:
            stands = await asked(client, "mcp.orchestrator.task.status", {"taskId": "then"})
            return stands["status"] == "completed"

        await eventually(ended)

    service_story("reserved", story)


def test_the_end_of_a_task_is_told_though_its_result_is_too_large_for_the_bus():
    async def story(service, client) -> None:
        ends = await client.subscribe("mcp.orchestrator.task.big.result")
        payload = {"size": client.capabilities.max_payload}
        await asked(
            client, "mcp.orchestrator.task.submit", {"task": {"taskId": "big", "taskType": "large", "payload": payload}}
        )
        (told, *_) = await asyncio.wait_for(ends.next(), 30)
        result = json.loads(told.data)["result"]
        assert (result["status"], result["error"]["type"]) == ("COMPLETED", "ResultTooLarge")
        stands = await asked(client, "mcp.orchestrator.task.status", {"taskId": "big"})
        assert stands["error"]["code"] == "TOO_LARGE"

    service_story("large", story)


def test_results_of_attempts_that_nobody_knows_become_dead_letters_and_are_confirmed():
    async def story(service, client) -> None:
        await asked(
            client, "mcp.agent.register", {"registration": {"agentId": "far", "agentType": "far", "incarnation": "1"}}
        )
        heard = await client.subscribe("mcp.agent.far.status")
        workflow = Workflow(name="w", tasks=(Task(id="a", agent_type="far"),))
        execution = await service.podium.submit(workflow)
        for attempt in (f"{execution}:1:other:7", "nobody:1:a:1"):
            body = {"result": {"taskId": attempt, "result": 1}}
            await client.append("mcp.agent.far.result", json.dumps(body).encode())
        letters = DeadLetters(client)

        async def two() -> bool:
            return len(await letters.list()) == 2

        await eventually(two)
        confirmed: set[str] = set()
        while len(confirmed) < 2:
            for delivery in await asyncio.wait_for(heard.next(), 30):
                said = json.loads(delivery.data)
                if said.get("notice") == "RESULT_CONFIRMED":
                    assert said["accepted"] is False
                    confirmed.add(said["taskId"])
        assert service.link.unconfirmed == 0

    service_story("unknown", story)


def test_a_full_engine_costs_no_frame_though_there_are_log_lines_in_it():
    async def story(service, client) -> None:
        registration = {
            "agentId": "far",
            "agentType": "far",
            "incarnation": "1",
            "protocol": "podium.v1",
            "renews": True,
        }
        await asked(client, "mcp.agent.register", {"registration": registration})
        workflow = Workflow(name="w", tasks=(Task(id="a", agent_type="far"),))
        execution = await service.podium.submit(workflow)
        attempt = f"{execution}:1:a:1"

        async def given() -> bool:
            return service.podium.engine.staffing.leases.get(attempt) is not None

        await eventually(given)
        refusals = iter([False, False, False])
        receive = service.podium.engine.receive
        service.link._receiver = _Reluctant(refusals, receive)
        line = msg.LogLine(execution, "a", attempt, 1, "info", "hello")
        frame = encode_frame(
            "1", 1, [line, msg.Accepted("far", attempt), line, msg.Succeeded("far", attempt, Raw(b"7"))]
        )
        await client.append("mcp.agent.far.result", frame, {"Content-Type": CONTENT_TYPE})
        result = await asyncio.wait_for(service.podium.result(execution), 30)
        assert result.result == 7
        assert await DeadLetters(client).list() == []

    service_story("reluctant", story)


class _Reluctant:
    """A receiver that is full at first."""

    def __init__(self, refusals, receive) -> None:
        self._refusals = refusals
        self._receive = receive

    def receive(self, message: msg.FromAgent) -> bool:
        accepted: bool = next(self._refusals, None) is None and self._receive(message)
        return accepted
