"""What only memory has: carriers by name, transports on several loops, and a carrier that is done things to."""

from __future__ import annotations

import asyncio
import threading

from podium.bus.memory import MemoryCarrier, MemoryTransport, carrier_named
from podium.bus.transport import Stream
from podium.clock import SECOND, VirtualClock
from podium.testing.bus_tools import data_of, eventually, take, take_acknowledged


def test_a_name_means_the_same_carrier_in_the_whole_process() -> None:
    assert carrier_named("a") is carrier_named("a")
    assert carrier_named("a") is not carrier_named("b")


def test_transports_on_two_loops_hear_each_other() -> None:
    carrier, number = MemoryCarrier(), 500
    stream = Stream("W", ("w.>",), work=True)
    ready, heard = threading.Event(), []

    async def worker() -> None:
        transport = MemoryTransport(carrier)
        await transport.start()
        reading = await transport.consume(stream, "c", limit=16, redeliver_seconds=60.0)
        asked = await transport.subscribe("question")
        ready.set()
        heard.extend(data_of(await take_acknowledged(reading, number)))
        (question,) = await take(asked, 1)
        await transport.publish(question.reply, b"done")
        await transport.stop()

    async def main() -> None:
        transport = MemoryTransport(carrier)
        await transport.start()
        await asyncio.to_thread(ready.wait, 10)
        for index in range(number):
            await transport.append("w.a", b"%d" % index)
        answer = await transport.request("question", b"?", timeout_seconds=20)
        assert answer.data == b"done"
        await transport.stop()

    thread = threading.Thread(target=lambda: asyncio.run(worker()))
    thread.start()
    asyncio.run(main())
    thread.join(20)
    assert heard == [b"%d" % index for index in range(number)]
    assert not carrier.log("W").kept


def test_what_a_stream_keeps_ages_by_the_clock_it_was_given() -> None:
    clock = VirtualClock()
    carrier = MemoryCarrier(clock=clock)
    stream = Stream("S", ("s.>",), max_age_seconds=10, duplicate_seconds=5)

    async def main() -> None:
        transport = MemoryTransport(carrier)
        await transport.start()
        await transport.declare(stream)
        assert await transport.append("s.a", b"1", message_id="m") == 1
        clock.advance(4 * SECOND)
        assert await transport.append("s.a", b"2", message_id="m") == 1
        clock.advance(2 * SECOND)
        assert await transport.append("s.a", b"3", message_id="m") == 2
        clock.advance(5 * SECOND)
        assert data_of(await transport.read(stream)) == [b"3"]
        await transport.stop()

    asyncio.run(main())


def test_an_endless_speaker_lets_readers_of_its_loop_have_their_turn() -> None:
    async def main() -> None:
        transport = MemoryTransport()
        await transport.start()
        heard = await transport.subscribe("a", limit=1_000)
        number = 20_000

        async def speak() -> None:
            for _ in range(number):
                await transport.publish("a", b"")

        speaking = asyncio.create_task(speak())
        assert len(await take(heard, number)) == number
        assert heard.lost == 0
        await speaking
        await transport.stop()

    asyncio.run(main())


def test_settled_messages_leave_nothing_behind() -> None:
    async def main() -> None:
        carrier = MemoryCarrier()
        transport = MemoryTransport(carrier)
        await transport.start()
        stream = Stream("W", ("w.>",), work=True)
        reading = await transport.consume(stream, "c", redeliver_seconds=3_600)
        for index in range(1_000):
            await transport.append("w.a", b"x")
            (delivery,) = await take(reading, 1)
            if index % 2:
                delivery.nack()
                (delivery,) = await take(reading, 1)
            delivery.ack()
        place = carrier.log("W").places["c"]
        assert not place._out
        assert not place._again
        assert not place._due
        assert await reading.lag() == 0
        assert not carrier.log("W").kept
        await transport.stop()
        await eventually(lambda: not carrier._parties)

    asyncio.run(main())
