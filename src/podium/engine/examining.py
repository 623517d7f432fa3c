"""What an owner of shards looks at: what it has in memory against itself, and against what the store says is to do.

Each look at the store is bounded: a few shards at a time, going round; a thorough look goes round at once. Nothing here
is sure before it has been looked at twice; `reconciling` sees to that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Protocol

from podium.clock import SECOND, Clock
from podium.engine.changes import How
from podium.engine.inside import Inside
from podium.engine.leases import Lease
from podium.engine.placing import enqueue_ready
from podium.engine.reconciliation import (
    Kind,
    Suspect,
    grants_in_vain,
    leased_in_vain,
    misplaced,
    unleased,
)
from podium.ids import PLACEMENT_SHARD
from podium.store.protocol import ExecutionRow, InboxRow, Store

LATE_US = 5 * SECOND  # a timer that is due for so long should have been fired
PAGE = 200
SHARDS_AT_ONCE = 8  # whose active executions are listed in one look
TASKS_AT_ONCE = 2_000  # that are looked at before others have a turn


class Check(Protocol):
    """One subject that is looked at."""

    every: int  # it takes part in each so-manieth of the periodic looks
    looked_at: Counter[str]  # at what, and at how many of them, for people

    def look(self, thorough: bool) -> AsyncIterator[Suspect]:
        """Yield what may not be as it should; `thorough`: of everything, else of the next portion."""
        ...

    def again(self, suspects: Sequence[Suspect]) -> AsyncIterator[Suspect]:
        """Yield, of what these suspects are about, what is so still."""
        ...

    async def mend(self, suspect: Suspect) -> bool:
        """Make a find good, if that can be done; return whether it was."""
        ...


def executions_of(suspects: Iterable[Suspect]) -> list[str]:
    """Return the executions that suspects are about, each once."""
    return list(dict.fromkeys(suspect.execution for suspect in suspects if suspect.execution))


class MemoryCheck:
    """The executions in memory: their leases, their timers; where this replica leads, their tasks and slots too.

    It asks the store for nothing.
    """

    every = 1

    def __init__(self, inside: Inside, clock: Clock, leads: Callable[[], bool]) -> None:
        """`leads` says whether tasks of all replicas are placed here."""
        self.looked_at: Counter[str] = Counter()
        self._inside = inside
        self._clock = clock
        self._leads = leads

    async def look(self, thorough: bool) -> AsyncIterator[Suspect]:
        """Look at everything in memory; others have their turn in between."""
        inside, staffing = self._inside, self._inside.staffing
        leases = self._leases()
        names = {*inside.residency.states, *leases}
        if self._leads():
            names.update(execution for execution in staffing.placement.executions() if inside.owns(execution))
        under_way, tasks = inside.under_way, 0
        for execution in sorted(names):
            for suspect in self._of(execution, leases.get(execution, ())):
                if execution not in under_way:
                    yield suspect
            state = inside.state(execution)
            tasks += 1 + (len(state.tasks) if state is not None else 0)
            if tasks >= TASKS_AT_ONCE:
                tasks = 0
                await asyncio.sleep(0)
                under_way = inside.under_way
        for suspect in (*self._of_agents(), *self._admitted()):
            yield suspect
        self.looked_at["executions in memory"] += len(inside.residency.states)
        self.looked_at["leases"] += len(staffing.leases)

    async def again(self, suspects: Sequence[Suspect]) -> AsyncIterator[Suspect]:
        """Look at some executions."""
        under_way, leases = self._inside.under_way, self._leases()
        for execution in executions_of(suspects):
            if execution not in under_way:
                for suspect in self._of(execution, leases.get(execution, ())):
                    yield suspect
        for suspect in (*self._of_agents(), *self._admitted()):
            yield suspect

    async def mend(self, suspect: Suspect) -> bool:
        """Let go what is held in vain, hold and queue what isn't, fire timers."""
        inside, staffing = self._inside, self._inside.staffing
        leases = self._leases().get(suspect.execution, ())
        now = {one.key: one for one in (*self._of(suspect.execution, leases), *self._of_agents(), *self._admitted())}
        if suspect.key not in now or now[suspect.key].evidence != suspect.evidence:
            return True  # it has come right meanwhile
        state, now_us = inside.state(suspect.execution), self._clock.now_us()
        match suspect.kind:
            case Kind.LEFT_IN_MEMORY:
                inside.put_out(suspect.execution)
            case Kind.ADMITTED_IN_VAIN:
                inside.admission.gone(suspect.execution)
            case Kind.LEASE_WITHOUT_ATTEMPT:
                staffing.leases.end(suspect.subject)
            case Kind.ATTEMPT_WITHOUT_LEASE if state is not None:
                staffing.begin_lease(state, state.tasks[suspect.task], suspect.evidence[0], now_us)
            case Kind.TIMER_MISSED:
                inside.look_at(suspect.execution)
            case Kind.SLOTS_MISCOUNTED:
                staffing.placement.recount(suspect.subject)
            case _:
                return mend_placement(inside, suspect)
        inside.wake()
        return True

    def _leases(self) -> dict[str, list[tuple[str, Lease]]]:
        found: dict[str, list[tuple[str, Lease]]] = {}
        for attempt, lease in self._inside.staffing.leases.items():
            found.setdefault(lease.execution, []).append((attempt, lease))
        return found

    def _of(self, execution: str, leases: Sequence[tuple[str, Lease]]) -> Iterator[Suspect]:
        inside, staffing, now_us = self._inside, self._inside.staffing, self._clock.now_us()
        state = inside.state(execution)
        if state is not None and (state.final or not inside.owns(execution)):
            why = f"it has {state.status}" if state.final else "it is another replica's"
            yield Suspect(Kind.LEFT_IN_MEMORY, execution, f"{why}, and is in memory", (), execution, "", now_us)
        yield from leased_in_vain(state, leases, now_us)
        if state is not None:
            yield from unleased(state, staffing.leases.get, now_us)
            due_us = state.next_timer_us()
            if due_us is not None and due_us < now_us - LATE_US and not inside.in_doubt:
                yield _missed(execution, due_us, now_us)
        if self._leads() and not (state is None and inside.takes_over):
            yield from misplaced(execution, state, staffing.placement, staffing.placing.awaits, now_us)
            if state is not None:
                yield from grants_in_vain(state, staffing.placement, now_us)

    def _of_agents(self) -> Iterator[Suspect]:
        now_us = self._clock.now_us()
        for agent, (counted, taken) in self._inside.staffing.placement.miscounted().items():
            why = f"agent {agent} counts {counted} slots as taken, {taken} are"
            yield Suspect(Kind.SLOTS_MISCOUNTED, agent, why, (counted - taken,), seen_us=now_us)

    def _admitted(self) -> Iterator[Suspect]:
        inside, now_us = self._inside, self._clock.now_us()
        under_way = inside.under_way
        for execution in inside.admission.admitted:
            state = inside.state(execution)
            if execution not in under_way and (state is None or not state.active):
                why = "it takes one of the places of max_concurrent_workflows, and isn't at work"
                yield Suspect(Kind.ADMITTED_IN_VAIN, execution, why, (), execution, "", now_us)


def mend_placement(inside: Inside, suspect: Suspect) -> bool:
    """Let the queue and the slots have of an execution what they should."""
    placing = inside.staffing.placing
    state = suspect.state
    match suspect.kind:
        case Kind.SLOT_WITHOUT_ATTEMPT:
            placing.end(suspect.subject, How.NOT_BEGUN)
            if state is not None:
                enqueue_ready(placing, state, (suspect.task,))
        case Kind.QUEUED_NOT_READY:
            placing.withdraw(suspect.execution, suspect.task)
        case Kind.TASK_NOT_QUEUED if state is not None:
            enqueue_ready(placing, state, (suspect.task,))
        case Kind.ATTEMPT_WITHOUT_SLOT if state is not None:
            task = state.tasks[suspect.task]
            attempt = (task.live or {}).get(suspect.evidence[-1])
            if attempt is None:
                return False
            placing.keep(suspect.subject, state.id, attempt.agent, attempt.incarnation, task.compiled.needs)
        case _:
            return False
    inside.wake()
    return True


class StoreCheck:
    """What the store says that this owner must have in memory, must fire, must take out of the inbox."""

    every = 2

    def __init__(self, store: Store, inside: Inside, clock: Clock, leads: Callable[[], bool]) -> None:
        """`leads` says whether tasks of all replicas are placed here."""
        self._leads = leads
        self.looked_at: Counter[str] = Counter()
        self._store = store
        self._inside = inside
        self._clock = clock
        self._next_shard = 0

    async def look(self, thorough: bool) -> AsyncIterator[Suspect]:
        """Look at a few shards' active executions, and at all late timers and inbox rows, a page of each."""
        shards = self._inside.shards
        if not shards:
            return
        some = shards if thorough else self._portion(shards)
        before = self._inside.committed
        for suspect in self._moved(
            before, {row.shard: (row.fence, row.position) for row in await self._store.shards()}
        ):
            yield suspect
        for row in await self._store.active(some):
            if self._missing(row):
                yield self._not_in_memory(row)
        for row in await self._store.due(shards, self._clock.now_us() - LATE_US, PAGE):
            if self._missing(row):
                yield _missed(row.id, row.wake_at_us or 0, self._clock.now_us())
        for waiting in await self._store.inbox([*shards, PLACEMENT_SHARD] if self._leads() else shards, 0, PAGE):
            if not self._inside.has_taken(waiting):
                yield self._waits(waiting)
        self.looked_at["shards"] += len(some)

    async def again(self, suspects: Sequence[Suspect]) -> AsyncIterator[Suspect]:
        """Look at their rows."""
        wanted = {suspect.kind for suspect in suspects}
        if Kind.SHARD_MOVED in wanted:
            before = self._inside.committed
            rows = {row.shard: (row.fence, row.position) for row in await self._store.shards()}
            for suspect in self._moved(before, rows):
                yield suspect
        if Kind.INBOX_WAITS in wanted and not self._inside.behind:
            shards = sorted({suspect.evidence[0] for suspect in suspects if suspect.kind is Kind.INBOX_WAITS})
            for waiting in await self._store.inbox(shards, 0, PAGE):
                if not self._inside.has_taken(waiting):
                    yield self._waits(waiting)
        for execution in executions_of(s for s in suspects if s.kind is not Kind.INBOX_WAITS):
            row = await self._store.execution(execution)
            now_us = self._clock.now_us()
            if row is None or not self._missing(row):
                continue
            if row.active:
                yield self._not_in_memory(row)
            if row.wake_at_us is not None and row.wake_at_us < now_us - LATE_US:
                yield _missed(execution, row.wake_at_us, now_us)

    async def mend(self, suspect: Suspect) -> bool:
        """Load what is missing; read anew what waits."""
        match suspect.kind:
            case Kind.NOT_IN_MEMORY | Kind.TIMER_MISSED:
                self._inside.bring_in(suspect.execution)
            case Kind.INBOX_WAITS:
                self._inside.read_anew(suspect.evidence[1])
            case _:
                return False
        return True

    def _portion(self, shards: list[int]) -> list[int]:
        first = self._next_shard % len(shards)
        self._next_shard = first + SHARDS_AT_ONCE
        return [*shards, *shards][first : first + min(SHARDS_AT_ONCE, len(shards))]

    def _missing(self, row: ExecutionRow) -> bool:
        inside = self._inside
        if row.id in inside.residency.states or row.id in inside.residency.quarantined or inside.takes_over:
            return False
        return inside.owns(row.id) and row.id not in inside.under_way

    def _not_in_memory(self, row: ExecutionRow) -> Suspect:
        why = f"it is {row.status} and has something to do, but its owner doesn't have it in memory"
        now_us = self._clock.now_us()
        return Suspect(Kind.NOT_IN_MEMORY, row.id, why, (row.sequence,), row.id, "", now_us)

    def _waits(self, row: InboxRow) -> Suspect:
        why = f"the {row.kind} {row.input_id} waits in the inbox, and its owner doesn't take it"
        subject, evidence = f"{row.execution} {row.input_id}", (row.shard, row.id)
        return Suspect(Kind.INBOX_WAITS, subject, why, evidence, row.execution, "", self._clock.now_us())

    def _moved(self, ours: dict[int, tuple[int, int]], stored: dict[int, tuple[int, int]]) -> Iterator[Suspect]:
        """Yield the shards whose log isn't where we have written it to, though nobody else has taken them."""
        now = self._inside.committed
        for shard, (fence, position) in ours.items():
            found_fence, found = stored.get(shard, (fence, 0))
            if fence != found_fence or shard not in now:
                continue  # another replica's now
            written = found > now[shard][1] and not self._inside.under_way  # but by whom?
            if found < position or written:
                why = f"shard {shard} is at {found} in the store, its owner has written it to {position}"
                evidence = (found, position)
                yield Suspect(Kind.SHARD_MOVED, f"shard {shard}", why, evidence, seen_us=self._clock.now_us())


def _missed(execution: str, due_us: int, now_us: int) -> Suspect:
    late = (now_us - due_us) // SECOND
    why = f"a timer is due since {late} s, and nobody fires it"
    return Suspect(Kind.TIMER_MISSED, execution, why, (due_us,), execution, "", now_us)
