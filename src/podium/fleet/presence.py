"""What follows from the connections of agents: who is missed gets nothing new, who is gone loses what it had.

It is told by the bus which connections there are (`podium.bus.nats_events`) and by the link which agents there are;
what is decided, `podium.fleet.connections` decides. Where the bus tells nothing, leases do all of this, later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from podium.clock import SECOND, Clock, seconds_to_us
from podium.fleet import messages as msg
from podium.fleet.connections import Connections, connection_name, party_named, party_of_key
from podium.fleet.registry import FleetRegistry
from podium.telemetry.logs import get_logger

_log = get_logger("podium.fleet")


class Presence:
    """Make it, give it to the link, `run` it while the bus tells of connections."""

    def __init__(
        self,
        registry: FleetRegistry,
        receiver: msg.Receiver,
        clock: Clock,
        *,
        grace_seconds: float,
        keyed: bool,
        suspend: Callable[[str], None],
        give_up: Callable[[str, str], None],
        reachable: Callable[[], bool],
    ) -> None:
        """`keyed`: the bus knows each connection's holder by a key, so that names of connections count for nothing.
        `suspend` has the engine give an agent nothing until it is heard of, `give_up` also takes what it has, with a
        reason; `reachable` says whether agents can be heard at all.
        """
        self.connections = Connections(seconds_to_us(grace_seconds))
        self._registry = registry
        self._receiver = receiver
        self._clock = clock
        self._keyed = keyed
        self._suspend = suspend
        self._give_up = give_up
        self._reachable = reachable
        self._missing = asyncio.Event()

    # --- what the link tells -----------------------------------------------------------------------------------

    def joined(self, agent: str, key: str, process: str = "") -> None:
        """An agent has registered with this key; `process` is the incarnation of one of Podium's own processes."""
        if self._keyed:
            party = party_of_key(key)
        else:
            party = party_named(connection_name(process) if process else agent)
        self.connections.joined(agent, party)

    def left(self, agent: str) -> None:
        """An agent isn't part of the fleet any more."""
        self.connections.left(agent)

    def heard(self, agent: str) -> None:
        """An agent said something."""
        if self.connections.absent:
            self.connections.heard(agent, self._clock.now_us())

    # --- what the bus tells ------------------------------------------------------------------------------------

    def opened(self, connection: str, name: str, user: str) -> None:
        """There is a connection: with its name as it says, and the user as who the bus let it in."""
        party = party_of_key(user) if self._keyed else party_named(name)
        for agent in self.connections.opened(connection, party):
            _log.info("an agent's connection is there again", agent=agent)
            if self._receiver.receive(msg.Renewal(agent, ())):
                self._registry.heard(agent, self._clock.now_us())

    def closed(self, connection: str) -> None:
        """A connection has ended."""
        for agent in self.connections.closed(connection, self._clock.now_us()):
            _log.info("an agent's connection has ended", agent=agent)
            self._suspend(agent)
            self._missing.set()

    def unseen(self) -> None:
        """The bus doesn't tell any more, or not everything: nothing follows from what it doesn't tell."""
        self.connections.unseen()

    # --- time --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Give up those who don't come back, for ever."""
        while True:
            due_us = self.connections.due_us
            if due_us is None:
                self._missing.clear()
                await self._missing.wait()
                continue
            await asyncio.sleep(max(due_us - self._clock.now_us(), 0) / SECOND)
            self.check()

    def check(self) -> None:
        """Give up those whose grace is over."""
        now_us = self._clock.now_us()
        for agent in self.connections.gone(now_us, self._reachable()):
            reason = f"agent {agent}'s connection is gone"
            _log.warning("an agent's connection is gone", agent=agent)
            self._registry.note_gone(agent, now_us, reason)
            self._give_up(agent, reason)
