"""The limit beside R3: bare nats-py hears the same heartbeats and decodes their JSON, no more.
`python -m bench.remote.listener URL SECONDS` says when it listens, then its share of a processor as JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import nats
from msgspec import Struct
from nats.aio.msg import Msg

from bench.fan_out_process import peak_mb
from bench.remote.processes import say


class Listened(Struct, frozen=True):
    """What listening took of the machine."""

    percent_of_a_core: float
    peak_mb: float
    heard: int


async def listen(url: str, seconds: float) -> Listened:
    """Hear heartbeats for so long, from the first one on."""
    client = await nats.connect(url)
    heard, begun = 0, asyncio.Event()

    async def beat(message: Msg) -> None:
        nonlocal heard
        msgspec.json.decode(message.data)
        heard += 1
        begun.set()

    await client.subscribe("mcp.agent.*.heartbeat", cb=beat)
    await client.flush()
    say("listening")
    await begun.wait()
    used, begin = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    taken, passed = time.process_time() - used, time.perf_counter() - begin
    await client.close()
    return Listened(100 * taken / passed, peak_mb(), heard)


if __name__ == "__main__":
    say(msgspec.json.encode(asyncio.run(listen(sys.argv[1], float(sys.argv[2])))).decode())
