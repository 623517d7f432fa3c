"""The bare limit's other end, nats-py alone: it answers each message. `python -m bench.remote.responder URL`."""

from __future__ import annotations

import asyncio
import sys

import nats
from nats.aio.msg import Msg

from bench.remote.processes import say, until_input_ends

SUBJECT = "bench.task"
ANSWER = b"x" * 64


async def respond(url: str) -> None:
    """Answer until the input ends."""
    client = await nats.connect(url)

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, ANSWER)

    await client.subscribe(SUBJECT, queue="responders", cb=answer)
    await client.flush()
    say("listening")
    await until_input_ends()
    await client.close()


if __name__ == "__main__":
    asyncio.run(respond(sys.argv[1]))
