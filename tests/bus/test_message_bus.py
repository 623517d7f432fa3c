"""The bus over memory and over a real NATS server: the same behaviour, durable or not."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from podium.bus.memory import MemoryCarrier, MemoryTransport
from podium.bus.message import Message, MessageType, Priority
from podium.bus.message_bus import MessageBus
from podium.bus.nats import NatsSettings, NatsTransport
from podium.bus.sending import Limits
from podium.bus.subscription import BusSubscription
from podium.bus.topics import STREAM
from podium.bus.transport import Transport
from podium.exceptions import (
    BackpressureError,
    InvalidInputError,
    MessageBusError,
    PayloadTooLargeError,
    RequestTimeoutError,
    TransportClosedError,
)
from podium.telemetry.metrics import Metrics
from podium.testing.bus_tools import PATIENCE_SECONDS, accepted, asynchronous, eventually, new_name
from podium.testing.natsserver import NatsServer, nats_server

Make = Callable[[], Transport]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["memory", "nats"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes transports to one carrier."""
    if request.param == "memory":
        carrier = MemoryCarrier()
        return lambda: MemoryTransport(carrier, timeout_seconds=1.0)
    found: NatsServer = request.getfixturevalue("server")
    settings = NatsSettings(server_url=found.url, reconnect_wait_ms=50, answer_timeout_ms=1_500)
    return lambda: NatsTransport(settings)


@pytest.fixture(params=[False, True], ids=["plain", "durable"])
def durable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@asynccontextmanager
async def buses(
    make: Make, durable: bool, number: int = 2, limits: Limits | None = None
) -> AsyncIterator[list[MessageBus]]:
    made = [MessageBus(transport=make(), durable=durable, limits=limits) for _ in range(number)]
    for bus in made:
        await bus.initialize()
    try:
        yield made
    finally:
        for bus in made:
            await bus.shutdown(1.0)


async def take(subscription: BusSubscription, number: int) -> list[Message]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [await anext(subscription) for _ in range(number)]


async def _publish_numbers(bus: MessageBus, counter: Iterator[int]) -> None:
    await bus.publish(Message(payload={"n": next(counter)}), "t")


def _in_thread(call: Callable[[], None]) -> Callable[[], Coroutine[None, None, None]]:
    async def calling() -> None:
        await asyncio.to_thread(call)

    return calling


def _soon(call: Callable[[], None]) -> Callable[[], Coroutine[None, None, None]]:
    async def calling() -> None:
        call()

    return calling


def numbers(messages: list[Message]) -> list[int]:
    return [message.payload["n"] for message in messages]


class TestBus:
    @asynchronous
    async def test_messages_go_from_one_bus_to_another_whole_and_in_order(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable) as (here, there):
            subscription = await there.subscribe([topic], group="g").opened()
            said = Message(
                sender_id="a",
                recipient_id="b",
                message_type=MessageType.COMMAND,
                payload={"n": 0, "deep": [{"x": None}, 1.5, "ü"]},
                correlation_id="c",
                headers={"trace": "1"},
            )
            await here.publish(said, topic)
            for number in range(1, 1_000):
                await here.publish(Message(payload={"n": number}), topic)
            found = await take(subscription, 1_000)
        assert numbers(found) == list(range(1_000))
        assert (found[0].sender_id, found[0].recipient_id, found[0].message_type) == ("a", "b", MessageType.COMMAND)
        assert found[0].payload == said.payload
        assert (found[0].correlation_id, found[0].headers, found[0].topic) == ("c", {"trace": "1"}, topic)
        assert len({message.message_id for message in found}) == 1_000
        assert all(message.timestamp for message in found)

    @asynchronous
    async def test_without_a_topic_it_is_the_messages_own_else_agent_messages(self, make, durable):
        async with buses(make, durable, 1) as (bus,):
            own, usual = bus.subscribe(["own.topic"]), bus.subscribe()
            await bus.publish(Message(topic="own.topic"))
            await bus.publish(Message())
            assert (await take(own, 1))[0].topic == "own.topic"
            assert (await take(usual, 1))[0].topic == "agent.messages"

    @asynchronous
    async def test_each_group_gets_each_message_once_and_without_a_group_everyone_does(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable) as (here, there):
            shared = [await bus.subscribe(topic, group="g").opened() for bus in (here, there)]
            other = await there.subscribe(topic, group="other").opened()
            alone = [await bus.subscribe(topic).opened() for bus in (here, there)]
            found: list[int] = []

            async def collect(subscription: BusSubscription) -> None:
                async for message in subscription:
                    found.append(message.payload["n"])

            collecting = [asyncio.create_task(collect(subscription)) for subscription in shared]
            for number in range(200):
                await here.publish(Message(payload={"n": number}), topic)
                if number % 10 == 0:
                    await here.flush()
            for subscription in (other, *alone):
                assert numbers(await take(subscription, 200)) == list(range(200))
            await eventually(lambda: len(found) >= 200)
            assert sorted(found) == list(range(200))
            for subscription in shared:
                await subscription.aclose()
            await asyncio.gather(*collecting)

    @asynchronous
    async def test_topics_have_wildcards_and_may_cover_each_other(self, make, durable):
        name = new_name("topic")
        async with buses(make, durable, 1) as (bus,):
            every = bus.subscribe([f"{name}.>", f"{name}.a.b"])
            some = bus.subscribe([f"{name}.*.b", f"{name}.c"])
            for number, topic in enumerate((f"{name}.a.b", f"{name}.c", f"{name}.d.e.f")):
                await bus.publish(Message(payload={"n": number}), topic)
            assert numbers(await take(every, 3)) == [0, 1, 2]
            assert numbers(await take(some, 2)) == [0, 1]
            with pytest.raises(InvalidInputError, match="overlap"):
                bus.subscribe(["a.*", "*.b"])
            with pytest.raises(InvalidInputError, match="no topic"):
                bus.subscribe([])
            with pytest.raises(InvalidInputError, match="isn't a pattern"):
                bus.subscribe(["a b"])

    @asynchronous
    async def test_the_urgent_overtake_what_waits_and_nothing_starves(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable, 1, Limits(batch_size=1)) as (bus,):
            subscription = await bus.subscribe(topic, group="g").opened()
            for number in range(100):
                await bus.publish(Message(payload={"n": number}, priority=Priority.LOW), topic)
            for number in range(100, 110):
                await bus.publish(Message(payload={"n": number}, priority=100), topic)
            await bus.flush()
            await eventually(lambda: len(subscription._ready) == 110)
            found = numbers(await take(subscription, 110))
        assert found[:8] == list(range(100, 108))
        assert [n for n in found if n < 100] == list(range(100))
        assert found.index(0) < 15

    @asynchronous
    async def test_a_payload_may_change_after_it_was_published(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable, 1) as (bus,):
            subscription = bus.subscribe(topic)
            payload = {"n": 0}
            for number in range(5):
                payload["n"] = number
                await bus.publish(Message(payload=payload), topic)
            assert numbers(await take(subscription, 5)) == list(range(5))

    @asynchronous
    async def test_what_cannot_be_sent_is_refused_and_the_rest_goes_on(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable, 1) as (bus,):
            subscription = bus.subscribe(topic)
            await bus.publish(Message(payload={"n": 1}), topic)
            with pytest.raises(InvalidInputError, match="can't be sent"):
                await bus.publish(Message(payload={"n": object()}), topic)
            with pytest.raises(PayloadTooLargeError, match="this bus takes"):
                await bus.publish(Message(payload={"n": "x" * (2 << 20)}), topic)
            with pytest.raises(InvalidInputError, match="isn't a subject"):
                await bus.publish(Message(), "a b")
            for wrong in (101, -1, "urgent"):
                with pytest.raises(InvalidInputError, match="is no priority"):
                    await bus.publish(Message(priority=wrong), topic)  # type: ignore[arg-type]
            await bus.publish(Message(payload={"n": 2}, priority="normal"), topic)  # type: ignore[arg-type]
            assert numbers(await take(subscription, 2)) == [1, 2]

    @asynchronous
    async def test_large_messages_have_frames_of_their_own(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable, 1) as (bus,):
            subscription = bus.subscribe(topic)
            for number in range(6):
                await bus.publish(Message(payload={"n": number, "body": "x" * (600_000 * (number % 2))}), topic)
            assert numbers(await take(subscription, 6)) == list(range(6))

    @asynchronous
    async def test_a_request_finds_its_answer(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable) as (here, there):
            subscription = await there.subscribe(topic, group="g").opened()

            async def answer() -> None:
                async for request in subscription:
                    await there.reply(request, {"n": request.payload["n"] * 2})

            answering = asyncio.create_task(answer())
            asked = [Message(sender_id="a", recipient_id="b", payload={"n": n}) for n in range(200)]
            answers = await asyncio.gather(*(here.request(message, topic, timeout_seconds=20) for message in asked))
            assert numbers(list(answers)) == [2 * n for n in range(200)]
            assert {(m.sender_id, m.recipient_id, m.message_type) for m in answers} == {("b", "a", "RESPONSE")}
            answering.cancel()

    @asynchronous
    async def test_a_request_that_nobody_answers_ends_with_its_time(self, make, durable):
        async with buses(make, durable, 1) as (bus,):
            with pytest.raises(RequestTimeoutError, match=r"no answer came from b within 0\.05 s"):
                await bus.request(Message(recipient_id="b"), new_name("topic"), timeout_seconds=0.05)
            with pytest.raises(InvalidInputError, match="nobody awaits an answer"):
                await bus.reply(Message(), {})

    @asynchronous
    async def test_a_request_that_waits_at_the_shutdown_ends(self, make, durable):
        async with buses(make, durable, 1) as (bus,):
            asking = asyncio.create_task(bus.request(Message(), new_name("topic"), timeout_seconds=60))
            await eventually(lambda: len(bus._replies._waiting) == 1)
            await bus.shutdown()
            with pytest.raises(TransportClosedError):
                await asking

    @asynchronous
    async def test_other_clients_speak_json_and_are_answered_in_json(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable, 1) as (bus,):
            foreign = make()
            await foreign.start()
            answers = await foreign.subscribe(f"inbox.{topic}")
            subscription = await bus.subscribe(topic, group="g").opened()
            asked = {"senderId": "js", "payload": {"n": 4}, "replyTo": f"inbox.{topic}", "correlationId": "77"}
            await foreign.publish(f"podium.bus.{topic}.high", json.dumps(asked).encode())
            (request,) = await take(subscription, 1)
            assert (request.sender_id, request.payload, request.topic) == ("js", {"n": 4}, topic)
            assert request.message_id
            await bus.reply(request, {"n": 5})
            (answer,) = await answers.next()
            said = json.loads(answer.data)
            assert (said["messageType"], said["correlationId"], said["payload"]) == ("RESPONSE", "77", {"n": 5})
            await foreign.stop(0.0)

    @asynchronous
    async def test_poison_becomes_a_dead_letter_and_the_rest_goes_on(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable, 1) as (bus,):
            subscription = await bus.subscribe(topic, group="g").opened()
            subject = f"podium.bus.{topic}.normal"
            await bus.transport.publish(subject, b"\xc1poison", {"X-Mark": topic})
            await bus.publish(Message(payload={"n": 1}), topic)
            assert numbers(await take(subscription, 1)) == [1]
            (letter,) = [one for one in await bus.dead_letters.list(0, 1_000) if one.subject == subject]
            assert (letter.data, letter.headers["X-Mark"]) == (b"\xc1poison", topic)
            assert "isn't JSON" in letter.reason
            assert (await bus.get_metrics())["dead_letters"] == 1

    @asynchronous
    async def test_a_message_may_be_set_aside_and_comes_again_by_a_retry(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable, 1) as (bus,):
            subscription = await bus.subscribe(topic, group="g").opened()
            for number in range(3):
                await bus.publish(Message(payload={"n": number}, correlation_id="c"), topic)
            await take(subscription, 1)
            (second,) = await take(subscription, 1)
            letter = await subscription.dead_letter(second, "no supplier of this id")
            assert numbers(await take(subscription, 1)) == [2]
            await bus.dead_letters.retry(letter)
            (again,) = await take(subscription, 1)
            assert (again.payload, again.correlation_id, again.message_id) == ({"n": 1}, "c", second.message_id)
            with pytest.raises(InvalidInputError, match="taken last"):
                await subscription.dead_letter(second, "too late")

    @asynchronous
    async def test_a_message_that_was_given_back_comes_again_and_at_last_is_dead(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable, 1) as (bus,):
            subscription = await bus.subscribe(topic, group="g", max_deliveries=3).opened()
            for number in range(2):
                await bus.publish(Message(payload={"n": number}), topic)
            found = []
            for _ in range(4):
                (message,) = await take(subscription, 1)
                found += numbers([message])
                if message.payload["n"] == 0:
                    await subscription.nack(message, 0.01, "not now")
            assert found == [0, 1, 0, 0]
            await bus.publish(Message(payload={"n": 2}), topic)
            assert numbers(await take(subscription, 1)) == [2]
            letters = [one for one in await bus.dead_letters.list(0, 1_000) if topic in one.subject]
            assert [letter.reason for letter in letters] == ["given up after 3 tries: not now"]

    @asynchronous
    async def test_metrics_have_the_documents_names(self, make, durable):
        topic, metrics = new_name("topic"), Metrics()
        bus = MessageBus(transport=make(), durable=durable, metrics=metrics)
        async with bus:
            subscription = await bus.subscribe(topic, group="g").opened()
            for kind in (MessageType.REQUEST, MessageType.REQUEST, MessageType.EVENT):
                await bus.publish(Message(message_type=kind), topic)
            await take(subscription, 3)
            subscription.ack()
            found = await bus.get_metrics()
            assert found["throughput_per_second"] > 0
            assert (found["active_consumers"], found["sent"], found["received"], found["lost"]) == (1, 3, 3, 0)
            assert 0 < found["latency_p50_ms"] <= found["latency_p99_ms"]
            await metrics.refresh()
            sent = metrics.values("message_bus_sent_total")
            assert (sent[topic, "REQUEST"], sent[topic, "EVENT"]) == (2, 1)
            assert metrics.values("message_bus_latency_ms")[()] == 3
            assert metrics.values("message_bus_connections")[()] == 1
            assert metrics.values("message_processing_time")[(topic,)] == 3
            assert metrics.values("consumer_lag")[("g",)] == 0
            assert metrics.values("stream_throughput")[("PODIUM_BUS",)] > 0

    @asynchronous
    async def test_it_starts_and_stops_twice_and_says_when_it_is_not_there(self, make, durable):
        bus = MessageBus(transport=make(), durable=durable)
        with pytest.raises(MessageBusError, match="isn't initialised"):
            await bus.publish(Message())
        with pytest.raises(MessageBusError, match="isn't initialised"):
            bus.subscribe()
        await bus.initialize()
        await bus.initialize()
        waiting = asyncio.create_task(take(bus.subscribe(new_name("topic")), 1))
        await eventually(lambda: bool(bus._subscriptions))
        await asyncio.gather(bus.shutdown(), bus.shutdown())
        await bus.shutdown()
        with pytest.raises(StopAsyncIteration):
            await waiting
        for attempt in (bus.publish(Message()), bus.initialize(), bus.flush()):
            with pytest.raises(TransportClosedError):
                await attempt

    @asynchronous
    async def test_what_was_published_leaves_before_the_shutdown_ends(self, make, durable):
        topic = new_name("topic")
        async with buses(make, durable) as (here, there):
            subscription = await there.subscribe(topic, group="g").opened()
            for number in range(500):
                await here.publish(Message(payload={"n": number}), topic)
            await here.shutdown()
            assert numbers(await take(subscription, 500)) == list(range(500))


class TestDurable:
    @asynchronous
    async def test_a_group_gets_what_was_said_while_it_was_away(self, make):
        topic = new_name("topic")
        async with buses(make, True, 1) as (bus,):
            subscription = await bus.subscribe(topic, group="g").opened()
            await bus.publish(Message(payload={"n": 0}), topic)
            assert numbers(await take(subscription, 1)) == [0]
            subscription.ack()
            await subscription.aclose()
            for number in range(1, 4):
                await bus.publish(Message(payload={"n": number}), topic)
            await bus.flush()
        async with buses(make, True, 1) as (bus,):
            assert numbers(await take(bus.subscribe(topic, group="g"), 3)) == [1, 2, 3]
            assert numbers(await take(bus.subscribe(topic, group="new", from_start=True), 4)) == [0, 1, 2, 3]
            with pytest.raises(InvalidInputError, match="from_start needs"):
                bus.subscribe(topic, from_start=True)

    @asynchronous
    async def test_what_was_not_dealt_with_comes_to_another_of_the_group(self, make):
        topic = new_name("topic")
        async with buses(make, True) as (here, there):
            first = await here.subscribe(topic, group="g").opened()
            for number in range(3):
                await here.publish(Message(payload={"n": number}), topic)
            await take(first, 2)
            second = await there.subscribe(topic, group="g").opened()
            await first.aclose()
            await first.aclose()
            assert numbers(await take(second, 3)) == [0, 1, 2], "the frame wasn't finished"

    @asynchronous
    async def test_a_repeated_frame_is_passed_over(self, make):
        topic = new_name("topic")
        async with buses(make, True, 1) as (bus,):
            live, group = bus.subscribe(topic), await bus.subscribe(topic, group="g").opened()
            await bus.publish(Message(payload={"n": 1}), topic)
            await bus.flush()
            (kept,) = [one for one in await bus.transport.read(STREAM, 0, 10_000) if topic in one.subject]
            await bus.transport.append(kept.subject, kept.data, kept.headers, "another id")
            await bus.publish(Message(payload={"n": 2}), topic)
            assert numbers(await take(group, 2)) == [1, 2]
            assert numbers(await take(live, 2)) == [1, 2]

    @asynchronous
    async def test_an_outage_in_the_middle_loses_nothing(self, make, request):
        if isinstance(make(), NatsTransport):
            server: NatsServer = request.getfixturevalue("server")
            down, up = _in_thread(server.stop), _in_thread(server.start)
        else:
            down, up = _soon(make().carrier.take_down), _soon(make().carrier.bring_up)
        topic = new_name("topic")
        async with buses(make, True) as (here, there):
            subscription = await there.subscribe(topic, group="g").opened()
            coming_up: asyncio.Task[None] | None = None
            for number in range(3_000):
                if number == 1_000:
                    await down()
                if number == 1_500:
                    coming_up = asyncio.create_task(up())
                await here.publish(Message(payload={"n": number}), topic)
            assert coming_up is not None
            await coming_up
            found: set[int] = set()
            async with asyncio.timeout(60):
                async for message in subscription:
                    found.add(message.payload["n"])
                    if len(found) == 3_000:
                        break
            assert found == set(range(3_000))


class TestBackpressure:
    @asynchronous
    async def test_a_bus_that_cannot_send_pushes_back_and_loses_nothing_of_what_it_took(self):
        carrier = MemoryCarrier()
        limits = Limits(frames=8, in_flight=4, patience_seconds=0.05)
        async with buses(lambda: MemoryTransport(carrier, timeout_seconds=0.2), True, 1, limits) as (bus,):
            subscription = await bus.subscribe("t", group="g").opened()
            carrier.take_down()
            taken = await accepted(partial(_publish_numbers, bus, itertools.count()), 10_000)
            with pytest.raises(BackpressureError, match="not connected"):
                await bus.publish(Message(), "t")
            assert 64 <= taken <= 64 * 20
            with pytest.raises(BackpressureError, match="try again later"):
                await bus.publish(Message(), "t", wait=False)
            carrier.bring_up()
            assert sorted(numbers(await take(subscription, taken))) == list(range(taken))

    @asynchronous
    async def test_a_slow_subscriber_on_plain_subjects_is_told_what_it_missed(self):
        carrier = MemoryCarrier()
        async with buses(lambda: MemoryTransport(carrier), False, 2, Limits(batch_size=1)) as (here, there):
            slow = await there.subscribe("t").opened()
            quick = await there.subscribe("t").opened()
            got = 0

            async def read() -> None:
                nonlocal got
                async for _ in quick:
                    got += 1

            reading = asyncio.create_task(read())
            for number in range(12_000):
                await here.publish(Message(payload={"n": number}), "t")
                if number % 500 == 0:
                    await here.flush()
                    await asyncio.sleep(0)
            await here.flush()
            await eventually(lambda: got == 12_000)
            found = 1 + len([await anext(slow) for _ in range(8_000)])
            assert slow.lost + found + 1 >= 12_000 - 8_500
            assert slow.lost > 0
            assert (await there.get_metrics())["lost"] >= slow.lost
            assert quick.lost == 0
            await quick.aclose()
            await reading


def test_which_bus_is_in_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PODIUM_BUS", "memory://here")
    assert MessageBus().transport.name == "memory"
    monkeypatch.setenv("PODIUM_BUS", "nats://127.0.0.1:4999")
    assert MessageBus().transport.name == "nats"
    assert MessageBus("memory://").transport.name == "memory"
    with pytest.raises(InvalidInputError, match="there are memory:// and nats://"):
        MessageBus("kafka://127.0.0.1:9092")


def test_a_lone_message_does_not_wait_for_others():
    async def work() -> float:
        async with MessageBus(transport=MemoryTransport()) as bus:
            subscription = await bus.subscribe("t").opened()
            loop = asyncio.get_running_loop()
            times = []
            for _ in range(50):
                begin = loop.time()
                await bus.publish(Message(), "t")
                await anext(subscription)
                times.append(loop.time() - begin)
        return sorted(times)[len(times) // 2]

    assert asyncio.run(work()) < 0.02
