"""What only the replica that leads sees: queue and slots of others' executions, counters that all share, and whether
every shard has an owner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from podium.clock import Clock
from podium.engine.examining import executions_of, mend_placement
from podium.engine.inside import Inside
from podium.engine.reconciliation import Kind, Suspect, expected_count, grants_in_vain, misplaced
from podium.engine.recovery import Definitions, restore
from podium.engine.shards import ALL_SHARDS, EVERY_SHARD
from podium.exceptions import CorruptHistoryError, PodiumError
from podium.ids import PLACEMENT_SHARD
from podium.store.protocol import Append, Cluster, Counted, CounterChange, InboxRow, Store
from podium.telemetry.logs import get_logger

COUNTERS = "workflow:"  # how the keys of workflows' counters begin
EXECUTIONS_AT_ONCE = 10  # of other replicas, that are read in one look
SHARDS_AT_ONCE = 8  # whose active executions are listed in one look
PAGE = 500
_log = get_logger("podium.engine")


class PlacementCheck:
    """Queue and slots of the executions that other replicas own: against what the store says of these."""

    every = 2

    def __init__(
        self, store: Store, definitions: Definitions, inside: Inside, clock: Clock, leads: Callable[[], bool]
    ) -> None:
        """`leads` says whether tasks of all replicas are placed here."""
        self.looked_at: Counter[str] = Counter()
        self._store = store
        self._definitions = definitions
        self._inside = inside
        self._clock = clock
        self._leads = leads
        self._after = ""  # of the executions that are placed or active
        self._next_shard = 0

    async def look(self, thorough: bool) -> AsyncIterator[Suspect]:
        """Look at a few executions that have tasks queued or slots taken, or that are active by their rows."""
        shards = [shard for shard in ALL_SHARDS if self._inside.fence(shard) is None]
        if not self._leads() or not shards:
            return
        placed = self._inside.staffing.placement.executions()
        names = {execution for execution in placed if not self._inside.owns(execution)}
        names.update(row.id for row in await self._store.active(shards if thorough else self._portion(shards)))
        for execution in sorted(names) if thorough else self._next(sorted(names)):
            async for suspect in self._of(execution):
                yield suspect
            self.looked_at["executions of other replicas"] += 1

    async def again(self, suspects: Sequence[Suspect]) -> AsyncIterator[Suspect]:
        """Look at some executions, of which nothing is on its way."""
        if not self._leads():
            return
        waiting = await self._store.inbox(EVERY_SHARD, 0, PAGE)
        if len(waiting) == PAGE or any(self._tells(row) for row in waiting):
            return  # what would explain it may lie there
        granted = {row.execution for row in waiting if row.kind == "grant"}
        for execution in executions_of(suspects):
            if execution not in granted:
                async for suspect in self._of(execution):
                    yield suspect

    async def mend(self, suspect: Suspect) -> bool:
        """Release, enqueue, hold. Should that be wrong after all, the execution's owner ignores what comes of it."""
        return self._leads() and mend_placement(self._inside, suspect)

    @staticmethod
    def _tells(row: InboxRow) -> bool:
        return row.shard == PLACEMENT_SHARD

    def _portion(self, shards: list[int]) -> list[int]:
        first = self._next_shard % len(shards)
        self._next_shard = first + SHARDS_AT_ONCE
        return [*shards, *shards][first : first + min(SHARDS_AT_ONCE, len(shards))]

    def _next(self, names: list[str]) -> list[str]:
        some = [name for name in names if name > self._after][:EXECUTIONS_AT_ONCE]
        self._after = some[-1] if len(some) == EXECUTIONS_AT_ONCE else ""
        return some

    async def _of(self, execution: str) -> AsyncIterator[Suspect]:
        try:
            found = await restore(self._store, self._definitions, execution)
        except (CorruptHistoryError, KeyError):
            return  # that is its owner's to find
        if self._inside.owns(execution):
            return
        placing, now_us = self._inside.staffing.placing, self._clock.now_us()
        state = found.state if found is not None else None
        for suspect in misplaced(execution, state, placing.placement, placing.awaits, now_us):
            yield suspect
        if state is not None:
            for suspect in grants_in_vain(state, placing.placement, now_us):
                yield suspect


class CountersCheck:
    """The counters of `max_concurrent_executions`, against the executions that have no end yet.

    Both move in one transaction: whatever happens meanwhile, how far they are apart stays the same.
    """

    every = 10

    def __init__(
        self, store: Store, definitions: Definitions, inside: Inside, clock: Clock, leads: Callable[[], bool]
    ) -> None:
        """`leads` says whether tasks of all replicas are placed here."""
        self.looked_at: Counter[str] = Counter()
        self._store = store
        self._definitions = definitions
        self._inside = inside
        self._clock = clock
        self._leads = leads

    async def look(self, thorough: bool) -> AsyncIterator[Suspect]:
        """Look at all counters; there is one for each workflow that has the limit."""
        if not self._leads():
            return
        for counter in await self._store.counted(COUNTERS):
            expected = await self._expected(counter)
            self.looked_at["counters"] += 1
            if counter.value != expected:
                why = f"{counter.key} of tenant {counter.tenant} is {counter.value}, {expected} executions move it"
                evidence = (counter.tenant, counter.key, counter.value - expected)
                subject = f"{counter.tenant} {counter.key}"
                yield Suspect(Kind.COUNTER_DIFFERS, subject, why, evidence, seen_us=self._clock.now_us())

    async def again(self, suspects: Sequence[Suspect]) -> AsyncIterator[Suspect]:
        """Look at all counters."""
        async for suspect in self.look(True):
            yield suspect

    async def mend(self, suspect: Suspect) -> bool:
        """Move the counter by what it is off; guarded by a fence, as every change is."""
        tenant, key, off = suspect.evidence
        guard = next((shard for shard in (PLACEMENT_SHARD, 0) if self._inside.fence(shard) is not None), None)
        fence = self._inside.fence(guard) if guard is not None else None
        if guard is None or fence is None:
            return False
        change = CounterChange(tenant, key, -off)
        try:
            await self._store.append(Append({guard: fence}, (), (), counters=[change], now_us=self._clock.now_us()))
        except PodiumError as error:
            _log.warning("a counter could not be corrected", counter=key, error=str(error))
            return False
        return True

    async def _expected(self, counter: Counted) -> int:
        limited = set()
        for digest in counter.unfinished:
            definition = await self._definitions.get(counter.tenant, digest)
            if definition.workflow.config.max_concurrent_executions is not None:
                limited.add(digest)
        return expected_count(counter.unfinished, limited.__contains__)


class OwnersCheck:
    """Whether every shard has a live owner, by the picture that each renewal of a lease brings.

    Of all live replicas the one with the least id says so, since nobody may lead.
    """

    every = 1

    def __init__(
        self, cluster: Callable[[], Cluster | None], replica: Callable[[], str], look: Callable[[], None]
    ) -> None:
        """`look` has the picture renewed, and shards claimed that nobody owns."""
        self.looked_at: Counter[str] = Counter()
        self._cluster = cluster
        self._replica = replica
        self._renew = look

    async def look(self, thorough: bool) -> AsyncIterator[Suspect]:
        """Look at all shards."""
        cluster = self._cluster()
        if cluster is None:
            return
        live = {replica.id for replica in cluster.replicas if cluster.live(replica)}
        takers = sorted(r.id for r in cluster.replicas if r.id in live and not r.draining)
        if not takers or takers[0] != self._replica():
            return
        rows = {row.shard: row for row in cluster.shards}
        for shard in EVERY_SHARD:
            row = rows.get(shard)
            if row is None or row.owner not in live:
                why = f"shard {shard} has no owner, though {len(takers)} of the replicas could take it"
                evidence = (row.fence if row is not None else 0,)
                yield Suspect(Kind.SHARD_WITHOUT_OWNER, f"shard {shard}", why, evidence, seen_us=cluster.now_us)
        self.looked_at["shards' owners"] += len(EVERY_SHARD)

    async def again(self, suspects: Sequence[Suspect]) -> AsyncIterator[Suspect]:
        """Look at all shards in the present picture; one that is as old as the first says nothing."""
        async for suspect in self.look(True):
            yield suspect

    async def mend(self, suspect: Suspect) -> bool:
        """Have this replica look for shards to claim; whether it gets them, the next look says."""
        self._renew()
        return False
