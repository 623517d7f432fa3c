"""What functions of registered agents take and give: agents elsewhere say it, those here have it in their code."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from podium.agents.sdk import function_agent, task
from podium.bus.opening import transport_for
from podium.service.offers import MAX_BYTES, MAX_OFFERS, Offers
from podium.service.service import Service
from podium.settings import Settings


@task
async def count(text: str) -> int:
    return len(text)


TAKES = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}


def registration(agent: str, **more: Any) -> bytes:
    said = {"agentId": agent, "agentType": "reader", "taskTypes": ["read"], "incarnation": "1", **more}
    return json.dumps({"registration": said}).encode()


def test_the_orchestrator_tells_what_its_agents_offer_and_refuses_what_is_no_schema():
    async def main() -> dict[str, Any]:
        settings = Settings(database=":memory:", http="", metrics="")
        definitions = [function_agent("here", [count])]
        async with Service(settings, url="memory://offers", definitions=definitions) as service:
            client = transport_for("memory://offers")
            await client.start()
            for agent in ("a", "b"):
                said = registration(agent, schemas={"read": {"input": TAKES, "result": None}})
                assert json.loads((await client.request("mcp.agent.register", said)).data)["notice"] == "REGISTERED"
            numbered = registration("c", maxConcurrentTasks="1", schemas={"input": {"input": TAKES, "result": None}})
            await client.request("mcp.agent.register", numbered)  # read liberally, names of functions as they are
            hostile = registration("d", schemas={"read": {"input": {"type": "thing"}}})
            refusal = json.loads((await client.request("mcp.agent.register", hostile)).data)["error"]
            assert 'schemas.read.input: there is no type "thing"' in refusal["message"]
            assert "d" not in service.link.registry
            answer = await service.podium.answers["schemas"]({"types": ["reader", "here", "nobody"]})
            everything = await service.podium.answers["schemas"]({})
            await client.stop()
        assert list(everything["types"]) == ["here", "reader"]
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
        return found

    assert asyncio.run(main())["types"] == {
        "here": [
            {
                "agents": 1,
                "functions": ["count"],
                "schemas": {
                    "count": {
                        "input": {
                            "type": "object",
                            "properties": {"text": {"type": "string"}},
                            "required": ["text"],
                            "additionalProperties": False,
                        },
                        "result": {"type": "integer"},
                    }
                },
            }
        ],
        "reader": [
            {"agents": 2, "functions": ["read"], "schemas": {"read": {"input": TAKES}}},
            {"agents": 1, "functions": ["read"], "schemas": {"input": {"input": TAKES}}},
        ],
    }


def test_an_answer_has_bounds():
    offers = Offers()
    for at in range(MAX_OFFERS + 5):
        offers.add("many", [f"f{at}"], b"")
    assert len(offers.listed()["many"]) == MAX_OFFERS
    large = b'"' + b"x" * (MAX_BYTES // 3) + b'"'
    for name in ("a", "b", "c", "d"):
        offers.add(name, [], large)
    assert list(offers.listed()) == ["a", "b"]
