"""A simulated connection: the real transport in memory over a line to its carrier that loses, doubles, delays, is cut.

Every party of a simulated world has a line of its own, so that one can be cut off while others aren't, and each learns
of what became of the carrier at another time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from podium.bus.memory import MemoryCarrier, MemoryTransport
from podium.bus.memory.carrier import Listener
from podium.bus.memory.consuming import Handed
from podium.bus.transport import Delivery, Heard, Stream, Subscription
from podium.exceptions import TransportUnavailableError
from podium.testing.faults import Fate

NOTICE_SECONDS = 3.0  # within which a party notices that its connection is gone, or that it is there again
Describe = Callable[[str, bytes, Mapping[str, str]], str]


class Line:
    """One party's way to the carrier; its transport takes it for the carrier. `up` is what the party believes."""

    def __init__(self, carrier: MemoryCarrier, fate: Fate, party: str, describe: Describe) -> None:
        self.up = carrier.up
        self.cut = False
        self.dead = False
        self.party = party
        self.fate = fate
        self.deaf_carrier = False  # acknowledgements don't arrive
        self.said: Callable[[str], None] = lambda subject: None  # told of what has left
        self._carrier = carrier
        self._describe = describe
        self._loop = asyncio.get_running_loop()
        self._joined = carrier.up
        self._transport: MemoryTransport | None = None
        self._listeners: list[Listener] = []
        self._moving = asyncio.Event()
        self._moving.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._carrier, name)

    # --- what happens to it --------------------------------------------------------------------------------------

    def cut_off(self) -> None:
        """Carry nothing, in neither direction, until it is mended."""
        if not self.cut and not self.dead:
            self.cut = True
            self.fate.tell(f"the line of {self.party} is cut")
            self._drop()

    def mend(self) -> None:
        """Carry again, once the party has noticed."""
        if self.cut:
            self.cut = False
            self._loop.call_later(self.fate.chance.uniform(0, NOTICE_SECONDS), self._rejoin)

    def stand(self) -> None:
        """The party's process stands still: it says and hears nothing, and doesn't know."""
        self._moving.clear()

    def move(self) -> None:
        """It goes on."""
        self._moving.set()

    async def moving(self) -> None:
        """Return when the process moves."""
        await self._moving.wait()

    @property
    def stands(self) -> bool:
        """Whether the process stands still."""
        return not self._moving.is_set()

    @property
    def well(self) -> bool:
        """Whether everything gets through."""
        return self._joined and not self.dead and not self.stands

    def die(self) -> None:
        """The party's process is gone."""
        if not self.dead:
            self._drop()
            self.dead = True
            self._carrier.leave(self)
            self._moving.set()

    def _drop(self) -> None:
        self._joined = False
        for listener in self._listeners:
            self._carrier.unlisten(listener)
            listener.arrivals.clear()
        for consuming in self._transport._consuming if self._transport is not None else ():
            consuming.place.leave(consuming.arrivals)
            consuming.arrivals.clear()
        self._loop.call_later(self.fate.chance.uniform(0, NOTICE_SECONDS), self._notice)

    def _notice(self) -> None:
        if not self._joined and not self.dead and self.up:
            self.up = False
            if self._transport is not None:
                self._transport.went_down()

    def _rejoin(self) -> None:
        if self.dead or self.cut or self._joined or not self._carrier.up or self._transport is None:
            return
        if self.up:  # it notices by being connected anew
            self._notice()
            self._loop.call_later(0.01, self._rejoin)
            return
        self._joined = self.up = True
        for listener in self._listeners:
            self._carrier.listen(listener)
        for consuming in self._transport._consuming:
            if self._carrier.has_place(consuming.stream.name, consuming.place) and not consuming.arrivals.closed:
                consuming.place.join(consuming.arrivals)
        self._transport.came_up()

    # --- as a party of the carrier -------------------------------------------------------------------------------

    def went_down(self) -> None:
        """The carrier is gone; the party notices soon."""
        self._drop()

    def came_up(self) -> None:
        """The carrier is there again; the party connects soon."""
        self._loop.call_later(self.fate.chance.uniform(0, NOTICE_SECONDS), self._rejoin)

    def forgot(self) -> None:
        """The carrier has lost its streams; the party notices soon."""
        self._loop.call_later(self.fate.chance.uniform(0, NOTICE_SECONDS), self._tell_forgotten)

    def _tell_forgotten(self) -> None:
        if self._joined and not self.dead and self._transport is not None:
            self._transport.forgot()

    # --- as the carrier of a transport ---------------------------------------------------------------------------

    def enter(self, party: MemoryTransport) -> None:
        """Tell a transport from now on what becomes of the line."""
        self._transport = party
        self._carrier.enter(self)
        if self._carrier.up and not self._joined:
            self._loop.call_later(self.fate.chance.uniform(0, NOTICE_SECONDS), self._rejoin)

    def leave(self, party: MemoryTransport) -> None:
        """Tell it no longer."""
        self._carrier.leave(self)

    def listen(self, listener: Listener) -> None:
        """Take in a subscription."""
        self._listeners.append(listener)
        if self._joined:
            self._carrier.listen(listener)

    def unlisten(self, listener: Listener) -> None:
        """Let it go."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        self._carrier.unlisten(listener)

    def say(self, subject: str, data: bytes, headers: Mapping[str, str], reply: str = "") -> None:
        """Bring a message to the carrier: late, lost or twice, as it happens."""
        if self.dead:
            return
        fate, what = self.fate, f"{self.party} says {self._describe(subject, data, headers)}"
        if not self._joined or fate.strikes("message_lost"):
            fate.tell(f"lost: {what}")
            return
        fate.tell(what)
        for _ in range(2 if fate.strikes("message_doubled") else 1):
            delay = fate.chance.uniform(0.5, 60) if fate.strikes("message_late") else fate.chance.uniform(0, 0.005)
            self._loop.call_later(delay, self._arrive, subject, data, headers, reply)
        self.said(subject)

    def _arrive(self, subject: str, data: bytes, headers: Mapping[str, str], reply: str) -> None:
        if self._carrier.up:
            self._carrier.say(subject, data, headers, reply)

    def append(self, subject: str, data: bytes, headers: Mapping[str, str], message_id: str) -> int:
        """Keep it, if the carrier can be reached."""
        if not self._joined:
            raise TransportUnavailableError(f"simulated: {self.party} is cut off")
        return self._carrier.append(subject, data, headers, message_id)

    def settle(self, handed: Handed, bring: Callable[[int, int, float | None], None], *how: Any) -> None:
        """Bring an acknowledgement to the carrier, or lose it."""
        if not self._joined or self.dead or self.deaf_carrier or self.fate.strikes("ack_lost"):
            self.fate.tell(f"lost: the acknowledgement of message {handed.sequence}")
        else:
            bring(*how)


class LineTransport(MemoryTransport):
    """The transport in memory at the end of a line."""

    def __init__(self, line: Line, heard: Heard | None = None) -> None:
        super().__init__(cast(MemoryCarrier, line), heard)
        self._line = line

    async def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Say it, once the process moves."""
        await self._line.moving()
        await super().publish(subject, data, headers, reply)

    async def subscribe(self, subjects: str | tuple[str, ...], *, group: str = "", limit: int = 65_536) -> Subscription:
        """Hear what is said on these subjects, while the process moves."""
        return _Heard(await super().subscribe(subjects, group=group, limit=limit), self._line)

    async def consume(self, stream: Stream, name: str, **how: Any) -> Subscription:
        """Read a stream; its messages may come again, and what is said of them may be lost."""
        return _Consumed(await super().consume(stream, name, **how), self._line)


class _Heard:
    """A subscription of a process that may stand still."""

    lost = 0  # the world says too little to overflow one

    def __init__(self, subscription: Subscription, line: Line) -> None:
        self._subscription = subscription
        self._line = line

    async def next(self, limit: int = 256) -> list[Delivery]:
        """Return what has arrived."""
        found = await self._subscription.next(limit)
        await self._line.moving()
        return found

    async def lag(self) -> int:
        """Return how many wait."""
        return await self._subscription.lag()

    async def stop(self) -> None:
        """Hear nothing new."""
        await self._subscription.stop()


class _Consumed(_Heard):
    """A subscription to a stream whose acknowledgements may be lost."""

    async def next(self, limit: int = 256) -> list[Delivery]:
        """Return what was fetched, some of it twice."""
        found: list[Delivery] = []
        for delivery in await super().next(limit):
            handed = cast(Handed, delivery)
            handed.settle = partial(self._line.settle, handed, handed.settle)
            found.extend([delivery] * (2 if self._line.fate.strikes("redelivered") else 1))
        return found
