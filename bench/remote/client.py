"""A client that submits tasks over the bus and awaits each one's end, with nats-py alone, as document 000 has it:
`python -m bench.remote.client URL COUNT AT_ONCE` prints the seconds of the whole and of each task as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

SUBMIT = "mcp.orchestrator.task.submit"
WARM_UP = 20
WAIT_SECONDS = 60.0


class Submitting:
    """Submits tasks that do nothing; the end of each comes to an inbox of this client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._ends: dict[str, asyncio.Future[str]] = {}
        self._count = 0

    async def begin(self) -> None:
        """Listen for ends."""
        await self._client.subscribe(self._inbox, cb=self._ended)
        await self._client.flush()

    async def one(self) -> float:
        """Have one task done and return the seconds until its end was told."""
        self._count += 1
        task = f"bench-{self._count}"
        end = self._ends[task] = asyncio.get_running_loop().create_future()
        said = {
            "messageId": task,
            "timestamp": int(time.time() * 1_000),
            "task": {"taskId": task, "taskType": "noop", "agentType": "noop_agent"},
            "notifySubject": self._inbox,
        }
        begin = time.perf_counter()
        answer = json.loads((await self._client.request(SUBMIT, json.dumps(said).encode(), timeout=WAIT_SECONDS)).data)
        if answer.get("taskId") != task:
            raise RuntimeError(f"a task was not taken: {answer}")
        status = await asyncio.wait_for(end, WAIT_SECONDS)
        if status != "COMPLETED":
            raise RuntimeError(f"a task ended as {status}; a figure of it would mean nothing")
        return time.perf_counter() - begin

    async def _ended(self, message: Msg) -> None:
        result = json.loads(message.data)["result"]
        end = self._ends.pop(result["taskId"], None)
        if end is not None and not end.done():
            end.set_result(result["status"])


async def submit(url: str, count: int, at_once: int) -> dict[str, list[float]]:
    """Have so many tasks done, so many at a time."""
    client = await nats.connect(url)
    submitting = Submitting(client)
    await submitting.begin()
    for _ in range(WARM_UP):
        await submitting.one()
    left = iter(range(count))
    each: list[float] = []

    async def producer() -> None:
        for _ in left:
            each.append(await submitting.one())

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(producer())
    whole = time.perf_counter() - begin
    await client.close()
    return {"whole": [whole], "each": each}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(submit(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))), flush=True)
