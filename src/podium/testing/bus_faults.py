"""The part of the conformance suite about what happens to a connection: outages, amnesia, draining, the end."""

# ruff: noqa: D102 - a test's name says what holds
from __future__ import annotations

import asyncio

import pytest

from podium.bus.transport import Happening, Transport
from podium.exceptions import (
    NotSupported,
    TransportClosedError,
    TransportUnavailableError,
)
from podium.testing.bus_tools import (
    PATIENCE_SECONDS,
    CarrierUnderTest,
    Told,
    accepted,
    asynchronous,
    connected,
    data_of,
    eventually,
    new_name,
    new_stream,
    take,
    take_acknowledged,
)


class OutageConformance:
    """A carrier that goes away, comes back, and may have forgotten."""

    @asynchronous
    async def test_a_carrier_that_is_away_at_the_start_is_named(self, carrier: CarrierUnderTest) -> None:
        transport = carrier.transport()
        await carrier.take_down()
        try:
            with pytest.raises(TransportUnavailableError) as raised:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await transport.start()
            assert "memory://" in str(raised.value) or ":" in str(raised.value)
        finally:
            await carrier.bring_up()
        await transport.start()
        await transport.start()
        assert transport.connected
        await transport.stop(0.0)

    @asynchronous
    async def test_after_an_outage_the_same_subscriptions_hear_again(self, carrier: CarrierUnderTest) -> None:
        told = Told()
        transport = carrier.transport(told)
        await transport.start()
        async with connected(carrier, 1) as (other,):
            subject = new_name()
            heard = await transport.subscribe(subject)
            grouped = await transport.subscribe(subject, group="g")
            await carrier.take_down()
            await told.of(Happening.DISCONNECTED)
            await eventually(lambda: not transport.connected)
            await carrier.bring_up()
            await told.of(Happening.RECONNECTED)
            await eventually(lambda: transport.connected and other.connected)
            await other.publish(subject, b"after")
            assert data_of(await take(heard, 1)) == data_of(await take(grouped, 1)) == [b"after"]
        await transport.stop(0.0)
        connection = [happening for happening in told.happenings if happening is not Happening.ERROR]
        assert connection == [
            Happening.CONNECTED,
            Happening.DISCONNECTED,
            Happening.RECONNECTED,
            Happening.CLOSED,
        ]

    @asynchronous
    async def test_during_an_outage_a_bounded_buffer_pushes_back(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            subject, stream = new_name(), new_stream()
            await one.declare(stream)
            heard = await other.subscribe(subject)
            await carrier.take_down()
            try:
                await eventually(lambda: not (one.connected or other.connected))
                kept = await accepted(lambda: one.publish(subject, b"x" * 500_000), 1_000)
                assert 2 <= kept <= 200
                with pytest.raises(TransportUnavailableError):
                    await one.append(f"{stream.name}.a", b"")
                with pytest.raises(TransportUnavailableError):
                    await one.subscribe(new_name())
            finally:
                await carrier.bring_up()
            await eventually(lambda: one.connected and other.connected)

            async def goes_on() -> bool:
                await one.publish(subject, b"after")
                return b"after" in data_of(await heard.next())

            await eventually(goes_on)

    @asynchronous
    async def test_an_outage_in_the_middle_of_a_batch_loses_and_doubles_nothing(
        self, carrier: CarrierUnderTest
    ) -> None:
        async with connected(carrier) as (one, other):
            stream, number = new_stream(), 400
            reading = await other.consume(stream, "c", redeliver_seconds=1.0, limit=32)
            seen: dict[bytes, int] = {}

            async def append(index: int) -> int:
                while True:
                    try:
                        return await one.append(f"{stream.name}.a", b"%d" % index, message_id=f"m{index}")
                    except TransportUnavailableError:
                        await asyncio.sleep(0.05)

            async def append_all() -> None:
                for first in range(0, number, 20):
                    await asyncio.gather(*(append(index) for index in range(first, first + 20)))

            async def read() -> None:
                while len(seen) < number:
                    for delivery in await reading.next():
                        seen[delivery.data] = seen.get(delivery.data, 0) + 1
                        delivery.ack()

            async with asyncio.timeout(3 * PATIENCE_SECONDS), asyncio.TaskGroup() as group:
                group.create_task(append_all())
                group.create_task(read())
                await eventually(lambda: len(seen) > number // 4)
                await carrier.take_down()
                await carrier.bring_up()
            kept = await other.read(stream, limit=2 * number)
            assert sorted(data_of(kept)) == sorted(b"%d" % index for index in range(number))

    @asynchronous
    async def test_a_carrier_that_has_forgotten_gets_its_streams_and_readers_again(
        self, carrier: CarrierUnderTest
    ) -> None:
        told = Told()
        reader = carrier.transport(told)
        await reader.start()
        async with connected(carrier, 1) as (writer,):
            stream, only_declared = new_stream(work=True), new_stream()
            reading = await reader.consume(stream, "c")
            await reader.declare(only_declared)
            await writer.declare(stream)
            await writer.append(f"{stream.name}.a", b"before")
            await take_acknowledged(reading, 1)
            await carrier.forget()
            await told.of(Happening.AMNESIA)
            await eventually(lambda: reader.connected and writer.connected)
            await _append_in_the_end(writer, f"{stream.name}.a", b"after")
            await _append_in_the_end(writer, f"{only_declared.name}.a", b"kept")
            assert data_of(await take_acknowledged(reading, 1)) == [b"after"]
            assert data_of(await reader.read(only_declared)) == [b"kept"]
        await reader.stop(0.0)

    @asynchronous
    async def test_a_stream_lost_while_connected_is_made_again(self, carrier: CarrierUnderTest) -> None:
        told = Told()
        transport = carrier.transport(told)
        await transport.start()
        lost, kept = new_stream(), new_stream()
        reading, beside = await transport.consume(lost, "c"), await transport.consume(kept, "c")
        await transport.append(f"{kept.name}.a", b"1")
        await carrier.lose(lost.name)
        await told.of(Happening.AMNESIA)
        await _append_in_the_end(transport, f"{lost.name}.a", b"again")
        await transport.append(f"{kept.name}.a", b"2")
        assert data_of(await take_acknowledged(reading, 1)) == [b"again"]
        assert data_of(await take_acknowledged(beside, 2)) == [b"1", b"2"]
        await transport.stop(0.0)


class EndingConformance:
    """`stop`, and what a transport can't do."""

    @asynchronous
    async def test_stopping_sends_what_was_published(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (other,):
            subject, number = new_name(), 1_000
            heard = await other.subscribe(subject)
            leaving = carrier.transport()
            await leaving.start()
            for index in range(number):
                await leaving.publish(subject, b"%d" % index)
            await leaving.stop()
            assert len(await take(heard, number)) == number

    @asynchronous
    async def test_stopping_lets_readers_have_what_has_arrived(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (other,):
            subject, number = new_name(), 50
            leaving = carrier.transport()
            await leaving.start()
            heard = await leaving.subscribe(subject)
            found: list[bytes] = []

            async def read() -> None:
                while True:
                    found.extend(data_of(await heard.next(1)))
                    await asyncio.sleep(0)

            await other.publish(subject, b"first")
            reading = asyncio.create_task(read())
            await eventually(lambda: bool(found))
            for index in range(number):
                await other.publish(subject, b"%d" % index)
            await eventually(lambda: len(found) > 1)
            await leaving.stop()
            with pytest.raises(TransportClosedError):
                await reading
            assert found == [b"first", *(b"%d" % index for index in range(len(found) - 1))]

    @asynchronous
    async def test_stopping_twice_and_at_once_is_safe(self, carrier: CarrierUnderTest) -> None:
        told = Told()
        transport = carrier.transport(told)
        await transport.start()
        heard = await transport.subscribe(new_name())
        waiting = asyncio.create_task(heard.next())
        await asyncio.sleep(0)
        await asyncio.gather(transport.stop(), transport.stop(0.1))
        await transport.stop()
        with pytest.raises(TransportClosedError):
            await waiting
        assert told.happenings.count(Happening.CLOSED) == 1
        assert not transport.connected

    @asynchronous
    async def test_one_that_never_started_can_be_stopped(self, carrier: CarrierUnderTest) -> None:
        transport = carrier.transport()
        await transport.stop()
        await transport.stop()
        with pytest.raises(TransportClosedError):
            await transport.start()

    @asynchronous
    async def test_a_stopped_transport_says_so(self, carrier: CarrierUnderTest) -> None:
        transport = carrier.transport()
        await transport.start()
        stream = new_stream()
        await transport.stop()
        for attempt in (
            transport.publish("a", b""),
            transport.append("a", b""),
            transport.request("a", b""),
            transport.subscribe("a"),
            transport.consume(stream, "c"),
            transport.declare(stream),
            transport.read(stream),
            transport.remove(stream, 1),
        ):
            with pytest.raises(TransportClosedError):
                await attempt

    @asynchronous
    async def test_a_transport_whose_carrier_is_away_stops_soon(self, carrier: CarrierUnderTest) -> None:
        transport = carrier.transport()
        await transport.start()
        await transport.subscribe(new_name())
        await transport.consume(new_stream(), "c")
        await carrier.take_down()
        try:
            await eventually(lambda: not transport.connected)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await transport.stop(0.5)
        finally:
            await carrier.bring_up()

    @asynchronous
    async def test_what_is_not_declared_is_not_supported(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            if not only.capabilities.groups:
                with pytest.raises(NotSupported):
                    await only.subscribe("a", group="g")
            if not only.capabilities.replay:
                with pytest.raises(NotSupported):
                    await only.read(new_stream())

    @asynchronous
    async def test_it_says_what_it_promises(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            await only.declare(new_stream())
            promises = await only.promises()
            for text in (promises.carrier, promises.process_kill, promises.machine_loss, promises.amnesia):
                assert text
                assert not text.endswith(".")
            assert promises.replicas >= 1


async def _append_in_the_end(transport: Transport, subject: str, data: bytes) -> None:
    async def appended() -> bool:
        try:
            await transport.append(subject, data, message_id=f"{subject} {data!r}")
        except TransportUnavailableError:
            return False
        return True

    await eventually(appended)
