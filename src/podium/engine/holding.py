"""Inputs for executions that wait for room and that mustn't begin out of their turn: they are held until those begin.

Who waits for an execution's end has no say in when it begins; and one whose workflow's own limit keeps it back can't be
begun by anybody. What is held lies in the inbox, or has somebody who waits for it: a kill loses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival, Batch
from podium.engine.intake import Intake
from podium.ids import shard_of
from podium.store.protocol import InboxRow

MOST_HELD = 10_000


class Holding:
    """The inputs that are held, by the executions that they are for."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._held: dict[str, list[Arrival]] = {}
        self._rows: set[int] = set()
        self._count = 0

    @property
    def rows(self) -> int:
        """How many of them lie in the inbox."""
        return len(self._rows)

    def has(self, row: InboxRow) -> bool:
        """Whether an inbox row is held."""
        return row.id in self._rows

    def hold(self, arrival: Arrival) -> bool:
        """Hold an input; False if too many are held."""
        if self._count >= MOST_HELD:
            return False
        self._count += 1
        self._held.setdefault(arrival.execution, []).append(arrival)
        if arrival.inbox_id:
            self._rows.add(arrival.inbox_id)
            if arrival.waiter is None:  # a stop needn't wait for it
                self._intake.known.pop(arrival.key, None)
        return True

    def release(self, executions: Iterable[str]) -> None:
        """Let go on what is held for these: they have begun, or don't begin here any more."""
        for execution in executions:
            held = self._held.pop(execution, None)
            if held is None:
                continue
            self._count -= len(held)
            self._rows.difference_update(arrival.inbox_id for arrival in held)
            self._intake.known.update((arrival.key, arrival) for arrival in held)
            self._intake.put_first(held)

    def landed(self, batch: Batch) -> None:
        """A batch is committed: with it executions have begun, or their starts are refused."""
        if self._held:
            starts = [each.arrival for each in batch.decided if isinstance(each.arrival.given, inp.Start)]
            self.release(dict.fromkeys([*batch.refused, *(start.execution for start in starts)]))

    def disown(self, shards: Collection[int]) -> None:
        """These shards are others' now: what is held for their executions finds its way there."""
        self.release([execution for execution in self._held if shard_of(execution) in shards])
