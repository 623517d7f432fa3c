"""Whose connection to NATS ends, told to the fleet's presence: over a small connection of the orchestrator's own to the
embedded server's system account, or over the bus itself where another server's operator lets its events be heard.

Where nothing can be heard, nothing follows: leases tell, only later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from msgspec.structs import replace

from podium.bus.nats_auth import Authority
from podium.bus.nats_events import OPEN_ACCOUNT, SYSTEM_USER, ConnectionEvents, open_accounts
from podium.bus.nkeys import KeyPair, Role
from podium.bus.transport import Happening, Transport
from podium.exceptions import MessageBusError
from podium.fleet.presence import Presence
from podium.settings import Settings
from podium.telemetry.logs import get_logger

_log = get_logger("podium.service")


class SystemAccess:
    """How the orchestrator hears the events of its embedded server; nobody else can."""

    def __init__(self, authority: Authority | None) -> None:
        self._authority = authority
        self._password = KeyPair.create(Role.USER).seed if authority is None else ""  # in memory, and the server's file

    @property
    def server_config(self) -> str:
        """The part of the server's configuration that decides who is let in."""
        return self._authority.server_config() if self._authority is not None else open_accounts(self._password)

    @property
    def account(self) -> str:
        """The account that agents and clients are in."""
        return self._authority.account if self._authority is not None else OPEN_ACCOUNT

    def bus(self, settings: Settings, now_us: int) -> Settings:
        """Return the settings with which the orchestrator's own connection to the bus is let in."""
        path = str(self._authority.orchestrator_file(now_us)) if self._authority is not None else ""
        return _as(settings, nats_credentials=path)

    def events(self, settings: Settings, now_us: int) -> Settings:
        """Return the settings of the connection that hears the server's events."""
        if self._authority is not None:
            return _as(settings, nats_credentials=str(self._authority.watcher_file(now_us)))
        return _as(settings, nats_user=SYSTEM_USER, nats_password=self._password)


def _as(settings: Settings, **who: str) -> Settings:
    nobody = dict.fromkeys(("nats_user", "nats_password", "nats_token", "nats_credentials", "nats_nkey_seed"), "")
    return replace(settings, **{**nobody, **who})


class Watching:
    """`start` it when the link listens, `stop` it before it no longer does."""

    def __init__(self, presence: Presence, bus: Transport, system: Transport | None, account: str) -> None:
        """`system` is a connection to the server's system account, started and stopped here; None: the bus itself has
        to do. What happens to the one that is used is to be told to `happened`.
        """
        self._presence = presence
        self._system = system
        self._events = ConnectionEvents(system or bus, presence, account, lists=system is not None)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Follow connections from now on."""
        if self._system is not None:
            try:
                await self._system.start()
            except MessageBusError as error:
                _log.warning("the NATS server's events can't be heard; leases tell who is gone", reason=str(error))
                return
        self._begin(self._events.run(), "podium-connection-events")
        self._begin(self._presence.run(), "podium-presence")

    def happened(self, what: Happening) -> None:
        """Take what happens to the connection that hears the events: what it missed is asked for anew."""
        if what is Happening.DISCONNECTED:
            self._presence.unseen()
        elif what is Happening.RECONNECTED:
            self._begin(self._events.list_all(), "podium-connections-listed")

    async def stop(self) -> None:
        """Follow them no longer. Safe twice."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._system is not None:
            await self._system.stop(0.1)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error(
                "connections are no longer followed; leases tell", part=task.get_name(), exc_info=task.exception()
            )
