"""An agent's states and what moves it from one to another, as one table; `docs/state-machines.md` draws it. Pure.

Nothing else in Podium decides how an agent's state follows from what happens to it. A move that isn't here raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from podium.exceptions import IllegalTransitionError


class AgentState(StrEnum):
    """Where an agent of the fleet stands."""

    REGISTERED = "registered"  # confirmed, not heard of since
    IDLE = "idle"  # heard of, holds no task
    BUSY = "busy"  # holds at least one task
    UNHEALTHY = "unhealthy"  # has missed its heartbeats
    DRAINING = "draining"  # finishes what it has and gets nothing new
    LOST = "lost"  # unhealthy for so long that it is given up
    DEREGISTERED = "deregistered"  # out of the fleet; it may register again


class AgentEvent(StrEnum):
    """What happens to an agent, in document 000's words where it has any."""

    HEARTBEAT = "heartbeat"  # any sign of life
    PROCESS = "process"  # it was given a task
    COMPLETE = "complete"  # the last task that it held has ended
    MARK_UNHEALTHY = "mark_unhealthy"  # it missed heartbeats
    MARK_LOST = "mark_lost"  # it remained unhealthy for the threshold period
    DRAIN = "drain"  # it, or somebody, asked that it take nothing new
    DEREGISTER = "deregister"  # it left, or is taken out once it is lost


_S, _E = AgentState, AgentEvent
_LEAVES = {_E.MARK_UNHEALTHY: _S.UNHEALTHY, _E.DRAIN: _S.DRAINING, _E.DEREGISTER: _S.DEREGISTERED}

TRANSITIONS: Mapping[AgentState, Mapping[AgentEvent, AgentState]] = {
    _S.REGISTERED: {_E.HEARTBEAT: _S.IDLE, _E.PROCESS: _S.BUSY, **_LEAVES},
    _S.IDLE: {_E.HEARTBEAT: _S.IDLE, _E.PROCESS: _S.BUSY, **_LEAVES},
    _S.BUSY: {_E.HEARTBEAT: _S.BUSY, _E.PROCESS: _S.BUSY, _E.COMPLETE: _S.IDLE, **_LEAVES},
    # What it holds may still be given back or end; that alone is no sign of life. One that recovers is told apart
    # again by `process` or `drain`, which follow its heartbeat.
    _S.UNHEALTHY: {
        _E.HEARTBEAT: _S.IDLE,
        _E.PROCESS: _S.UNHEALTHY,
        _E.COMPLETE: _S.UNHEALTHY,
        _E.DRAIN: _S.UNHEALTHY,
        _E.MARK_LOST: _S.LOST,
        _E.DEREGISTER: _S.DEREGISTERED,
    },
    _S.DRAINING: {
        _E.HEARTBEAT: _S.DRAINING,
        _E.PROCESS: _S.DRAINING,  # granted before it was known
        _E.COMPLETE: _S.DRAINING,
        _E.DRAIN: _S.DRAINING,
        _E.MARK_UNHEALTHY: _S.UNHEALTHY,
        _E.DEREGISTER: _S.DEREGISTERED,
    },
    _S.LOST: {_E.DEREGISTER: _S.DEREGISTERED},
    _S.DEREGISTERED: {},
}

AGENT_MOVES: Mapping[AgentState, frozenset[AgentState]] = {
    before: frozenset(after for after in follow.values() if after is not before)
    for before, follow in TRANSITIONS.items()
}


class AgentStateMachine:
    """The state of one agent."""

    __slots__ = ("state",)

    def __init__(self, state: AgentState = AgentState.REGISTERED) -> None:
        self.state = state

    def process(self, event: AgentEvent) -> AgentState:
        """Move on and return the new state. Raises IllegalTransitionError for a move that the table doesn't have."""
        self.state = after(self.state, event)
        return self.state


def after(state: AgentState, event: AgentEvent) -> AgentState:
    """Return the state that follows. Raises IllegalTransitionError for a move that the table doesn't have."""
    found = TRANSITIONS[state].get(event)
    if found is None:
        raise IllegalTransitionError(f"an agent that is {state} can't take the event {event}")
    return found
