"""A Unix socket by which other processes wake a store's owner and ask it what only it knows.

One JSON object a line each way. Nothing that must not be lost goes this way: inputs are written to the inbox, the
socket only says that there is one. Only the same user can connect (the socket's folder is private).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

MAX_LINE = 1 << 24
CALL_SECONDS = 5.0


class OwnerSocket:
    """The owner's end."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; what an earlier owner left at the path is replaced (the caller holds the lock)."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=MAX_LINE)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening. Safe twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for call in list(self._calls):
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._calls.add(task)
        try:
            while line := await reader.readline():
                writer.write(msgspec.json.encode(await self._answered(line)) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError):
            return  # the caller is gone, said too much, or we stop
        finally:
            if task is not None:
                self._calls.discard(task)
            writer.close()

    async def _answered(self, line: bytes) -> dict[str, Any]:
        try:
            asked = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as error:
            return {"error": f"not a JSON object: {error}"}
        return await self._answer(asked)


async def call_owner(path: Path, asked: dict[str, Any], seconds: float = CALL_SECONDS) -> dict[str, Any] | None:
    """Ask the owner something; None when nobody listens, or no whole answer comes in time."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE)
            try:
                writer.write(msgspec.json.encode(asked) + b"\n")
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.transport.abort()  # nothing is left to say, and the other end may not read
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
        return msgspec.json.decode(line, type=dict[str, Any])
    except (OSError, TimeoutError, ValueError):  # ValueError: half an answer, or one beyond the limit
        return None
