"""Asks the carrier of the bus what it promises, for the durability report; waits a few seconds at most."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from podium.exceptions import PodiumError

if TYPE_CHECKING:
    from podium.bus.transport import Promises, Transport
    from podium.settings import Settings

PATIENCE_MS = 2_000  # for the connection, and once more for the answers
NOTHING_SAID = "none was named: `podium up` embeds a NATS server, everything else stays within its process"


async def promises_of(settings: Settings, url: str) -> tuple[Promises | None, str]:
    """Return what the carrier at this URL promises, or why that isn't known; an empty URL names none."""
    from msgspec.structs import replace

    from podium.bus.opening import transport_for
    from podium.settings import shown_url

    if not url:
        return None, NOTHING_SAID
    impatient = replace(
        settings, connection_timeout_ms=min(settings.connection_timeout_ms, PATIENCE_MS), max_reconnects=0
    )
    try:
        async with asyncio.timeout(2 * PATIENCE_MS / 1_000):
            return await _asked(transport_for(url, impatient)), ""
    except TimeoutError:
        return None, f"{shown_url(url)} doesn't answer in {2 * PATIENCE_MS / 1_000:g} s"
    except PodiumError as error:
        return None, f"not known: {error}"


async def _asked(transport: Transport) -> Promises:
    await transport.start()
    try:
        return await transport.promises()
    finally:
        await transport.stop(0)
