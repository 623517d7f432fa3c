"""Who connects to a NATS server and who is gone: its own events, which only its system account hears.

`open_accounts` is the configuration of a server that lets anybody in and has such an account; `ConnectionEvents` tells
a `Watcher` what is heard there. A server that tells nothing is no error: its operator may keep that to himself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec
from msgspec import Struct

from podium.bus.transport import Delivery, Subscription, Transport
from podium.exceptions import MessageBusError, TransportClosedError
from podium.telemetry.logs import get_logger

SYSTEM_USER = "podium-system"
OPEN_ACCOUNT = "PODIUM"
LISTED_AT_ONCE = 200  # a page of connections must fit into a message
_SHUTDOWN = "Server Shutdown"  # then everybody's connection ends, ours too
_LIST = "$SYS.REQ.SERVER.PING.CONNZ"
_log = get_logger(__name__)


def open_accounts(password: str) -> str:
    """Return the part of a server's configuration with which anybody is let in without credentials, and its events are
    heard by `SYSTEM_USER` with this password. Of its nameless account a server tells no events, so this names one.
    """
    quoted = msgspec.json.encode(password).decode()
    return (
        f'accounts {{\n  SYS {{ users: [ {{ user: "{SYSTEM_USER}", password: {quoted} }} ] }}\n'
        f'  {OPEN_ACCOUNT} {{ jetstream: enabled, users: [ {{ user: "anybody", password: "" }} ] }}\n}}\n'
        'system_account: SYS\nno_auth_user: "anybody"\n'
    )


class Watcher(Protocol):
    """Who is told. Nothing here may block."""

    def opened(self, connection: str, name: str, user: str) -> None:
        """There is a connection (told again where it is known): with its name as it says, its user as let in."""
        ...

    def closed(self, connection: str) -> None:
        """A connection has ended."""
        ...

    def unseen(self) -> None:
        """What is told from now on is not all; connections that are still there are told anew."""
        ...


class _Client(Struct):
    id: int
    name: str = ""
    user: str = ""


class _Server(Struct):
    id: str


class _Event(Struct):
    server: _Server
    client: _Client
    reason: str = ""


class _Listed(Struct):
    cid: int
    name: str = ""
    authorized_user: str = ""


class _Page(Struct):
    server_id: str
    total: int
    connections: list[_Listed] = []


class _Answer(Struct):
    data: _Page


_event = msgspec.json.Decoder(_Event)
_answer = msgspec.json.Decoder(_Answer)


class ConnectionEvents:
    """The events of one account's connections, heard over a transport that is started and may hear them."""

    def __init__(self, transport: Transport, watcher: Watcher, account: str = "*", *, lists: bool = True) -> None:
        """`account` is the one whose connections are meant; `lists`: who is connected already can be asked."""
        self._transport = transport
        self._watcher = watcher
        self._account = account
        self._lists = lists
        self._subscription: Subscription | None = None
        self._lost = 0

    async def run(self) -> None:
        """Tell what is heard, until it is cancelled or the transport stops. Returns where nothing may be heard."""
        subjects = tuple(f"$SYS.ACCOUNT.{self._account}.{what}" for what in ("CONNECT", "DISCONNECT"))
        try:
            self._subscription = subscription = await self._transport.subscribe(subjects)
        except TransportClosedError:
            return
        except MessageBusError as error:
            _log.info("the bus doesn't tell whose connection ends; leases do", reason=str(error))
            return
        await self.list_all()
        while True:
            try:
                deliveries = await subscription.next()
            except TransportClosedError:
                return
            missed = subscription.lost != self._lost
            self._lost = subscription.lost
            if missed:
                self._watcher.unseen()
            self._take(deliveries)
            if missed:
                await self.list_all()

    async def list_all(self) -> None:
        """Tell who is connected now: at the beginning, and after events may have been missed."""
        if not self._lists or self._subscription is None:
            return
        try:
            total, offset = 1, 0
            while offset < total:
                page = await self._page(offset)
                for one in page.connections:
                    self._watcher.opened(f"{page.server_id} {one.cid}", one.name, one.authorized_user)
                total, offset = page.total, offset + LISTED_AT_ONCE
        except (MessageBusError, msgspec.MsgspecError) as error:
            _log.warning("the server doesn't say who is connected; leases tell of those", reason=str(error))

    async def _page(self, offset: int) -> _Page:
        asked: dict[str, object] = {"auth": True, "offset": offset, "limit": LISTED_AT_ONCE}
        if self._account != "*":
            asked["acc"] = self._account
        answer = await self._transport.request(_LIST, msgspec.json.encode(asked))
        return _answer.decode(answer.data).data

    def _take(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            try:
                event = _event.decode(delivery.data)
            except msgspec.MsgspecError as error:
                _log.warning("an event of the server can't be read", subject=delivery.subject, error=str(error))
                continue
            connection = f"{event.server.id} {event.client.id}"
            if delivery.subject.endswith(".CONNECT"):
                self._watcher.opened(connection, event.client.name, event.client.user)
            elif event.reason == _SHUTDOWN:
                self._watcher.unseen()
            else:
                self._watcher.closed(connection)
