"""One end of a run over the bus in a process of its own: `python -m bench.bus_process ROLE JSON` prints JSON lines.

Times are of the monotonic clock, which all processes of a machine share. A bare role does the same with nats-py and
msgspec alone: frames of as many positional arrays, nothing numbered, no lanes, no metrics.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import nats
from msgspec import Struct

from bench.figures import percentile
from podium import Message, MessageBus, MessageType
from podium.bus.subscription import BusSubscription

TOPIC = "bench.messages"
BODY = "x" * 238  # the payload has 256 bytes as MessagePack
FRAME = 64
TICK_SECONDS = 0.001
SILENCE_SECONDS = 2.0
WARM_UP = 20_000


class Order(Struct, frozen=True):
    """What a process shall do."""

    url: str
    count: int
    durable: bool = False
    rate: int = 0  # messages a second; 0: as many as possible
    in_flight: int = 100


class Envelope(Struct, frozen=True, array_like=True, gc=False):
    """Eight fields, for the bare roles."""

    message_id: int
    sender_id: str
    recipient_id: str
    message_type: str
    priority: int
    correlation_id: str
    timestamp: int
    payload: dict[str, Any]


def say(**values: Any) -> None:
    """Tell the other side, a line."""
    print(msgspec.json.encode(values).decode(), flush=True)


def message(number: int) -> Message:
    """Return an envelope; its id, topic and time are given by the bus."""
    return Message(
        sender_id="agent-001",
        recipient_id="agent-002",
        message_type=MessageType.EVENT,
        payload={"number": number, "body": BODY},
        priority=50,
        correlation_id="correlation-001",
    )


def envelope(number: int) -> Envelope:
    """Return the same, bare."""
    payload = {"number": number, "body": BODY}
    return Envelope(number, "agent-001", "agent-002", "EVENT", 50, "correlation-001", 0, payload)


# --- over the bus ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def bus_of(order: Order) -> AsyncIterator[MessageBus]:
    async with MessageBus(order.url, durable=order.durable) as bus:
        yield bus


async def consume(order: Order) -> None:
    """Take so many messages; say when the last came, and how long they were on their way."""
    async with bus_of(order) as bus, bus.subscribe(TOPIC, group="bench" if order.durable else "") as subscription:
        say(ready=True)
        taken, ways = await taking(order, subscription)
        say(ended=time.monotonic(), lost=order.count - taken, **percentiles(ways))
        subscription.ack()


async def taking(order: Order, subscription: BusSubscription) -> tuple[int, list[int]]:
    """Take so many messages, or those that came before a second of silence: what is lost doesn't come."""
    taken, ways = 0, []

    async def watch() -> None:
        before = -1
        while taken != before or not taken:
            before = taken
            await asyncio.sleep(SILENCE_SECONDS)
        await subscription.aclose()

    watching = asyncio.create_task(watch())
    async for received in subscription:
        taken += 1
        if order.rate:
            ways.append(time.monotonic_ns() - received.payload["number"])
        if taken == order.count:
            break
    watching.cancel()
    return taken, ways


async def publish(order: Order) -> None:
    """Publish so many messages; say when it began, and when all of them had left or were kept."""
    async with bus_of(order) as bus:
        began = time.monotonic()
        if order.rate:
            await paced(order, lambda: bus.publish(message(time.monotonic_ns()), TOPIC))
        else:
            for number in range(order.count):
                await bus.publish(message(number), TOPIC)
        await bus.flush()
        say(began=began, ended=time.monotonic())


async def paced(order: Order, one: Callable[[], Awaitable[None]]) -> None:
    """Call it so many times at the rate, a few each millisecond."""
    began, done = time.monotonic(), 0
    while done < order.count:
        due = min(int((time.monotonic() - began) * order.rate) + 1, order.count)
        while done < due:
            await one()
            done += 1
        await asyncio.sleep(TICK_SECONDS)


async def respond(order: Order) -> None:
    """Answer each request, until somebody ends the process."""
    async with bus_of(order) as bus, bus.subscribe(TOPIC) as subscription:
        say(ready=True)
        async for request in subscription:
            await bus.reply(request, request.payload)


async def ask(order: Order) -> None:
    """Ask so many requests, some in flight."""
    async with bus_of(order) as bus:
        left = iter(range(order.count))

        async def asker() -> None:
            for number in left:
                await bus.request(message(number), TOPIC, timeout_seconds=30.0)

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(order.in_flight):
                group.create_task(asker())
        say(began=began, ended=time.monotonic())


async def memory(order: Order) -> None:
    """Publish and take in one process."""
    async with bus_of(order) as bus, bus.subscribe(TOPIC) as subscription:
        began = time.monotonic()
        consumer = asyncio.create_task(taking(order, subscription))
        for number in range(order.count):
            await bus.publish(message(number), TOPIC)
        taken, _ = await consumer
        say(began=began, ended=time.monotonic(), lost=order.count - taken)


# --- bare nats-py ------------------------------------------------------------------------------------------------


async def bare_consume(order: Order) -> None:
    """Take so many envelopes with nats-py."""
    client = await nats.connect(order.url)
    decode = msgspec.msgpack.Decoder(list[Envelope]).decode
    done = asyncio.Event()
    taken, ways = 0, []

    async def receive(found: Any) -> None:
        nonlocal taken
        for received in decode(found.data):
            taken += 1
            if order.rate:
                ways.append(time.monotonic_ns() - received.payload["number"])
        if order.durable:
            await found.ack()
        if taken >= order.count:
            done.set()

    if order.durable:
        stream = client.jetstream()
        await stream.add_stream(name="BARE", subjects=["bare.>"])
        await stream.subscribe("bare.messages", cb=receive, manual_ack=True, pending_msgs_limit=-1)
    else:
        await client.subscribe("bare.messages", cb=receive, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.flush()
    say(ready=True)
    await done.wait()
    say(ended=time.monotonic(), lost=0, **percentiles(ways))
    await client.close()


async def bare_publish(order: Order) -> None:
    """Publish so many envelopes with nats-py in frames."""
    client = await nats.connect(order.url, pending_size=8 << 20)
    stream = client.jetstream()
    encode = msgspec.msgpack.Encoder().encode
    frame: list[Envelope] = []
    flights: set[asyncio.Task[Any]] = set()

    async def send() -> None:
        data = encode(frame)
        frame.clear()
        if not order.durable:
            await client.publish("bare.messages", data)
            return
        while len(flights) >= 256:
            await asyncio.wait(flights, return_when=asyncio.FIRST_COMPLETED)
        flight = asyncio.create_task(stream.publish("bare.messages", data, timeout=30))
        flights.add(flight)
        flight.add_done_callback(flights.discard)

    async def add(number: int) -> None:
        frame.append(envelope(number))
        if len(frame) == FRAME:
            await send()

    began = time.monotonic()
    if order.rate:
        await paced(order, lambda: add(time.monotonic_ns()))
    else:
        for number in range(order.count):
            await add(number)
    if frame:
        await send()
    if flights:
        await asyncio.wait(flights)
    await client.flush()
    say(began=began, ended=time.monotonic())
    await client.close()


async def bare_respond(order: Order) -> None:
    """Answer with nats-py, each request on its own."""
    client = await nats.connect(order.url)

    async def receive(found: Any) -> None:
        await found.respond(found.data)

    await client.subscribe("bare.requests", cb=receive)
    await client.flush()
    say(ready=True)
    await asyncio.Event().wait()


async def bare_ask(order: Order) -> None:
    """Ask with nats-py."""
    client = await nats.connect(order.url)
    encode = msgspec.msgpack.Encoder().encode
    left = iter(range(order.count))

    async def asker() -> None:
        for number in left:
            await client.request("bare.requests", encode(envelope(number)), timeout=30)

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(order.in_flight):
            group.create_task(asker())
    say(began=began, ended=time.monotonic())
    await client.close()


def percentiles(ways_ns: list[int]) -> dict[str, float]:
    """Return p50 and p99 of the ways in milliseconds, without the first ones."""
    ordered = sorted(ways_ns[min(WARM_UP, len(ways_ns) // 10) :])
    return {f"p{percent}": percentile(ordered, percent) / 1e6 for percent in (50, 99)} if ordered else {}


ROLES = {
    "consume": consume, "publish": publish, "respond": respond, "ask": ask, "memory": memory,
    "bare_consume": bare_consume, "bare_publish": bare_publish, "bare_respond": bare_respond, "bare_ask": bare_ask,
}  # fmt: skip

if __name__ == "__main__":
    gc.freeze()
    asyncio.run(ROLES[sys.argv[1]](msgspec.json.decode(sys.argv[2], type=Order)))
