"""Which agents live behind which connections of the bus, and which are gone because theirs ended. Pure: time is an
argument.

A party is whoever a connection belongs to: a process of agents, or one agent. When its last connection ends, its
agents are missed; when nothing is heard of them within the grace, they are gone. Networks blink, so a party that
connects again within it has lost nothing. `podium.fleet.presence` is around it.
"""

from __future__ import annotations

from collections.abc import Callable

LATE_US = 1_000_000  # a look that comes so much too late was ours: we stood still, and may not have read the news yet
ON_ITS_WAY = 3  # in this part of the grace what arrives may have been said before the connection ended
_NEVER = 1 << 62


def party_of_key(key: str) -> str:
    """Return the party that holds a key, where the bus asks for one."""
    return f"key {key}"


def party_named(name: str) -> str:
    """Return the party that a connection's name says, where the bus asks for nothing else: a process of Podium's
    agents has its `connection_name`, an agent of another kind its id.
    """
    return f"name {name}"


def connection_name(incarnation: str) -> str:
    """Return the name that a process of Podium's agents gives its connection."""
    return f"podium-agent-{incarnation}"


class Absence:
    """An agent whose connection has ended."""

    __slots__ = ("believed_us", "due_us")

    def __init__(self, now_us: int, grace_us: int) -> None:
        self.due_us = now_us + grace_us  # when it is gone; never again once it is
        self.believed_us = now_us + grace_us // ON_ITS_WAY  # from when on a message says that it lives


class Connections:
    """What is known of the connections of one fleet's agents. Used on one thread."""

    def __init__(self, grace_us: int) -> None:
        self.grace_us = grace_us
        self.absent: dict[str, Absence] = {}  # by agent
        self._party: dict[str, str] = {}  # of each agent
        self._agents: dict[str, set[str]] = {}  # of each party
        self._holder: dict[str, str] = {}  # of each open connection
        self._open: dict[str, set[str]] = {}  # connections of each party

    # --- agents ------------------------------------------------------------------------------------------------

    def joined(self, agent: str, party: str) -> None:
        """An agent has registered, or did so again: it is here."""
        self.absent.pop(agent, None)
        if self._party.get(agent) == party:
            return
        self.left(agent)
        self._party[agent] = party
        self._agents.setdefault(party, set()).add(agent)

    def left(self, agent: str) -> None:
        """An agent is no longer part of the fleet: its connection is nobody's business."""
        self.absent.pop(agent, None)
        party = self._party.pop(agent, None)
        if party is not None:
            _discard(self._agents, party, agent)

    def heard(self, agent: str, now_us: int) -> None:
        """An agent said something. What it may have said before its connection ended says nothing."""
        absence = self.absent.get(agent)
        if absence is not None and now_us >= absence.believed_us:
            del self.absent[agent]

    # --- connections -------------------------------------------------------------------------------------------

    def opened(self, connection: str, party: str) -> tuple[str, ...]:
        """There is a connection. Returns the agents that are back by it."""
        if connection not in self._holder:
            self._holder[connection] = party
            self._open.setdefault(party, set()).add(connection)
        if not self.absent:
            return ()
        return self._these(party, lambda agent: self.absent.pop(agent, None) is not None)

    def closed(self, connection: str, now_us: int) -> tuple[str, ...]:
        """A connection has ended. Returns the agents that are missed from now on: those who have no other.

        One that was never seen open says nothing: whoever isn't let in can claim any name.
        """
        party = self._holder.pop(connection, None)
        if party is None:
            return ()
        _discard(self._open, party, connection)
        if party in self._open:
            return ()
        missed = self._these(party, lambda agent: agent not in self.absent)
        for agent in missed:
            self.absent[agent] = Absence(now_us, self.grace_us)
        return missed

    def unseen(self) -> None:
        """Our own view of the connections is lost: whoever is missed may be back, and leases have to tell."""
        self._holder.clear()
        self._open.clear()
        self.absent = {agent: absence for agent, absence in self.absent.items() if absence.due_us == _NEVER}

    # --- time --------------------------------------------------------------------------------------------------

    @property
    def due_us(self) -> int | None:
        """When somebody's grace ends next; None if nobody is missed."""
        due_us = min((absence.due_us for absence in self.absent.values()), default=_NEVER)
        return None if due_us == _NEVER else due_us

    def gone(self, now_us: int, reachable: bool = True) -> tuple[str, ...]:
        """Return, once, the agents whose grace is over. Where we couldn't hear them it begins anew."""
        found = []
        for agent, absence in self.absent.items():
            if absence.due_us > now_us:
                continue
            if reachable and now_us - absence.due_us < LATE_US:
                absence.due_us = _NEVER
                found.append(agent)
            else:
                self.absent[agent] = Absence(now_us, self.grace_us)
        return tuple(found)

    def _these(self, party: str, wanted: Callable[[str], bool]) -> tuple[str, ...]:
        return tuple(agent for agent in sorted(self._agents.get(party, ())) if wanted(agent))


def _discard(sets: dict[str, set[str]], key: str, value: str) -> None:
    """Take a value out of the set under a key; an empty set isn't kept."""
    kept = sets.get(key)
    if kept is not None:
        kept.discard(value)
        if not kept:
            del sets[key]
