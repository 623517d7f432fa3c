"""The engine's loop: when it turns, what it does at each turn and in which order, and what wakes it.

What has come back from the store is seen to first; while a batch is being written, the next one is decided.
"""

from __future__ import annotations

import asyncio

from podium.clock import Clock
from podium.engine.arrivals import Batches
from podium.engine.braking import Brakes
from podium.engine.deciding import Deciding
from podium.engine.dispatch import Dispatcher
from podium.engine.granting import Granting
from podium.engine.intake import Intake
from podium.engine.residency import Residency
from podium.engine.staffing import Staffing
from podium.engine.writing import Writing

EARLY_ALARM_US = 1_000


class Conductor:
    """Turns the loop."""

    def __init__(
        self,
        clock: Clock,
        intake: Intake,
        residency: Residency,
        batches: Batches,
        brakes: Brakes,
        deciding: Deciding,
        granting: Granting,
        staffing: Staffing,
        dispatcher: Dispatcher,
        writing: Writing,
    ) -> None:
        self._clock = clock
        self._intake = intake
        self._residency = residency
        self._batches = batches
        self._brakes = brakes
        self._deciding = deciding
        self._granting = granting
        self._staffing = staffing
        self._dispatcher = dispatcher
        self._writing = writing
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_us = 0
        self._turned: list[asyncio.Future[None]] = []

    async def turned(self) -> None:
        """Return when what is known now has been decided on, and what can be given to agents is; or when it ends."""
        if not self._brakes.closing:
            turned = asyncio.get_running_loop().create_future()
            self._turned.append(turned)
            self._intake.wake.set()
            await turned

    async def conduct(self) -> None:
        """Turn until the engine is to stop and nothing is under way to the store."""
        wake, brakes, writing = self._intake.wake, self._brakes, self._writing
        while True:
            now_us = self._clock.now_us()
            if writing.has_come_back:
                await writing.land()
            if brakes.held_back and self._batches.empty:
                brakes.stands()
            if not brakes.closing and not brakes.held_back:
                self._deciding.fire_timers(now_us)
                self._deciding.decide_arrivals(now_us)
                for arrival, state in self._granting.grants(now_us):
                    self._deciding.decide(arrival, state, now_us)
                self._say_again()
                self._tell_turned()
            if writing.may_launch(now_us):
                writing.launch(now_us)
                continue  # what else has arrived is decided while that is written
            if brakes.closing and not writing.under_way:
                return
            self._set_alarm(now_us)
            await wake.wait()
            wake.clear()

    def end(self) -> None:
        """Ring no more, and let nobody wait for a turn."""
        self._tell_turned()
        if self._alarm is not None:
            self._alarm.cancel()

    def _say_again(self) -> None:
        """What was committed and perhaps never left follows from the history again."""
        for lease in self._staffing.reunited():
            state = self._residency.states.get(lease.execution)
            if state is not None:
                self._dispatcher.say_again(state, lease)

    def _set_alarm(self, now_us: int) -> None:
        """See to it that the loop wakes for the next timer, or when the store may be tried again."""
        if self._brakes.closing:
            return  # no timer fires any more; one that is due would wake the loop again and again
        due = None if self._brakes.held_back else self._next_due_us()  # likewise
        blocked_until_us = self._writing.blocked_until_us
        if blocked_until_us > now_us:
            due = min(due or blocked_until_us, blocked_until_us)
        if due is None or (self._alarm is not None and self._alarm_us == due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        least_us = EARLY_ALARM_US if due == self._alarm_us and due > now_us else 0  # it rang, and a clock stands still
        self._alarm_us = due
        pause = max(due - now_us, least_us) / 1_000_000
        self._alarm = asyncio.get_running_loop().call_later(pause, self._ring)

    def _next_due_us(self) -> int | None:
        """Return when an execution's timer is due, or a rate limit has room again."""
        dues = [due for due in (self._residency.next_due_us(), self._granting.next_due_us()) if due is not None]
        return min(dues, default=None)

    def _tell_turned(self) -> None:
        waiting, self._turned = self._turned, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    def _ring(self) -> None:
        self._alarm = None
        self._intake.wake.set()
