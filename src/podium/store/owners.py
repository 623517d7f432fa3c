"""Who runs the executions of a store, as any process sees it: whether somebody does, who, and how they are asked.

A file in SQLite has one owner, found by its lock and asked through its socket; replicas that share PostgreSQL are found
in the store and asked through it (`podium.store.postgres.owners`). Nothing that must not be lost goes this way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from podium.store.calling import Answer, OwnerSocket, call_owner
from podium.store.ownership import FileLock, socket_path


class Owners(Protocol):
    """Those who run a store's executions."""

    async def named(self, execution: str | None = None) -> str:
        """Return in words who runs this execution (None: any); empty when nobody does."""
        ...

    async def ask(self, asked: dict[str, Any], execution: str | None = None) -> dict[str, Any] | None:
        """Ask whoever runs this execution (None: whoever gives tasks to agents); None when nobody answers in time."""
        ...

    async def answer(self, name: str, answer: Answer) -> None:
        """From now on, this process answers under this name."""
        ...

    async def close(self) -> None:
        """Answer nothing more, let go. Safe twice."""
        ...


class NoOwners:
    """Of a store that no other process sees."""

    async def named(self, execution: str | None = None) -> str:
        """Nobody else."""
        return ""

    async def ask(self, asked: dict[str, Any], execution: str | None = None) -> dict[str, Any] | None:
        """There is nobody to ask."""
        return None

    async def answer(self, name: str, answer: Answer) -> None:
        """Nobody will ask."""

    async def close(self) -> None:
        """There is nothing to let go."""


class FileOwner:
    """The one owner of a database file."""

    def __init__(self, lock: FileLock, path: Path | str) -> None:
        self._lock = lock
        self._path = path
        self._socket: OwnerSocket | None = None

    async def named(self, execution: str | None = None) -> str:
        """Return the lock's holder."""
        holder = self._lock.holder()
        return f"process {holder.pid} on {holder.host}" if holder is not None else ""

    async def ask(self, asked: dict[str, Any], execution: str | None = None) -> dict[str, Any] | None:
        """Ask the lock's holder through its socket."""
        if self._lock.holder() is None:
            return None
        return await call_owner(socket_path(self._path), asked)

    async def answer(self, name: str, answer: Answer) -> None:
        """Listen at the socket; the caller holds the lock."""
        self._socket = OwnerSocket(socket_path(self._path), answer)
        await self._socket.open()

    async def close(self) -> None:
        """Stop listening."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
