"""The circuit breakers of the placing replica: what the ends of attempts say about their agents, and who gets nothing.

A breaker is made at an agent's first failure and forgotten at its next success. Agents elsewhere are under the usual
policy; one of this process runs the task's code and nothing else, so that only a workflow's own policy holds for it.
"""

from __future__ import annotations

from collections.abc import Callable

from podium.engine import events as ev
from podium.fleet.breaker import Circuit, CircuitState, Sign
from podium.fleet.messages import FOREIGN, REMOTE
from podium.scheduling.placement import Agent, Placement
from podium.telemetry.logs import get_logger
from podium.workflow.model import CircuitBreaker

MOST = 10_000  # agents that have a row of failures
_NEVER_BEGUN = frozenset({"ArgumentError"})  # errors of attempts that no agent has had
_BAD = frozenset({"crash", "lost", "timeout"})
_log = get_logger("podium.engine")


def sign_of(event: ev.TaskCompleted | ev.AttemptFailed | ev.AttemptReturned) -> Sign:
    """Return what the end of an attempt says about its agent."""
    match event:
        case ev.TaskCompleted():
            return Sign.GOOD
        case ev.AttemptFailed(how="error") if event.error.type not in _NEVER_BEGUN:
            return Sign.GOOD
        case ev.AttemptFailed() if event.how in _BAD and event.error.type != "DeadlineExceeded":
            return Sign.BAD
        case _:
            return Sign.NOTHING


class Circuits:
    """The breakers by agent; what is placed heeds them."""

    def __init__(self, placement: Placement, now_us: Callable[[], int], usual: CircuitBreaker | None = None) -> None:
        self._placement = placement
        self._now_us = now_us
        self._usual = usual
        self._circuits: dict[str, Circuit] = {}
        self.opened = 0  # how often one has

    def ended(self, agent_id: str, attempt: str, sign: Sign) -> None:
        """An attempt has ended that this agent had."""
        if sign is Sign.NOTHING or not agent_id or (sign is Sign.GOOD and not self._circuits):
            return
        circuit = self._circuits.get(agent_id)
        if circuit is None and sign is Sign.BAD:
            circuit = self._made(agent_id)
        if circuit is None:
            return
        before = circuit.state
        circuit.ended(attempt, attempt.rpartition(":")[0], sign, self._now_us())
        if circuit.state is CircuitState.OPEN and before is not CircuitState.OPEN:
            self.opened += 1
            _log.warning("an agent gets nothing for a while", agent=agent_id, failures=circuit.failures)
        if not circuit.failures:
            self._forget(agent_id)

    def attach(self, agent: Agent) -> None:
        """An agent registers: what it did before counts on."""
        agent.circuit = self._circuits.get(agent.id)

    def look(self) -> None:
        """See whose time-out is over; those are tried."""
        now_us = self._now_us()
        for agent_id, circuit in self._circuits.items():
            circuit.look(now_us)
            self._placement.reconsider(agent_id)

    def forget_all(self) -> None:
        """This replica doesn't place any more."""
        for agent_id in list(self._circuits):
            self._forget(agent_id)

    def states(self) -> dict[str, int]:
        """Return how many of the registered agents are in each state of the usual policy."""
        found = dict.fromkeys(CircuitState, 0)
        for agent in self._placement.agents.values():
            found[agent.circuit.state if agent.circuit is not None else CircuitState.CLOSED] += 1
        return {str(state): number for state, number in found.items()}

    def _made(self, agent_id: str) -> Circuit:
        while len(self._circuits) >= MOST:
            self._forget(next(iter(self._circuits)))
        agent = self._placement.agents.get(agent_id)
        lives_here = agent is not None and not agent.incarnation.startswith((REMOTE, FOREIGN))
        circuit = self._circuits[agent_id] = Circuit(None if lives_here else self._usual)
        if agent is not None:
            agent.circuit = circuit
        return circuit

    def _forget(self, agent_id: str) -> None:
        del self._circuits[agent_id]
        agent = self._placement.agents.get(agent_id)
        if agent is not None:
            agent.circuit = None
            self._placement.reconsider(agent_id)
