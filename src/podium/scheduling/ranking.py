"""Which of several agents gets a task: lists by type and rank, the smallest first, and one of all agents for tasks of
any type. An agent that changes is listed anew; its former places are passed over when they come up.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Protocol

from podium.scheduling.ready import ANY_TYPE, ReadyTask
from podium.scheduling.slots import Agent


class AgentChoice(Protocol):
    """Ranks agents for a task: the smallest rank that fits gets it."""

    def rank(self, agent: Agent) -> float:
        """Return the agent's rank now."""
        ...


class LeastLoaded:
    """The agent with the smallest share of its slots taken."""

    def rank(self, agent: Agent) -> float:
        """Return the share of slots taken."""
        return agent.load


class Ranking:
    """The lists."""

    def __init__(self, choice: AgentChoice, agents: Mapping[str, Agent]) -> None:
        """`agents` are those that are registered, by id."""
        self._choice = choice
        self._agents = agents
        self.lists: dict[str, list[tuple[float, str]]] = {}
        self._any_type = False  # whether a task of any type was ever queued: else nobody pays for that list

    def rank_for_any_type(self) -> None:
        """A task of any type is there: from now on there is a list of all agents."""
        if not self._any_type:
            self._any_type = True
            for agent in self._agents.values():
                self.enlist(agent)

    def enlist(self, agent: Agent) -> None:
        """Put an agent into its type's list, and that of all, under its present rank, once for each rank."""
        rank = self._choice.rank(agent)
        for agent_type in (agent.type, ANY_TYPE) if self._any_type else (agent.type,):
            if (agent_type, rank) not in agent.offers:
                agent.offers.add((agent_type, rank))
                heappush(self.lists.setdefault(agent_type, []), (rank, agent.id))

    def best(self, ready: ReadyTask) -> Agent | None:
        """Return the best ranked open agent that fits, off its list; None without one."""
        ranks = self.lists.get(ready.agent_type)
        aside: list[Agent] = []
        chosen = None
        while ranks and chosen is None:
            rank, agent_id = heappop(ranks)
            agent = self._agents.get(agent_id)
            if agent is None or ready.agent_type not in (agent.type, ANY_TYPE):
                continue  # it has gone, or came back as another type
            agent.offers.discard((ready.agent_type, rank))
            if not agent.open or rank != self._choice.rank(agent):
                continue  # stale: its true rank was offered when it changed
            if agent.serves(ready) and agent.fits(ready):
                chosen = agent
            else:
                aside.append(agent)
        for other in aside:
            self.enlist(other)
        return chosen

    def has_open(self, ready: ReadyTask) -> bool:
        """Whether some agent of a task's kind can be given something."""
        listed = (self._agents.get(agent_id) for _, agent_id in self.lists.get(ready.agent_type, ()))
        return any(agent is not None and agent.open and agent.serves(ready) for agent in listed)
