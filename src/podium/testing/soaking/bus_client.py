"""A client over the bus, as anybody writes it from the protocol's page: NATS and JSON, nothing of Podium.

It submits single tasks to whichever replica answers, hears of their ends, and asks where it may have missed one.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import nats
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from podium.ids import execution_id_for
from podium.testing.soaking.history import History

SUBMIT, STATUS = "mcp.orchestrator.task.submit", "mcp.orchestrator.task.status"
ANSWER_SECONDS = 5.0
LOOK_SECONDS = 10.0
COMPLETED = "COMPLETED"
TENANT = "default"


class BusClient:
    """One connection for all its submissions."""

    def __init__(self, bus: Nats, inbox: str, history: History) -> None:
        self._bus = bus
        self._inbox = inbox
        self._history = history
        self._awaited: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._ends: dict[str, dict[str, Any]] = {}

    @classmethod
    async def open(cls, url: str, history: History) -> BusClient:
        """Connect."""

        async def failed(error: Exception) -> None:
            history.counts["bus client's errors"] += 1

        bus = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.25, error_cb=failed)
        inbox = bus.new_inbox()
        client = cls(bus, inbox, history)
        await bus.subscribe(inbox, cb=client._heard)
        return client

    async def close(self) -> None:
        """Disconnect."""
        await self._bus.close()

    async def run(self, name: str, function: str, payload: dict[str, Any], agent_type: str) -> dict[str, Any]:
        """Submit a task and return its TaskResult."""
        task = {"taskId": name, "taskType": function, "agentType": agent_type, "payload": payload, "retries": 10}
        ended = self._awaited[name] = asyncio.get_running_loop().create_future()
        execution = execution_id_for(TENANT, name)
        answer = await self._ask(SUBMIT, {"task": task, "notifySubject": self._inbox})
        self._history.acknowledged(execution, "bus")
        if answer.get("taskId") != name:
            self._history.wrong("wrong", f"the submission of {name} was answered with {answer}")
        while True:
            done, _ = await asyncio.wait({ended}, timeout=LOOK_SECONDS)
            result = ended.result() if done else (await self._ask(STATUS, {"taskId": name})).get("result")
            if result is not None:
                self._awaited.pop(name)
                self._history.ended(execution, str(result["status"]).lower())
                if result.get("executionId", execution) != execution:
                    self._history.wrong("wrong", f"{name} is {execution}, and its end is told of {result}")
                return dict(result)

    async def _ask(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask until there is an answer that isn't "later"."""
        while True:
            try:
                reply = await self._bus.request(subject, msgspec.json.encode(body), timeout=ANSWER_SECONDS)
            except (TimeoutError, NatsError):
                self._history.counts["asked again: the bus"] += 1
                await asyncio.sleep(0.5)
                continue
            answer: dict[str, Any] = msgspec.json.decode(reply.data)
            error = answer.get("error")
            if error is None:
                return answer
            if "retryAfterMs" not in error:
                self._history.wrong("wrong", f"{subject} of {body} was answered with {error}")
                await asyncio.sleep(5.0)
            self._history.counts[f"told to come later: {error['code']}"] += 1
            await asyncio.sleep(error.get("retryAfterMs", 1_000) / 1_000)

    async def _heard(self, message: Msg) -> None:
        """Take an end in; one that is told again must be the same."""
        result = msgspec.json.decode(message.data).get("result")
        if result is None:
            return
        name = str(result["taskId"])
        before = self._ends.pop(name, None)
        if before is not None and (before["status"], before.get("result")) != (result["status"], result.get("result")):
            self._history.wrong("twice", f"{name} ended as {before}, then as {result}")
        self._ends[name] = result
        while len(self._ends) > 10_000:
            self._ends.pop(next(iter(self._ends)))
        waiter = self._awaited.get(name)
        if waiter is not None and not waiter.done():
            waiter.set_result(result)
