"""Connections that only read, used by a few threads, so that a long list doesn't wait behind a short look-up."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from podium.exceptions import StoreUnavailableError
from podium.store.named_sql import named_blocks
from podium.store.sqlite.connection import translated

T = TypeVar("T")
READERS = 3


class Reader:
    """Runs named statements on connections that can't write."""

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix=f"podium-reader {path.name}")
        self._closed = False

    async def row(self, name: str, arguments: Mapping[str, Any], shape: Callable[[Any], T]) -> T | None:
        """Return the first row of a named statement in the shape that `shape` gives it; None if there is none."""
        if self._closed:
            raise StoreUnavailableError(f"{self._path}: the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._row, name, arguments, shape)

    def _row(self, name: str, arguments: Mapping[str, Any], shape: Callable[[Any], T]) -> T | None:
        with translated(self._path):
            connection = self._borrowed()
            try:
                row = connection.execute(named_blocks("sqlite.sql")[name], arguments).fetchone()
            except sqlite3.Error:
                connection.close()
                raise
            self._idle.put(connection)
        return None if row is None else shape(row)

    def _borrowed(self) -> sqlite3.Connection:
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._connect(self._path)

    def stop(self) -> None:
        """Finish the reads under way and let go; blocks until then. Safe twice."""
        self._closed = True
        self._threads.shutdown(wait=True)
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return
