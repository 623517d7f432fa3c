"""What leaves the engine for agents, after the commit: assignments, stops, confirmations.

An assignment whose arguments hold large values loads them first; one whose arguments can't be made fails the attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, assert_never

from podium.clock import Clock
from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival, Decided
from podium.engine.assignments import assignment_for
from podium.engine.commands import Assign, Command, Stop
from podium.engine.leases import Lease
from podium.engine.recovery import load_texts
from podium.engine.scope import BlobMissing
from podium.engine.staffing import Staffing
from podium.engine.state import State
from podium.exceptions import CorruptHistoryError, ExpressionError
from podium.fleet import messages as msg
from podium.store.protocol import Store
from podium.workflow.model import ExecutionStatus

_UNUSABLE = (ExpressionError, TypeError, ValueError, RecursionError)


class Dispatcher:
    """Gives commands to agents through the carrier."""

    def __init__(
        self,
        store: Store,
        carrier: msg.Carrier,
        staffing: Staffing,
        clock: Clock,
        *,
        arrive: Callable[[Arrival], None],
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
        retrying: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
    ) -> None:
        self._store = store
        self._carrier = carrier
        self._staffing = staffing
        self._clock = clock
        self._arrive = arrive
        self._spawn = spawn
        self._retrying = retrying

    def give(self, command: Command, state: State) -> None:
        """Carry out a committed command."""
        match command:
            case Assign(task, number, agent):
                self._assign(state, task, number, agent)
            case Stop(attempt, agent, reason, force):
                self._carrier.send(agent, msg.Cancel(attempt, reason, force))
            case _:
                assert_never(command)

    def say_again(self, state: State, lease: Lease) -> None:
        """Tell an agent what it may never have heard of a live attempt: agents know copies."""
        task = state.tasks.get(lease.task)
        if task is None or lease.number not in (task.live or {}):
            return
        if state.status is ExecutionStatus.CANCELLING:
            attempt = state.attempt_id(lease.task, lease.number)
            self._carrier.send(lease.agent, msg.Cancel(attempt, state.reason or "the execution is cancelled"))
        else:  # its lease isn't begun anew by that: who doesn't answer loses it
            self._send(state, lease.task, lease.number, lease.agent)

    def answer(self, decided: Decided) -> None:
        """Let the agent know what became of what it said."""
        self.confirm(decided.arrival, accepted=not isinstance(decided.events[0], ev.InputIgnored))

    def confirm(self, arrival: Arrival, accepted: bool) -> None:
        """Confirm a result to its agent; anything else needs no confirmation."""
        if arrival.agent and isinstance(arrival.given, inp.Succeeded | inp.Failed):
            self._carrier.send(arrival.agent, msg.Confirmation(arrival.attempt, accepted))

    def _assign(self, state: State, path: str, number: int, agent: str) -> None:
        task = state.tasks[path]
        self._staffing.begun(state, task, number)
        self._staffing.begin_lease(state, task, number, self._clock.now_us())
        if self._staffing.leases.get(state.attempt_id(path, number)) is not None:
            self._send(state, path, number, agent)

    def _send(self, state: State, path: str, number: int, agent: str) -> None:
        task = state.tasks[path]
        try:
            self._carrier.send(agent, assignment_for(state, task, number, agent, self._staffing.lease_seconds(agent)))
        except BlobMissing:
            self._spawn(self._assign_loaded(state, path, number, agent), "podium-assign")
        except _UNUSABLE as error:
            self._fail(state, path, number, error)

    async def _assign_loaded(self, state: State, path: str, number: int, agent: str) -> None:
        """Load what the arguments hold, build the message, and let the values go again."""
        borrowed: set[str] = set()
        try:
            self._carrier.send(agent, await self._built(state, path, number, agent, borrowed))
        except (*_UNUSABLE, KeyError, CorruptHistoryError) as error:
            self._fail(state, path, number, error)
        finally:
            for digest in borrowed - state.pinned:
                state.loaded.pop(digest, None)

    async def _built(self, state: State, path: str, number: int, agent: str, borrowed: set[str]) -> msg.Assignment:
        while True:
            try:
                return assignment_for(state, state.tasks[path], number, agent, self._staffing.lease_seconds(agent))
            except BlobMissing as missing:
                digests = missing.digests
            borrowed.update(digests)
            await self._retrying(partial(load_texts, self._store, state, digests))

    def _fail(self, state: State, path: str, number: int, error: Exception) -> None:
        info = msg.ErrorInfo("ArgumentError", f"its arguments can't be made: {error}", retryable=False)
        attempt = state.attempt_id(path, number)
        self._arrive(Arrival(state.id, f"failed:{attempt}", inp.Failed(path, number, info)))
