"""The part of the conformance suite about streams: what is kept, who is given it, and when it comes again."""

# ruff: noqa: D102 - a test's name says what holds
from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from podium.exceptions import (
    BackpressureError,
    InvalidInputError,
    PayloadTooLargeError,
    TransportClosedError,
    TransportUnavailableError,
)
from podium.testing.bus_subjects import POISON
from podium.testing.bus_tools import (
    CarrierUnderTest,
    accepted,
    asynchronous,
    connected,
    data_of,
    eventually,
    new_name,
    new_stream,
    nothing_within,
    take,
    take_acknowledged,
)


class KeepingConformance:
    """`declare`, `append`, `read`, `remove`: what a stream holds."""

    @asynchronous
    async def test_what_is_appended_can_be_read_again_and_again(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            await one.declare(stream)
            subjects = [f"{stream.name}.{index}" for index in range(5)]
            sequences = [await one.append(subject, subject.encode(), {"K": "v"}) for subject in subjects]
            assert sequences == [1, 2, 3, 4, 5]
            for _ in range(2):
                found = await other.read(stream)
                assert [(kept.sequence, kept.subject) for kept in found] == list(enumerate(subjects, 1))
                assert data_of(found) == [subject.encode() for subject in subjects]
                assert all(dict(kept.headers) == {"K": "v"} and kept.published_us > 0 for kept in found)
            assert [kept.sequence for kept in await other.read(stream, after=2, limit=2)] == [3, 4]
            assert await other.read(stream, after=5) == []

    @asynchronous
    async def test_one_message_is_removed_and_the_others_stay(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            await one.declare(stream)
            for index in range(3):
                await one.append(f"{stream.name}.a", b"%d" % index)
            assert await other.remove(stream, 2)
            assert not await other.remove(stream, 2)
            assert not await other.remove(stream, 99)
            assert [kept.sequence for kept in await one.read(stream)] == [1, 3]

    @asynchronous
    async def test_a_bare_publish_is_kept_too(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            reading = await other.consume(stream, "c")
            await one.publish(f"{stream.name}.a", b"bare", {"K": "v"})
            (delivery,) = await take(reading, 1)
            assert (delivery.data, dict(delivery.headers), delivery.sequence) == (b"bare", {"K": "v"}, 1)

    @asynchronous
    async def test_plain_subscribers_hear_what_is_appended(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            await one.declare(stream)
            heard = await other.subscribe(f"{stream.name}.>")
            await one.append(f"{stream.name}.a", b"both")
            assert data_of(await take(heard, 1)) == [b"both"]

    @asynchronous
    async def test_a_repeated_message_id_keeps_nothing_and_has_the_first_sequence(
        self, carrier: CarrierUnderTest
    ) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            await one.declare(stream)
            subject = f"{stream.name}.a"
            assert await one.append(subject, b"first", message_id="m1") == 1
            assert await one.append(subject, b"other", message_id="m2") == 2
            assert await other.append(subject, b"again", message_id="m1") == 1
            at_once = await asyncio.gather(*(t.append(subject, b"x", message_id="m3") for t in (one, other) * 20))
            assert set(at_once) == {3}
            found = await one.read(stream)
            assert data_of(found) == [b"first", b"other", b"x"]
            assert all(dict(kept.headers) == {} for kept in found)

    @asynchronous
    async def test_appends_at_once_get_a_sequence_each(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            stream, number = new_stream(), 500
            await only.declare(stream)
            subject = f"{stream.name}.a"
            sequences = await asyncio.gather(*(only.append(subject, b"%d" % index) for index in range(number)))
            assert sorted(sequences) == list(range(1, number + 1))

    @asynchronous
    async def test_a_full_work_stream_refuses_until_something_is_acknowledged(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream(work=True, max_bytes=64 << 10)
            reading = await other.consume(stream, "c")
            kept = await accepted(lambda: one.append(f"{stream.name}.a", b"x" * 4_096), 1_000)
            assert 8 <= kept <= 16
            (await take(reading, 1))[0].ack()

            async def there_is_room() -> bool:
                try:
                    await one.append(f"{stream.name}.a", b"last")
                except BackpressureError:
                    return False
                return True

            await eventually(there_is_room)
            assert data_of(await take(reading, kept))[-1] == b"last"

    @asynchronous
    async def test_any_other_full_stream_forgets_its_oldest(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            stream, number = new_stream(max_bytes=64 << 10), 40
            await only.declare(stream)
            for index in range(number):
                await only.append(f"{stream.name}.a", b"%04d" % index * 1_024)
            sequences = [kept.sequence for kept in await only.read(stream)]
            assert 8 <= len(sequences) <= 16
            assert sequences == list(range(number - len(sequences) + 1, number + 1))

    @asynchronous
    async def test_what_is_too_old_is_forgotten(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            stream = new_stream(max_age_seconds=0.3)
            await only.declare(stream)
            await only.append(f"{stream.name}.a", b"old")

            async def forgotten() -> bool:
                return not await only.read(stream)

            await eventually(forgotten)

    @asynchronous
    async def test_a_stream_that_is_there_is_brought_to_other_settings(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            await one.declare(stream)
            await one.declare(stream)
            await one.append(f"{stream.name}.a", b"stays")
            second = new_name()
            await other.declare(replace(stream, subjects=(*stream.subjects, f"{second}.>"), max_bytes=1 << 20))
            await one.append(f"{second}.a", b"new")
            assert data_of(await one.read(stream)) == [b"stays", b"new"]

    @asynchronous
    async def test_what_cannot_be_a_stream_is_refused(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            stream = new_stream()
            await only.declare(stream)
            with pytest.raises(InvalidInputError):
                await only.declare(replace(stream, work=True))
            with pytest.raises(InvalidInputError):
                await only.declare(replace(new_stream(), subjects=stream.subjects))
            for name, subjects in (("a.b", ("x",)), ("", ("x",)), ("A", ()), ("A", ("a..b",)), ("A", ("a.*", "a.b"))):
                with pytest.raises(InvalidInputError):
                    await only.declare(replace(stream, name=name, subjects=subjects))

    @asynchronous
    async def test_a_subject_without_a_stream_cannot_be_appended_to(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            with pytest.raises(TransportUnavailableError):
                await only.append(new_name(), b"")

    @asynchronous
    async def test_any_bytes_are_kept_as_they_were(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            reading = await other.consume(stream, "c")
            largest = b"x" * (one.capabilities.max_payload - 1_024)
            for data in (*POISON, largest):
                await one.append(f"{stream.name}.a", data, {"K": "v"}, message_id=new_name("m"))
            with pytest.raises(PayloadTooLargeError):
                await one.append(f"{stream.name}.a", b"x" * (one.capabilities.max_payload + 1))
            assert data_of(await take(reading, len(POISON) + 1)) == [*POISON, largest]
            assert data_of(await other.read(stream)) == [*POISON, largest]


class ConsumingConformance:
    """`consume`: who is given what, and what comes again."""

    @asynchronous
    async def test_a_stream_is_read_in_order_with_what_is_known_of_each(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream, number = new_stream(), 1_000
            reading = await other.consume(stream, "c", limit=64)
            await asyncio.gather(*(one.append(f"{stream.name}.a", b"%d" % index) for index in range(number)))
            deliveries = await take_acknowledged(reading, number)
            assert [delivery.sequence for delivery in deliveries] == list(range(1, number + 1))
            assert {(delivery.attempt, delivery.reply) for delivery in deliveries} == {(1, "")}
            assert all(delivery.published_us > 0 for delivery in deliveries)
            assert await reading.lag() == 0

    @asynchronous
    async def test_what_is_not_acknowledged_comes_again_in_time(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            reading = await other.consume(stream, "c", redeliver_seconds=0.3)
            await one.append(f"{stream.name}.a", b"it")
            deliveries = await take(reading, 3)
            assert [(one.data, one.attempt, one.sequence) for one in deliveries] == [(b"it", n, 1) for n in (1, 2, 3)]
            deliveries[-1].ack()
            assert await nothing_within(reading, 1.0)

    @asynchronous
    async def test_what_is_handed_back_comes_again_not_before_its_delay(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            reading = await other.consume(stream, "c")
            await one.append(f"{stream.name}.a", b"it")
            (first,) = await take(reading, 1)
            first.nack()
            (second,) = await take(reading, 1)
            assert second.attempt == 2
            loop = asyncio.get_running_loop()
            before = loop.time()
            second.nack(0.5)
            await one.append(f"{stream.name}.a", b"meanwhile")
            (other_one,) = await take_acknowledged(reading, 1)
            assert other_one.data == b"meanwhile"
            (third,) = await take_acknowledged(reading, 1)
            assert (third.data, third.attempt) == (b"it", 3)
            assert loop.time() - before >= 0.45

    @pytest.mark.parametrize("work", [True, False])
    @asynchronous
    async def test_what_is_rejected_or_acknowledged_never_comes_again(
        self, carrier: CarrierUnderTest, work: bool
    ) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream(work=work)
            reading = await other.consume(stream, "c", redeliver_seconds=0.3)
            await one.append(f"{stream.name}.a", b"bad")
            await one.append(f"{stream.name}.a", b"good")
            bad, good = await take(reading, 2)
            bad.reject()
            good.ack()
            bad.nack()
            assert await nothing_within(reading, 1.0)
            assert data_of(await one.read(stream)) == ([] if work else [b"bad", b"good"])

    @asynchronous
    async def test_it_comes_no_more_often_than_its_deliveries(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            reading = await other.consume(stream, "c", redeliver_seconds=0.2, max_deliveries=2)
            await one.append(f"{stream.name}.a", b"it")
            assert [delivery.attempt for delivery in await take(reading, 2)] == [1, 2]
            assert await nothing_within(reading, 1.0)

    @asynchronous
    async def test_a_durable_name_goes_on_where_it_was(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (one,):
            stream = new_stream()
            before = carrier.transport()
            await before.start()
            reading = await before.consume(stream, "c", redeliver_seconds=0.5)
            for index in range(4):
                await one.append(f"{stream.name}.a", b"%d" % index)
            deliveries = await take(reading, 3, limit=3)
            deliveries[0].ack()
            deliveries[2].ack()
            await before.stop(0.0)
            await one.append(f"{stream.name}.a", b"4")
            after = await one.consume(stream, "c", redeliver_seconds=0.5, start=-1)
            assert sorted(data_of(await take_acknowledged(after, 3))) == [b"1", b"3", b"4"]
            assert await nothing_within(after, 1.0)

    @asynchronous
    async def test_several_with_one_name_share_and_other_names_hear_all(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 3) as (one, other, third):
            stream, number = new_stream(), 200
            shared = [await t.consume(stream, "shared", limit=8) for t in (other, third)]
            alone = await third.consume(stream, "alone")
            for index in range(number):
                await one.append(f"{stream.name}.a", b"%d" % index)
            parts: list[list[bytes]] = [[], []]

            async def read(index: int) -> None:
                while True:
                    for delivery in await shared[index].next(8):
                        delivery.ack()
                        parts[index].append(delivery.data)

            readers = [asyncio.create_task(read(index)) for index in range(2)]
            await eventually(lambda: len(parts[0]) + len(parts[1]) >= number)
            for reader in readers:
                reader.cancel()
            everything = [b"%d" % index for index in range(number)]
            assert sorted(parts[0] + parts[1]) == sorted(everything)
            assert all(parts)
            assert data_of(await take(alone, number)) == everything

    @asynchronous
    async def test_a_new_name_begins_where_it_is_told_to(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            await one.declare(stream)
            for index in range(1, 5):
                await one.append(f"{stream.name}.a", b"%d" % index)
            readings = {start: await other.consume(stream, new_name("c"), start=start) for start in (0, 3, -1)}
            await one.append(f"{stream.name}.a", b"5")
            expected = {0: [b"1", b"2", b"3", b"4", b"5"], 3: [b"3", b"4", b"5"], -1: [b"5"]}
            for start, reading in readings.items():
                assert data_of(await take(reading, len(expected[start]))) == expected[start]

    @asynchronous
    async def test_subjects_leave_out_the_others(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            name = stream.name
            reading = await other.consume(stream, "c", subjects=(f"{name}.a", f"{name}.b.*"))
            for subject in ("a", "c", "b.x", "b", "b.x.y", "b.z"):
                await one.append(f"{name}.{subject}", subject.encode())
            assert data_of(await take(reading, 3)) == [b"a", b"b.x", b"b.z"]
            assert await reading.lag() == 0
            with pytest.raises(InvalidInputError):
                await other.consume(stream, "d", subjects=("elsewhere.a",))

    @asynchronous
    async def test_a_work_stream_has_one_reader_of_a_subject_and_from_the_beginning(
        self, carrier: CarrierUnderTest
    ) -> None:
        async with connected(carrier, 1) as (only,):
            stream = new_stream(work=True)
            name = stream.name
            await only.consume(stream, "c", subjects=(f"{name}.a.>",))
            await only.consume(stream, "d", subjects=(f"{name}.b.>",))
            with pytest.raises(InvalidInputError):
                await only.consume(stream, "e", subjects=(f"{name}.a.x",))
            with pytest.raises(InvalidInputError):
                await only.consume(stream, "f", subjects=(f"{name}.f",), start=5)

    @asynchronous
    async def test_one_that_reads_nothing_holds_no_more_than_its_limit_from_the_others(
        self, carrier: CarrierUnderTest
    ) -> None:
        async with connected(carrier, 3) as (one, idle_one, busy_one):
            stream, number, held = new_stream(work=True), 100, 5
            idle = await idle_one.consume(stream, "c", limit=held)
            for index in range(number):
                await one.append(f"{stream.name}.a", b"%d" % index)

            async def all_wait() -> bool:
                return await idle.lag() == number

            await eventually(all_wait)
            busy = await busy_one.consume(stream, "c", limit=50)
            found = await take_acknowledged(busy, number - held)
            assert len({delivery.sequence for delivery in found}) == number - held
            assert len(await take(idle, held)) == held

    @asynchronous
    async def test_what_was_fetched_and_not_seen_goes_to_others_when_a_transport_stops(
        self, carrier: CarrierUnderTest
    ) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream()
            stopping = carrier.transport()
            await stopping.start()
            reading = await stopping.consume(stream, "c", redeliver_seconds=60.0)
            for index in range(10):
                await one.append(f"{stream.name}.a", b"%d" % index)

            async def fetched() -> bool:
                return await reading.lag() == 10

            await eventually(fetched)
            (await take(reading, 1, limit=1))[0].ack()
            await stopping.stop(0.0)
            rest = await other.consume(stream, "c", redeliver_seconds=60.0)
            assert sorted(data_of(await take_acknowledged(rest, 9))) == [b"%d" % index for index in range(1, 10)]

    @asynchronous
    async def test_after_the_stop_what_was_fetched_is_returned_and_can_be_acknowledged(
        self, carrier: CarrierUnderTest
    ) -> None:
        async with connected(carrier) as (one, other):
            stream = new_stream(work=True)
            reading = await other.consume(stream, "c", redeliver_seconds=60.0)
            await one.append(f"{stream.name}.a", b"it")

            async def fetched() -> bool:
                return await reading.lag() == 1

            await eventually(fetched)
            await reading.stop()
            await reading.stop()
            deliveries = []
            try:
                while True:
                    deliveries += await reading.next()
            except TransportClosedError:
                pass
            for delivery in deliveries:
                delivery.ack()
            again = await other.consume(stream, "c", redeliver_seconds=60.0)
            if not deliveries:  # it was on its way, and has gone back
                deliveries = await take_acknowledged(again, 1)
            assert data_of(deliveries) == [b"it"]

            async def done() -> bool:
                return not await one.read(stream)

            await eventually(done)
