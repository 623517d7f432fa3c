"""One step after another: inputs that have arrived are taken to their executions' states, and what follows from that
goes into the batch that is being filled.

Nothing here waits: an execution that isn't in memory is asked for, and its inputs go on when it has come.
"""

from __future__ import annotations

from collections.abc import Callable

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.arrivals import Arrival, Batches
from podium.engine.changes import Exports
from podium.engine.declining import Declining
from podium.engine.forwarding import Forwarding
from podium.engine.intake import Intake
from podium.engine.letters import letters_of
from podium.engine.loading import Loader
from podium.engine.readying import Readying
from podium.engine.residency import Residency
from podium.engine.scope import blobs_read
from podium.engine.shards import OwnedShards
from podium.engine.staffing import Staffing
from podium.engine.state import State
from podium.engine.step import step
from podium.exceptions import CorruptHistoryError
from podium.ids import PLACEMENT_SHARD
from podium.store.protocol import Blob, CounterChange

_ENDS = (ev.ExecutionCompleted, ev.ExecutionFailed, ev.ExecutionCancelled)


class Deciding:
    """Decides inputs for the owner of their executions."""

    def __init__(
        self,
        intake: Intake,
        residency: Residency,
        shards: OwnedShards,
        batches: Batches,
        staffing: Staffing,
        exports: Exports,
        loader: Loader,
        readying: Readying,
        declining: Declining,
        forwarding: Forwarding,
        *,
        shared: bool,
        max_batch: int,
        adopted: Callable[[State], None] | None,
    ) -> None:
        """`exports` has what is to be told to the replica that places; `adopted` is told of starts by others."""
        self._intake = intake
        self._residency = residency
        self._shards = shards
        self._batches = batches
        self._staffing = staffing
        self._exports = exports
        self._loader = loader
        self._readying = readying
        self._declining = declining
        self._forwarding = forwarding
        self._shared = shared
        self._max_batch = max_batch
        self._adopted = adopted

    def fire_timers(self, now_us: int) -> None:
        """Have the executions looked at whose timers are due."""
        for state in self._residency.due(now_us):
            self._intake.put_once(Arrival(state.id, f"tick:{state.sequence + 1}", inp.Tick()))

    def decide_arrivals(self, now_us: int) -> None:
        """Decide what has arrived, as far as the batch has room."""
        intake, batches, most = self._intake, self._batches, self._max_batch
        while intake.queue and batches.room(most) > 0:
            arrival = intake.take()
            state = self._state_for(arrival)
            if state is not None and not self._readying.holds_back(arrival, state):
                self.decide(arrival, state, now_us)

    def decide(self, arrival: Arrival, state: State, now_us: int) -> None:
        """Decide one input; the state is as it will be from then on."""
        given, before, batch = arrival.given, state.sequence, self._batches.filling
        if isinstance(given, inp.Start) and before:
            self._declining.repeated(arrival)
            return
        if arrival.blobs and not isinstance(given, inp.Start):
            _pin(state, given, arrival)
        decision = step(state, given, now_us)
        batch.add(arrival, state, before, decision, now_us)
        self._write_letters(state, given, decision.events, now_us)
        batch.blobs += _inputs_of_runs(state, decision.events)
        self._staffing.follow(state, arrival, decision.events)
        if not self._shards.leads:
            changes = self._exports.take()
            if changes:
                batch.told.append((state.id, state.sequence, changes))
        elif self._shared:
            batch.guard(PLACEMENT_SHARD)  # nobody else is told of this
        self._residency.schedule(state)
        if isinstance(given, inp.Start) and arrival.inbox_id and self._adopted is not None:
            self._adopted(state)
        if state.definition.workflow.config.max_concurrent_executions is not None:
            batch.counters += _counted(state, given, decision.events)

    def _write_letters(self, state: State, given: inp.Input, events: list[ev.Event], now_us: int) -> None:
        """Have go with the batch what an execution says to others because of an input."""
        batch = self._batches.filling
        for letter in letters_of(state, given, events):
            batch.letters.append(letter.row(state.tenant, now_us))
            batch.blobs += [Blob(state.tenant, digest, content) for digest, content in letter.blobs]

    def _state_for(self, arrival: Arrival) -> State | None:
        """Return the state that an arrival is for; None when it must be loaded first or can't be."""
        execution, residency = arrival.execution, self._residency
        state = residency.states.get(execution)
        if state is not None:
            return state
        if not self._shards.owns(execution):
            self._forwarding.forward(arrival)
            return None
        if execution in residency.loading:
            residency.loading[execution].append(arrival)
        elif execution in residency.quarantined:
            self._declining.reject(arrival, CorruptHistoryError(residency.quarantined[execution]))
        elif arrival.definition is not None:
            state = residency.states[execution] = State(execution, arrival.tenant, arrival.definition)
            start_input = arrival.given.input.blob if isinstance(arrival.given, inp.Start) else None
            state.loaded.update((digest, text) for digest, text in arrival.blobs if digest == start_input)
            state.pinned.update(state.loaded)
            return state
        elif arrival.renewable:
            self._intake.known.pop(arrival.key, None)
        else:
            self._loader.load_for(execution, [arrival])
        return None


def limit_key(state: State) -> str:
    """Return the name of the counter of a workflow's concurrent executions."""
    return f"workflow:{state.definition.workflow.name}"


def _counted(state: State, given: inp.Input, events: list[ev.Event]) -> list[CounterChange]:
    """Return how the counter of concurrent executions moves, of a workflow that limits them."""
    key, limit = limit_key(state), state.definition.workflow.config.max_concurrent_executions
    changes = []
    if isinstance(given, inp.Start) or any(isinstance(e, ev.ExecutionRetried) for e in events):
        changes.append(CounterChange(state.tenant, key, 1, limit))
    if any(isinstance(e, _ENDS) for e in events):
        changes.append(CounterChange(state.tenant, key, -1))
    return changes


def _inputs_of_runs(state: State, events: list[ev.Event]) -> list[Blob]:
    """Return the large input of the run that follows; its text is at hand since it was made just now."""
    inputs = [e.input.blob for e in events if type(e) is ev.RunCompleted and e.input.blob is not None]
    return [Blob(state.tenant, digest, state.loaded[digest]) for digest in inputs if digest in state.loaded]


def _pin(state: State, given: inp.Input, arrival: Arrival) -> None:
    """Keep an arrival's large values at hand, if conditions read them, or those of tasks that it adds may do so."""
    grows = isinstance(given, inp.Succeeded) and given.growth is not None
    if not grows and not blobs_read(state.definition, given):
        return
    for digest, content in arrival.blobs:
        state.loaded[digest] = content
        state.pinned.add(digest)
