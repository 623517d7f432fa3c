"""The oracle: what must hold of a store's log after anything at all, checked against what clients were told and a
ledger of effects. The numbers are those of the faults' list:

I1 no acknowledged submission or input is lost · I2 at most one accepted result an attempt, one final result a task · I3
a final state never changes, but by a person's retry · I4 sequences and positions have no gap, checksums hold, the fold
equals the stored row and the snapshot, and deciding again from the recorded inputs gives the same events · I5 nothing
is silently stuck · I6 slots, leases and limits return to zero · I7 an execution that continues as new has each of its
runs once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from podium.engine import events as ev
from podium.engine import inputs as inp
from podium.engine.arrivals import row_of
from podium.engine.codec import decode_row, encode_events
from podium.engine.explain import Sources, explain, headline
from podium.engine.reconciliation import contradictions
from podium.engine.recovery import Definitions, restore
from podium.engine.runtime import Engine
from podium.engine.shards import EVERY_SHARD
from podium.engine.snapshot import encode_state
from podium.engine.state import State
from podium.engine.step import fold, step
from podium.engine.values import Value
from podium.exceptions import PodiumError
from podium.ids import shard_of
from podium.scheduling.placement import Placement
from podium.store.protocol import ExecutionRow, LogRow, Store
from podium.testing.ledger import Effect, Told
from podium.workflow.model import FINAL_EXECUTION, ExecutionStatus, ParentClose, TaskStatus

_PAGE = 1_000
Expected = Callable[[str, State], bytes | None]  # the JSON that a task's result must be; None: anything


class Examination:
    """One look at a whole store. `broken` lists what doesn't hold; empty means that all does."""

    def __init__(
        self,
        store: Store,
        told: Told | None = None,
        effects: Iterable[Effect] = (),
        *,
        at_rest: bool = True,
        expected: Expected | None = None,
        keeps_ledger: Callable[[str, State], bool] = lambda path, state: True,
    ) -> None:
        """`at_rest`: everything should have ended; `expected` gives the result that a task must have, by its path;
        `keeps_ledger` tells of a task whether whoever does it writes its effects down.
        """
        self._store = store
        self._definitions = Definitions(store)
        self._told = told or Told()
        self._effects = {effect.attempt for effect in effects if effect.outcome == "succeeded"}
        self._at_rest = at_rest
        self._expected = expected
        self._keeps_ledger = keeps_ledger
        self.broken: list[str] = []
        self.attempts = 0  # that were granted

    async def examine(self) -> list[str]:
        """Look at everything; return what is broken."""
        await self._look_at_shards()
        rows = await self._executions()
        for row in rows:
            try:
                await self._look_at_execution(row)
            except (PodiumError, KeyError, LookupError) as error:
                self._say("I4", f"{row.id} can't be read: {type(error).__name__}: {error}")
        await self._look_at_acknowledged({row.id for row in rows})
        if self._at_rest:
            await self._look_at_rest()
        return self.broken

    def _say(self, invariant: str, what: str) -> None:
        self.broken.append(f"{invariant}: {what}")

    # --- the log as a whole --------------------------------------------------------------------------------------

    async def _look_at_shards(self) -> None:
        for shard in await self._store.shards():
            position = 0
            while rows := await self._store.follow(shard.shard, position, _PAGE):
                for row in rows:
                    position += 1
                    if row.position != position:
                        self._say("I4", f"shard {shard.shard}: position {row.position} stands where {position} should")
                    if row.checksum != row.computed_checksum():
                        self._say("I4", f"shard {shard.shard}: the row at {row.position} doesn't match its checksum")
                    if shard_of(row.execution) != row.shard:
                        self._say("I4", f"{row.execution} lies in shard {row.shard}")
            if position != shard.position:
                self._say("I4", f"shard {shard.shard} ends at {position}, its row says {shard.position}")

    async def _executions(self) -> list[ExecutionRow]:
        return await self._store.executions(None, limit=1_000_000)

    async def _look_at_acknowledged(self, there: set[str]) -> None:
        for execution in self._told.executions:
            if execution not in there:
                self._say("I1", f"the acknowledged execution {execution} isn't there")
        recorded = await self._store.recorded(list(self._told.inputs))
        for execution, input_id in self._told.inputs:
            if (execution, input_id) not in recorded:
                self._say("I1", f"the acknowledged input {input_id} of {execution} isn't recorded")

    async def _look_at_rest(self) -> None:
        left = await self._store.inbox(EVERY_SHARD, 0, 10)
        if left:
            self._say("I5", f"inputs were left in the inbox: {', '.join(f'{r.execution} {r.input_id}' for r in left)}")

    # --- one execution -------------------------------------------------------------------------------------------

    async def _look_at_execution(self, row: ExecutionRow) -> None:
        definition = await self._definitions.get(row.tenant, row.definition)
        state, again = (State(row.id, row.tenant, definition) for _ in range(2))
        seen: set[str] = set()
        ends: Counter[tuple[str, int]] = Counter()
        results: Counter[str] = Counter()
        unended: set[str] = set()
        sequence = 0
        for entry in await self._history(row.id):
            if entry.sequence != sequence + 1:
                self._say("I4", f"{row.id}: sequence {entry.sequence} follows {sequence}")
            sequence = entry.sequence + entry.event_count - 1
            if entry.input_id in seen:
                self._say("I4", f"{row.id}: the input {entry.input_id} is recorded twice")
            seen.add(entry.input_id)
            payload = await self._store.get(entry.tenant, entry.payload_blob) if entry.payload_blob else None
            given, events = decode_row(entry, payload)
            await self._decide_again(again, entry, given)
            self._look_at_final(state, given, events)
            self._look_at_runs(state, events)
            fold(state, [(entry.now_us, events)])
            await self._look_at_events(state, events, ends, results)
            self._look_at_children(state, events, unended)
        self._count(row.id, ends, results)
        await self._look_at_state(row, state)

    async def _history(self, execution: str) -> list[LogRow]:
        rows: list[LogRow] = []
        while page := await self._store.history(execution, rows[-1].sequence if rows else 0, _PAGE):
            rows += page
        return rows

    async def _decide_again(self, state: State, entry: LogRow, given: inp.Input) -> None:
        """Decide the recorded input at its recorded time; the same must come of it."""
        value = given.input if isinstance(given, inp.Start) else getattr(given, "value", None)
        if isinstance(value, Value) and value.blob is not None:
            state.loaded[value.blob] = await self._store.get(state.tenant, value.blob)
        decided = encode_events(step(state, given, entry.now_us).events, given)
        if decided != entry.events:
            self._say("I4", f"{state.id}: {entry.input_id} decides differently: {decided!r}, recorded {entry.events!r}")

    def _look_at_final(self, state: State, given: inp.Input, events: list[ev.Event]) -> None:
        if isinstance(given, inp.Retry | inp.Skip | inp.Complete) and isinstance(events[0], ev.ExecutionRetried):
            return
        if state.final and not all(isinstance(e, ev.InputIgnored) for e in events):
            self._say("I3", f"{state.id} was {state.status}, then {type(given).__name__} caused {events!r}")

    def _look_at_runs(self, state: State, events: list[ev.Event]) -> None:
        """See that the chain of an execution's runs has each of them once; the state is as it was before the row."""
        ended = state.run if state.next_run is not None else 0
        run = state.run
        for event in events:
            if isinstance(event, ev.RunCompleted):
                if event.run != run or ended == run:
                    self._say("I7", f"{state.id}: run {event.run} ends, but run {run} is under way")
                ended = event.run
            elif isinstance(event, ev.RunStarted):
                if event.run != run + 1 or ended != run:
                    self._say("I7", f"{state.id}: run {event.run} begins after {run}, of which {ended or 'none'} ended")
                run = event.run

    async def _look_at_events(
        self, state: State, events: list[ev.Event], ends: Counter[tuple[str, int]], results: Counter[str]
    ) -> None:
        for event in events:
            match event:
                case ev.ExecutionRetried(tasks=tasks):
                    anew = {task for task in results if task.partition("[")[0] in tasks and results[task] == 1}
                    for task in anew:
                        del results[task]
                case ev.RunStarted():
                    results.clear()
                case ev.TaskCompleted(task, 0):
                    results[task] += 1
                case ev.TaskCompleted(task, number, result):
                    ends[task, number] += 1
                    results[task] += 1
                    await self._look_at_result(state, task, number, result)
                case ev.AttemptFailed(task, number) | ev.AttemptReturned(task, number):
                    ends[task, number] += 1
                case ev.AttemptGranted():
                    self.attempts += 1
                case _:
                    pass

    def _look_at_children(self, state: State, events: list[ev.Event], unended: set[str]) -> None:
        """Who ends has been told of the ends of all children, but for those that it has left behind."""
        for event in events:
            match event:
                case ev.ChildStarted(task, execution=execution):
                    if state.definition.tasks[task.partition("[")[0]].spec.parent_close is not ParentClose.ABANDON:
                        unended.add(execution)
                case ev.ChildEnded(execution=execution, status=status) if status != ev.LATE:
                    unended.discard(execution)
                case ev.ExecutionCompleted() | ev.ExecutionFailed() | ev.ExecutionCancelled() if unended:
                    self._say("I3", f"{state.id} has ended before its children {', '.join(sorted(unended))}")
                case _:
                    pass

    async def _look_at_result(self, state: State, task: str, number: int, result: Value | None) -> None:
        attempt = state.attempt_id(task, number)
        if self._effects and attempt not in self._effects and self._keeps_ledger(task, state):
            self._say("I2", f"{attempt} has a result, but its effect is in no ledger")
        text = b"null"
        if result is not None and result.blob is not None:
            text = await self._store.get(state.tenant, result.blob)
        elif result is not None and result.json is not None:
            text = bytes(result.json)
        expected = self._expected(task, state) if self._expected is not None else None
        if expected is not None and text != expected:
            self._say("I2", f"{task} of {state.id} has the result {_short(text)}, not {_short(expected)}")

    def _count(self, execution: str, ends: Counter[tuple[str, int]], results: Counter[str]) -> None:
        for (task, number), times in ends.items():
            if times > 1:
                self._say("I2", f"{execution}: attempt {number} of {task} ended {times} times")
        for task, times in results.items():
            if times > 1:
                self._say("I2", f"{execution}: {task} completed {times} times")

    async def _look_at_state(self, row: ExecutionRow, state: State) -> None:
        folded = row_of(state)
        if folded != row:
            self._say("I4", f"{row.id}: the fold gives {_different(folded, row)}")
        found = await restore(self._store, self._definitions, row.id)
        if found is None:
            self._say("I4", f"{row.id} has a row, but can't be loaded")
        elif encode_state(found[1]) != encode_state(state):
            self._say("I4", f"{row.id}: the snapshot with its tail isn't the fold")
        for problem in contradictions(state):
            self._say("I4", f"{row.id}: {problem}")
        if self._at_rest and ExecutionStatus(row.status) not in FINAL_EXECUTION:
            waits = "; ".join(f"{e.task} ({e.status}): {e.because}" for e in explain(state, row.updated_us))
            self._say("I5", f"{row.id} never ended: {headline(state, row.updated_us)}; {waits}")


def unreturned(engine: Engine) -> list[str]:
    """Return what an engine at rest still holds (I6)."""
    staffing, placement = engine.staffing, engine.staffing.placement
    found = [f"I6: {len(staffing.leases)} leases are held"] if len(staffing.leases) else []
    if placement.held():
        which = ", ".join(sorted(a for e in placement.executions() for a in placement.attempts_of(e))[:5])
        found.append(f"I6: {placement.held()} slots are held: {which}")
    if placement.queued():
        found.append(f"I6: {placement.queued()} tasks are queued")
    for agent in placement.agents.values():
        if agent.held:
            found.append(f"I6: agent {agent.id} counts {agent.held} slots as taken")
    return found


def miscounted(engine: Engine) -> list[str]:
    """Return the agents that hold less than nothing.

    More than it has an agent may seem to hold for a while, after an append of unknown outcome: what was granted by it
    and what was granted meanwhile. The agent refuses one of them.
    """
    agents = engine.staffing.placement.agents.values()
    return [f"I6: agent {a.id} holds {a.held} of {a.slots} slots" for a in agents if a.held < 0]


def unexplained(engine: Engine, now_us: int, placement: Placement | None = None) -> list[str]:
    """Return the tasks in an engine's memory that wait without a reason that is true (I5).

    `placement` is that of the replica that leads, if that is another one.
    """
    placement = placement or engine.staffing.placement
    sources = Sources(placement.why, lambda attempt, now_us: "")
    found = []
    for state in list(engine.residency.states.values()):
        if not state.sequence:
            continue
        found += [f"I5: {state.id}: {problem}" for problem in contradictions(state)]
        for each in explain(state, now_us, sources):
            if not each.because.strip():
                found.append(f"I5: {state.id}: {each.task} is {each.status} without a reason")
            task = state.tasks[each.task]
            waits = task.status is TaskStatus.READY and state.status is ExecutionStatus.RUNNING
            if waits and not placement.why(state.id, each.task):
                found.append(f"I5: {state.id}: {each.task} is ready, but in no queue")
            if each.because == "it is about to be looked at":
                found.append(f"I5: {state.id}: {each.task} is pending, and nothing will look at it")
    return found


def _different(ours: Any, theirs: Any) -> str:
    names = [n for n in ours.__struct_fields__ if getattr(ours, n) != getattr(theirs, n)]
    return ", ".join(f"{n} {getattr(ours, n)!r}, stored is {getattr(theirs, n)!r}" for n in names)


def _short(text: bytes) -> str:
    return msgspec.json.encode(text.decode(errors="replace")[:80]).decode()
