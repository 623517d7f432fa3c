"""The latest commit before this process had the store: until then others may have granted what a rate limit counts.

It is looked up once a task with a rate limit is there, and not before: nobody else pays for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from podium.clock import SECOND, Clock
from podium.engine.intake import Intake
from podium.engine.placing import Placing
from podium.store.protocol import ShardRow, Store

LONGEST_APPEND_US = 60 * SECOND  # what is decided is committed by then, or its owner is slower than all we know


class LookBack:
    """Tells placement how far back it must be careful, for the one owner of a store."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        placing: Placing,
        intake: Intake,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
    ) -> None:
        self._store = store
        self._clock = clock
        self._placing = placing
        self._intake = intake
        self._spawn = spawn
        self._positions: dict[int, int] = {}
        self._looks = False

    def begin(self, taken: Mapping[int, ShardRow]) -> None:
        """These shards were taken as they are now; a store without any commit leaves nothing to look up."""
        self._positions = {shard: row.position for shard, row in taken.items() if row.position}
        if self._positions:
            self._placing.placement.limits.unsure = True

    def look_if_asked(self) -> None:
        """Look once, when a task waits for it."""
        if self._placing.placement.limits.asks and not self._looks:
            self._looks = True
            self._spawn(self._look(), "podium-looks-back")

    async def _look(self) -> None:
        latest_us = 0
        for shard, position in self._positions.items():
            for row in await self._intake.retrying(partial(self._store.follow, shard, position - 1, 1)):
                latest_us = max(latest_us, row.now_us)
        # Its rows say when it was decided; and a clock may have been set back since.
        self._placing.assume_used(min(latest_us + LONGEST_APPEND_US, self._clock.now_us()))
        self._intake.wake.set()
