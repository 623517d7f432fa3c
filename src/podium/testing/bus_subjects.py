"""The part of the conformance suite about plain subjects: who hears what, requests, limits, slow readers."""

# ruff: noqa: D102 - a test's name says what holds
from __future__ import annotations

import asyncio

import pytest

from podium.bus.transport import Happening
from podium.exceptions import (
    InvalidInputError,
    PayloadTooLargeError,
    RequestTimeoutError,
    TransportClosedError,
)
from podium.testing.bus_tools import (
    CarrierUnderTest,
    Told,
    asynchronous,
    connected,
    data_of,
    eventually,
    new_name,
    take,
)

POISON = (
    b"",
    b"\0",
    bytes(range(256)),
    b"\r\n",
    b"MSG x 1 5\r\nhello\r\n",
    b"-ERR 'Authorization Violation'\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b'{"type":"io.nats.jetstream.api.v1.pub_ack"',
    b"\xff\xfe\xf0\x9f" * 1_000,
)
BAD_SUBJECTS = ("", ".", "a.", ".a", "a..b", "a b", "a\r\nPUB x 0", "a.*", "a.>", "a\tb", "x" * 5_000)
BAD_PATTERNS = ("", "a.", "a..b", "a b", "a.>.b", "a*.b", "a.b>", ">.a", "a\r\nb")
BAD_HEADERS = ({"": "v"}, {"a b": "v"}, {"a:b": "v"}, {"k": "a\r\nX: y"}, {"k": " v"}, {"Nats-Rollup": "all"})


class SubjectConformance:
    """`publish`, `subscribe` and `request`."""

    @asynchronous
    async def test_a_message_arrives_with_all_that_was_said(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            subject = f"{new_name()}.a"
            heard = await other.subscribe(subject)
            headers = {"Trace": "a: b", "Umlaut": "Grüße", "Empty": ""}
            await one.publish(subject, b"hello", headers, "answers.here")
            (delivery,) = await take(heard, 1)
            assert (delivery.subject, delivery.data, delivery.reply) == (subject, b"hello", "answers.here")
            assert dict(delivery.headers) == headers
            assert (delivery.attempt, delivery.sequence) == (1, 0)
            delivery.ack()
            delivery.nack()
            delivery.reject()

    @asynchronous
    async def test_headers_and_reply_are_empty_where_none_were_given(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            subject = new_name()
            heard = await only.subscribe(subject)
            await only.publish(subject, b"to myself")
            (delivery,) = await take(heard, 1)
            assert (dict(delivery.headers), delivery.reply) == ({}, "")

    @pytest.mark.parametrize(
        ("pattern", "subject", "heard"),
        [
            ("a.b", "a.b", True),
            ("a.b", "a.b.c", False),
            ("a.b", "a.B", False),
            ("a.*", "a.b", True),
            ("a.*", "a.b.c", False),
            ("a.*", "a", False),
            ("*.b", "a.b", True),
            ("a.*.c", "a.b.c", True),
            ("a.>", "a.b", True),
            ("a.>", "a.b.c.d", True),
            ("a.>", "a", False),
            ("*.*.>", "a.b.c", True),
            ("*.*.>", "a.b", False),
        ],
    )
    @asynchronous
    async def test_stars_stand_for_a_word_and_an_arrow_for_the_rest(
        self, carrier: CarrierUnderTest, pattern: str, subject: str, heard: bool
    ) -> None:
        async with connected(carrier) as (one, other):
            first = new_name()
            subscription = await other.subscribe((f"{first}.{pattern}", f"{first}_marker"))
            await one.publish(f"{first}.{subject}", b"it")
            await one.publish(f"{first}_marker", b"marker")
            assert data_of(await take(subscription, 1 + heard)) == [b"it"] * heard + [b"marker"]

    @asynchronous
    async def test_each_hears_it_and_of_a_group_one(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 3) as (one, other, third):
            subject, number = new_name(), 100
            alone = [await other.subscribe(subject), await third.subscribe(subject)]
            grouped = [await other.subscribe(subject, group="g"), await third.subscribe(subject, group="g")]
            another = await third.subscribe(subject, group="h")
            for index in range(number):
                await one.publish(subject, b"%d" % index)
            everything = [b"%d" % index for index in range(number)]
            for subscription in (*alone, another):
                assert data_of(await take(subscription, number)) == everything

            async def shared() -> bool:
                return sum([await member.lag() for member in grouped]) == number

            await eventually(shared)
            parts = [data_of(await take(member, await member.lag())) for member in grouped if await member.lag()]
            assert sorted(said for part in parts for said in part) == sorted(everything)
            assert len(parts) == 2

    @asynchronous
    async def test_what_one_says_on_one_subject_keeps_its_order(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            if not one.capabilities.ordered:
                pytest.skip("this transport doesn't declare an order")
            first, number = new_name(), 2_000
            heard = await other.subscribe(f"{first}.>")
            for index in range(number):
                await one.publish(f"{first}.{index % 3}", b"%d" % index)
            deliveries = await take(heard, number)
            for line in range(3):
                found = [int(delivery.data) for delivery in deliveries if delivery.subject == f"{first}.{line}"]
                assert found == list(range(line, number, 3))

    @asynchronous
    async def test_next_returns_no_more_than_asked_for_and_lag_counts_the_rest(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            subject = new_name()
            heard = await only.subscribe(subject)
            for index in range(5):
                await only.publish(subject, b"%d" % index)

            async def all_there() -> bool:
                return await heard.lag() == 5

            await eventually(all_there)
            assert data_of(await heard.next(2)) == [b"0", b"1"]
            assert await heard.lag() == 3
            assert len(await heard.next()) == 3

    @asynchronous
    async def test_giving_up_waiting_loses_nothing(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            subject = new_name()
            heard = await only.subscribe(subject)
            for index in range(20):
                waiting = asyncio.create_task(heard.next())
                await asyncio.sleep(0)
                await only.publish(subject, b"%d" % index)
                waiting.cancel()
                await asyncio.wait({waiting})
                if waiting.cancelled():
                    assert data_of(await take(heard, 1)) == [b"%d" % index]

    @asynchronous
    async def test_after_the_stop_what_has_arrived_is_returned_and_nothing_new(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            subject = new_name()
            heard, beside = await other.subscribe(subject), await other.subscribe(subject)
            await one.publish(subject, b"before")
            assert data_of(await take(beside, 1)) == [b"before"]

            async def there() -> bool:
                return await heard.lag() == 1

            await eventually(there)
            await heard.stop()
            await heard.stop()
            await one.publish(subject, b"after")
            assert data_of(await take(beside, 1)) == [b"after"]
            assert data_of(await heard.next()) == [b"before"]
            with pytest.raises(TransportClosedError):
                await heard.next()

    @asynchronous
    async def test_who_says_more_than_fits_waits_and_loses_nothing(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            subject, number, size = new_name(), 60, one.capabilities.max_payload // 2
            heard = await other.subscribe(subject)

            async def speak() -> None:
                for index in range(number):
                    await one.publish(subject, index.to_bytes(4, "big") + b"x" * size)

            speaking = asyncio.create_task(speak())
            deliveries = await take(heard, number)
            await speaking
            assert [int.from_bytes(delivery.data[:4], "big") for delivery in deliveries] == list(range(number))

    # --- requests --------------------------------------------------------------------------------------------------

    @asynchronous
    async def test_each_request_gets_its_own_answer(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            subject, number = new_name(), 100
            asked = await other.subscribe(subject)

            async def answer() -> None:
                for delivery in reversed(await take(asked, number)):
                    await other.publish(delivery.reply, b"re: " + delivery.data, {"Kind": "answer"})

            answering = asyncio.create_task(answer())
            answers = await asyncio.gather(*(one.request(subject, b"%d" % n) for n in range(number)))
            assert data_of(answers) == [b"re: %d" % n for n in range(number)]
            assert dict(answers[0].headers) == {"Kind": "answer"}
            await answering

    @asynchronous
    async def test_a_request_that_nobody_answers_ends_in_time(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            subject = new_name()
            await other.subscribe(subject)
            with pytest.raises(RequestTimeoutError):
                await one.request(subject, b"?", timeout_seconds=0.2)

    @asynchronous
    async def test_a_request_that_nobody_hears_ends_at_once(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,), asyncio.timeout(10):
            with pytest.raises(RequestTimeoutError):
                await only.request(new_name(), b"?", timeout_seconds=60)

    # --- what is refused -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("data", POISON, ids=range(len(POISON)))
    @asynchronous
    async def test_any_bytes_arrive_as_they_were(self, carrier: CarrierUnderTest, data: bytes) -> None:
        async with connected(carrier) as (one, other):
            subject = new_name()
            heard = await other.subscribe(subject)
            await one.publish(subject, data)
            await one.publish(subject, data, {"K": "v"})
            await one.publish(subject, b"next")
            assert data_of(await take(heard, 3)) == [data, data, b"next"]

    @asynchronous
    async def test_the_largest_payload_arrives_and_a_larger_one_is_refused(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            subject, most = new_name(), one.capabilities.max_payload
            heard = await other.subscribe(subject)
            await one.publish(subject, b"x" * most)
            for data, headers in ((b"x" * (most + 1), None), (b"x" * most, {"K": "v"})):
                with pytest.raises(PayloadTooLargeError):
                    await one.publish(subject, data, headers)
                with pytest.raises(PayloadTooLargeError):
                    await one.request(subject, data, headers)
            await one.publish(subject, b"next")
            assert [len(data) for data in data_of(await take(heard, 2))] == [most, 4]

    @pytest.mark.parametrize("subject", BAD_SUBJECTS, ids=range(len(BAD_SUBJECTS)))
    @asynchronous
    async def test_a_bad_subject_is_refused(self, carrier: CarrierUnderTest, subject: str) -> None:
        async with connected(carrier, 1) as (only,):
            with pytest.raises(InvalidInputError):
                await only.publish(subject, b"")
            with pytest.raises(InvalidInputError):
                await only.append(subject, b"")
            with pytest.raises(InvalidInputError):
                await only.request(subject, b"")
            if subject:
                with pytest.raises(InvalidInputError):
                    await only.publish("good", b"", reply=subject)

    @pytest.mark.parametrize("pattern", BAD_PATTERNS, ids=range(len(BAD_PATTERNS)))
    @asynchronous
    async def test_a_bad_pattern_is_refused(self, carrier: CarrierUnderTest, pattern: str) -> None:
        async with connected(carrier, 1) as (only,):
            with pytest.raises(InvalidInputError):
                await only.subscribe(pattern)

    @asynchronous
    async def test_patterns_that_would_bring_a_message_twice_are_refused(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier, 1) as (only,):
            for patterns in (("a.b", "a.*"), ("a.>", "a.b.c"), ("*.b", "a.*"), ("a.b", "a.b"), ()):
                with pytest.raises(InvalidInputError):
                    await only.subscribe(patterns)

    @pytest.mark.parametrize("headers", BAD_HEADERS, ids=range(len(BAD_HEADERS)))
    @asynchronous
    async def test_a_header_that_could_not_come_back_is_refused(
        self, carrier: CarrierUnderTest, headers: dict[str, str]
    ) -> None:
        async with connected(carrier, 1) as (only,):
            with pytest.raises(InvalidInputError):
                await only.publish("a", b"", headers)

    # --- slow readers ----------------------------------------------------------------------------------------------

    @asynchronous
    async def test_a_slow_reader_loses_what_does_not_fit_and_a_fast_one_beside_it_nothing(
        self, carrier: CarrierUnderTest
    ) -> None:
        told = Told()
        slow_one = carrier.transport(told)
        await slow_one.start()
        async with connected(carrier) as (one, fast_one):
            subject, number, fits = new_name(), 2_000, 10
            slow = await slow_one.subscribe(subject, limit=fits)
            fast = await fast_one.subscribe(subject)
            for index in range(number):
                await one.publish(subject, b"%d" % index)
            assert data_of(await take(fast, number)) == [b"%d" % index for index in range(number)]
            assert fast.lost == 0
            await eventually(lambda: slow.lost == number - fits)
            await told.of(Happening.SLOW_CONSUMER)
            assert told.happenings.count(Happening.SLOW_CONSUMER) == 1
            assert await slow.lag() == fits
            assert data_of(await slow.next()) == [b"%d" % index for index in range(fits)]
            await one.publish(subject, b"again")
            assert data_of(await take(slow, 1)) == [b"again"]
        await slow_one.stop(0.0)

    @asynchronous
    async def test_a_reader_that_reads_nothing_holds_a_bounded_number_of_bytes(self, carrier: CarrierUnderTest) -> None:
        async with connected(carrier) as (one, other):
            subject, size = new_name(), one.capabilities.max_payload
            heard = await other.subscribe(subject)
            beside = await other.subscribe(subject)
            for _ in range(100):
                await one.publish(subject, b"x" * size)
                await take(beside, 1)
            await eventually(lambda: heard.lost > 0)
            assert await heard.lag() * size <= 80 << 20
