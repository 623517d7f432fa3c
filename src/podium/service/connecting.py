"""The bus of one orchestrator: one that is named, one that is at hand, or a NATS server of our own, which is started
and stopped with it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from podium.bus.names import is_inbox
from podium.bus.nats_auth import Authority, authority_folder
from podium.bus.nats_server import EmbeddedNats
from podium.bus.opening import transport_for
from podium.bus.transport import Happening, Transport
from podium.clock import Clock
from podium.exceptions import SettingsError
from podium.service.watching import SystemAccess
from podium.settings import Settings, address_of, refuse_strangers, shown_url


class BusAtHand:
    """Which bus it is, and how it is reached."""

    def __init__(
        self,
        settings: Settings,
        url: str,
        given: Transport | None,
        clock: Clock,
        *,
        happened: Callable[[Happening, str], None],
        begin: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:
        """Empty, the `url` means a server of our own; `happened` is told of it, `begin` starts a task beside it."""
        self.nats: EmbeddedNats | None = None
        self.authority: Authority | None = None  # over the identities on a server of our own
        self.access: SystemAccess | None = None  # to the events of such a server
        self._settings = settings
        self._url = url
        self._given = given
        self._clock = clock
        self._happened = happened
        self._begin = begin

    @property
    def url(self) -> str:
        """Where it is."""
        return self.nats.url if self.nats is not None else self._url

    @property
    def may_answer(self) -> Callable[[str], bool]:
        """Where answers may go: on a server with identities only to inboxes, which their askers alone can read."""
        return is_inbox if self.authority is not None else _anywhere

    def shown_as(self, transport: Transport) -> str:
        """Return it as it may be shown."""
        return shown_url(self.url) if self._given is None else transport.name

    async def transport(self) -> Transport:
        """Return what carries messages on it, to be started; a server of our own is up then. Raises SettingsError."""
        if self._given is not None:
            return self._given
        settings = self._settings if self._url else await self._start_server()
        known_sync = self.nats.sync_seconds if self.nats is not None else None
        return transport_for(self.url, settings, self._happened, sync_seconds=known_sync)

    async def _start_server(self) -> Settings:
        """Start a server of our own and return the settings with what lets us in."""
        settings = self._settings
        address = address_of(settings.nats, "nats")
        if address is None:
            raise SettingsError("there is no bus: `nats` is empty, and no other one is named (--bus)")
        if settings.nats_authentication:
            self.authority = Authority.open(authority_folder(settings.data), self._clock.now_us())
        refuse_strangers("nats", address, settings.nats_authentication, "nats_authentication")
        self.access = SystemAccess(self.authority)
        self.nats = EmbeddedNats(
            settings.nats_folder,
            host=address.host,
            port=address.port,
            max_payload=settings.max_message_bytes,
            extra_config=self.access.server_config,
        )
        await self.nats.start()
        if self.authority is not None:
            self._begin(self.authority.keep_current(self.nats.reload), "podium-authority")
        return self.access.bus(settings, self._clock.now_us())

    async def stop_server(self) -> None:
        """Stop a server of our own, if there is one."""
        if self.nats is not None:
            await self.nats.stop()


def _anywhere(reply: str) -> bool:
    return True
