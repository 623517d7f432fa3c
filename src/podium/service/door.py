"""What a way in is to the service that opens it: it can be started and stopped, and says where it listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from podium.settings import Address


class Door(Protocol):
    """A way in beside the bus."""

    @property
    def addresses(self) -> Mapping[str, Address]:
        """Where it listens, by what the address is for."""

    async def start(self) -> None:
        """Listen, on all addresses or none. Raises SettingsError for one that can't be had."""

    async def stop(self) -> None:
        """Finish the answers under way and close. Safe twice."""
