"""The fault proxy does to a connection what it is told, on TCP and on a Unix socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from podium.testing.proxy import Address, FaultProxy, tcp, unix

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SECONDS = 10.0


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*given: object, **named: object) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*given, **named)

        asyncio.run(bounded())

    return run


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(4096):
            writer.write(chunk)
            await writer.drain()
    writer.close()


class Line:
    """A client's end through a proxy to an echo."""

    def __init__(self, proxy: FaultProxy, address: Callable[[], Address]) -> None:
        self.proxy = proxy
        self._address = address
        self._ends: list[Ends] = []

    async def connect(self) -> Ends:
        address = self._address()
        if address.path is not None:
            ends = await asyncio.open_unix_connection(address.path)
        else:
            ends = await asyncio.open_connection(address.host, address.port)
        self._ends.append(ends)
        return ends

    def close(self) -> None:
        for _, writer in self._ends:
            writer.close()


@asynccontextmanager
async def line(kind: str, seed: int = 0, serve=_echo) -> AsyncIterator[Line]:
    with TemporaryDirectory(prefix="px") as folder:
        if kind == "unix":
            target, listen = unix(Path(folder) / "target"), unix(Path(folder) / "proxy")
            server = await asyncio.start_unix_server(serve, target.path)
        else:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            target, listen = tcp(server.sockets[0].getsockname()[1]), tcp()
        async with FaultProxy(target, listen, seed=seed) as proxy:
            there = Line(proxy, lambda: listen if kind == "unix" else tcp(proxy.port))
            try:
                yield there
            finally:
                there.close()
                server.close()


async def said(ends: Ends, text: bytes) -> bytes:
    reader, writer = ends
    writer.write(text)
    return await asyncio.wait_for(reader.readexactly(len(text)), SECONDS)


async def silent(ends: Ends, text: bytes, seconds: float = 0.15) -> bool:
    """Whether nothing comes back."""
    ends[1].write(text)
    try:
        return not await asyncio.wait_for(ends[0].read(1), seconds)
    except TimeoutError:
        return True


both = pytest.mark.parametrize("kind", ["tcp", "unix"])


@both
@asynchronous
async def test_it_forwards_both_ways_and_an_end_goes_through(kind):
    async with line(kind) as there:
        ends = await there.connect()
        assert await said(ends, b"hello") == b"hello"
        large = bytes(range(256)) * 4096
        assert await said(ends, large) == large
        ends[1].write_eof()
        assert await ends[0].read() == b""
        assert there.proxy.forwarded == {"to_target": len(large) + 5, "to_client": len(large) + 5}


@asynchronous
async def test_a_reset_is_one_on_tcp():
    async with line("tcp") as there:
        ends = await there.connect()
        await said(ends, b"a")
        there.proxy.reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(ends[0].read(), SECONDS)
        assert await said(await there.connect(), b"new connections work") == b"new connections work"


@both
@asynchronous
async def test_a_finish_is_a_plain_end(kind):
    async with line(kind) as there:
        ends = await there.connect()
        await said(ends, b"a")
        there.proxy.finish()
        assert await asyncio.wait_for(ends[0].read(), SECONDS) == b""
        assert await said(await there.connect(), b"again") == b"again"


@asynchronous
async def test_a_cut_of_a_unix_socket_ends_it_at_once():
    async with line("unix") as there:
        ends = await there.connect()
        await said(ends, b"a")
        there.proxy.reset()
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(ends[0].read(), SECONDS) == b""


@both
@asynchronous
async def test_half_open_accepts_and_forwards_nothing_until_it_heals(kind):
    async with line(kind) as there:
        before = await there.connect()
        await said(before, b"a")
        there.proxy.half_open()
        new = await there.connect()
        assert await silent(before, b"b")
        assert await silent(new, b"c")
        there.proxy.heal()
        assert await asyncio.wait_for(before[0].readexactly(1), SECONDS) == b"b"
        assert await asyncio.wait_for(new[0].readexactly(1), SECONDS) == b"c"


@both
@asynchronous
async def test_half_open_holds_little_and_the_sender_feels_it(kind):
    async with line(kind) as there:
        ends = await there.connect()
        await said(ends, b"a")
        there.proxy.half_open()

        async def flood() -> None:
            for _ in range(2_000):
                ends[1].write(bytes(1 << 16))
                await ends[1].drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), 0.3)
        ends[1].transport.abort()


@both
@pytest.mark.parametrize("direction", ["to_target", "to_client"])
@asynchronous
async def test_one_direction_is_lost_and_what_was_lost_stays_lost(kind, direction):
    async with line(kind) as there:
        ends = await there.connect()
        await said(ends, b"a")
        there.proxy.lose(direction)
        assert await silent(ends, b"gone")
        assert there.proxy.lost[direction] == 4
        there.proxy.heal()
        assert await said(ends, b"here") == b"here"


@both
@asynchronous
async def test_a_throttle_takes_its_time_and_healing_ends_it(kind):
    async with line(kind) as there:
        ends = await there.connect()
        there.proxy.throttle(1_000, "to_client")
        begun = time.monotonic()
        assert await said(ends, bytes(300)) == bytes(300)
        assert time.monotonic() - begun > 0.25
        there.proxy.throttle(1, "to_client")
        ends[1].write(bytes(5_000))
        await asyncio.wait_for(there.proxy.travelled("to_target", 0), SECONDS)
        there.proxy.heal()
        assert len(await asyncio.wait_for(ends[0].readexactly(5_000), SECONDS)) == 5_000


@asynchronous
async def test_a_delay_is_as_long_as_said_and_its_spread_comes_from_the_seed():
    async def took(seed: int) -> list[float]:
        async with line("tcp", seed) as there:
            ends = await there.connect()
            there.proxy.delay(0.02, 0.2, "to_target")
            found = []
            for _ in range(3):
                begun = time.monotonic()
                await said(ends, b"x")
                found.append(time.monotonic() - begun)
            return found

    once, again = await took(5), await took(5)
    assert min(once) > 0.02
    assert [round(a - b, 1) for a, b in zip(once, again, strict=True)] == pytest.approx([0, 0, 0], abs=0.11)


@asynchronous
async def test_stopping_ends_what_is_under_way_and_is_safe_twice():
    async with line("tcp") as there:
        ends = await there.connect()
        await said(ends, b"a")
        there.proxy.half_open()
        other = await there.connect()
        await asyncio.wait_for(there.proxy.stop(), SECONDS)
        assert await asyncio.wait_for(ends[0].read(), SECONDS) == b""
        with suppress(ConnectionError):
            assert await asyncio.wait_for(other[0].read(), SECONDS) == b""
        await there.proxy.stop()
        assert there.proxy.open_connections == 0


@asynchronous
async def test_a_target_that_isnt_there_ends_the_connection():
    async with FaultProxy(unix("/nonexistent/socket")) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await asyncio.wait_for(reader.read(), SECONDS) == b""
        writer.close()


@asynchronous
async def test_a_throttle_of_nothing_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        FaultProxy(tcp(1)).throttle(0)
