"""One port for several processes, each with a line of its own behind it.

Replicas share one bus, which they compare by its address, so that a proxy for each would make it several. Whose a
connection is, is found out from the kernel (Linux).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from podium.testing.proxy import CHUNK, FaultProxy

_INODE = 9  # the column of /proc/net/tcp


class SharedPort:
    """Listens, and hands each connection to the line of the process that made it. `lines` gives those by pid."""

    def __init__(self, lines: Callable[[], dict[int, FaultProxy]]) -> None:
        self._lines = lines
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._sort, "127.0.0.1", 0, limit=CHUNK)

    async def stop(self) -> None:
        """Stop listening. Safe twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "it isn't started"
        return int(self._server.sockets[0].getsockname()[1])

    async def _sort(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = owner_of(writer.get_extra_info("peername")[1], self._lines())
        if line is None:  # its process is gone already
            writer.close()
            return
        await line.serve(reader, writer)


def owner_of(port: int, lines: dict[int, FaultProxy]) -> FaultProxy | None:
    """Return the line of the process whose socket has this local port."""
    wanted = f"0100007F:{port:04X}"
    rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines())
    inode = next((row[_INODE] for row in rows if len(row) > _INODE and row[1] == wanted), None)
    return next((line for pid, line in lines.items() if inode is not None and _has(pid, inode)), None)


def _has(pid: int, inode: str) -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") == f"socket:[{inode}]":
                    return True
    return False
