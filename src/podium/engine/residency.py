"""Which executions are in memory: loaded when an input or a timer needs them, put out when they have nothing to do.

Also the timers of those that are. What waits longer than the horizon costs disk, not memory.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from podium.engine.state import State

if TYPE_CHECKING:
    from podium.engine.arrivals import Arrival

_FEW_TIMERS = 64
HORIZON_US = 60_000_000  # timers due within it keep their execution in memory


class Residency:
    """The states in memory, those on their way in, and the timers."""

    def __init__(self, idle_us: int) -> None:
        self.states: dict[str, State] = {}
        self.loading: dict[str, list[Arrival]] = {}  # with the inputs that wait for it
        self.quarantined: dict[str, str] = {}  # executions whose history can't be read, and why
        self._idle_us = idle_us
        self._idle: OrderedDict[str, int] = OrderedDict()  # since when
        self._ended: dict[str, None] = {}  # and were read again: for what was recorded already
        self._timers: list[tuple[int, str]] = []
        self._timer_of: dict[str, int] = {}

    def add(self, state: State) -> None:
        """Take a state in."""
        self.states[state.id] = state
        self.schedule(state)

    def drop(self, execution: str) -> None:
        """Put an execution out of memory."""
        self.states.pop(execution, None)
        self._idle.pop(execution, None)
        self._ended.pop(execution, None)
        self._timer_of.pop(execution, None)

    def schedule(self, state: State) -> None:
        """Bring an execution's timer up to its state."""
        due = state.next_timer_us()
        if due is None:
            self._timer_of.pop(state.id, None)
        elif self._timer_of.get(state.id) != due:
            self._timer_of[state.id] = due
            heappush(self._timers, (due, state.id))
            if len(self._timers) > 2 * len(self._timer_of) + _FEW_TIMERS:
                self._timers = [timer for timer in self._timers if self._timer_of.get(timer[1]) == timer[0]]
                heapify(self._timers)

    def next_due_us(self) -> int | None:
        """Return when the next timer is due."""
        timers = self._timers
        while timers and self._timer_of.get(timers[0][1]) != timers[0][0]:
            heappop(timers)
        return timers[0][0] if timers else None

    def due(self, now_us: int) -> list[State]:
        """Return the executions with a timer that is due; each is named once until it is scheduled again."""
        found: list[State] = []
        while (due := self.next_due_us()) is not None and due <= now_us:
            _, execution = heappop(self._timers)
            self._timer_of.pop(execution, None)
            if execution in self.states:
                found.append(self.states[execution])
        return found

    def note_rest(self, state: State, now_us: int) -> None:
        """Note that a committed state has nothing to do, or that it has again; one that has ended needn't stay.

        Of inputs that turn out to be recorded nothing comes, and so no commit puts out what was read again for them.
        """
        if state.active:
            self._idle.pop(state.id, None)
        else:
            self._idle.setdefault(state.id, now_us)
        if state.final:
            self._ended[state.id] = None
        else:
            self._ended.pop(state.id, None)

    def overdue_rest(self, now_us: int) -> list[str]:
        """Return executions that have ended, and those that have been idle for long and have no timer soon."""
        found = [execution for execution in self._ended if self.states[execution].final]
        for execution, since in self._idle.items():
            if now_us - since < self._idle_us:
                break
            if execution in self._ended:
                continue
            due = self._timer_of.get(execution)
            if due is None or due - now_us > HORIZON_US:
                found.append(execution)
        return found
