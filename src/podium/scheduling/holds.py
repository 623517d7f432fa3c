"""Slots that attempts hold. A hold is kept until the attempt has ended, whatever becomes of its agent meanwhile; it
counts while the incarnation that it was given to is registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podium.scheduling.ready import Bound
from podium.scheduling.resources import Vector
from podium.scheduling.slots import Agent


class Hold:
    """A slot that an attempt holds. `counted_by` is the agent that counts it, None while that isn't registered."""

    __slots__ = ("agent", "attempt", "bounds", "counted_by", "execution", "incarnation", "needs")

    def __init__(
        self, attempt: str, agent: str, incarnation: str, execution: str, needs: Vector, bounds: tuple[Bound, ...] = ()
    ) -> None:
        self.attempt = attempt
        self.bounds = bounds
        self.agent = agent
        self.incarnation = incarnation
        self.execution = execution
        self.needs = needs
        self.counted_by: Agent | None = None

    def count(self, agent: Agent) -> None:
        """Count it against the agent's slots."""
        before, self.counted_by = self.counted_by, agent
        if before is not None and before.together is not None:  # the agent told something new of itself
            before.together.held -= 1
        agent.held += 1
        if agent.together is not None:
            agent.together.held += 1
        agent.capacity.take(self.needs)


class Holds:
    """All of them, by attempt, by execution and by agent."""

    def __init__(self) -> None:
        self._all: dict[str, Hold] = {}
        self._of: dict[str, dict[str, None]] = {}  # attempts, by execution
        self._with: dict[str, dict[str, None]] = {}  # attempts, by agent

    def __contains__(self, attempt: str) -> bool:
        return attempt in self._all

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    def add(self, hold: Hold) -> None:
        """Take one in."""
        self._all[hold.attempt] = hold
        self._of.setdefault(hold.execution, {})[hold.attempt] = None
        self._with.setdefault(hold.agent, {})[hold.attempt] = None

    def get(self, attempt: str) -> Hold | None:
        """Return an attempt's."""
        return self._all.get(attempt)

    def pop(self, attempt: str) -> Hold | None:
        """Return an attempt's, and let it go."""
        hold = self._all.pop(attempt, None)
        if hold is not None:
            for index, key in ((self._of, hold.execution), (self._with, hold.agent)):
                attempts = index[key]
                del attempts[attempt]
                if not attempts:
                    del index[key]
        return hold

    def with_agent(self, agent: str) -> list[Hold]:
        """Return those of an agent, of all its lives, the latest last."""
        return [self._all[attempt] for attempt in self._with.get(agent, ())]

    def latest_with(self, agent: str) -> Hold | None:
        """Return the latest of an agent's."""
        for attempt in reversed(self._with.get(agent, {})):
            return self._all[attempt]
        return None

    def attempts_of(self, execution: str) -> list[str]:
        """Return the attempts of an execution that hold slots."""
        return list(self._of.get(execution, ()))

    def executions(self) -> Iterable[str]:
        """Return the executions that hold slots."""
        return self._of.keys()
