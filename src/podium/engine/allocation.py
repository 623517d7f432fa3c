"""Ready tasks that no registered agent could ever take: since when, and what becomes of them after too long. Pure.

A task that only waits its turn is none of them: agents of its type, with its capabilities, of its size are there, and
busy. Time counts from when the task became ready or such an agent was last seen here, whichever is later; after a
take-over from that, so that agents have the time to come back. The placing replica alone asks.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from podium.clock import SECOND, seconds_to_us
from podium.engine import inputs as inp
from podium.engine.state import place_of
from podium.fleet.messages import ErrorInfo
from podium.scheduling.placement import Placement, ReadyTask
from podium.workflow.units import format_duration

ALLOCATION_TIMEOUT = "AllocationTimeout"  # the error's type
LOOKS = 60  # so many of them in a time-out
MOST_AT_ONCE = 1_000


class Overdue(Struct, frozen=True):
    """An input that fails an attempt of which no agent was found."""

    execution: str
    input_id: str
    given: inp.Failed


class Allocations:
    """How long tasks have been without any agent that could take them."""

    def __init__(self, placement: Placement, timeout_seconds: float) -> None:
        """0 seconds: nothing is ever overdue."""
        self._placement = placement
        self._timeout_seconds = timeout_seconds
        self._timeout_us = seconds_to_us(timeout_seconds)
        self._alone: dict[str, int] = {}  # queues that no agent serves, since when
        self._since: dict[str, int] = {}  # attempts that nobody could take
        self._next_us = 0

    def overdue(self, now_us: int) -> list[Overdue]:
        """Return what is overdue now, each attempt once; nothing when the last look was only just now.

        An input that changes nothing, since its execution was paused meanwhile, is made again after another time-out.
        """
        if not self._timeout_us or now_us < self._next_us:
            return []
        self._next_us = now_us + max(self._timeout_us // LOOKS, min(SECOND, self._timeout_us))
        waiting = dict(self._hopeless(now_us))
        due = [ready for ready, since_us in waiting.items() if now_us - since_us >= self._timeout_us][:MOST_AT_ONCE]
        reasons: dict[tuple[object, ...], str] = {}
        found = [self._said_of(ready, waiting[ready], reasons) for ready in due]
        waiting.update(dict.fromkeys(due, now_us))
        self._since = {ready.attempt: since_us for ready, since_us in waiting.items()}
        return found

    def forget(self) -> None:
        """This replica doesn't place any more."""
        self._alone.clear()
        self._since.clear()

    def _hopeless(self, now_us: int) -> Iterator[tuple[ReadyTask, int]]:
        """Yield the tasks that nobody could take and since when; of a type's only once that may be too long."""
        for ready in self._placement.set_aside():
            yield ready, self._since.get(ready.attempt, now_us)
        joined = self._placement.joined()
        self._alone = {
            name: now_us if name in joined else self._alone.get(name, now_us)
            for name in self._placement.queues_without_agents()
        }
        for name, began_us in self._alone.items():
            if now_us - began_us >= self._timeout_us:
                for ready in self._placement.queued_in(name):
                    yield ready, self._since.get(ready.attempt, max(began_us, ready.ready_us))

    def _said_of(self, ready: ReadyTask, since_us: int, reasons: dict[tuple[object, ...], str]) -> Overdue:
        kind = (ready.queue, ready.capabilities, *sorted(ready.needs.items()))
        if kind not in reasons:
            reasons[kind] = self._placement.why(ready.execution, ready.task)
        text = f"{reasons[kind]}, for {format_duration(self._timeout_seconds)} (agent_allocation_timeout_seconds)"
        run, _, _ = place_of(ready.attempt)
        given = inp.Failed(ready.task, ready.number, ErrorInfo(ALLOCATION_TIMEOUT, text), inp.UNPLACED, run=run)
        return Overdue(ready.execution, f"unplaced:{ready.attempt}:{since_us}", given)
