"""Inputs on which nothing is decided: one that is recorded already, and one that will not be recorded.

Who waits for an answer has it at once; the row in the inbox goes with the next batch, which is written soon.
"""

from __future__ import annotations

from collections.abc import Callable

from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival, Batches
from podium.engine.dispatch import Dispatcher
from podium.engine.intake import Intake
from podium.engine.letters import no_child, refusal
from podium.engine.residency import Residency
from podium.engine.shards import OwnedShards
from podium.engine.state import State
from podium.engine.watching import Watchers
from podium.exceptions import PodiumError
from podium.ids import shard_of


class Declining:
    """Settles such inputs with everybody who has to do with them."""

    def __init__(
        self,
        intake: Intake,
        batches: Batches,
        shards: OwnedShards,
        residency: Residency,
        watchers: Watchers,
        dispatcher: Dispatcher,
        *,
        unusable: Callable[[str, str, str], None],
    ) -> None:
        """`unusable` is told of what an agent said in vain: the agent, the attempt, why."""
        self._intake = intake
        self._batches = batches
        self._shards = shards
        self._residency = residency
        self._watchers = watchers
        self._dispatcher = dispatcher
        self._unusable = unusable
        # Told of executions whose starts came once more, and of those that don't begin.
        self.start_repeated: Callable[[str, State | None], None] = lambda execution, state: None
        self.start_refused: Callable[[str], None] = lambda execution: None

    def repeated(self, arrival: Arrival) -> None:
        """The input is recorded already: drop it, and let whoever sent it know that it counts."""
        self._drain(arrival)
        if isinstance(arrival.given, inp.Start):
            self.start_repeated(arrival.execution, self._residency.states.get(arrival.execution))
        self._intake.settle(arrival, [])
        self._dispatcher.confirm(arrival, accepted=True)

    def reject(self, arrival: Arrival, error: PodiumError) -> None:
        """The input will not be recorded: who waits for it is told why."""
        self._drain(arrival)
        if arrival.inbox_id:
            self._batches.filling.refused.append(arrival.execution)
        self._intake.reject(arrival, error)
        self._intake.wake.set()
        if isinstance(arrival.given, inp.Await) and arrival.inbox_id and self._shards.owns(arrival.execution):
            letter = refusal(arrival.given, arrival.execution, str(error))
            self._batches.filling.refusals.append(letter.row(arrival.tenant, 0))
        if isinstance(arrival.given, inp.Start):
            word = no_child(arrival.given, arrival.execution, str(error))
            if word is not None and arrival.inbox_id and self._shards.owns(arrival.execution):
                self._batches.filling.refusals.append(word.row(arrival.tenant, 0))
            self.start_refused(arrival.execution)
            self._watchers.unsure([arrival.execution])
        if arrival.agent:
            self._unusable(arrival.agent, arrival.attempt, str(error))

    def _drain(self, arrival: Arrival) -> None:
        """Take out of the inbox what needs no row, if it is ours to take."""
        if arrival.inbox_id and self._shards.owns(arrival.execution):
            self._batches.filling.drain(arrival.inbox_id, shard_of(arrival.execution))
            self._intake.wake.set()  # nothing else may come that would take it along
