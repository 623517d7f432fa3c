"""The circuit breaker of an agent: after so many failures in a row it gets nothing for a while, then one trial. Pure.

Only what speaks about the agent counts: that a worker under it died, that it fell silent, that it was too slow. An
error that a function raised is an answer: the agent has done its work, and the row ends. A task counts once in a row,
however often it fails there, since it may be the task that is broken. Time is an argument; `docs/state-machines.md`
draws the states.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum

from podium.clock import seconds_to_us
from podium.exceptions import IllegalTransitionError
from podium.workflow.model import CircuitBreaker

ROW_KEPT = 1_000  # tasks of a row that are told apart: no threshold is above


class CircuitState(StrEnum):
    """Whether an agent gets work, as far as its circuit breaker goes."""

    CLOSED = "closed"  # it does
    OPEN = "open"  # it doesn't
    HALF_OPEN = "half_open"  # one task, as a trial


CIRCUIT_MOVES: Mapping[CircuitState, frozenset[CircuitState]] = {
    CircuitState.CLOSED: frozenset({CircuitState.OPEN}),
    CircuitState.OPEN: frozenset({CircuitState.HALF_OPEN, CircuitState.CLOSED}),
    CircuitState.HALF_OPEN: frozenset({CircuitState.OPEN, CircuitState.CLOSED}),
}


class Sign(IntEnum):
    """What the end of an attempt says about its agent."""

    NOTHING = 0  # it was cancelled, refused or handed back, or its orchestrator died
    GOOD = 1  # a result, or an error that the function raised
    BAD = 2  # its worker died, it fell silent or was too slow


class Circuit:
    """One agent's failures in a row, and what they mean under any policy.

    `usual` holds for all tasks; None: only policies of their own hold. A task with one is admitted if both allow it.
    """

    __slots__ = ("_now_us", "_row", "_since_us", "_usual", "state", "trial")

    def __init__(self, usual: CircuitBreaker | None) -> None:
        self._usual = usual
        self._row: dict[str, None] = {}  # the tasks that failed in a row
        self._since_us = 0  # of the latest failure
        self._now_us = 0
        self.state = CircuitState.CLOSED  # under the usual policy, as of the latest look
        self.trial = ""  # the attempt that is under way as one

    @property
    def failures(self) -> int:
        """How many tasks have failed in a row."""
        return len(self._row)

    def ended(self, attempt: str, task: str, sign: Sign, now_us: int) -> None:
        """An attempt of a task has ended at this agent."""
        self.released(attempt)
        match sign:
            case Sign.GOOD:
                self._row.clear()
            case Sign.BAD:
                self._since_us = now_us
                if len(self._row) < ROW_KEPT:
                    self._row[task] = None
            case Sign.NOTHING:
                pass
        self.look(now_us)

    def look(self, now_us: int) -> CircuitState:
        """Bring the state up to this time and return it."""
        self._now_us = max(now_us, self._now_us)
        after = self.state_under(self._usual)
        if after is not self.state:
            check_circuit_move(self.state, after)
            self.state = after
        return after

    def state_under(self, policy: CircuitBreaker | None) -> CircuitState:
        """Return the state that a policy sees, as of the latest look."""
        if policy is None or len(self._row) < min(policy.failure_threshold, ROW_KEPT):
            return CircuitState.CLOSED
        waits = self._now_us < self._since_us + seconds_to_us(policy.timeout_seconds)
        return CircuitState.OPEN if waits else CircuitState.HALF_OPEN

    def admits(self, policy: CircuitBreaker | None) -> bool:
        """Whether the agent may be given a task that has this policy, or none, of its own."""
        return self._allows(self.state) and (policy is None or self._allows(self.state_under(policy)))

    def granted(self, attempt: str, policy: CircuitBreaker | None) -> None:
        """It is given a task: in a half-open circuit that is the trial."""
        if CircuitState.HALF_OPEN in (self.state, self.state_under(policy)):
            self.trial = attempt

    def released(self, attempt: str) -> None:
        """An attempt's slot comes back, whatever became of it: if it was the trial, there may be another one."""
        if self.trial == attempt:
            self.trial = ""

    def seconds_left(self, policy: CircuitBreaker | None = None) -> float:
        """Return after how many seconds the next trial may come."""
        policies = [each for each in (self._usual, policy) if each is not None]
        ends = [
            self._since_us + seconds_to_us(each.timeout_seconds)
            for each in policies
            if self.state_under(each) is CircuitState.OPEN
        ]
        return max([(end - self._now_us) / 1_000_000 for end in ends], default=0.0)

    def _allows(self, state: CircuitState) -> bool:
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self.trial)


def check_circuit_move(before: CircuitState, after: CircuitState) -> None:
    """Raise IllegalTransitionError unless a circuit breaker may go from one state to the other."""
    if after not in CIRCUIT_MOVES[before]:
        raise IllegalTransitionError(f"a circuit breaker can't go from {before} to {after}")
