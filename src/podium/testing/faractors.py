"""Scripted agents behind a simulated bus: each life of one is a process with a connection of its own.

What is said goes through `agents.connection`, the very code of `podium agent`, or as document 000's JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

from podium.agents.connection import AgentConnection, Ears
from podium.bus.transport import Happening
from podium.exceptions import PodiumError, TransportUnavailableError
from podium.fleet import messages as msg
from podium.testing.actors import SILENT_SECONDS, Actor
from podium.testing.faults import Fate
from podium.testing.foreign import ForeignConnection
from podium.testing.ledger import MemoryLedger
from podium.testing.line import Line, LineTransport
from podium.testing.virtual import virtual_loop

CONNECT_AGAIN_SECONDS = 2.0
MakeLine = Callable[[str], Line]


class Unmeasured:
    """Figures of nothing: what a process measures isn't the same each time."""

    def ended(self, succeeded: bool) -> None:
        """A task has ended."""

    def metrics(self, interval_seconds: float) -> dict[str, float]:
        """Return nothing."""
        return {}


class Connection(Protocol):
    """An agent's end of the bus."""

    async def begin(self) -> None:
        """Connect."""
        ...

    async def hear_for(self, agent: str) -> None:
        """Be this agent."""
        ...

    def is_registered(self, agent: str) -> bool:
        """Whether the orchestrator has confirmed it."""
        ...

    def say(self, message: msg.FromAgent) -> bool:
        """Put a message on its way."""
        ...

    async def end(self) -> None:
        """Say what waits, and disconnect."""
        ...

    async def abandon(self) -> None:
        """End without a word."""
        ...


class Process:
    """One life of an agent: its line, its connection, and who hears for it."""

    def __init__(self, agent: str, incarnation: str, foreign: bool, line: Line, ears: Ears) -> None:
        self.agent = agent
        self.incarnation = incarnation
        self.line = line
        self._ears = ears
        self._early: list[msg.FromAgent] = []  # said before it was connected
        self._ready = False
        self._over = False
        self._transport: LineTransport | None = None
        self._foreign = foreign
        self.connection = self._connection()
        self._task = asyncio.get_running_loop().create_task(self._connect(), name=f"agent-{incarnation}-connects")

    def _connection(self) -> Connection:
        clock = virtual_loop().clock
        if self._foreign:
            return ForeignConnection(self._make, clock, self)
        return AgentConnection(self._make, clock, self.incarnation, self, measure=Unmeasured)

    def _make(self, heard: Callable[[Happening, str], None]) -> LineTransport:
        self._transport = LineTransport(self.line, heard)
        return self._transport

    async def _connect(self) -> None:
        while True:
            try:
                await self.connection.begin()
                await self.connection.hear_for(self.agent)
                break
            except TransportUnavailableError:
                await self.connection.abandon()
                await asyncio.sleep(CONNECT_AGAIN_SECONDS)
                self.connection = self._connection()
        self._ready = True
        early, self._early = self._early, []
        for message in early:
            self.connection.say(message)

    def say(self, message: msg.FromAgent) -> None:
        """Say it, or keep it until there is a connection."""
        if self._ready:
            self.connection.say(message)
        else:
            self._early.append(message)

    @property
    def registered(self) -> bool:
        """Whether the agent knows that it is registered."""
        return self._ready and self.connection.is_registered(self.agent)

    def kill(self) -> None:
        """End here and now; what leaves in good order does so."""
        if self._over:
            return
        self._finish(self.connection.abandon(), "dies")
        self.line.die()

    def leave(self) -> None:
        """Say what waits, and end."""
        if self._over:
            return
        self._finish(self._end(), "leaves")

    async def _end(self) -> None:
        if self._ready:
            await self.connection.end()
        self.line.die()

    def _finish(self, work: Coroutine[Any, Any, None], how: str) -> None:
        self._over = True
        self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(work, name=f"agent-{self.incarnation}-{how}")

    # --- as the connection's ears: nothing is heard by a process that is over -------------------------------------

    def deliver(self, agent: str, messages: tuple[msg.ToAgent, ...]) -> None:
        """Hand over what is for the agent."""
        if not self._over:
            self._ears.deliver(agent, messages)

    def drain(self, agent: str, grace_seconds: float) -> None:
        """The agent shall leave."""
        if not self._over:
            self._ears.drain(agent, grace_seconds)

    def refused(self, agent: str, error: PodiumError) -> None:
        """The agent has no place."""
        if not self._over:
            self._ears.refused(agent, error)

    def taken_in(self, agent: str) -> None:
        """The agent was registered, perhaps anew."""
        if not self._over:
            self._ears.taken_in(agent)

    def connected(self, is_so: bool) -> None:
        """The bus is there, or gone."""


class FarActor(Actor):
    """A scripted agent that lives elsewhere."""

    durations = (0.0, 0.01, 0.5, 2.0, 8.0, 40.0, 160.0)  # some outlast ten leases

    def __init__(
        self,
        agent_id: str,
        agent_type: str,
        slots: int,
        fate: Fate,
        ledger: MemoryLedger,
        *,
        foreign: bool,
        births: Iterator[int],
        make_line: MakeLine,
        **more: Any,
    ) -> None:
        """`births` numbers the lives of all agents of this name."""
        super().__init__(agent_id, agent_type, slots, fate, ledger, self._say_over_bus, **more)
        about = (agent_id, agent_type, slots, fate, ledger)
        self._made_of = (about, more)
        self.foreign = foreign
        self.process: Process | None = None
        self.replaced = False  # another one has its name: it doesn't come back
        self._births = births
        self._make_line = make_line

    def successor(self) -> FarActor:
        """Return another agent of this name: this one's place is its now."""
        about, more = self._made_of
        self.replaced = True
        return FarActor(*about, foreign=self.foreign, births=self._births, make_line=self._make_line, **more)

    def come(self) -> None:
        """Start, as a new process."""
        self._incarnation = next(self._births) - 1
        incarnation = f"{self.id}#{self._incarnation + 1}"
        self.process = Process(self.id, incarnation, self.foreign, self._make_line(incarnation), self)
        super().come()

    def _come_back(self) -> None:
        if not self.replaced:
            super()._come_back()

    def vanish(self) -> None:
        """Be gone without a word."""
        super().vanish()
        if self.process is not None:
            self.process.kill()

    def leave(self) -> None:
        """Hand everything back and go, when that is said; come back later."""
        if not self._here:
            return
        process = self.process
        for attempt in list(self._live):
            self._say(msg.HandedBack(self.id, attempt))
        self._say(msg.Left(self.id, self.incarnation))
        if process is not None:
            process.leave()
        self.vanish()
        self._come_later()

    def restart(self) -> None:
        """Be killed, and start again within the moment."""
        self.vanish()
        self._loop.call_later(self._fate.chance.uniform(0.05, 2), self._come_back)

    def _greet(self) -> None:
        super()._greet()
        if self._greeting is not None:
            self._greeting.cancel()  # its connection says it as often as it must
            self._greeting = None

    def _say_over_bus(self, message: msg.FromAgent) -> None:
        if self.process is not None:
            self.process.say(message)

    def _fall_silent(self, attempt: str) -> None:
        """Say nothing more of an attempt; one whose every word renews falls silent as a whole, and dies."""
        super()._fall_silent(attempt)
        if self.foreign and self.process is not None:
            self.process.line.stand()
            self._loop.call_later(SILENT_SECONDS, self._die_as, self._incarnation)

    def _die_as(self, incarnation: int) -> None:
        if self._incarnation == incarnation:
            self._die()

    # --- what its connection tells -------------------------------------------------------------------------------

    def deliver(self, agent: Any, messages: tuple[msg.ToAgent, ...] = ()) -> None:
        """Take what is said to it."""
        for message in messages:
            super().deliver(message)

    def drain(self, agent: str, grace_seconds: float) -> None:
        """Leave."""
        self.leave()

    def refused(self, agent: str, error: PodiumError) -> None:
        """Its place is another's: end."""
        self._fate.tell(f"{self.incarnation} is refused: {error}")
        self.vanish()
        if not self.replaced:
            self._come_later()

    def taken_in(self, agent: str) -> None:
        """Say again what isn't confirmed: it may have been lost."""
        for held in list(self._held.values()):
            self._say(held)

    def connected(self, is_so: bool) -> None:
        """The bus is there, or gone."""
