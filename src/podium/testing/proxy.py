"""A small proxy that makes a network bad on command: between a client and a server on TCP or a Unix socket.

It cuts (a reset, or a plain end), delays, throttles, goes half-open, loses one direction, and heals. What it does is
said by the test; where chance is used (the spread of a delay) it comes from a seed. At most one chunk a direction and
connection is held, so a sender feels the slowness of the line as it would without the proxy.

    async with FaultProxy(unix("/run/owner.sock"), tcp()) as proxy:
        client = await connect(proxy.port)
        proxy.half_open()
        ...
        proxy.heal()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from msgspec import Struct

CHUNK = 16 * 1024
Direction = Literal["to_target", "to_client"]
DIRECTIONS: tuple[Direction, Direction] = ("to_target", "to_client")


class Address(Struct, frozen=True):
    """Where to listen or connect: a host and port, or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 0
    path: str | None = None


def tcp(port: int = 0, host: str = "127.0.0.1") -> Address:
    """Return a TCP address; port 0 lets the system choose one."""
    return Address(host, port)


def unix(path: Path | str) -> Address:
    """Return the address of a Unix socket."""
    return Address(path=str(path))


class Line(Struct):
    """How one direction behaves now."""

    delay_seconds: float = 0.0
    spread_seconds: float = 0.0  # a delay is longer by up to this, by the seed
    bytes_per_second: float | None = None
    lost: bool = False  # what is sent is read and goes nowhere


class FaultProxy:
    """Forwards every connection made to `listen` to `target`, as well or as badly as it was told."""

    def __init__(self, target: Address, listen: Address | None = None, *, seed: int = 0) -> None:
        self.target = target
        self._listen = listen or tcp()
        self._chance = random.Random(seed)
        self._lines: dict[Direction, Line] = {direction: Line() for direction in DIRECTIONS}
        self._halted = False
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.accepted = 0
        self.forwarded: dict[Direction, int] = dict.fromkeys(DIRECTIONS, 0)  # bytes
        self.lost: dict[Direction, int] = dict.fromkeys(DIRECTIONS, 0)  # bytes

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. A Unix socket's path must be free."""
        if self._listen.path is not None:
            self._server = await asyncio.start_unix_server(self.serve, self._listen.path, limit=CHUNK)
        else:
            self._server = await asyncio.start_server(self.serve, self._listen.host, self._listen.port, limit=CHUNK)

    async def stop(self) -> None:
        """Stop listening and end every connection. Safe twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in list(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        if server is not None and self._listen.path is not None:
            with contextlib.suppress(FileNotFoundError):  # newer Pythons remove it themselves
                os.unlink(self._listen.path)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        assert self._server is not None, "the proxy isn't started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    # --- what it is told -------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Forward everything at once again. What was lost stays lost; what was held back goes on."""
        self._lines = {direction: Line() for direction in DIRECTIONS}
        self._halted = False
        self._tell()

    def delay(self, seconds: float, spread_seconds: float = 0.0, *directions: Direction) -> None:
        """Hold each chunk for this time, and up to `spread_seconds` longer, in these directions (none named: both)."""
        for direction in directions or DIRECTIONS:
            self._lines[direction].delay_seconds, self._lines[direction].spread_seconds = seconds, spread_seconds
        self._tell()

    def throttle(self, bytes_per_second: float, *directions: Direction) -> None:
        """Let this many bytes a second through on each connection."""
        if bytes_per_second <= 0:
            raise ValueError("a throttle is above 0; `half_open` lets nothing through")
        for direction in directions or DIRECTIONS:
            self._lines[direction].bytes_per_second = bytes_per_second
        self._tell()

    def half_open(self) -> None:
        """Accept connections and forward nothing; nothing is read either, so the senders' buffers fill."""
        self._halted = True
        self._tell()

    def lose(self, *directions: Direction) -> None:
        """Read what is sent this way and drop it: the sender believes that it arrived."""
        for direction in directions or DIRECTIONS:
            self._lines[direction].lost = True
        self._tell()

    def reset(self) -> None:
        """Cut every connection at once, on TCP with RST; both sides see an error, unsent bytes are gone."""
        for connection in list(self._connections):
            connection.reset()

    def finish(self) -> None:
        """End every connection as if both sides had closed it (FIN); what is held is dropped."""
        for connection in list(self._connections):
            connection.finish()

    # --- connections -----------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Wake everything that waits under the old rules."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection, accepted here or by somebody else's listener, until it ends."""
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.forward()
        except (OSError, asyncio.CancelledError):
            return  # a side is gone, or the proxy stops: both ends are closed below
        finally:
            self._connections.discard(connection)
            self._serving.discard(task)
            connection.close()

    async def permitted(self) -> None:
        """Return when the proxy forwards at all."""
        while self._halted:
            await self._changed.wait()

    async def travelled(self, direction: Direction, size: int) -> bool:
        """Wait as long as bytes take this way; False when they are lost on it."""
        line = self._lines[direction]
        if line.lost:
            self.lost[direction] += size
            return False
        seconds = line.delay_seconds + (self._chance.random() * line.spread_seconds if line.spread_seconds else 0.0)
        if line.bytes_per_second is not None:
            seconds += size / line.bytes_per_second
        if seconds:
            with contextlib.suppress(TimeoutError):  # a change of the rules ends the wait
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        await self.permitted()
        self.forwarded[direction] += size
        return True

    def chunk(self, direction: Direction) -> int:
        """How many bytes are taken at a time: few on a slow line, so that it is slow and not lumpy."""
        rate = self._lines[direction].bytes_per_second
        return CHUNK if rate is None else max(1, min(CHUNK, int(rate / 20)))


class _Connection:
    """One client, and its connection to the target."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writers = [writer]
        self._cut = asyncio.Event()

    async def forward(self) -> None:
        """Forward both ways until both have ended or the connection is cut."""
        cut = asyncio.create_task(self._cut.wait(), name="proxy-cut")
        work = asyncio.create_task(self._both_ways(), name="proxy-both-ways")
        try:
            await asyncio.wait({cut, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for task in (cut, work):
                task.cancel()
            await asyncio.wait({cut, work})

    async def _both_ways(self) -> None:
        await self._proxy.permitted()
        target = self._proxy.target
        if target.path is not None:
            reader, writer = await asyncio.open_unix_connection(target.path, limit=CHUNK)
        else:
            reader, writer = await asyncio.open_connection(target.host, target.port, limit=CHUNK)
        writer.transport.set_write_buffer_limits(CHUNK)
        self._writers[0].transport.set_write_buffer_limits(CHUNK)
        self._writers.append(writer)
        ways = [
            asyncio.create_task(self._one_way("to_target", self._reader, writer), name="proxy-to-target"),
            asyncio.create_task(self._one_way("to_client", reader, self._writers[0]), name="proxy-to-client"),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)

    async def _one_way(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._proxy.permitted()
            chunk = await reader.read(self._proxy.chunk(direction))
            if not chunk:
                break
            if await self._proxy.travelled(direction, len(chunk)):
                writer.write(chunk)
                await writer.drain()
        await self._proxy.permitted()
        writer.write_eof()

    def reset(self) -> None:
        """Cut with RST where there is one; a Unix socket is closed with what it held."""
        for writer in self._writers:
            plain = writer.get_extra_info("socket")
            if plain is not None and plain.family in (socket.AF_INET, socket.AF_INET6):
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._cut.set()

    def finish(self) -> None:
        """End both ways."""
        self.close()
        self._cut.set()

    def close(self) -> None:
        """Close both ends."""
        for writer in self._writers:
            writer.close()
