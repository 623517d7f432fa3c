"""What the handles of one memory store share: its tables, its clock, and who wants to be told of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from podium.clock import Clock, SystemClock
from podium.store.protocol import DEFAULT_TENANT, FORMAT, ExecutionRow, InboxRow, LogRow, Replica, ShardRow, Snapshot


class MemoryData:
    """The tables. Only leases ask for the time."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.log: dict[int, list[LogRow]] = {}  # by shard; position p is at index p - 1
        self.histories: dict[str, list[LogRow]] = {}
        self.inputs: set[tuple[str, str]] = set()
        self.executions: dict[str, ExecutionRow] = {}
        self.shards: dict[int, ShardRow] = {}
        self.inbox: dict[int, InboxRow] = {}
        self.inbox_inputs: set[tuple[str, str]] = set()
        self.last_inbox_id = 0
        self.blobs: dict[tuple[str, str], tuple[bytes, int]] = {}
        self.snapshots: dict[str, list[Snapshot]] = {}  # the newest first
        self.cursors: dict[tuple[str, int], int] = {}
        self.models: dict[tuple[str, int], dict[str, bytes]] = {}  # by name and shard
        self.counters: dict[tuple[str, str], int] = {}
        self.tenants: set[str] = {DEFAULT_TENANT}
        self.replicas: dict[str, Replica] = {}
        self.format = FORMAT
        self._listeners: list[tuple[object, Callable[[str], None]]] = []

    def listen(self, handle: object, wake: Callable[[str], None]) -> None:
        """Have a handle told of what the others do."""
        self._listeners.append((handle, wake))

    def unlisten(self, handle: object) -> None:
        """Tell this handle nothing any more."""
        self._listeners = [each for each in self._listeners if each[0] is not handle]

    def tell(self, teller: object, what: str) -> None:
        """Wake all handles but the one that did it, when the present step of the loop is over."""
        for handle, wake in self._listeners:
            if handle is not teller:
                asyncio.get_running_loop().call_soon(wake, what)
