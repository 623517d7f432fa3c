"""A relay before a NATS server that understands its protocol, so that a test decides the fate of each single message.

It takes the place of the server's address. Every message that passes is shown to a function that says when copies of it
arrive: `(0.0,)` is the plain way, `()` loses it, `(0.0, 0.2, 5.0)` brings it three times, late ones behind what came
later. Everything else of the protocol passes at once and in order.

    async with NatsRelay(server.port) as relay:
        relay.fate = lambda passing: () if passing.subject.endswith(".status") else ALONE
        transport = NatsTransport(NatsSettings(server_url=relay.url))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from msgspec import Struct

from podium.testing.proxy import Direction

ALONE: Sequence[float] = (0.0,)
_LIMIT = 1 << 26  # bytes of a line or message
_MESSAGES = {b"PUB", b"HPUB", b"MSG", b"HMSG"}


class Passing(Struct, frozen=True):
    """A message on its way: published `to_target`, delivered `to_client`."""

    direction: Direction
    subject: str
    reply: str
    headers: bytes
    data: bytes


Fate = Callable[[Passing], Sequence[float]]  # the seconds after which copies arrive


def plain(passing: Passing) -> Sequence[float]:
    """Have everything pass as without the relay."""
    return ALONE


class NatsRelay:
    """Forwards connections to a server on this machine; `fate` may be changed at any time, from the loop's thread."""

    def __init__(self, server_port: int, fate: Fate = plain) -> None:
        self.fate = fate
        self.passed = 0  # messages that came
        self.lost = 0
        self.repeated = 0  # copies beyond the first
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None, "the relay isn't started"
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LIMIT)

    async def stop(self) -> None:
        """Stop listening and end every connection. Safe twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in list(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        ends = [writer]
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port, limit=_LIMIT)
            ends.append(to_server)
            ways = {
                asyncio.create_task(self._forward("to_target", reader, to_server), name="relay-to-target"),
                asyncio.create_task(self._forward("to_client", from_server, writer), name="relay-to-client"),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            return  # a side is gone, or the relay stops: both ends are closed below
        finally:
            self._serving.discard(task)
            for end in ends:
                end.close()

    async def _forward(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = line.split()
            if not words or words[0].upper() not in _MESSAGES:
                writer.write(line)
                await writer.drain()
                continue
            body = await reader.readexactly(int(words[-1]) + 2)
            self._let_pass(_passing(direction, words, body), line + body, writer)
            await writer.drain()

    def _let_pass(self, passing: Passing, whole: bytes, writer: asyncio.StreamWriter) -> None:
        arrivals = self.fate(passing)
        self.passed += 1
        self.lost += not arrivals
        self.repeated += max(0, len(arrivals) - 1)
        for seconds in arrivals:
            if seconds <= 0:
                writer.write(whole)
            else:
                asyncio.get_running_loop().call_later(seconds, _write_late, writer, whole)


def _passing(direction: Direction, words: list[bytes], body: bytes) -> Passing:
    """Read a command: `PUB subject [reply] size`, `MSG subject sid [reply] size`, with H the headers' size before."""
    headed = words[0].upper() in (b"HPUB", b"HMSG")
    names = words[1 : -2 if headed else -1]
    if direction == "to_client":
        del names[1]  # the subscription's number
    size = int(words[-2]) if headed else 0
    reply = names[1].decode() if len(names) > 1 else ""
    return Passing(direction, names[0].decode(), reply, body[:size], body[size:-2])


def _write_late(writer: asyncio.StreamWriter, whole: bytes) -> None:
    if not writer.is_closing():
        writer.write(whole)
