"""Webhooks of one process: the reader that finds what is to be told, and the courier that tells it."""

from __future__ import annotations

import asyncio
from typing import Any

from podium.clock import Clock
from podium.engine.projections import Projection
from podium.exceptions import InvalidInputError
from podium.settings import Settings
from podium.store.protocol import Store
from podium.telemetry.logs import get_logger
from podium.webhooks.boxes import Boxes
from podium.webhooks.courier import Courier
from podium.webhooks.deliveries import OUTBOX
from podium.webhooks.outbox import Outbox

SAVE_SECONDS = 0.1  # an end waits so long at most before it is stored and sent
FINISH_SECONDS = 5.0  # for what is due when the process stops
_log = get_logger("podium.webhooks")


class Webhooks:
    """Its `reader` follows the shards of this process; `finish` comes before the reader's stop."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._boxes = Boxes()
        outbox = Outbox(store, settings, self._boxes, clock, lambda: self._courier.wake())
        self.reader = Projection(store, OUTBOX, outbox.take, outbox, save_seconds=SAVE_SECONDS)
        self._courier = Courier(store, settings, self._boxes, clock, outbox.fill, self.reader.begin_again)

    def start(self) -> None:
        """Send from now on."""
        self._courier.start()

    async def finish(self) -> None:
        """Tell what is due, if it is taken in a few seconds; the rest is for the next owner. Then send no more."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self.reader.caught_up()
                await self.reader.save()
                while not self._courier.settled:  # noqa: ASYNC110 - at the stop, and never for long
                    await asyncio.sleep(0.01)
        except TimeoutError:
            _log.warning("not every webhook could be told; the next owner goes on with them")
        await self._courier.stop()

    @property
    def pending(self) -> float:
        """How many deliveries of this process's shards wait, as far as they are in memory."""
        return float(self._boxes.pending)

    def outcomes(self) -> dict[str, float]:
        """Return how tries ended since the start: delivered, failed (it is tried again), given_up."""
        return {name: float(count) for name, count in self._courier.outcomes.items()}

    async def answer_retry(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Try a delivery again now."""
        delivery = str(asked.get("id", ""))
        if not self._courier.retry(delivery):
            raise InvalidInputError(f"there is no delivery {delivery}")
        return {"retried": delivery}
