"""What comes in: the bounded queue of inputs, those that must be looked up in the log first, and who waits for an
answer.

An input under way is known by its key, so that a repetition while it is queued or being written is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival
from podium.engine.codec import check_input
from podium.exceptions import ConflictError, EngineStoppedError, PodiumError, StoreUnavailableError
from podium.store.keys import check_key
from podium.store.protocol import Store
from podium.telemetry.logs import get_logger

_log = get_logger("podium.engine")


class Intake:
    """The inputs that have arrived and aren't decided yet."""

    def __init__(
        self, store: Store, limit: int, pause_seconds: float, spawn: Callable[[Coroutine[Any, Any, Any], str], object]
    ) -> None:
        self._store = store
        self._limit = limit
        self._pause_seconds = pause_seconds
        self._spawn = spawn
        self.queue: deque[Arrival] = deque()
        self.known: dict[tuple[str, str], Arrival] = {}  # queued or decided, not yet committed
        self.wake = asyncio.Event()
        self.repeated: Callable[[Arrival], None] = lambda arrival: None  # told of one that is in the log already
        self._doubtful: list[Arrival] = []
        self._room = asyncio.Event()
        self._room.set()
        self._closed: PodiumError | None = None

    @property
    def full(self) -> bool:
        """Whether nothing more should be put in by who can wait."""
        return len(self.queue) >= self._limit

    @property
    def quiet(self) -> bool:
        """Whether nothing is queued, in doubt or under way."""
        return not self.known

    @property
    def beginning(self) -> list[str]:
        """The executions whose starts are queued; one that was decided before may be committed all the same."""
        return [arrival.execution for arrival in self.queue if arrival.definition is not None]

    def put(self, arrival: Arrival) -> None:
        """Queue an input."""
        self.known[arrival.key] = arrival
        self.queue.append(arrival)
        self.wake.set()

    def put_once(self, arrival: Arrival) -> None:
        """Queue an input unless the same is under way."""
        if arrival.key not in self.known:
            self.put(arrival)

    def put_first(self, arrivals: list[Arrival]) -> None:
        """Put inputs that were taken out back in front, in their order."""
        self.queue.extendleft(reversed(arrivals))
        self.wake.set()

    def take(self) -> Arrival:
        """Take the next input out."""
        arrival = self.queue.popleft()
        if not self._room.is_set() and not self.full:
            self._room.set()
        return arrival

    def withdraw(self, arrival: Arrival) -> None:
        """Take an input out of the queue before its turn, should it be there."""
        with suppress(ValueError):
            self.queue.remove(arrival)

    async def decided(self, arrival: Arrival) -> list[ev.Event]:
        """Queue an input when there is room, and return what it caused once that is committed.

        Raises InvalidInputError for one that no store could keep.
        """
        check_key("an execution's id", arrival.execution)
        check_key("an input's id", arrival.input_id)
        check_input(arrival.given)
        while self.full:
            self._room.clear()
            await self._room.wait()
        if self._closed is not None:
            raise EngineStoppedError("the engine is stopping and takes nothing new")
        under_way = self.known.get(arrival.key)
        if under_way is not None:
            check_same_start(under_way.given, arrival.given)
            return await self.joined(under_way)
        self.put(arrival)
        return await self.joined(arrival)

    async def joined(self, arrival: Arrival) -> list[ev.Event]:
        """Return what an input under way causes, once that is committed."""
        if arrival.waiter is None:
            arrival.waiter = asyncio.get_running_loop().create_future()
        return await asyncio.shield(arrival.waiter)

    def settle(self, arrival: Arrival, events: list[ev.Event]) -> None:
        """The input is committed."""
        self.known.pop(arrival.key, None)
        if arrival.waiter is not None and not arrival.waiter.done():
            arrival.waiter.set_result(events)

    def reject(self, arrival: Arrival, error: PodiumError) -> None:
        """The input will not be recorded."""
        self.known.pop(arrival.key, None)
        if arrival.waiter is not None and not arrival.waiter.done():
            arrival.waiter.set_exception(error)
            arrival.waiter.exception()  # nobody misses it if who waited has gone away

    def disappoint(self, arrival: Arrival, error: PodiumError) -> None:
        """Who waits for the input isn't told what comes of it; it goes on."""
        waiter, arrival.waiter = arrival.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
            waiter.exception()  # likewise

    def close(self, error: PodiumError) -> None:
        """Answer everybody who still waits, and take nothing more."""
        self._closed = error
        self._room.set()
        for arrival in list(self.known.values()):
            self.reject(arrival, error)

    # --- what may be recorded already --------------------------------------------------------------------------

    def doubt(self, arrival: Arrival) -> None:
        """Queue an input of an attempt that isn't live only after the log was asked: it may be a repetition."""
        self.known[arrival.key] = arrival
        self._doubtful.append(arrival)
        if len(self._doubtful) == 1:
            self._spawn(self._resolve_doubts(), "podium-doubts")

    async def _resolve_doubts(self) -> None:
        while self._doubtful:
            asked = list(self._doubtful)
            keys = [arrival.key for arrival in asked]
            recorded = await self.retrying(partial(self._store.recorded, keys))
            for arrival in asked:
                if arrival.key in recorded:
                    self.repeated(arrival)
                else:
                    self.put(arrival)
            del self._doubtful[: len(asked)]

    async def retrying(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask the store until it answers."""
        while True:
            try:
                return await ask()
            except StoreUnavailableError as error:
                _log.warning("the store doesn't answer", error=str(error))
                await asyncio.sleep(self._pause_seconds)


def check_same_start(known: inp.Input, again: inp.Input) -> None:
    """Raise ConflictError when one submission's id stands for two different starts."""
    if not (isinstance(known, inp.Start) and isinstance(again, inp.Start)):
        return
    if (known.definition, known.input) != (again.definition, again.input):
        raise ConflictError("this submission id was used before, with another workflow or another input")
