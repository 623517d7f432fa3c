"""What agents say: taken from any thread, as long as there is room for it, and brought to whom it is for.

A result of an attempt that is live here is decided; one that isn't is looked for in the log first, since it may be a
repetition; what another replica has to decide goes there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from podium.clock import Clock
from podium.engine.braking import Brakes
from podium.engine.changes import Freed
from podium.engine.forwarding import Forwarding
from podium.engine.intake import Intake
from podium.engine.shards import OwnedShards
from podium.engine.staffing import Staffing
from podium.exceptions import InvalidInputError
from podium.fleet import messages as msg
from podium.telemetry.logs import get_logger

_log = get_logger("podium.engine")


class Receiving:
    """The engine's ear."""

    def __init__(
        self,
        clock: Clock,
        intake: Intake,
        shards: OwnedShards,
        staffing: Staffing,
        forwarding: Forwarding,
        brakes: Brakes,
        *,
        max_forwarded: int,
        unusable: Callable[[str, str, str], None],
    ) -> None:
        """`unusable` is told of what can't be read: the agent, the attempt, why."""
        self._clock = clock
        self._intake = intake
        self._shards = shards
        self._staffing = staffing
        self._forwarding = forwarding
        self._brakes = brakes
        self._max_forwarded = max_forwarded
        self._unusable = unusable
        self._thread = 0

    def open(self) -> None:
        """Messages from other threads come into this one from now on."""
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()

    def receive(self, message: msg.FromAgent) -> bool:
        """Take what an agent says, from any thread. False when the queue is full: it must be said again."""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.receive, message)
            return True
        if self._brakes.closing:
            return False
        try:
            arrival = self._staffing.hear(message, self._clock.now_us())
        except InvalidInputError as error:
            _log.warning("a message was dropped", error=str(error), agent=message.agent)
            self._unusable(message.agent, getattr(message, "attempt", ""), str(error))
            return True
        if arrival is None:
            if isinstance(message, msg.Freed) and not self._shards.leads:  # who places may not have heard it
                self._forwarding.tell(Freed(message.attempt))
            self._intake.wake.set()  # a slot may be free, an agent new
            return True
        under_way = self._intake.known.get(arrival.key)
        if under_way is not None:
            under_way.spoken_by(arrival)
            return True
        if self._intake.full or len(self._forwarding) >= self._max_forwarded:
            return False
        if not self._shards.owns(arrival.execution):
            self._forwarding.forward(arrival)
        elif self._staffing.leases.get(arrival.attempt) is not None:
            self._intake.put(arrival)
        else:
            self._intake.doubt(arrival)
        return True
