"""Dead letters are kept with every byte, and go back as they were."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.bus.dead_letters import STREAM, DeadLetters
from podium.bus.memory import MemoryCarrier, MemoryTransport
from podium.bus.nats import NatsSettings, NatsTransport
from podium.bus.transport import Stream, Transport
from podium.clock import VirtualClock
from podium.exceptions import DeadLetterNotFoundError, InvalidInputError
from podium.telemetry.metrics import Metrics
from podium.testing.bus_tools import asynchronous, new_name, take
from podium.testing.natsserver import NatsServer, nats_server

Make = Callable[[], Transport]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["memory", "nats"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "memory":
        return MemoryTransport
    found: NatsServer = request.getfixturevalue("server")
    return lambda: NatsTransport(NatsSettings(server_url=found.url))


@asynccontextmanager
async def started(transport: Transport) -> AsyncIterator[Transport]:
    await transport.start()
    try:
        yield transport
    finally:
        await transport.stop(0.0)


class TestDeadLetters:
    @asynchronous
    async def test_a_letter_is_kept_with_bytes_headers_reason_subject_and_time(self, make):
        subject = f"mcp.agent.{new_name('a')}.result"
        async with started(make()) as transport:
            metrics, clock = Metrics(), VirtualClock()
            letters = DeadLetters(transport, clock, metrics)
            data, headers = bytes(range(256)), {"Content-Type": "x/y", "X-Übel": "a\nb"}
            number = await letters.put("unknown attempt:\n a1", subject, headers, data)
            found = await letters.show(number)
            assert (found.id, found.subject, found.data, found.headers) == (number, subject, data, headers)
            assert (found.reason, found.dead_us, found.size) == ("unknown attempt: a1", clock.now_us(), 256)
            assert found in await letters.list(number - 1)
            assert await letters.list(number) == []
            assert metrics.values("podium_dead_letters_total") == {("unknown attempt",): 1}
            (raw,) = await transport.read(STREAM, number - 1, 1)
            assert raw.data == data, "the body is the original, for whoever looks with other tools"

    @asynchronous
    async def test_a_retry_says_it_again_as_it_was_and_removes_it(self, make):
        subject = f"{new_name('plain')}.x"
        async with started(make()) as transport:
            letters = DeadLetters(transport)
            heard = await transport.subscribe(subject)
            number = await letters.put("no", subject, {"A": "b"}, b"\x00\x01")
            await letters.retry(number)
            (again,) = await take(heard, 1)
            assert (again.data, dict(again.headers)) == (b"\x00\x01", {"A": "b"})
            with pytest.raises(DeadLetterNotFoundError, match=f"no dead letter {number}"):
                await letters.show(number)

    @asynchronous
    async def test_a_retry_goes_into_the_stream_that_keeps_the_subject(self, make):
        name = new_name("KEPT")
        async with started(make()) as transport:
            stream = Stream(name, (f"{name}.>",), work=True)
            await transport.declare(stream)
            letters = DeadLetters(transport)
            await letters.retry(await letters.put("no", f"{name}.a", {}, b"one"))
            (kept,) = await transport.read(stream)
            assert kept.data == b"one"

    @asynchronous
    async def test_what_is_dropped_is_gone_and_what_is_not_there_is_said(self, make):
        async with started(make()) as transport:
            letters = DeadLetters(transport)
            number = await letters.put("no", "a.b", None, b"")
            await letters.drop(number)
            for attempt in (letters.drop, letters.show, letters.retry):
                for missing in (number, 0, -1, 10**9):
                    with pytest.raises(DeadLetterNotFoundError):
                        await attempt(missing)

    @asynchronous
    async def test_the_same_letter_is_put_once(self, make):
        async with started(make()) as transport:
            letters, key = DeadLetters(transport), new_name("key")
            first = await letters.put("no", "a.b", {}, b"x", message_id=key)
            assert await letters.put("no", "a.b", {}, b"x", message_id=key) == first

    @asynchronous
    async def test_a_message_as_large_as_the_carrier_takes_is_kept_whole_if_it_can_be_packed(self, make):
        async with started(make()) as transport:
            letters, most = DeadLetters(transport), transport.capabilities.max_payload
            large = b"{" * most
            number = await letters.put("isn't JSON", "a.b", {}, large)
            assert (await letters.show(number)).data == large
            headers = {"X": "y" * (most // 2)}
            number = await letters.put("isn't JSON", "a.b", headers, b"z" * (most // 2 - 100))
            found = await letters.show(number)
            assert (found.headers, found.size) == (headers, most // 2 - 100)
            noise = os.urandom(most)
            found = await letters.show(await letters.put("noise", "a.b", {}, noise))
            assert noise.startswith(found.data)
            assert found.size > most * 0.9
            assert f"of {most} bytes" in found.reason

    @asynchronous
    async def test_a_subject_that_no_carrier_takes_is_no_reason_to_lose_a_letter(self, make):
        async with started(make()) as transport:
            letters = DeadLetters(transport)
            number = await letters.put("no", "a b..c", {}, b"x")
            assert (await letters.show(number)).subject == "a b..c"
            with pytest.raises(InvalidInputError, match="isn't a subject"):
                await letters.retry(number)
            assert (await letters.show(number)).data == b"x", "it is still there"


@given(
    st.text(max_size=30),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4),
    st.binary(max_size=50),
)
def test_whatever_the_headers_are_they_come_back(reason, headers, data):
    async def work() -> None:
        async with started(MemoryTransport(MemoryCarrier())) as transport:
            letters = DeadLetters(transport)
            found = await letters.show(await letters.put(reason, "a.b", headers, data))
            assert (found.headers, found.data) == (headers, data)
            assert found.reason

    asyncio.run(work())
