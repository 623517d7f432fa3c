"""A client in plain Python, written from docs/protocol.md: it needs nats-py and nothing of Podium.

`python client.py TASK_TYPE 'PAYLOAD'` submits a task, awaits its end and prints its result; the exit code says how.
"""

import asyncio
import json
import os
import sys
import uuid

import nats

SUBMIT, STATUS = "mcp.orchestrator.task.submit", "mcp.orchestrator.task.status"
LOOK_SECONDS = 10  # the end is told once: who may have missed it asks


async def ask(bus, subject, body):
    """Ask until there is an answer: nobody may listen now, or the queue may be full."""
    while True:
        try:
            answer = json.loads((await bus.request(subject, json.dumps(body).encode(), timeout=5)).data)
        except (TimeoutError, nats.errors.TimeoutError, nats.errors.NoRespondersError):
            await asyncio.sleep(1)
            continue
        error = answer.get("error")
        if error is None:
            return answer
        if "retryAfterMs" not in error:
            sys.exit(f"{error['code']}: {error['message']}")
        await asyncio.sleep(error["retryAfterMs"] / 1000)  # QUEUE_FULL, BUSY, UNAVAILABLE


async def submit_and_await(bus, task_type, payload, **more):
    """Submit a task and return how it ended. Its id is our own, so that submitting it again changes nothing."""
    task = {"taskId": uuid.uuid4().hex, "taskType": task_type, "payload": payload, **more}
    inbox = bus.new_inbox()
    ends = await bus.subscribe(inbox)  # before it is submitted: it may end at once
    await ask(bus, SUBMIT, {"task": task, "notifySubject": inbox})
    while True:
        try:
            return json.loads((await ends.next_msg(timeout=LOOK_SECONDS)).data)["result"]
        except (TimeoutError, nats.errors.TimeoutError):
            stands = await ask(bus, STATUS, {"taskId": task["taskId"]})
            if "result" in stands:
                return stands["result"]


async def main(task_type, payload="{}"):
    bus = await nats.connect(os.environ.get("NATS_URL") or "nats://127.0.0.1:4222", max_reconnect_attempts=-1)
    result = await submit_and_await(bus, task_type, json.loads(payload))
    await bus.close()
    print(json.dumps(result))
    return 0 if result["status"] == "COMPLETED" else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
