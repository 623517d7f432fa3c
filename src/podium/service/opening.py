"""How a service comes to its store: alone, or as one of the replicas that share it, on the bus that they share, too.

One that is shared over a bus is waited for while it can't be reached, since the other replicas are no better off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from podium.app import Podium
from podium.clock import Clock, seconds_to_us
from podium.engine.ownership import SharedStore
from podium.exceptions import NotTheOwnerError, SchemaTooOldError, StoreUnavailableError
from podium.settings import Settings
from podium.store.replicas import EMBEDDED, bus_named
from podium.telemetry.logs import get_logger

PAUSE_SECONDS = 1.0  # before a database that can't be reached is tried again
LEASE_PATIENCE_SECONDS = 6.0  # longer than a replica's lease
_log = get_logger("podium.service")


class Opening(Struct, frozen=True):
    """What decides it. `url` is the bus (empty: a NATS server of our own, or none where nobody else is there: `alone`);
    `store` opens one that is at hand, in place of the settings' database.
    """

    settings: Settings
    url: str
    alone: bool
    incarnation: str
    clock: Clock
    store: Callable[[], SharedStore] | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other replicas may share the store."""
        return self.store is not None or self.settings.on_postgres

    @property
    def agents_are_shared(self) -> bool:
        """Whether the agents of this process work for other replicas too."""
        return self.is_shared and bool(self.url)

    @property
    def bus(self) -> str:
        """What replicas that share the store must have in common; empty: this one must be alone."""
        if not self.is_shared:
            return ""
        if self.url:
            return bus_named(self.url)
        return "" if self.alone else f"{EMBEDDED}{self.incarnation}"

    async def podium(self, **options: Any) -> Podium:
        """Open the store, as its owner or as one of its replicas; `options` are further ones of `Podium.open`.

        Raises NotTheOwnerError: at once where it would have to be alone, else when those that are there on another bus
        have outlived a lease.
        """
        give_up_us = self.clock.now_us() + seconds_to_us(LEASE_PATIENCE_SECONDS)
        while True:
            try:
                return await Podium.open(
                    self.settings,
                    must_own=True,
                    sets_deadlines=True,
                    elsewhere=not self.alone,
                    bus=self.bus,
                    incarnation=self.incarnation,
                    agents_are_shared=self.agents_are_shared,
                    store=self.store() if self.store is not None else None,
                    **options,
                )
            except NotTheOwnerError:
                if not self.bus or self.clock.now_us() > give_up_us:
                    raise
            except StoreUnavailableError as error:
                if not self.bus or isinstance(error, SchemaTooOldError):
                    raise
                _log.warning("the database can't be used yet; it is tried until it can", reason=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
