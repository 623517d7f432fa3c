"""Leases of attempts: who works on what, and until when that is believed without another word.

In memory, on the owner's own clock; fresh after a take-over and after the owner's own stall. What ends here is an
input.
"""

from __future__ import annotations

from collections.abc import Callable

from podium.clock import seconds_to_us

FOREIGN_LEASE_SECONDS = 60.0  # of an agent that declares no renewal; any message from it renews
STALL_US = 3_000_000  # a look that comes so late (or half a lease) says something about us, not about the agents


class Lease:
    """One live attempt's lease, with what people ask about it."""

    __slots__ = (
        "accepted_us",
        "agent",
        "execution",
        "expires_us",
        "fraction",
        "incarnation",
        "length_us",
        "message",
        "number",
        "said_us",
        "task",
    )

    def __init__(
        self,
        execution: str,
        task: str,
        number: int,
        agent: str,
        incarnation: str,
        expires_us: int,
        length_us: int | None = None,
    ) -> None:
        self.execution = execution
        self.task = task
        self.number = number
        self.agent = agent
        self.incarnation = incarnation
        self.expires_us = expires_us
        self.length_us = length_us  # None is what is usual
        self.accepted_us = 0  # when its agent first said that it has it
        self.said_us = expires_us - (length_us or 0)  # when the agent was last told
        self.fraction: float | None = None
        self.message = ""


class Leases:
    """The leases by attempt id."""

    def __init__(self, seconds: float) -> None:
        self.length_us = seconds_to_us(seconds)
        self._stall_us = min(STALL_US, self.length_us // 2)
        self._leases: dict[str, Lease] = {}
        self._of_agent: dict[str, dict[str, Lease]] = {}
        self._looked_us = 0

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, attempt: str) -> Lease | None:
        """Return an attempt's lease."""
        return self._leases.get(attempt)

    def begin(self, attempt: str, lease: Lease, now_us: int = 0) -> None:
        """Begin a lease; from the first one on a look can be late."""
        self.end(attempt)
        self._leases[attempt] = lease
        self._of_agent.setdefault(lease.agent, {})[attempt] = lease
        self._looked_us = self._looked_us or now_us

    def end(self, attempt: str) -> None:
        """End a lease. Once more changes nothing."""
        lease = self._leases.pop(attempt, None)
        if lease is not None:
            of_agent = self._of_agent[lease.agent]
            del of_agent[attempt]
            if not of_agent:
                del self._of_agent[lease.agent]

    def renew(self, attempts: tuple[str, ...], now_us: int) -> None:
        """Believe in these for another lease."""
        for attempt in attempts:
            lease = self._leases.get(attempt)
            if lease is not None:
                lease.accepted_us = lease.accepted_us or now_us
                self.believe(lease, now_us)

    def prolong(self, lease: Lease, now_us: int) -> None:
        """Believe in one for another lease, though nothing was heard: its agent is only now told of it."""
        lease.said_us = now_us
        self.believe(lease, now_us)

    def believe(self, lease: Lease, now_us: int) -> None:
        """Begin one anew."""
        lease.expires_us = now_us + (self.length_us if lease.length_us is None else lease.length_us)

    def of_agent(self, agent: str, other_than: str = "") -> list[tuple[str, Lease]]:
        """Return an agent's leases, those of one incarnation left out."""
        return [(a, lease) for a, lease in self._of_agent.get(agent, {}).items() if lease.incarnation != other_than]

    def renew_all(self, agent: str, now_us: int) -> None:
        """Believe in all that an agent has for another lease."""
        for lease in self._of_agent.get(agent, {}).values():
            self.believe(lease, now_us)

    def all(self) -> list[Lease]:
        """Return all leases."""
        return list(self._leases.values())

    def items(self) -> list[tuple[str, Lease]]:
        """Return all attempts that have leases, with them."""
        return list(self._leases.items())

    def of_execution(self, execution: str) -> list[Lease]:
        """Return an execution's leases."""
        return [lease for lease in self._leases.values() if lease.execution == execution]

    def attempts_of(self, execution: str) -> list[str]:
        """Return an execution's attempts that have leases."""
        return [attempt for attempt, lease in self._leases.items() if lease.execution == execution]

    def of_agent_unlike(self, is_here: Callable[[str, str], bool]) -> list[tuple[str, Lease]]:
        """Return the leases of agents that aren't here, asked by agent and incarnation."""
        return [(a, lease) for a, lease in self._leases.items() if not is_here(lease.agent, lease.incarnation)]

    def expired(self, now_us: int) -> list[tuple[str, Lease]]:
        """Return the leases that have ended. After a stall of our own all begin anew instead."""
        stalled = self._looked_us and now_us - self._looked_us > self._stall_us
        self._looked_us = now_us
        if stalled:
            for lease in self._leases.values():
                self.believe(lease, now_us)
            return []
        return [(a, lease) for a, lease in self._leases.items() if lease.expires_us <= now_us]

    def rest(self) -> None:
        """Nothing is held: the next look isn't late, however long that takes."""
        self._looked_us = 0
