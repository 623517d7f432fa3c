"""A fleet that only lives: agents of document 000 over a few connections, with nats-py alone. Each registers and sends
a heartbeat with metrics every interval. `python -m bench.remote.beating URL AGENTS INTERVAL` says when all are in.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.remote.processes import say, until_input_ends

CONNECTIONS = 4
REGISTERING_AT_ONCE = 100
_TICK_SECONDS = 0.01


async def beat(url: str, agents: int, interval_seconds: float) -> None:
    """Register all, then let them live until the input ends."""
    clients = [await nats.connect(url) for _ in range(CONNECTIONS)]
    left = iter(range(agents))

    async def register() -> None:
        for number in left:
            await _register(clients[number % CONNECTIONS], number)

    async with asyncio.TaskGroup() as group:
        for _ in range(REGISTERING_AT_ONCE):
            group.create_task(register())
    say("registered")
    beating = asyncio.create_task(_beat(clients, agents, interval_seconds))
    await until_input_ends()
    beating.cancel()
    for client in clients:
        await client.close()


async def _register(client: Client, number: int) -> None:
    agent = _name(number)
    await client.subscribe(f"mcp.agent.{agent}.task", cb=_heard)
    await client.subscribe(f"mcp.agent.{agent}.status", cb=_heard)
    registration = {
        "agentId": agent,
        "agentType": "beating",
        "capabilities": [f"capability-{number % 100}", f"capability-{number % 97}", "beating"],
        "version": "1.0.0",
        "maxConcurrentTasks": 4,
    }
    said = {"messageId": f"{agent}-0", "timestamp": int(time.time() * 1_000), "registration": registration}
    answer = json.loads((await client.request("mcp.agent.register", json.dumps(said).encode(), timeout=60.0)).data)
    if not answer.get("accepted"):
        raise RuntimeError(f"{agent} was not taken in: {answer}")


async def _beat(clients: list[Client], agents: int, interval_seconds: float) -> None:
    """Send the heartbeats evenly: as many as are due, every hundredth of a second."""
    begin, sent = time.perf_counter(), 0
    while True:
        due = int((time.perf_counter() - begin) * agents / interval_seconds)
        for count in range(sent, due):
            number = count % agents
            subject = f"mcp.agent.{_name(number)}.heartbeat"
            await clients[number % CONNECTIONS].publish(subject, _heartbeat(number, count))
        sent = due
        await asyncio.sleep(_TICK_SECONDS)


def _heartbeat(number: int, count: int) -> bytes:
    metrics = {
        "cpu_usage": round(random.random(), 3),
        "memory_usage": round(random.random() * 0.9, 3),
        "error_rate": 0.0,
        "response_time_ms": round(random.random() * 200, 1),
        "load_average": round(random.random() * 2, 2),
    }
    agent = _name(number)
    at_ms = int(time.time() * 1_000)
    return json.dumps(
        {"messageId": f"{agent}-{count}", "timestamp": at_ms, "agentId": agent, "metrics": metrics}
    ).encode()


def _name(number: int) -> str:
    return f"beating-{number:05}"


async def _heard(message: Msg) -> None:
    """An agent that does nothing with what it hears."""


if __name__ == "__main__":
    asyncio.run(beat(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
