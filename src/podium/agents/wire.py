"""An agent process's connection on a thread of its own, so that a task that keeps the event loop busy keeps nobody from
renewing leases.

It is the `Receiver` that hosts speak to, from any thread; what the orchestrator says is handed to their hosts on
their own loop. All that is said and heard is `podium.agents.connection`'s.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from podium.agents.connection import AgentConnection, Figures, MakeTransport
from podium.clock import Clock
from podium.exceptions import PodiumError
from podium.fleet import messages as msg


class AgentWire:
    """Make it, `open` it, give it hosts with `attach`, `close` it when they have left."""

    def __init__(
        self,
        make: MakeTransport,
        clock: Clock,
        incarnation: str,
        *,
        refused: Callable[[str, PodiumError], None],
        drain: Callable[[str, float], None],
        taken_in: Callable[[str], None] = lambda agent: None,
        register_on_own_subject: bool = False,
    ) -> None:
        """`make` makes the transport on the thread; `refused` is told, on the home loop, of an agent that may not be
        (or may no longer be) part of the fleet; `drain` of one that shall take nothing new; `taken_in` of one that
        was registered, perhaps anew.
        """
        self._make = make
        self._clock = clock
        self._incarnation = incarnation
        self._own_subject = register_on_own_subject
        self._refused = refused
        self._drain = drain
        self._taken_in = taken_in
        self._deliver: dict[str, Callable[[msg.ToAgent], None]] = {}
        self._closing = False
        self.there = threading.Event()  # the bus
        self._home: asyncio.AbstractEventLoop
        self._loop: asyncio.AbstractEventLoop
        self._connection: AgentConnection
        self._thread: threading.Thread | None = None

    # --- life, on the home loop --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect. Raises TransportUnavailableError when the bus can't be reached."""
        self._home = asyncio.get_running_loop()
        ready: asyncio.Future[None] = self._home.create_future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="podium wire", daemon=True)
        self._thread.start()
        await ready

    async def attach(self, agent: str, deliver: Callable[[msg.ToAgent], None], **more: Any) -> None:
        """Hear for this agent; `more` are fields of its registration: location, tags, key and the like."""
        self._deliver[agent] = deliver
        await self._on_wire(self._connection.hear_for(agent, **more))

    async def registered(self, agent: str) -> None:
        """Return when the orchestrator has confirmed an agent's registration."""
        while not self._connection.is_registered(agent):  # noqa: ASYNC110 - said on a thread
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Say what waits to be said, disconnect, end the thread. Safe twice."""
        if self._thread is None or self._closing:
            return
        self._closing = True
        await self._on_wire(self._connection.end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        while self._thread.is_alive():  # noqa: ASYNC110 - the end of a thread is no event of the loop
            await asyncio.sleep(0.005)

    async def _on_wire(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _run(self, ready: asyncio.Future[None]) -> None:
        self._loop = loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._begin())
        except PodiumError as error:
            self._home.call_soon_threadsafe(ready.set_exception, error)
        else:
            self._home.call_soon_threadsafe(ready.set_result, None)
            loop.run_forever()
        finally:
            loop.close()

    async def _begin(self) -> None:
        self._connection = AgentConnection(
            self._make,
            self._clock,
            self._incarnation,
            self,
            on_loop=self._loop.call_soon_threadsafe,
            register_on_own_subject=self._own_subject,
        )
        await self._connection.begin()

    # --- what hosts say, from any thread -----------------------------------------------------------------------

    def receive(self, message: msg.FromAgent) -> bool:
        """Take what an agent says. False when too much waits already: it must be said again."""
        return self._connection.say(message)

    def take_line(self, agent: str, line: msg.LogLine) -> None:
        """Take a line that an attempt logged; the orchestrator keeps it. Too many at once are dropped and counted."""
        self._connection.say_line(agent, line)

    @property
    def measured(self) -> dict[str, Figures]:
        """What each agent measures of itself."""
        return self._connection.measured

    @property
    def lines_dropped(self) -> int:
        """How many lines were too many."""
        return self._connection.lines_dropped

    # --- what the connection tells, on its thread --------------------------------------------------------------

    def deliver(self, agent: str, messages: tuple[msg.ToAgent, ...]) -> None:
        """Hand over what is for an agent, on the home loop."""
        self._home.call_soon_threadsafe(self._hand_over, agent, messages)

    def _hand_over(self, agent: str, messages: tuple[msg.ToAgent, ...]) -> None:
        deliver = self._deliver[agent]
        for message in messages:
            deliver(message)

    def drain(self, agent: str, grace_seconds: float) -> None:
        """An agent shall take nothing new, finish, and leave."""
        self._home.call_soon_threadsafe(self._drain, agent, grace_seconds)

    def refused(self, agent: str, error: PodiumError) -> None:
        """An agent may not be part of the fleet."""
        self._home.call_soon_threadsafe(self._refused, agent, error)

    def taken_in(self, agent: str) -> None:
        """An agent was registered, perhaps anew."""
        self._home.call_soon_threadsafe(self._taken_in, agent)

    def connected(self, is_so: bool) -> None:
        """The bus is there, or gone."""
        if is_so:
            self.there.set()
        else:
            self.there.clear()


class AgentLines:
    """The `LogSink` of one agent: its lines go over the wire."""

    def __init__(self, link: AgentWire, agent: str) -> None:
        self._link = link
        self._agent = agent

    def write(self, line: msg.LogLine) -> None:
        """Send a line on its way."""
        self._link.take_line(self._agent, line)
